//! Bad input: whatever is read, the answer is a message and an exit code, within 512 MB of address space.

use std::fmt::Write as _;

use super::harness::{Run, Test};

/// 64 MiB: the largest file that is read.
const LARGEST: usize = 64 << 20;

/// The lines that are tried in every shape; without optimization a small part has to do.
const LONG: usize = if cfg!(debug_assertions) { LARGEST / 64 } else { LARGEST };

/// Checks and compiles a file, bounded; the same must come out of both.
#[track_caller]
fn fails(text: impl AsRef<[u8]>, code: i32, with: &str) -> Run {
    let test = Test::new().bytes("web.lb", text.as_ref()).bounded();
    let run = test.run("compile --target nft --output-format concise web.lb");
    run.fails(code, with);
    run.is_harmless();
    run
}

/// As above; and the full form is whole, too.
#[track_caller]
fn fails_fully(text: impl AsRef<[u8]>, with: &str) {
    fails(text.as_ref(), 1, with);
    let test = Test::new().bytes("web.lb", text.as_ref()).bounded();
    let run = test.run("check web.lb");
    assert_eq!(run.code, Some(1));
    assert!(run.stdout.len() < 1 << 20, "{} bytes for one error", run.stdout.len());
    run.is_harmless();
}

#[test]
fn bytes_that_are_no_text() {
    fails_fully("host a = 10.0.0.1\0\n", "web.lb:1:18: LB001 a NUL byte at offset 17");
    fails_fully(b"# \xff\xfe\n", "web.lb:1:3: LB001 invalid UTF-8 at offset 2");
    fails_fully(b"host a = \xed\xa0\x80\n", "LB001 invalid UTF-8 at offset 9");
    fails_fully("# cut: ".bytes().chain([0xe2, 0x82]).collect::<Vec<u8>>(), "LB001 invalid UTF-8 at offset 7");
}

#[test]
fn a_mark_of_byte_order_and_other_line_ends_are_text() {
    let test = Test::new().bytes("web.lb", "\u{feff}host a = 10.0.0.1\r\nbalance tcp 80 -> a\r\n".as_bytes());
    test.run("compile --target nft web.lb").clean();
}

#[test]
fn lines_without_end() {
    let text = "a".repeat(LARGEST);
    let run = Test::new().bytes("web.lb", text.as_bytes()).bounded().run("check --output-format concise web.lb");
    assert_eq!((run.code, run.stdout.starts_with("web.lb:1:1: LB002 ")), (Some(1), true));
    for piece in ["a", "host a = 10.0.0.1;", "{", "10.0.0.1,", "balance tcp ", "-> ", "é", "\t", "9", "\"", "#"] {
        let mut text = piece.repeat(LONG / piece.len());
        text.truncate(LONG);
        let run = Test::new().bytes("web.lb", text.as_bytes()).bounded().run("check --output-format concise web.lb");
        match piece {
            "#" | "\t" => assert_eq!(run.clean(), ""),
            _ => {
                assert_eq!((run.code, run.stderr.as_str()), (Some(1), ""), "{piece}: {}", &run.stderr);
                assert!(run.stdout.contains(": LB0"), "{piece}");
            }
        }
    }
}

#[test]
fn the_full_form_of_an_error_in_a_huge_line_is_short() {
    let text = format!("{}balance tcp 80 -> nosuch", "host a = 10.0.0.1;".repeat(50_000));
    let run = Test::new().bytes("web.lb", text.as_bytes()).bounded().run("check web.lb");
    assert_eq!(run.code, Some(1));
    let longest = run.stdout.lines().map(|line| line.chars().count()).max();
    assert!(longest.is_some_and(|longest| longest < 1_200), "{longest:?}");
}

#[test]
fn a_file_over_sixty_four_mebibytes() {
    let mut text = vec![b'#'; LARGEST];
    Test::new().bytes("web.lb", &text).bounded().run("check web.lb").clean();
    text.push(b'#');
    fails(&text, 1, "web.lb:1:1: LB001 a file over 64 MiB");
    Test::new().stdin(&text).bounded().run("check -").is_harmless();
}

#[test]
fn a_device_without_end() {
    let run = Test::new().bounded().run("compile --target nft /dev/zero");
    run.fails(1, "a file over 64 MiB");
    Test::web().bounded().run("compile --target nft --hosts /dev/zero web.lb").fails(2, "a file over 64 MiB");
    assert_eq!(Test::new().bounded().run("check /dev/null").clean(), "");
}

#[test]
fn ten_thousand_opening_braces() {
    fails_fully("{".repeat(10_000), "LB002");
    fails_fully(format!("balance tcp 80 -> {}", "{".repeat(10_000)), "LB002");
    fails_fully(format!("balance tcp 80 -> {}", "{\n".repeat(10_000)), "LB002");
    fails_fully(format!("balance tcp {}", "{".repeat(10_000)), "LB002");
    fails_fully(format!("balance tcp 80 from {}", "{".repeat(10_000)), "LB002");
    fails_fully(format!("balance tcp {}:80 -> a", "[".repeat(10_000)), "LB002");
}

#[test]
fn circles_and_chains_of_any_length() {
    fails_fully("pool a = a\nbalance tcp 80 -> a\n", "LB015 the pool `a` contains itself");
    fails_fully("net a = a\nbalance tcp 80 from a -> 10.0.0.1\n", "LB015 the net `a` contains itself");
    for kind in ["pool", "net"] {
        let mut text = String::new();
        for n in 0..20_000 {
            let _ = writeln!(text, "{kind} x{n} = x{}", (n + 1) % 20_000);
        }
        fails(&text, 1, &format!("LB015 the {kind} `x0` contains itself"));
    }
    // A chain of nets is right, however long; one of pools is not.
    let chain = |kind: &str, end: &str| {
        let links = (0..20_000).map(|n| format!("{kind} x{n} = x{}\n", n + 1));
        format!("{}{kind} x20000 = 10.0.0.1\n{end}\n", links.collect::<String>())
    };
    let net = Test::new().bytes("web.lb", chain("net", "balance tcp 80 from x0 -> 10.0.0.1").as_bytes()).bounded();
    net.run("compile --target nft web.lb").warns(&["103"]);
    fails(chain("pool", "balance tcp 80 -> x0"), 1, "LB015 pools are nested more than 16 deep");
    fails(chain("pool", "balance tcp 80 -> x0:8080"), 1, "LB015 pools are nested more than 16 deep");
}

/// Pools of pools, each of `width` references to the next.
fn tower(levels: usize, width: usize) -> String {
    let mut text = String::new();
    for level in 1..levels {
        let _ = writeln!(text, "pool p{level} = {}", vec![format!("p{}", level + 1); width].join(", "));
    }
    let _ = writeln!(text, "pool p{levels} = {}", vec!["10.0.0.1"; width].join(", "));
    text
}

#[test]
fn pools_that_grow_without_bound() {
    let text = tower(16, 10) + "balance tcp 80 -> p1\n";
    fails_fully(&text, "LB015 10000000000000000 backends in one service; 65536 are the most");
    // Where counting stopped no number is named.
    fails_fully(tower(16, 100) + "balance tcp 80 -> p1\n", "LB015 more than 65536 backends in one service");
    // Once for each service, and none takes longer than another.
    let many: String = (1..2_000).map(|port| format!("balance tcp {port} -> p1:80, p2\n")).collect();
    let run = fails(tower(16, 10) + &many, 1, "LB015");
    assert_eq!(run.stderr.lines().count(), 1_001);
    fails(tower(17, 10) + "balance tcp 80 -> p1\n", 1, "LB015 pools are nested more than 16 deep");
    // What no service uses grows nowhere.
    let run = Test::new()
        .bytes("web.lb", tower(16, 1_000).as_bytes())
        .bounded()
        .run("check --select LB105 --output-format concise web.lb");
    assert_eq!((run.code, run.stdout.lines().count()), (Some(1), 16), "{}", run.stdout.len());
}

#[test]
fn sixty_five_thousand_backends_and_one_more() {
    let list = |count: u32| (0..count).map(|n| format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255));
    let join = |count| list(count).collect::<Vec<_>>().join(",");
    fails(format!("balance tcp 80 -> {}\n", join(65_537)), 1, "LB015 more than 65536 backends in one list");
    let halves = format!("pool a = {}\npool b = {}\n", join(32_768), join(32_769));
    fails(halves.clone() + "balance tcp 80 -> a, b\n", 1, "LB015 65537 backends in one service; 65536 are the most");
    let run = Test::new().bytes("web.lb", (halves + "balance tcp 80 -> a, a\n").as_bytes()).bounded();
    run.run("check --ignore LB105,LB202 web.lb").clean();
}

#[test]
fn numbers_of_any_size() {
    fails_fully("balance tcp 80 -> 10.0.0.1 weight 99999999999\n", "LB003");
    fails_fully(format!("balance tcp 80 -> 10.0.0.1 weight {}\n", "9".repeat(1_000_000)), "LB003");
    fails_fully(format!("balance tcp {} -> 10.0.0.1\n", "9".repeat(1_000_000)), "LB003");
    fails_fully(format!("balance tcp 80 sticky {}d -> 10.0.0.1\n", "9".repeat(1_000_000)), "LB003");
    fails_fully(format!("host {} = 10.0.0.1\n", "a".repeat(1_000_000)), "LB006");
    fails_fully(format!("host a = {}\n", "1.".repeat(500_000)), "LB004");
    fails_fully(format!("host a = {}\n", "1:".repeat(500_000)), "LB004");
    fails_fully("balance tcp 0,65536,80-79 -> 10.0.0.1\n", "LB005");
}

#[test]
fn weights_that_share_no_divisor() {
    // The slots of a round robin over these would have hundreds of digits.
    let mut text = String::new();
    let mut pools = Vec::new();
    for (index, weight) in (1..2_000u32).map(|n| n * 31 + 2).enumerate() {
        let _ = writeln!(text, "pool p{index} = 10.0.0.1 weight {weight}, 10.0.0.2");
        pools.push(format!("p{index} weight {}", weight + 7));
    }
    let _ = writeln!(text, "balance tcp 80 by round-robin -> {}", pools.join(", "));
    fails(&text, 1, "LB016 a round robin with these weights has more than 4096 slots");
    fails(text.replace("round-robin", "source-hash buckets 343"), 1, "LB016");
}

#[test]
fn lists_of_ports_of_any_length() {
    let all: Vec<String> = (1..=65_535).map(|port| port.to_string()).collect();
    let test = Test::new().bytes("web.lb", format!("balance tcp {} as all -> 10.0.0.1\n", all.join(",")).as_bytes());
    assert_eq!(test.bounded().run("check --ignore LB102 web.lb").clean(), "");
    let twice = format!("balance tcp {0},{0} as all -> 10.0.0.1\n", all.join(","));
    fails(&twice, 1, "LB012");
}

#[test]
fn ten_thousand_errors() {
    let syntax: String = (0..10_000).map(|n| format!("blance tcp {n}\n")).collect();
    let run = fails(&syntax, 1, "LB002");
    assert!(run.stderr.lines().count() <= 1_001, "the rest is not read");
    fails("balance tcp 80 -> a:0\n".repeat(10_000), 1, "LB003");

    // With many names and many typos, "did you mean" costs no minutes.
    let mut names = String::new();
    for n in 1..=10_000 {
        let _ = writeln!(names, "host h{n:05} = 10.0.0.1\nbalance tcp {n} -> x{n:05}");
    }
    let run = fails(&names, 1, "LB010 the host or pool `x01000` is not declared");
    assert_eq!(run.stderr.lines().count(), 1_001);
    assert!(run.stderr.ends_with("LB020 more than 1000 errors in this file; the others are not shown\n"));
    for format in ["json", "json-lines", "github", "gitlab", "sarif", "junit"] {
        let test = Test::new().bytes("web.lb", names.as_bytes()).bounded();
        let run = test.run(&format!("check --output-format {format} web.lb"));
        assert_eq!(
            run.stdout.matches("more than 1000 errors in this file").count(),
            1 + usize::from(format == "junit"),
            "{format}"
        );
        assert!(run.stdout.contains("too-many-errors"), "{format}");
    }
    let full = Test::new().bytes("web.lb", names.as_bytes()).bounded().run("check web.lb");
    assert!(full.stdout.contains("\n1001 errors\n"));
    fails("host a = 10.0.0.1\n".repeat(10_000), 1, "LB011");
    fails("balance tcp 80 as x -> 10.0.0.1\n".repeat(10_000), 1, "LB012");
    // A file more is a thousand errors more.
    let test = Test::new().bytes("a.lb", names.as_bytes()).bytes("b.lb", b"balance tcp 80 -> nosuch\n");
    assert!(test.run("check --output-format concise a.lb b.lb").stdout.contains("b.lb:1:19: LB010"));
}

#[test]
fn targets_that_are_none() {
    Test::web().run("compile --target nosuch web.lb").fails(2, "nosuch");
}

/// A dump with a table of these lines.
fn nat(lines: &str) -> String {
    format!("*nat\n{lines}\nCOMMIT\n")
}

#[test]
fn rules_that_cannot_be_read_are_errors_in_bounds() {
    let long = "a".repeat(LONG);
    for (text, with) in [
        (b"\0".repeat(1000), "neither an iptables-save dump"),
        (b"*nat\n-A PREROUTING -p tcp --dport 80 -j DN".to_vec(), "dump.rules:2: the table `nat` is not committed"),
        (nat(":A - [0:0]\n:B - [0:0]\n-A A -j B\n-A B -j A").into_bytes(), "the chain `A` leads back to itself"),
        (nat(&format!("-A PREROUTING {}", "-p ".repeat(LONG / 3))).into_bytes(), "more than 255 words"),
        (nat(&format!("-A {long} -j ACCEPT")).into_bytes(), "no chain"),
        (format!("*{long}").into_bytes(), "expected a table"),
    ] {
        let test = Test::new().bytes("dump.rules", &text).bounded();
        for args in
            [&["explain", "--rules", "dump.rules"][..], &["trace", "--rules", "dump.rules", "tcp 1.2.3.4 -> 1.2.3.4:5"]]
        {
            let run = test.run_args(args);
            assert!(run.fails(2, with).len() < 4096, "{} bytes for one error", run.stderr.len());
            run.is_harmless();
        }
    }
}

/// Comments of old dumps are in any encoding, and some editors put a byte order mark in front.
#[test]
fn rules_in_an_old_encoding_are_read() {
    let rule = b"\xef\xbb\xbf*nat\n-A PREROUTING -p tcp --dport 80 -m comment --comment \"f\xfcr web\" -j DNAT --to 10.0.0.1\nCOMMIT\n";
    let run = Test::new().bytes("dump.rules", rule).run_args([
        "trace",
        "--rules",
        "dump.rules",
        "tcp 192.0.2.1 -> 203.0.113.1:80",
    ]);
    assert_eq!(run.code, Some(0), "{}", run.show());
    assert!(run.stdout.contains("10.0.0.1:80"), "{}", run.show());
    run.is_harmless();
}

#[test]
fn rules_that_take_long_end_in_bounds() {
    let count = if cfg!(debug_assertions) { 60 } else { 6000 };
    let cascade: Vec<String> = (0..if cfg!(debug_assertions) { 600 } else { 3000 })
        .map(|n| {
            let chance = "-m statistic --mode random --probability 0.0001";
            format!("-A PREROUTING -p tcp --dport 80 {chance} -j DNAT --to-destination 10.0.{}.{}", n / 250, n % 250)
        })
        .collect();
    let interfaces: Vec<String> =
        (1..=count).map(|n| format!("-A PREROUTING -i if{n} -p tcp --dport {n} -j REDIRECT --to-ports 9")).collect();
    let escape =
        "-A PREROUTING -i \"e\u{1b}[31m\" -p tcp --dport 80 -m comment --comment \"\u{1b}]0;x\u{7}\" -j REDIRECT";
    for text in [cascade.join("\n"), interfaces.join("\n"), escape.to_owned()] {
        let test = Test::new().bytes("dump.rules", nat(&text).as_bytes()).bounded();
        for format in ["full", "json"] {
            let run = test.run(&format!("explain --rules dump.rules --output-format {format}"));
            assert!(!run.clean().is_empty());
            run.is_harmless();
        }
    }
}
