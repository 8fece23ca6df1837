//! Where output goes: `-o`, `--check`, pipes that close, disks that are full.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use super::harness::{Run, Test};

const COMPILE: &str = "compile --target nft web.lb";

#[test]
fn a_file_gets_what_stdout_would() {
    let test = Test::web();
    assert_eq!(test.run(&format!("{COMPILE} -o rules.nft")).clean(), "");
    assert_eq!(test.read("rules.nft"), test.run(COMPILE).clean());
    let mode = fs::metadata(test.path("rules.nft")).expect("the file").permissions().mode();
    assert_eq!(mode & 0o600, 0o600);
}

#[test]
fn a_new_file_respects_the_umask_and_an_old_one_keeps_its_mode() {
    let test = Test::web();
    let lbc = env!("CARGO_BIN_EXE_lbc");
    let script = format!("umask 027 && '{lbc}' {COMPILE} -o new && chmod 604 new && '{lbc}' {COMPILE} -o new");
    let mode = || fs::metadata(test.path("new")).expect("the file").permissions().mode() & 0o777;
    let run = |script: &str| {
        let status = Command::new("/bin/sh").args(["-c", script]).current_dir(test.path("")).status();
        assert!(status.expect("a shell").success());
    };
    run(script.split(" && chmod").next().expect("the first half"));
    assert_eq!(mode(), 0o640);
    run(&script);
    assert_eq!(mode(), 0o604);
}

#[test]
fn an_error_leaves_an_existing_file_as_it_is() {
    let test = Test::new().file("web.lb", "balance tcp 80 -> nosuch\n").bytes("rules.nft", b"old\n");
    test.run(&format!("{COMPILE} -o rules.nft")).fails(1, "LB010");
    assert_eq!(test.read("rules.nft"), "old\n");
    // And no new one is made.
    test.run(&format!("{COMPILE} -o other.nft")).fails(1, "LB010");
    assert!(!test.path("other.nft").exists());
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let test = Test::web().bytes("folder/x", b"");
    test.run(&format!("{COMPILE} -o nosuch/rules.nft")).fails(2, "cannot write `nosuch/rules.nft`");
    test.run(&format!("{COMPILE} -o folder")).fails(2, "cannot write `folder`");
    test.run(&format!("{COMPILE} -o web.lb/x")).fails(2, "cannot write `web.lb/x`");
    let left: Vec<_> = fs::read_dir(test.path("")).expect("the directory").filter_map(|entry| entry.ok()).collect();
    assert_eq!(left.len(), 2, "nothing is left behind: {left:?}");
}

#[test]
fn a_link_is_followed_and_what_is_no_file_is_written_to() {
    let test = Test::web().bytes("real.nft", b"old\n");
    std::os::unix::fs::symlink("real.nft", test.path("link.nft")).expect("a link");
    test.run(&format!("{COMPILE} -o link.nft")).clean();
    assert!(fs::symlink_metadata(test.path("link.nft")).expect("the link").is_symlink());
    assert_eq!(test.read("real.nft"), test.run(COMPILE).clean());
    test.run(&format!("{COMPILE} -o /dev/null")).clean();
    assert_eq!(test.run(&format!("{COMPILE} -o /dev/stdout")).clean(), test.run(COMPILE).clean());
}

#[test]
fn check_is_silent_about_a_file_that_is_up_to_date() {
    let test = Test::web();
    test.run(&format!("{COMPILE} -o rules.nft")).clean();
    assert_eq!(test.run(&format!("{COMPILE} --check rules.nft")).clean(), "");
}

#[test]
fn check_shows_what_changed() {
    let test = Test::web();
    test.run(&format!("{COMPILE} -o rules.nft")).clean();
    let test =
        test.file("web.lb", "host a = 192.168.1.10\nhost b = 192.168.1.11\n\nbalance tcp 80 -> a:8080, b:8080\n");
    let run = test.snapshot("check-out-of-date", &format!("{COMPILE} --check rules.nft"));
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), ""));
    // The diff is a patch that makes the file what it should be.
    fs::write(test.path("change.patch"), &run.stdout).expect("a patch");
    let patched = Command::new("patch").args(["-s", "-p1", "-i", "change.patch"]).current_dir(test.path("")).status();
    if patched.is_ok_and(|status| status.success()) {
        test.run(&format!("{COMPILE} --check rules.nft")).clean();
    }
}

#[test]
fn check_of_a_missing_file_is_out_of_date_and_of_an_unreadable_one_a_failure() {
    let test = Test::web().bytes("folder/x", b"");
    let run = test.run(&format!("{COMPILE} --check nosuch.nft"));
    assert_eq!((run.code, run.stdout.starts_with("--- a/nosuch.nft\n+++ b/nosuch.nft\n")), (Some(1), true));
    test.run(&format!("{COMPILE} --check folder")).fails(2, "cannot read `folder`");
    test.run(&format!("{COMPILE} --check /dev/zero")).fails(2, "cannot read `/dev/zero`");
}

#[test]
fn diffs_of_absolute_paths_start_at_the_root() {
    let test = Test::web().bytes("rules.nft", b"old\n").file("ugly.lb", "host   a = 10.0.0.1\n");
    for (command, name) in [(format!("{COMPILE} --check"), "rules.nft"), ("fmt --diff".to_owned(), "ugly.lb")] {
        let path = test.path(name);
        let path = path.to_str().expect("a temporary directory has a plain name");
        let run = test.run(&format!("{command} {path}"));
        let header = format!("--- a{path}\n+++ b{path}\n");
        assert!(run.code == Some(1) && run.stdout.starts_with(&header), "{}", run.show());
    }
}

#[test]
fn check_does_not_write() {
    let test = Test::web().bytes("rules.nft", b"old\n");
    assert_eq!(test.run(&format!("{COMPILE} --check rules.nft")).code, Some(1));
    assert_eq!(test.read("rules.nft"), "old\n");
}

/// Runs with a standard output that nobody reads.
fn unread(test: &Test, args: &str) -> Run {
    let mut child = test.command(args.split_whitespace()).spawn().expect("lbc starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("lbc ends");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Run { code: output.status.code(), stdout: String::new(), stderr }
}

#[test]
fn a_reader_that_stops_is_no_failure() {
    let services: String = (1_000..4_000).map(|port| format!("balance tcp {port} -> 10.0.0.1:80\n")).collect();
    let test = Test::new().bytes("web.lb", services.as_bytes()).bytes("old.nft", b"");
    assert_eq!(unread(&test, COMPILE).clean(), "");
    assert_eq!(unread(&test, "compile --target iptables --no-validate web.lb").clean(), "");
    // The exit code says what it would have said.
    let run = unread(&test, &format!("{COMPILE} --check old.nft"));
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), ""));
    let wrong: String = (1..3_000).map(|port| format!("balance tcp {port} -> nosuch{port}\n")).collect();
    let run = unread(&test.bytes("wrong.lb", wrong.as_bytes()), "check wrong.lb");
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), ""));
}

#[test]
fn a_full_disk_is_a_failure() {
    let test = Test::web();
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let mut command = test.command(COMPILE.split_whitespace());
    let output = command.stdout(Stdio::from(full())).output().expect("lbc runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: cannot write the output: "));
    test.run(&format!("{COMPILE} -o /dev/full")).fails(2, "cannot write `/dev/full`");
}

#[test]
fn a_closed_standard_output_is_no_panic() {
    let test = Test::web();
    let script = format!("'{}' {COMPILE} >&-", env!("CARGO_BIN_EXE_lbc"));
    let output = Command::new("/bin/sh").args(["-c", &script]).current_dir(test.path("")).output().expect("a shell");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
}
