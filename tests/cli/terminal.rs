//! What a terminal gets: colours only when asked, ASCII where it can do no more, and nothing that it would obey.

use super::harness::{Test, WEB, raw};

fn wrong() -> Test {
    Test::new().file("web.lb", "host a = 10.0.0.1\nhost a = 10.0.0.2\n")
}

fn coloured(test: Test, args: &str) -> bool {
    let run = test.run(args);
    assert_eq!(run.code, Some(1), "{}", run.show());
    run.stdout.contains('\u{1b}')
}

#[test]
fn colours_never_go_into_a_pipe_unless_asked_for() {
    assert!(!coloured(wrong(), "check web.lb"));
    assert!(!coloured(wrong().env("TERM", "xterm-256color").env("COLORTERM", "truecolor"), "check web.lb"));
    assert!(coloured(wrong(), "check --color always web.lb"));
    assert!(coloured(wrong().env("NO_COLOR", "1"), "check --color always web.lb"));
    assert!(coloured(wrong().env("CLICOLOR_FORCE", "1"), "check web.lb"));
    assert!(!coloured(wrong().env("CLICOLOR_FORCE", "0"), "check web.lb"));
    assert!(!coloured(wrong().env("CLICOLOR_FORCE", "1"), "check --color never web.lb"));
    assert!(!coloured(wrong().env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1"), "check web.lb"));
    assert!(coloured(wrong().env("CLICOLOR_FORCE", "1").env("NO_COLOR", ""), "check web.lb"));
}

#[test]
fn formats_for_programs_have_no_colours() {
    for format in ["concise", "json", "json-lines"] {
        assert!(!coloured(wrong(), &format!("check --color always --output-format {format} web.lb")), "{format}");
    }
}

#[test]
fn ascii_is_spoken_where_the_locale_knows_no_more() {
    let test = |text: &str| Test::new().file("web.lb", text);
    let text = "# Prüfung\nhost a = 10.0.0.1\nhost a = 10.0.0.2 # doppelt: ä\nbalance tcp 80 -> a counter\n";
    let run = test(text).snapshot("ascii", "check web.lb");
    assert!(run.stdout.is_ascii());
    for locale in ["C", "POSIX", "de_DE", "de_DE.ISO-8859-1", ""] {
        assert!(test(text).env("LANG", locale).run("check web.lb").stdout.is_ascii(), "{locale}");
    }
    for (name, locale) in [("LANG", "C.UTF-8"), ("LC_CTYPE", "de_DE.utf8"), ("LC_ALL", "en_US.UTF-8")] {
        let run = test(text).env(name, locale).run("check web.lb");
        assert!(run.stdout.contains('╰') && run.stdout.contains('ä'), "{}", run.stdout);
    }
    // LC_ALL goes before LC_CTYPE, and that before LANG.
    assert!(test(text).env("LC_ALL", "C").env("LANG", "C.UTF-8").run("check web.lb").stdout.is_ascii());
}

/// Everything that could do harm, in every place where a file can hold text.
const EVIL: &str = "\u{1b}[31m\u{7}\u{8}\u{9b}2J\u{7f}\u{202e}";

#[test]
fn nothing_in_a_file_is_obeyed() {
    for text in [
        format!("host {EVIL} = 10.0.0.1\n"),
        format!("{EVIL}\n"),
        format!("balance tcp 80 -> a{EVIL}, {EVIL}\n"),
        format!("include \"{EVIL}\"\n"),
        format!("balance tcp 80 on \"{EVIL}\" log \"{EVIL}\" -> 10.0.0.1\n"),
        format!("# {EVIL}\nbalance tcp 80 -> nosuch # {EVIL}\n"),
        format!("host a = 10.0.0.1{EVIL}\n"),
        format!("balance tcp 80{EVIL} weight{EVIL} -> 10.0.0.1:80{EVIL}\n"),
        "host a = 10.0.0.1\rhost b = 10.0.0.2\n".to_owned(),
    ] {
        for format in ["full", "concise", "json", "json-lines"] {
            for locale in ["C", "C.UTF-8"] {
                let test = Test::new().env("LANG", locale).file("web.lb", &text);
                let run = test.run(&format!("check --output-format {format} web.lb"));
                assert_eq!(run.code, Some(1), "{text:?}");
                run.is_harmless();
                test.run(&format!("compile --target nft --output-format {format} web.lb")).is_harmless();
            }
        }
    }
    let hosts = Test::web().file("hosts", &format!("{EVIL} a{EVIL}\n10.0.0.1 {EVIL}\n"));
    hosts.run("compile --target nft --hosts hosts web.lb").is_harmless();
}

#[test]
fn nothing_in_the_name_of_a_file_is_obeyed() {
    let name = format!("{EVIL}\n\"x\\.lb");
    let right = Test::new().unicode().bytes(&name, WEB.as_bytes());
    for target in ["iptables", "nft", "nft-json", "iptables --format script"] {
        let args = format!("compile --target {target}");
        let run = right.run_args(args.split(' ').chain([name.as_str()]));
        let rules = run.clean();
        // What is not obeyed may stand there: a name that turns the direction of writing does, as it is.
        assert!(!rules.contains(|c: char| c.is_control() && c != '\n' && c != '\t'), "{target}: {rules:?}");
        assert!(!rules.contains("\n\"x") && !rules.contains("\nx"), "{target}: {rules}");
    }
    let wrong = Test::new().unicode().bytes(&name, b"blance\nhost a=10.0.0.1\n");
    for format in ["full", "concise", "json", "json-lines"] {
        let run = wrong.run_args(["check", "--output-format", format, &name]);
        assert_eq!(run.code, Some(1));
        run.is_harmless();
    }
    let ugly = Test::new().bytes(&name, b"host a=10.0.0.1\n");
    for option in ["--check", "--diff"] {
        ugly.run_args(["fmt", option, &name]).is_harmless_but_for("\u{202e}");
    }
    right
        .run_args(["compile", "--target", "nft", "--check", &format!("{name}2"), &name])
        .is_harmless_but_for("\u{202e}");
    Test::new().run_args(["check", &name]).is_harmless();
    Test::new().run_args([raw(b"check"), raw(b"\x1b[31m\xff")]).is_harmless();
}

#[test]
fn nothing_in_an_argument_is_obeyed() {
    let test = Test::web();
    for args in [
        vec![EVIL],
        vec!["compile", "--target", EVIL, "web.lb"],
        vec!["compile", "--target", "nft", "--instance", EVIL, "web.lb"],
        vec!["compile", "--target", "nft", "-D", EVIL, "web.lb"],
        vec!["compile", "--target", "nft", "--set", EVIL, "web.lb"],
        vec!["compile", "--target", "nft", "--hosts", EVIL, "web.lb"],
        vec!["compile", "--target", "nft", "-o", "nosuch/\u{1b}[31m", "web.lb"],
    ] {
        let run = test.run_args(&args);
        assert_eq!(run.code, Some(2), "{args:?}");
        run.is_harmless();
    }
    let stdin = Test::new().stdin("blance\n");
    stdin.run_args(["check", "--stdin-filename", EVIL, "-"]).is_harmless();
    stdin.run_args(["fmt", "--stdin-filename", EVIL, "-"]).is_harmless();
}
