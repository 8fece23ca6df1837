//! `lbc fmt`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::harness::{Test, WEB};

const UGLY: &str = "host a=10.0.0.1 # here\nbalance   tcp 80->a:8080\n";
const NICE: &str = "host a = 10.0.0.1 # here\nbalance tcp 80 -> a:8080\n";

#[test]
fn files_are_rewritten_in_place() {
    let test = Test::web().file("ugly.lb", UGLY);
    fs::set_permissions(test.path("ugly.lb"), fs::Permissions::from_mode(0o640)).expect("own file");
    assert_eq!(test.run("fmt web.lb ugly.lb").clean(), "");
    assert_eq!(test.read("ugly.lb"), NICE);
    assert_eq!(test.read("web.lb"), WEB);
    assert_eq!(fs::metadata(test.path("ugly.lb")).expect("the file").permissions().mode() & 0o777, 0o640);
}

#[test]
fn standard_input_goes_to_standard_output() {
    assert_eq!(Test::new().stdin(UGLY).run("fmt -").clean(), NICE);
    Test::new().stdin("blance\n").run("fmt --stdin-filename x.lb -").fails(1, "x.lb:1:1");
}

#[test]
fn check_lists_what_would_change() {
    let test = Test::web().file("ugly.lb", UGLY).file("sub/ugly.lb", UGLY);
    let run = test.run("fmt --check .");
    assert_eq!(run.code, Some(1));
    assert_eq!(run.stdout, "would reformat sub/ugly.lb\nwould reformat ugly.lb\n");
    assert_eq!(test.read("ugly.lb"), UGLY);
    assert_eq!(test.run("fmt --check web.lb").clean(), "");
}

#[test]
fn diff_shows_it() {
    let test = Test::web().file("ugly.lb", UGLY);
    assert_eq!(test.snapshot("fmt-diff", "fmt --diff ugly.lb web.lb").code, Some(1));
    assert_eq!(test.read("ugly.lb"), UGLY);
    assert_eq!(test.run("fmt --diff web.lb").clean(), "");
}

/// Without a newline at the end, with names that need care, and with a byte-order mark.
#[test]
fn diffs_apply() {
    let bare = UGLY.trim_end();
    let test =
        Test::new().file("a b/ü.lb", UGLY).file("x.lb", bare).file("crlf.lb", "\u{feff}host a=10.0.0.1\r\n\r\n# c\r\n");
    // git changes what a link leads to, and no link.
    std::os::unix::fs::symlink("x.lb", test.path("link.lb")).expect("a link");
    let run = test.run("fmt --diff .");
    assert_eq!(run.code, Some(1));
    fs::write(test.path("patch"), &run.stdout).expect("a file");
    let applied = std::process::Command::new("git").args(["apply", "patch"]).current_dir(test.path(".")).output();
    let applied = applied.expect("git");
    assert!(applied.status.success(), "{}\n{}", String::from_utf8_lossy(&applied.stderr), run.stdout);
    assert_eq!([test.read("a b/ü.lb"), test.read("x.lb")], [NICE, NICE]);
    assert_eq!(test.read("crlf.lb"), "host a = 10.0.0.1\n\n# c\n");
    assert_eq!(test.run("fmt --diff .").clean(), "");
}

#[test]
fn unchanged_files_are_not_touched() {
    let test = Test::web();
    fs::set_permissions(test.path("web.lb"), fs::Permissions::from_mode(0o444)).expect("own file");
    let inode =
        |test: &Test| std::os::unix::fs::MetadataExt::ino(&fs::metadata(test.path("web.lb")).expect("the file"));
    let before = inode(&test);
    assert_eq!(test.run("fmt web.lb").clean(), "");
    assert_eq!(inode(&test), before);
}

#[test]
fn a_file_with_errors_is_left_alone_and_the_others_are_not() {
    let wrong = "host a=10.0.0.256\n";
    let test = Test::new().file("a.lb", wrong).file("b.lb", UGLY).file("c.lb", UGLY);
    test.run("fmt a.lb b.lb nosuch.lb c.lb").fails(2, "cannot read `nosuch.lb`");
    assert_eq!([test.read("a.lb"), test.read("b.lb"), test.read("c.lb")], [wrong, NICE, NICE]);
    test.run("fmt a.lb b.lb").fails(1, "LB004");
}

#[test]
fn includes_are_not_followed_and_names_not_looked_up() {
    let test = Test::new().file("a.lb", "include   \"b.lb\"\nbalance tcp 80 -> nosuch\n").file("b.lb", UGLY);
    test.run("fmt a.lb").clean();
    assert_eq!(test.read("a.lb"), "include \"b.lb\"\nbalance tcp 80 -> nosuch\n");
    assert_eq!(test.read("b.lb"), UGLY);
}

#[test]
fn a_file_given_twice_is_formatted_once() {
    let test = Test::new().file("a.lb", UGLY);
    let run = test.run("fmt --check a.lb ./a.lb .");
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), "would reformat a.lb\n"));
}

#[test]
fn errors_are_told_from_top_to_bottom() {
    let test = Test::new().file("a.lb", "balance tcp 80 -> 10.0.0.256 weight 70000, :0 weight x, a:0 weight 70000\n");
    let run = test.run("fmt --output-format concise a.lb");
    let columns: Vec<&str> = run.stderr.lines().filter_map(|line| line.split(':').nth(2)).collect();
    assert_eq!(columns, ["19", "37", "45", "54", "59", "68"], "{}", run.show());
}

/// Runs git in a directory of the test; what went wrong, where anything did.
fn git(test: &Test, directory: &str, args: &[&str]) -> Option<String> {
    let output = std::process::Command::new("git").args(args).current_dir(test.path(directory)).output().expect("git");
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn in_a_work_tree_of_git_patches_have_names_from_its_top() {
    for (directory, file, apply_in) in [
        ("sub", "../x.lb", "."),
        ("sub", "y z.lb", "."),
        ("sub", "y z.lb", "sub"),
        (".", "sub/y z.lb", "sub"),
        (".", "./x.lb", "."),
        ("sub", "/x.lb", "."),
    ] {
        let test = Test::new().file("x.lb", UGLY.trim_end()).file("sub/y z.lb", UGLY);
        assert_eq!(git(&test, ".", &["init", "-q"]), None);
        let file = file.strip_prefix('/').map_or_else(|| file.into(), |file| test.path(file));
        let mut command = test.command(["fmt".as_ref(), "--diff".as_ref(), file.as_os_str()]);
        let output = command.current_dir(test.path(directory)).output().expect("lbc starts");
        fs::write(test.path("patch"), &output.stdout).expect("a file");
        let patch = test.path("patch").display().to_string();
        assert_eq!(git(&test, apply_in, &["apply", &patch]), None, "{}", String::from_utf8_lossy(&output.stdout));
        let name = if file.ends_with("y z.lb") { "sub/y z.lb" } else { "x.lb" };
        assert_eq!(test.read(name), NICE, "{directory} {}", file.display());
    }
}

/// Only root may give files away.
#[test]
fn the_owner_is_kept() {
    use std::os::unix::fs::{MetadataExt, chown};
    let test = Test::new().file("x.lb", UGLY);
    if chown(test.path("x.lb"), Some(12345), Some(54321)).is_err() {
        return;
    }
    test.run("fmt x.lb").clean();
    let metadata = fs::metadata(test.path("x.lb")).expect("the file");
    assert_eq!((metadata.uid(), metadata.gid(), test.read("x.lb").as_str()), (12345, 54321, NICE));
}

#[test]
fn what_was_suppressed_stays_suppressed() {
    let long = "10.0.0.1:8080 weight 40, 10.0.0.2:8080 weight 20, 10.0.0.3:8080 weight 20, 10.0.0.4:8080 weight 10, \
                10.0.0.5:8080 weight 10";
    for text in [
        format!("# lbc: ignore[LB201] percent is easier to read here\nbalance tcp 80 -> {long}\n"),
        format!("balance tcp 80 -> {long} # lbc: ignore[LB201] percent\n"),
        format!(
            "balance tcp 80 -> 127.0.0.1:1, {} # lbc: ignore[LB104] x\n",
            long.replace("weight 40", "").replace("weight 10", "").replace("weight 20", "")
        ),
        "balance tcp 80 -> {10.0.0.1, 127.0.0.1:1 # lbc: ignore[LB104] x\n}\n".to_owned(),
        "balance tcp 22 -> { # lbc: ignore[LB102] x\n10.0.0.1\n}\n".to_owned(),
        "balance tcp 80 -> {\n # lbc: ignore[LB104] x\n 127.0.0.1:1, 10.0.0.1, 127.0.0.1:2\n}\n".to_owned(),
        "balance tcp 22 -> 10.0.0.1,\n 10.0.0.2, # more\n 10.0.0.3 # lbc: ignore[LB102] x\n".to_owned(),
        "host a = 10.0.0.1; host b = 10.0.0.2 # lbc: ignore[LB202] x\nbalance tcp 80 -> 10.0.0.1\n".to_owned(),
        "# lbc: ignore[LB202] x\nhost a = 10.0.0.1; host b = 10.0.0.2; balance tcp 80 -> 10.0.0.1\n".to_owned(),
        "net n = # lbc: ignore[LB202] x\n 10.0.0.0/8\nbalance tcp 80 -> 10.0.0.1\n".to_owned(),
    ] {
        let test = Test::new().file("web.lb", &text);
        assert_eq!(test.run("check web.lb").clean(), "", "{text}");
        test.run("fmt web.lb").clean();
        assert_eq!(test.run("check web.lb").clean(), "", "{}", test.read("web.lb"));
        assert_eq!(test.run("fmt --check web.lb").clean(), "", "{}", test.read("web.lb"));
    }
}
