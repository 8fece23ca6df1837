//! The help of every command, in one snapshot.

use super::harness::{Test, assert_snapshot};

#[test]
fn of_every_command() {
    let mut text = String::new();
    for command in ["", "compile", "check", "fmt", "explain", "trace", "which", "rule", "completions", "man"] {
        let args: Vec<&str> = [command, "--help"].into_iter().filter(|arg| !arg.is_empty()).collect();
        let run = Test::new().run_args(&args);
        text += &format!("$ lbc {}\n{}\n", args.join(" "), run.clean());
    }
    assert_snapshot("help", &text);
}

#[test]
fn lists_every_command() {
    let help = Test::new().run("--help");
    let listed = help.clean().lines().skip_while(|line| *line != "Commands:").skip(1).map_while(|line| {
        let (name, _) = line.trim().split_once(' ')?;
        line.starts_with("  ").then_some(name)
    });
    // A new command belongs into the snapshot above.
    assert_eq!(
        listed.collect::<Vec<_>>(),
        ["compile", "check", "fmt", "explain", "trace", "which", "rule", "server", "completions", "man", "help"]
    );
}

#[test]
fn does_not_show_what_is_in_the_environment() {
    let run = Test::new().env("LBC_OUTPUT_FORMAT", "concise").run("check --help");
    assert!(!run.clean().contains("LBC_OUTPUT_FORMAT=concise"), "{}", run.stdout);
}

#[test]
fn the_version_is_that_of_the_package() {
    assert_eq!(Test::new().run("--version").clean(), concat!("lbc ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn without_a_command_is_a_usage_error() {
    Test::new().run("").fails(2, "Usage: lbc");
}

#[test]
fn wrong_arguments_are_usage_errors() {
    let test = Test::web();
    for (args, message) in [
        ("nosuch", "unrecognized subcommand"),
        ("compile", "required arguments were not provided"),
        ("compile web.lb", "--target"),
        ("check --select nosuch web.lb", "no error or lint has the code"),
        ("compile --target nosuch web.lb", "possible values: iptables, nft, nft-json"),
        ("compile --target nft --nosuch web.lb", "unexpected argument"),
        ("compile --target nft --target nft web.lb", "cannot be used multiple times"),
        ("check --output-format nosuch web.lb", "possible values: full, concise"),
        ("check --color sometimes web.lb", "possible values: auto, always, never"),
        ("compile --target nft -o x --check x web.lb", "cannot be used with"),
    ] {
        test.run(args).fails(2, message);
    }
}
