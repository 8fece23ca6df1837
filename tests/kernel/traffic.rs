//! New connections from any machine of the laboratory, and what became of each.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, bind, connect, recv, send, setsockopt, socket,
    sockopt,
};

use crate::net::{Host, Lab};
use crate::server::wildcard;
use crate::{sctp, sys};

/// How long a probe waits for an answer that is expected.
const ANSWER: Duration = Duration::from_secs(2);

/// How long a probe waits where silence is expected. Short: an answer here takes well under a millisecond,
/// and one that is late on a busy machine cannot make a correct test fail.
pub const SILENCE: Duration = Duration::from_millis(150);

/// A pause for other threads' new processes to get from fork to exec.
const FORK: Duration = Duration::from_millis(20);

/// How many source ports are tried before giving up, or how often a given one.
const PORTS_TRIED: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proto {
    Tcp,
    Udp,
    /// A raw INIT packet; no association is set up and no SCTP is needed in the kernel.
    Sctp,
}

/// What became of one new connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// `server` is `b1:8080`, `lb:9050`, …; `peer` is the client and `local` the address the server saw.
    Reached {
        server: String,
        peer: SocketAddr,
        local: SocketAddr,
    },
    /// A TCP reset or an ICMP port unreachable.
    Refused,
    TimedOut,
    /// Another error. `EPERM`: the sender's own OUTPUT hook dropped or rejected a datagram.
    Unreachable(Errno),
    /// An answer that is none of this harness's servers'.
    Strange(String),
}

impl Outcome {
    /// The server's name and port; anything else in parentheses, so that outcomes can be counted.
    pub fn server(&self) -> &str {
        match self {
            Self::Reached { server, .. } => server,
            Self::Refused => "(refused)",
            Self::TimedOut => "(timed out)",
            Self::Unreachable(Errno::EPERM) => "(not permitted)",
            Self::Unreachable(_) => "(unreachable)",
            Self::Strange(_) => "(strange)",
        }
    }

    /// The address that the server saw as the client's.
    pub fn peer(&self) -> Option<IpAddr> {
        match self {
            Self::Reached { peer, .. } => Some(peer.ip()),
            Self::Refused | Self::TimedOut | Self::Unreachable(_) | Self::Strange(_) => None,
        }
    }

    fn failed(error: Errno) -> Self {
        match error {
            Errno::ECONNREFUSED => Self::Refused,
            Errno::ETIMEDOUT => Self::TimedOut,
            other => Self::Unreachable(other),
        }
    }

    fn answered(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text).into_owned();
        let reached = || {
            let mut words = text.trim_end().split(' ');
            let server = words.next()?.to_owned();
            let peer = words.next()?.strip_prefix("peer=")?.parse().ok()?;
            let local = words.next()?.strip_prefix("local=")?.parse().ok()?;
            Some(Self::Reached { server, peer, local })
        };
        reached().unwrap_or(Self::Strange(text))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reached { server, peer, .. } => write!(f, "{server} from {peer}"),
            Self::Unreachable(error) => write!(f, "(unreachable: {error})"),
            Self::Strange(text) => write!(f, "(strange: {text:?})"),
            Self::Refused | Self::TimedOut => f.write_str(self.server()),
        }
    }
}

/// New connections to be made: `lab.probe(Proto::Tcp, "203.0.113.10:80").count(100).send()`.
#[derive(Clone)]
pub struct Probe<'lab> {
    pub(crate) lab: &'lab Lab,
    pub(crate) proto: Proto,
    pub(crate) to: SocketAddr,
    pub(crate) from: Host,
    pub(crate) sources: Vec<IpAddr>,
    pub(crate) source_port: Option<u16>,
    pub(crate) count: usize,
    pub(crate) window: usize,
    pub(crate) timeout: Duration,
}

/// Connections that are still open; dropping this closes them.
pub struct Held {
    pub outcomes: Vec<Outcome>,
    _sockets: Vec<OwnedFd>,
}

impl Lab {
    /// One new connection from the client to an `address:port`, unless the methods of [`Probe`] say more.
    pub fn probe(&self, proto: Proto, to: &str) -> Probe<'_> {
        let to = to.parse().unwrap_or_else(|error| panic!("`{to}` is no address and port: {error}"));
        Probe {
            lab: self,
            proto,
            to,
            from: Host::Client,
            sources: Vec::new(),
            source_port: None,
            count: 1,
            window: 1,
            timeout: ANSWER,
        }
    }
}

impl Probe<'_> {
    /// The machine that opens the connections.
    pub fn from(mut self, host: Host) -> Self {
        self.from = host;
        self
    }

    /// Source addresses, taken in turn; one connection for each unless `count` says otherwise later.
    pub fn sources(mut self, sources: impl IntoIterator<Item = IpAddr>) -> Self {
        self.sources = sources.into_iter().collect();
        self.count = self.sources.len();
        self
    }

    /// One source address.
    pub fn source(self, source: &str) -> Self {
        let source = source.parse().unwrap_or_else(|error| panic!("`{source}` is no address: {error}"));
        self.sources([source])
    }

    /// This source port instead of a fresh one.
    pub fn source_port(mut self, port: u16) -> Self {
        self.source_port = Some(port);
        self
    }

    pub fn count(mut self, count: usize) -> Self {
        self.count = count;
        self
    }

    /// How many connections may be under way at a time; they start in order in any case. 1 unless set.
    pub fn window(mut self, window: usize) -> Self {
        assert!(window > 0, "at least one connection at a time");
        self.window = window;
        self
    }

    /// For probes that should get no answer: a short wait, and many at a time.
    pub fn expecting_silence(mut self) -> Self {
        self.timeout = SILENCE;
        self.window = 64;
        self
    }

    /// Makes the connections, closes them, and says what became of each, in order.
    pub fn send(&self) -> Vec<Outcome> {
        match self.proto {
            Proto::Tcp | Proto::Udp => self.lab.enter(self.from, || {
                let mut outcomes = Vec::with_capacity(self.count);
                for start in (0..self.count).step_by(self.window) {
                    let indices = start..self.count.min(start + self.window);
                    let attempts = indices.map(|index| self.start(index)).collect();
                    outcomes.extend(self.finish(attempts).into_iter().map(|(outcome, _)| outcome));
                }
                outcomes
            }),
            Proto::Sctp => sctp::send_inits(self),
        }
    }

    /// The outcome of the only connection.
    pub fn one(&self) -> Outcome {
        assert_eq!(self.count, 1, "`one` is for a single connection");
        self.send().pop().expect("one outcome for one connection")
    }

    /// The servers that the connections reached, as [`Outcome::server`] writes them, in order.
    pub fn servers(&self) -> Vec<String> {
        self.send().iter().map(|outcome| outcome.server().to_owned()).collect()
    }

    /// Makes the connections one after the other and keeps them open.
    pub fn hold(&self) -> Held {
        assert_ne!(self.proto, Proto::Sctp, "there are no SCTP connections to hold");
        self.lab.enter(self.from, || {
            let ends = (0..self.count).flat_map(|index| self.finish(vec![self.start(index)]));
            let (outcomes, sockets): (Vec<_>, Vec<_>) = ends.unzip();
            Held { outcomes, _sockets: sockets.into_iter().flatten().collect() }
        })
    }

    pub(crate) fn source_of(&self, index: usize) -> IpAddr {
        match self.sources.len() {
            0 => wildcard(self.to.is_ipv6()),
            length => self.sources[index % length],
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.source_port.unwrap_or_else(|| self.lab.fresh_port(self.from))
    }

    /// Starts one connection; for UDP, sends the datagram.
    fn start(&self, index: usize) -> Result<OwnedFd, Errno> {
        let family = if self.to.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
        let kind = if self.proto == Proto::Tcp { SockType::Stream } else { SockType::Datagram };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(family, kind, flags, None)?;
        if self.proto == Proto::Tcp {
            // Closing resets: neither end keeps the port in TIME_WAIT.
            setsockopt(&fd, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
        }
        if self.proto == Proto::Udp {
            // Otherwise a connected socket hears of closed ports, but not of missing routes.
            setsockopt(&fd, sockopt::Ipv4RecvErr, &true)?;
            if self.to.is_ipv6() {
                setsockopt(&fd, sockopt::Ipv6RecvErr, &true)?;
            }
        }
        self.bind(&fd, index)?;
        match connect(fd.as_raw_fd(), &SockaddrStorage::from(self.to)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        if self.proto == Proto::Udp {
            send(fd.as_raw_fd(), b"?", MsgFlags::empty())?;
        }
        Ok(fd)
    }

    fn bind(&self, fd: &OwnedFd, index: usize) -> Result<(), Errno> {
        let source = self.source_of(index);
        for _ in 0..PORTS_TRIED {
            let address = SockaddrStorage::from(SocketAddr::new(source, self.port()));
            match bind(fd.as_raw_fd(), &address) {
                Err(Errno::EADDRINUSE) if self.source_port.is_none() => {}
                // A process that another test is about to start holds copies of closed sockets for a moment.
                Err(Errno::EADDRINUSE) => thread::sleep(FORK),
                other => return other,
            }
        }
        Err(Errno::EADDRINUSE)
    }

    /// Waits for the answers; a connection that was reached comes back with its socket.
    fn finish(&self, attempts: Vec<Result<OwnedFd, Errno>>) -> Vec<(Outcome, Option<OwnedFd>)> {
        let deadline = sys::in_time(self.timeout);
        let mut outcomes: Vec<Option<Outcome>> =
            attempts.iter().map(|attempt| attempt.as_ref().err().map(|&error| Outcome::failed(error))).collect();
        // poll(2) passes over negative descriptors.
        let mut waiting: Vec<libc::pollfd> =
            attempts.iter().map(|attempt| sys::pollfd(attempt.as_ref().map_or(-1, AsRawFd::as_raw_fd))).collect();
        while outcomes.iter().any(Option::is_none) {
            if sys::poll(&mut waiting, deadline).expect("open sockets can be polled") == 0
                && sys::in_time(Duration::ZERO) >= deadline
            {
                break;
            }
            for (slot, outcome) in waiting.iter_mut().zip(&mut outcomes) {
                if slot.fd >= 0 && slot.revents != 0 {
                    *outcome = answer(slot.fd);
                    if outcome.is_some() {
                        slot.fd = -1;
                    }
                }
            }
        }
        let ends = outcomes.into_iter().zip(attempts);
        ends.map(|(outcome, attempt)| (outcome.unwrap_or(Outcome::TimedOut), attempt.ok())).collect()
    }
}

/// Reads an answer; `None`: nothing is there yet.
fn answer(fd: i32) -> Option<Outcome> {
    let mut buffer = [0; 256];
    match recv(fd, &mut buffer, MsgFlags::empty()) {
        Ok(length) => Some(Outcome::answered(&buffer[..length])),
        Err(Errno::EAGAIN) => None,
        Err(error) => Some(Outcome::failed(error)),
    }
}
