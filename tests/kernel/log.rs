//! `log`: lines that appear in the kernel's log, and no more of them than a flood may have.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;

use crate::case::with_hosts;
use crate::lab;
use crate::traffic::{Outcome, Proto};

/// Whether the kernel logs what rules in other namespaces than the first say; only that one has the file.
const ALL: &str = "/proc/sys/net/netfilter/nf_log_all_netns";

/// Switches the log on for every namespace, and back at the end.
struct LogAll(String);

impl LogAll {
    fn new() -> Option<LogAll> {
        let before = fs::read_to_string(ALL).ok()?;
        fs::write(ALL, "1").ok()?;
        Some(LogAll(before))
    }
}

impl Drop for LogAll {
    fn drop(&mut self) {
        if let Err(error) = fs::write(ALL, self.0.trim()) {
            eprintln!("{ALL} stays 1: {error}");
        }
    }
}

/// What the kernel logs from now on.
struct KernelLog(File);

impl KernelLog {
    fn open() -> Option<KernelLog> {
        let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg").ok()?;
        file.seek(SeekFrom::End(0)).ok()?;
        Some(KernelLog(file))
    }

    /// The new lines that hold a text. One read is one line.
    fn lines(&mut self, text: &str) -> Vec<String> {
        let mut list = Vec::new();
        let mut buffer = [0; 8192];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return list,
                Ok(count) => list.push(String::from_utf8_lossy(&buffer[..count]).into_owned()),
                // Older lines than the buffer has were lost.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("/dev/kmsg: {error}"),
            }
        }
        list.retain(|line| line.contains(text));
        list
    }
}

const SERVICES: &str = "\
balance tcp,udp vip:80 as told log \"lbc test told: \" -> b1
balance tcp vip:81 as quiet -> b1
balance tcp vip:443 as gone log \"lbc test gone: \" -> b1 weight 0
balance tcp vip:8000 as untold log -> b2
";

#[test]
fn new_connections_are_in_the_kernels_log() {
    let Some(lab) = lab!() else { return };
    let Some(_all) = LogAll::new() else {
        eprintln!("skipped: {ALL} cannot be written here");
        return;
    };
    let Some(mut log) = KernelLog::open() else {
        eprintln!("skipped: /dev/kmsg cannot be read here");
        return;
    };
    for target in lab.targets() {
        for ipv6 in [false, true] {
            lab.install(target, &with_hosts(SERVICES)).expect("a correct program");
            log.lines("");
            let vip = if ipv6 { "[2001:db8:ffff::10]" } else { "203.0.113.10" };
            let probe = |proto, port: u16| lab.probe(proto, &format!("{vip}:{port}"));
            let client = if ipv6 { "SRC=fd09:" } else { "SRC=10.9.0.2" };
            for (proto, name) in [(Proto::Tcp, "PROTO=TCP"), (Proto::Udp, "PROTO=UDP")] {
                assert_eq!(probe(proto, 80).one().server(), "b1:80", "{target}");
                let lines = log.lines("lbc test told: ");
                assert_eq!(lines.len(), 1, "{target}: {lines:?}");
                for part in [name, "DPT=80 ", client] {
                    assert!(lines[0].contains(part), "{target}: {part}: {lines:?}");
                }
            }
            assert_eq!(probe(Proto::Tcp, 81).one().server(), "b1:81", "{target}");
            // Other tests may log at the same time.
            assert_eq!(log.lines("lbc test "), [] as [String; 0], "{target}");
            assert!(matches!(probe(Proto::Tcp, 443).one(), Outcome::Refused), "{target}");
            assert_eq!(log.lines("lbc test gone: ").len(), 1, "{target}");
            assert_eq!(probe(Proto::Tcp, 8000).one().server(), "b2:8000", "{target}");
            assert_eq!(log.lines("lbc untold: ").len(), 1, "{target}: the prefix where none is written");
            // Ten at once, of which two are gone, and one a second.
            probe(Proto::Tcp, 80).count(40).send();
            let flood = log.lines("lbc test told: ").len();
            assert!((8..=20).contains(&flood), "{target}: {flood} of 40");
        }
    }
    lab.clear().expect("the balancer can be emptied");
}
