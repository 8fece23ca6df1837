//! Lints: what `check` finds, suppresses and fixes, and what `compile` warns of.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use lbc::diagnostic::Code;
use lbc::lint::document;

use super::harness::{Test, WEB};

/// Two lints, each with a fix: LB201 and, unsafe, LB104.
const WRONG: &str = "balance tcp 80 -> 10.0.0.1 weight 50, 10.0.0.2 weight 25\nbalance tcp 81 -> 127.0.0.1:82\n";
const SAFE: &str = "balance tcp 80 -> 10.0.0.1 weight 2, 10.0.0.2 weight 1\nbalance tcp 81 -> 127.0.0.1:82\n";
const UNSAFE: &str = "balance tcp 80 -> 10.0.0.1 weight 2, 10.0.0.2 weight 1\nbalance tcp 81 -> :82\n";

fn wrong() -> Test {
    Test::new().file("web.lb", WRONG)
}

/// Shown elsewhere.
const OTHERS: [Code; 2] = [Code::StickyCapacity, Code::UdpStaleFlows];

#[test]
fn each_looks_like_its_snapshot() {
    for &code in Code::ALL.iter().filter(|code| code.is_lint() && !OTHERS.contains(code)) {
        let test = Test::new().file("web.lb", document(code).example).unicode();
        // Of what is not looked for, nothing is known.
        let select = if code == Code::UnusedSuppression { "LB" } else { code.as_str() };
        let run = test.snapshot(&format!("code-{}", code.as_str()), &format!("check --select {select} web.lb"));
        assert!(run.code == Some(1) && run.stdout.contains(code.name()), "{}", run.show());
        run.is_harmless();
    }
}

#[test]
fn every_example_of_an_error_has_it_and_its_twin_is_without() {
    for &code in Code::ALL.iter().filter(|code| !code.is_lint()) {
        let doc = document(code);
        if code == Code::TooManyErrors {
            // A thousand lines are no example.
            assert_eq!((doc.example, doc.instead), ("", ""));
            continue;
        }
        let config = "target = \"nft\"\n";
        let test = Test::new().file("lbc.toml", config).file("web.lb", doc.example);
        let run = test.run("check --output-format concise --select LB0 web.lb");
        assert!(run.code == Some(1) && run.stdout.contains(code.as_str()), "{}: {}", code.as_str(), run.show());
        Test::new().file("lbc.toml", config).file("web.lb", doc.instead).run("check web.lb").clean();
    }
}

#[test]
fn udp_stale_flows() {
    let old = "balance udp 53,5300-5310 as dns -> 10.0.0.1\nbalance udp 203.0.113.1:123 as ntp -> 10.0.0.1\n";
    for target in ["iptables", "nft", "nft-json"] {
        let test = Test::new().file("web.lb", old);
        test.run(&format!("compile --target {target} -o out web.lb")).clean();
        assert_eq!(test.run(&format!("compile --target {target} --check out web.lb")).clean(), "");
        let test = test.unicode().file("web.lb", &old.replace("dns -> 10.0.0.1", "dns -> 10.0.0.2"));
        let args = format!("compile --target {target} --check out web.lb");
        let run = if target == "nft" { test.snapshot("code-LB110", &args) } else { test.run(&args) };
        assert_eq!(run.code, Some(1));
        assert!(run.stderr.contains("conntrack -D -p udp --orig-port-dst 53\n"), "{}", run.show());
        assert!(!run.stderr.contains("`ntp`"), "{}", run.show());
        // What moved is what it was.
        let moved = test.file("web.lb", &format!("# a comment\n{old}"));
        let run = moved.run(&args);
        assert!(run.code == Some(1) && !run.stderr.contains("LB110"), "{}", run.show());
        let quiet =
            format!("# lbc: ignore[LB110] restarted by hand\n{}", old.replace("dns -> 10.0.0.1", "dns -> 10.0.0.2"));
        let moved = moved.file("web.lb", &quiet);
        let run = moved.run(&args);
        assert!(run.code == Some(1) && !run.stderr.contains("LB110"), "{}", run.show());
        // What is in no file any more has left its flows behind, unless it was none of UDP.
        let less = moved.file("web.lb", old.lines().next().expect("a first line"));
        let run = less.run(&args);
        assert!(run.stderr.contains("`ntp` is gone"), "{}", run.show());
        assert!(run.stderr.contains("conntrack -D -p udp --orig-port-dst 123"), "{}", run.show());
        assert!(!run.stderr.contains("`dns`"), "{}", run.show());
    }
}

#[test]
fn check_finds_and_compile_warns() {
    let run = wrong().run("check --output-format concise web.lb");
    assert_eq!(run.code, Some(1));
    let codes: Vec<&str> = run.stdout.lines().filter_map(|line| line.split(": ").nth(1)?.split(' ').next()).collect();
    assert_eq!(codes, ["LB201", "LB104"]);
    // Matters of cleanliness are for `check`.
    let run = wrong().run("compile --target nft --output-format concise web.lb");
    assert_eq!((run.code, run.stderr.lines().count()), (Some(0), 1), "{}", run.show());
    assert!(run.stderr.contains("LB104") && run.stdout.contains("table inet lbc"));
    // An error is all that is told of a program that has one.
    let run = wrong().file("web.lb", &format!("{WRONG}balance tcp 82 -> nosuch\n")).run("check web.lb");
    assert!(run.stdout.contains("LB010") && !run.stdout.contains("LB104"), "{}", run.stdout);
}

#[test]
fn lints_are_selected_and_ignored() {
    let codes = |args: &str| {
        let run = wrong().run(&format!("check --output-format concise {args} web.lb"));
        let codes = run.stdout.lines().filter_map(|line| line.split(": ").nth(1)?.split(' ').next().map(str::to_owned));
        codes.collect::<Vec<_>>()
    };
    assert_eq!(codes("--select LB1"), ["LB104"]);
    assert_eq!(codes("--select LB1,LB201 --ignore loopback-backend"), ["LB201"]);
    assert_eq!(codes("--ignore ALL"), [""; 0]);
    assert_eq!(codes("--select ALL --ignore LB2"), ["LB104"]);
    wrong().run("check --select loopback-backnd web.lb").fails(2, "did you mean `loopback-backend`?");
    wrong().run("check --ignore LB010 web.lb").fails(2, "cannot be ignored");
}

#[test]
fn fixes_are_written_and_nothing_else() {
    let test = wrong().file("other.lb", "host   a=10.0.0.1\nbalance tcp 90 -> a\n");
    fs::set_permissions(test.path("web.lb"), fs::Permissions::from_mode(0o640)).expect("own file");
    let before = fs::metadata(test.path("other.lb")).expect("a file").modified().expect("a time");
    let run = test.run("check --fix web.lb other.lb");
    assert_eq!(run.code, Some(1));
    assert!(run.stdout.contains("LB104") && !run.stdout.contains("LB201"), "{}", run.stdout);
    assert!(
        run.stdout.contains("1 warning\n1 fix applied\n1 can be fixed with `--fix --unsafe-fixes`"),
        "{}",
        run.stdout
    );
    assert_eq!(test.read("web.lb"), SAFE);
    assert_eq!(fs::metadata(test.path("web.lb")).expect("the file").permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::metadata(test.path("other.lb")).expect("a file").modified().expect("a time"), before);
    let run = test.run("check --fix --unsafe-fixes web.lb");
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "1 fix applied\n"));
    assert_eq!(test.read("web.lb"), UNSAFE);
    assert_eq!(test.run("check --fix --unsafe-fixes web.lb").clean(), "");
}

#[test]
fn diff_writes_nothing_and_applies() {
    let test = wrong();
    let run = test.snapshot("check-diff", "check --diff --unsafe-fixes web.lb");
    assert_eq!(run.code, Some(1));
    assert_eq!(test.read("web.lb"), WRONG);
    fs::write(test.path("patch"), &run.stdout).expect("a file");
    let applied = std::process::Command::new("git").args(["apply", "patch"]).current_dir(test.path(".")).status();
    assert!(applied.expect("git").success());
    assert_eq!(test.read("web.lb"), UNSAFE);
    assert_eq!(test.run("check --diff --unsafe-fixes web.lb").clean(), "");
    // What cannot be fixed is no part of it.
    let run = Test::new().file("a.lb", "balance tcp 22 -> 10.0.0.1\n").run("check --diff a.lb");
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (Some(0), "", ""));
    Test::new().file("a.lb", "balance tcp 22 -> x\n").run("check --diff a.lb").fails(1, "LB010");
}

#[test]
fn standard_input_is_fixed_onto_standard_output() {
    let run = Test::new().stdin(WRONG).run("check --fix --output-format concise -");
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), SAFE));
    assert!(run.stderr.contains("<stdin>:2:19: LB104"), "{}", run.stderr);
    let run = Test::new().stdin("balance tcp 80 -> 10.0.0.1\n").run("check --fix -");
    assert_eq!(run.clean(), "balance tcp 80 -> 10.0.0.1\n");
    let run = Test::new().stdin(WRONG).run("check --diff -");
    assert!(run.stdout.starts_with("--- a/<stdin>\n"), "{}", run.show());
}

#[test]
fn a_fix_that_would_break_the_program_is_left_out() {
    // `local` has a service on this port already; the other fix is made.
    let text = "balance tcp 80 -> 10.0.0.1\nbalance tcp *:80 -> 10.0.0.2\nbalance tcp 81 -> 127.0.0.1:82\n";
    let test = Test::new().file("web.lb", text);
    let run = test.run("check --fix --unsafe-fixes --output-format concise web.lb");
    assert_eq!(run.code, Some(1));
    assert!(run.stdout.contains("LB101"), "{}", run.stdout);
    assert_eq!(test.read("web.lb"), text.replace("127.0.0.1:82", ":82"));
}

#[test]
fn an_unknown_name_becomes_the_nearest_one() {
    let test = Test::new().file("web.lb", "host web = 10.0.0.1\nbalance tcp 80 -> wbe:8080\n");
    test.run("check --fix web.lb");
    assert!(test.read("web.lb").contains("wbe"));
    assert_eq!(test.run("check --fix --unsafe-fixes web.lb").code, Some(0));
    assert!(test.read("web.lb").contains("-> web:8080"));
}

#[test]
fn overridden_weights_are_not_reduced() {
    let text = "host a = 10.0.0.1\nhost b = 10.0.0.2\nbalance tcp 80 -> a weight 50, b weight 25\n";
    let test = Test::new().file("web.lb", text);
    assert_eq!(test.run("check --fix --set a=30 web.lb").code, Some(1));
    assert_eq!(test.read("web.lb"), text);
    assert_eq!(test.run("check --fix web.lb").code, Some(0));
    assert!(test.read("web.lb").contains("a weight 2, b weight 1"));
}

#[test]
fn the_first_example_of_the_language_is_fixed_into_one_without_findings() {
    let test = Test::new().file("web.lb", WEB);
    assert_eq!(test.run("check --output-format concise web.lb").stdout.matches("LB").count(), 1);
    test.run("check --fix web.lb");
    assert_eq!(test.run("check web.lb").clean(), "");
}

#[test]
fn long_chains_of_names_go_in_one_run() {
    let mut text = String::from("net n0 = 10.0.0.0/8\n");
    for number in 1..601 {
        text.push_str(&format!("net n{number} = n{}\n", number - 1));
    }
    let rest = "host a = 10.0.0.1\nbalance tcp 80 -> a\n";
    let test = Test::new().file("web.lb", &format!("{text}{rest}"));
    let run = test.run("check --fix web.lb");
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "601 fixes applied\n"));
    assert_eq!(test.read("web.lb"), rest);
    // One that is kept keeps what it is made of.
    let kept = text.replace("net n40 = n39", "net n40 = n39 # lbc: ignore[LB202] soon");
    let test = Test::new().file("web.lb", &format!("{kept}{rest}"));
    assert_eq!(test.run("check --fix web.lb").code, Some(0));
    assert_eq!(test.read("web.lb").lines().count(), 43, "{}", test.read("web.lb"));
    assert_eq!(test.run("check --fix web.lb").clean(), "");
}

#[test]
fn many_moves_to_one_place_are_made_in_one_run() {
    let narrow: Vec<String> =
        (1..=80).map(|port| format!("balance tcp {port} as s{port} -> 10.0.0.2:{port}\n")).collect();
    let wide = "balance tcp 1-100 as wide -> 10.0.0.1\n";
    let test = Test::new().file("web.lb", &format!("{wide}{}", narrow.concat()));
    let run = test.run("check --fix --unsafe-fixes --ignore LB102,LB106 web.lb");
    assert!(run.stdout.contains("80 fixes applied"), "{}", run.show());
    assert_eq!(test.read("web.lb"), format!("{}{wide}", narrow.concat()));
}

#[test]
fn a_file_of_nothing_but_suppressions_is_told_of() {
    let test = Test::new().file("a.lb", "# lbc: ignore[LB206, LB104] x\n");
    assert_eq!(test.run("check --output-format concise a.lb").stdout.lines().count(), 2);
    assert_eq!(test.run("check --fix a.lb").code, Some(0));
    assert_eq!(test.read("a.lb"), "");
}

#[test]
fn options_that_do_nothing_say_so() {
    wrong().run("check --unsafe-fixes web.lb").fails(2, "--unsafe-fixes does nothing by itself");
    let run = wrong().run_args(["check", "--output-format", "concise", "--select", "LB104, LB201", "web.lb"]);
    assert_eq!((run.code, run.stdout.lines().count()), (Some(1), 2), "{}", run.show());
    assert!(Test::new().run("check --help").clean().contains("# lbc: ignore[LB104] why"));
    let run = Test::new().file("a.lb", "balance tcp 81 -> 127.0.0.1:82\n").run("check a.lb");
    assert!(
        run.stdout.ends_with("1 can be fixed with `--fix --unsafe-fixes`, which changes the meaning\n"),
        "{}",
        run.show()
    );
}

#[test]
fn a_byte_order_mark_is_no_column_and_no_line() {
    let text = "\u{feff}host a = 10.0.0.1\nbalance tcp 80 -> 10.0.0.1\n";
    let test = Test::new().file("bom.lb", text);
    let run = test.run("check --output-format concise bom.lb");
    assert!(run.stdout.starts_with("bom.lb:1:6: LB202"), "{}", run.show());
    assert!(test.run("check bom.lb").stdout.contains("[bom.lb:1:6]"));
    assert!(test.run("check --output-format json bom.lb").stdout.contains("\"column\": 6,"));
    test.run("check --fix bom.lb");
    assert_eq!(test.read("bom.lb"), "\u{feff}balance tcp 80 -> 10.0.0.1\n");
}

#[test]
fn people_are_shown_a_thousand_findings_and_programs_all() {
    let hosts: String = (0..1_500).map(|number| format!("host h{number} = 10.0.0.1\n")).collect();
    let test = Test::new().file("web.lb", &format!("{hosts}balance tcp 80 -> 10.0.0.1\n"));
    let run = test.run("check --output-format concise web.lb");
    assert_eq!(run.stdout.lines().count(), 1_000);
    assert_eq!(run.stderr, "warning: web.lb has 1500 findings; 500 of them are not shown\n");
    let run = test.run("check --output-format json-lines web.lb");
    assert_eq!((run.stdout.lines().count(), run.stderr.as_str()), (1_500, ""));
}

#[test]
fn the_book_of_rules_is_text() {
    let run = Test::new().run("rule --all");
    run.is_harmless();
    assert!(run.stdout.contains("\\0") && run.stdout.contains("lbc compile --target nft --check rules.nft"));
}
