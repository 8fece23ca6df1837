//! What is read: files, directories, includes, and what cannot be read.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

use super::harness::{Test, raw};

/// The services of a program, in order, by the comments of its rules.
fn services(test: &Test, args: &str) -> Vec<String> {
    let run = test.run(&format!("compile --target iptables {args}"));
    let rules = run.clean().lines().filter(|line| line.contains("-A LBC-PREROUTING"));
    rules.filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
}

fn service(port: u16) -> String {
    format!("balance tcp {port} -> 10.0.0.1:8080\n")
}

#[test]
fn a_directory_is_read_sorted_and_without_what_is_ignored() {
    let test = Test::new()
        .file("conf/b.lb", &service(2))
        .file("conf/a.lb", &service(1))
        .file("conf/sub/c.lb", &service(3))
        .file("conf/readme.txt", "not for lbc")
        .file("conf/old.lb", "broken")
        .file("conf/.hidden.lb", "broken")
        .file("conf/build/x.lb", "broken")
        .file("conf/.gitignore", "old.lb\n/build\n");
    assert_eq!(services(&test, "conf"), ["a.lb:1 tcp-1", "b.lb:1 tcp-2", "c.lb:1 tcp-3"]);
    // What is named is read, ignored or not.
    assert_eq!(test.run("check conf/old.lb").code, Some(1));
    let test = test.file("conf/.ignore", "b.lb\n");
    assert_eq!(services(&test, "conf"), ["a.lb:1 tcp-1", "c.lb:1 tcp-3"]);
}

#[test]
fn a_directory_without_files_is_a_failure() {
    let test = Test::new().bytes("conf/readme.txt", b"").bytes("other/a.lb", b"").bytes("other/.ignore", b"*.lb\n");
    for command in ["check", "compile --target nft", "fmt"] {
        test.run(&format!("{command} conf")).fails(2, "no .lb files below `conf`");
        test.run(&format!("{command} other")).fails(2, "no .lb files below `other`");
    }
}

#[test]
fn what_cannot_be_read_is_named_all_of_it() {
    let test = Test::web();
    let run = test.snapshot("unreadable", "compile --target nft nosuch.lb web.lb web.lb/x gone/x.lb");
    run.fails(2, "cannot read `nosuch.lb`");
    run.fails(2, "cannot read `gone/x.lb`");
}

#[test]
fn a_file_without_permission_is_a_failure() {
    let test = Test::web();
    fs::set_permissions(test.path("web.lb"), fs::Permissions::from_mode(0o000)).expect("own file");
    if fs::read(test.path("web.lb")).is_ok() {
        // Root reads everything.
        return;
    }
    test.run("check web.lb").fails(2, "cannot read `web.lb`");
}

#[test]
fn a_file_reached_twice_is_read_once() {
    let test = Test::new()
        .file("a.lb", "include \"b.lb\"\nbalance tcp 1 -> b\n")
        .file("b.lb", "host b = 10.0.0.1\nbalance tcp 2 -> b\n");
    symlink("b.lb", test.path("c.lb")).expect("a link");
    fs::hard_link(test.path("b.lb"), test.path("d.lb")).expect("a hard link");
    let first = ["b.lb:2 tcp-2", "a.lb:2 tcp-1"];
    assert_eq!(services(&test, "a.lb b.lb"), first);
    assert_eq!(services(&test, "a.lb ./a.lb c.lb d.lb ."), first);
    assert_eq!(services(&test, "b.lb a.lb"), first);
    let stdin = test.stdin("include \"b.lb\"\nbalance tcp 3 -> b\n");
    assert_eq!(services(&stdin, "b.lb -"), ["b.lb:2 tcp-2", "<stdin>:2 tcp-3"]);
}

#[test]
fn includes_are_relative_to_the_file_that_has_them() {
    let test = Test::new()
        .file("web.lb", "include \"conf/all.lb\"\nbalance tcp 80 -> a, b\n")
        .file("conf/all.lb", "include \"hosts/a.lb\"; include \"./hosts/../hosts/b.lb\"\n")
        .file("conf/hosts/a.lb", "host a = 10.0.0.1\n")
        .file("conf/hosts/b.lb", "include \"a.lb\"\nhost b = 10.0.0.2\n");
    assert_eq!(services(&test, "web.lb"), ["web.lb:2 tcp-80"]);
}

#[test]
fn includes_that_cannot_be_followed_are_errors() {
    let test = Test::new()
        .unicode()
        .file("web.lb", "include \"nosuch.lb\"\ninclude \"conf\"\ninclude \"web.lb\"\ninclude \"a.lb\"\n")
        .file("a.lb", "include \"b.lb\"\n")
        .file("b.lb", "include \"a.lb\"\n")
        .bytes("conf/x.lb", b"");
    assert_eq!(test.snapshot("include-errors", "check --output-format concise web.lb").code, Some(1));
}

#[test]
fn an_include_is_a_regular_file() {
    let test = Test::new().file("web.lb", "include \"/dev/zero\"\ninclude \"pipe\"\n");
    let made = Command::new("mkfifo").arg(test.path("pipe")).status();
    assert!(made.expect("mkfifo").success());
    let run = test.run("check --output-format concise web.lb");
    assert_eq!(run.code, Some(1));
    assert_eq!(run.stdout.matches(" LB009 ").count(), 2, "{}", run.stdout);
}

/// A file that includes the next one, and so on; the last has a service.
fn chain(includes: usize) -> Test {
    let mut test = Test::new();
    for depth in 0..includes {
        test = test.file(&format!("{depth}.lb"), &format!("include \"{}.lb\"\n", depth + 1));
    }
    test.file(&format!("{includes}.lb"), &service(80))
}

#[test]
fn includes_are_nested_sixteen_deep_and_no_deeper() {
    assert_eq!(services(&chain(16), "0.lb"), ["16.lb:1 tcp-80"]);
    let run = chain(17).run("check --output-format concise 0.lb");
    assert_eq!(run.code, Some(1));
    assert!(run.stdout.starts_with("16.lb:1:10: LB009 includes are nested more than 16 deep"), "{}", run.stdout);
    // Standard input is the outermost file like any other.
    let stdin = chain(16).stdin("include \"0.lb\"\n");
    assert_eq!(stdin.run("check -").code, Some(1));
    assert_eq!(chain(15).stdin("include \"0.lb\"\n").run("check -").clean(), "");
}

#[test]
fn a_named_pipe_is_refused_and_does_not_hang() {
    let test = Test::new();
    assert!(Command::new("mkfifo").arg(test.path("pipe.lb")).status().expect("mkfifo").success());
    for command in ["check", "compile --target nft", "fmt"] {
        test.run(&format!("{command} pipe.lb")).fails(2, "named pipe");
    }
    test.run("compile --target nft --hosts pipe.lb /dev/null").fails(2, "named pipe");
    // In a directory it is no `.lb` file.
    test.run("check .").fails(2, "no .lb files");
}

#[test]
fn a_pipe_of_the_shell_is_read() {
    let test = Test::new();
    let mut command = test.command(["compile", "--target", "nft", "/dev/fd/0"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("lbc starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut pipe, service(80).as_bytes()).expect("lbc reads");
    drop(pipe);
    let output = child.wait_with_output().expect("lbc ends");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn names_that_are_no_utf8_are_read() {
    let test = Test::new().bytes(raw(b"caf\xe9.lb"), service(80).as_bytes());
    let run = test.run_args([raw(b"compile"), raw(b"--target=iptables"), raw(b"caf\xe9.lb")]);
    assert!(run.clean().contains("caf\u{fffd}.lb:1 tcp-80"), "{}", run.stdout);
    let gone = test.run_args([raw(b"check"), raw(b"th\xe9.lb")]);
    gone.fails(2, "cannot read `th\u{fffd}.lb`");
}

#[test]
fn files_of_one_name_are_told_apart_in_diagnostics() {
    let test = Test::new().file("a/x.lb", "host h = 10.0.0.1\n").file("b/x.lb", "host h = 10.0.0.2\n");
    let run = test.run("check --output-format concise b a");
    assert!(run.stdout.starts_with("a/x.lb:1:6: LB011 "), "{}", run.stdout);
}
