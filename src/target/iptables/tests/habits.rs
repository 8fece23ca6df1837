//! Ways to write a rule, of every age.

use super::{dump, errors, only, read, rule};
use crate::ir::Family;
use crate::survey::Side;
use crate::target::iptables::Families;
use crate::target::iptables::dump::{Match, RuleProtocol, TableName, Target};
use crate::target::iptables::model::DnatPort;

/// That all of these mean the same, but for their text.
fn alike(rules: &[&str]) {
    let texts: Vec<String> = rules.iter().map(|text| rule(text)).collect();
    let read: Vec<_> = texts
        .iter()
        .map(|text| {
            let dump = dump(text);
            let mut rule = only(&dump).clone();
            rule.text = "";
            format!("{rule:?}")
        })
        .collect();
    for (one, text) in read.iter().zip(rules) {
        assert_eq!(*one, read[0], "{text}");
        assert!(!one.contains("Unknown"), "{one}");
    }
}

#[test]
fn long_short_and_shortened_options_are_the_same() {
    alike(&[
        "-s 10.0.0.1 -p tcp -i eth0 --dport 80 -j ACCEPT",
        "--source 10.0.0.1/32 --protocol tcp --in-interface eth0 -m tcp --destination-port 80 --jump ACCEPT",
        "--src 10.0.0.1/255.255.255.255 --proto TCP -m tcp --in eth0 --dport=80 -j ACCEPT",
        "-j ACCEPT -s10.0.0.1 -p6 -ieth0 --destination-p 80",
        "-c 12 345 -p 6 -j ACCEPT -i eth0 -s 10.0.0.1 -m tcp --dport http",
    ]);
    alike(&[
        "-p tcp -m multiport --dports 80,443 -j ACCEPT",
        "-p tcp -m multiport --dport 80,443 -j ACCEPT",
        "-p tcp -m multiport --destination-ports 80,https -j ACCEPT",
    ]);
}

#[test]
fn a_not_stands_before_or_behind_its_option() {
    alike(&["! -s 10.0.0.0/8 -j DROP", "-s ! 10.0.0.0/8 -j DROP", "--source ! 10/8 -j DROP"]);
    alike(&["-p tcp -m tcp ! --dport 80 -j DROP", "-p tcp --dport ! 80 -j DROP"]);
    alike(&["-p tcp ! --syn -j DROP", "-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j DROP"]);
}

#[test]
fn the_chain_stands_anywhere() {
    let table = |line: &str| format!("*nat\n{line}\nCOMMIT\n");
    let plain = table("-A PREROUTING -p tcp --dport 80 -j ACCEPT");
    for line in [
        "-p tcp --dport 80 -j ACCEPT -A PREROUTING",
        "-p tcp -A PREROUTING --dport 80 -j ACCEPT",
        "-APREROUTING -p tcp --dport 80 -j ACCEPT",
        "--append PREROUTING -p tcp --dport 80 -j ACCEPT",
        "-p tcp --dport 80 -IPREROUTING 1 -j ACCEPT",
    ] {
        let text = table(line);
        let (one, other) = (dump(&text), dump(&plain));
        let shape = |dump: &super::Dump<'_>| {
            let mut rule = only(dump).clone();
            rule.text = "";
            format!("{rule:?}")
        };
        assert_eq!(shape(&one), shape(&other), "{line}");
    }
}

#[test]
fn what_is_quoted_is_a_value_whatever_it_looks_like() {
    for text in [r#"-p tcp -j LOG --log-prefix "!""#, r#"-m comment --comment "!" -p tcp -j DROP"#] {
        let text = rule(text);
        let one = format!("{:?}", only(&dump(&text)));
        assert!(!one.contains("Unknown"), "{one}");
    }
    for value in ["-j ACCEPT ! -d 1.2.3.4", "-d 1.2.3.4 x", "! -s 10.0.0.1"] {
        let text = rule(&format!(r#"-m string --string "{value}" --algo bm -j DNAT --to-destination 10.0.0.1"#));
        let dump = dump(&text);
        let one = only(&dump);
        assert!(matches!(one.matches[..], [Match::Unknown(_)]), "{one:?}");
        assert!(matches!(one.target, Target::Dnat { .. }), "{one:?}");
    }
}

#[test]
fn a_probability_is_the_number_that_the_kernel_stores() {
    let k = |text: &str| {
        let text = rule(&format!("-m statistic --mode random --probability {text}"));
        match dump(&text).tables[0].chains[0].rules[0].matches[..] {
            [Match::Random { not: false, k }] => k,
            ref other => panic!("{other:?}"),
        }
    };
    assert_eq!([k(".33"), k("0.33"), k("0.33000000007")], [708_669_604; 3]);
    assert_eq!([k("0.5"), k("1"), k("0"), k("1.0")], [1 << 30, 1 << 31, 0, 1 << 31]);
    assert_eq!(k("0.33333333349"), 715_827_883);
}

#[test]
fn quotes_and_backslashes_are_taken_out_of_a_comment() {
    let comment = |text: &str| {
        let text = rule(text);
        only(&dump(&text)).comment.as_deref().map(str::to_owned)
    };
    assert_eq!(comment(r#"-m comment --comment "a b" -j ACCEPT"#).as_deref(), Some("a b"));
    assert_eq!(comment(r#"-m comment --comment "say \"hi\" \\" -j ACCEPT"#).as_deref(), Some(r#"say "hi" \"#));
    assert_eq!(comment(r#"-m comment --comment plain"#).as_deref(), Some("plain"));
    assert_eq!(comment(r#"-m comment --comment a"b c"d"#).as_deref(), Some("ab cd"));
    assert_eq!(comment(r#"-m comment --comment "" -j ACCEPT"#).as_deref(), Some(""));
    assert_eq!(comment("-j ACCEPT"), None);
}

#[test]
fn rules_are_put_in_front_and_in_between() {
    let text =
        "*filter\n-A INPUT -s 1.1.1.1\n-I INPUT -s 2.2.2.2\n-I INPUT 2 -s 3.3.3.3\n[7:9] -A INPUT -s 4.4.4.4\nCOMMIT\n";
    let dump = dump(text);
    let (_, chain) = dump.tables[0].chain("INPUT").expect("a chain");
    let hosts: Vec<String> = chain
        .rules
        .iter()
        .map(|rule| rule.source.as_ref().and_then(|net| net.value.host()).expect("a host").to_string())
        .collect();
    assert_eq!(hosts, ["2.2.2.2", "3.3.3.3", "1.1.1.1", "4.4.4.4"]);
    assert_eq!(chain.rules[3].text, "-A INPUT -s 4.4.4.4");
    assert_eq!(chain.rules[3].line, 5);
}

#[test]
fn chains_are_made_emptied_deleted_and_named_late() {
    let text = "*filter\n-N a\n:b - [0:0]\n-A a -j c\n:c -\n-A c -j DROP\n-F c\n-X b\n-A INPUT -g a\nCOMMIT\n";
    let dump = dump(text);
    let table = dump.table(TableName::Filter).expect("a table");
    let names: Vec<&str> = table.chains.iter().map(|chain| chain.name).collect();
    assert_eq!(names, ["a", "c", "INPUT"]);
    let (a, chain) = table.chain("a").expect("a chain");
    let (c, last) = table.chain("c").expect("a chain");
    assert_eq!(chain.rules[0].target, Target::Jump(c));
    assert_eq!(table.chains[2].rules[0].target, Target::Goto(a));
    assert!(last.rules.is_empty());
}

#[test]
fn lists_of_addresses_are_rules_of_their_own() {
    let text = rule("-s 10.0.0.1,10.0.0.2 -d 192.0.2.0/24,198.51.100.0/24 -j DROP");
    assert_eq!(dump(&text).tables[0].chains[0].rules.len(), 4);
    let many = vec!["10.0.0.1"; 2000].join(",");
    let message = &errors(&rule(&format!("-s {many} -d {many} -j DROP")))[0].message;
    assert!(message.contains("too many rules"), "{message}");
}

#[test]
fn addresses_and_prefixes_say_the_family() {
    let text = "*filter\n-4 -A INPUT -j DROP\n-A INPUT -6 -j DROP\n-A INPUT -s fd00::/8\n-A INPUT -d 10.0.0.0/8\n-A INPUT\nCOMMIT\n";
    let families = |families| {
        let dump = read(text, families).expect("a dump");
        dump.tables[0].chains[0].rules.iter().map(|rule| rule.family).collect::<Vec<_>>()
    };
    let (v4, v6) = (Some(Family::V4), Some(Family::V6));
    assert_eq!(families(Families::Both), [v4, v6, v6, v4, None]);
    let errors = read(text, Families::One(Family::V4)).expect_err("an IPv6 address");
    assert_eq!(errors.iter().map(|error| error.line).collect::<Vec<_>>(), [4]);
    let skipped = "*filter\n-4 -A INPUT -j DROP\n-6 -A NOWHERE --what\nCOMMIT\n";
    assert_eq!(read(skipped, Families::One(Family::V4)).expect("a dump").tables[0].chains[0].rules.len(), 1);
}

#[test]
fn what_is_not_known_is_kept_as_written() {
    let unknown = |text: &str| {
        let text = rule(text);
        let dump = dump(&text);
        let rule = only(&dump);
        let mut parts: Vec<String> = rule
            .matches
            .iter()
            .filter_map(|one| if let Match::Unknown(text) = one { Some((*text).to_owned()) } else { None })
            .collect();
        if let Target::Unknown(text) = rule.target {
            parts.push(text.to_owned());
        }
        parts
    };
    assert_eq!(unknown("-m set ! --match-set lb src -p tcp -j ACCEPT"), ["! --match-set lb src"]);
    assert_eq!(
        unknown("-m owner --uid-owner 0 -m mark --mark 1 -j NFQUEUE --queue-num 1"),
        ["-m owner --uid-owner 0", "-j NFQUEUE --queue-num 1"]
    );
    assert_eq!(unknown("-s example.com -j DROP"), ["-s example.com"]);
    assert_eq!(
        unknown("-m addrtype --dst-type LOCAL --limit-iface-in -j DROP"),
        ["--dst-type LOCAL", "--limit-iface-in"]
    );
    assert_eq!(unknown("-m policy --dir in --proto esp -j DROP"), ["-m policy --dir in --proto esp"]);
    assert_eq!(
        unknown("-p tcp -j DNAT --to-destination 10.0.0.1-10.0.0.3"),
        ["-j DNAT --to-destination 10.0.0.1-10.0.0.3"]
    );
    assert_eq!(unknown("-p tcp -j DNAT --to 10.0.0.1:80-90"), ["-j DNAT --to 10.0.0.1:80-90"]);
    assert_eq!(unknown("-p tcp -j REDIRECT --to-ports 80-90"), ["-j REDIRECT --to-ports 80-90"]);
    assert_eq!(unknown("-j LOG --log-prefix \"x \" --log-level 4 --log-new thing"), Vec::<String>::new());
    assert_eq!(unknown("-m statistic --mode nth --every 3 --packet 3"), ["--packet 3"]);
    assert_eq!(unknown("-m statistic --mode nth --every 0 --packet 0 -j DROP"), ["--every 0"]);
    assert_eq!(unknown("-m statistic --mode random --probability 1.5 -j DROP"), ["--probability 1.5"]);
    assert_eq!(unknown("-m random --average 30 -j DROP"), ["-m random --average 30"]);
}

#[test]
fn targets_have_their_values() {
    let target = |text: &str| {
        let text = rule(text);
        let dump = dump(&text);
        format!("{:?}", only(&dump).target)
    };
    let address = Some(super::address("10.0.0.1"));
    for (text, port) in [
        ("10.0.0.1", DnatPort::Kept),
        ("10.0.0.1:80", DnatPort::Fixed(80)),
        ("10.0.0.1:80-80", DnatPort::Fixed(80)),
        ("10.0.0.1:9000-9003/8000", DnatPort::Shifted { first: 9000, last: 9003, base: 8000 }),
    ] {
        let expected = format!("{:?}", Target::Dnat { address, port });
        assert_eq!(target(&format!("-p tcp -j DNAT --to-destination {text}")), expected);
    }
    assert_eq!(target("-p tcp -j DNAT --to [fd00::1]:80"), "Dnat { address: Some(fd00::1), port: Fixed(80) }");
    assert_eq!(target("-j MARK --or-mark 0x4000"), "Mark { connection: false, value: 16384, mask: 16384 }");
    assert_eq!(target("-j MARK --set-mark 1/2"), "Mark { connection: false, value: 1, mask: 3 }");
    assert_eq!(target("-j MARK --and-mark 0xf"), "Mark { connection: false, value: 0, mask: 4294967280 }");
    assert_eq!(target("-j CONNMARK --restore-mark --mask 0xf"), "RestoreMark { packet: 15, connection: 15 }");
    assert_eq!(target("-p tcp -j REDIRECT"), "Redirect(Kept)");
    assert_eq!(target("-j SNAT --to-source 10.0.0.1:1000-2000"), "Snat(Some(10.0.0.1))");
}

#[test]
fn matches_of_conntrack_are_conditions_of_their_own() {
    let text = rule(
        "-m conntrack --ctstate DNAT --ctorigdst 203.0.113.10 ! --ctorigdstport 80:90 --ctproto 6 --ctdir ORIGINAL",
    );
    let dump = dump(&text);
    let matches = &only(&dump).matches;
    assert_eq!(matches.len(), 5);
    assert!(matches!(matches[2], Match::OriginalPort { not: true, side: Side::Destination, .. }));
    assert!(matches!(matches[3], Match::TrackedProtocol { protocol: RuleProtocol::One(_), .. }));
    assert_eq!(matches[4], Match::Reply(false));
}

#[test]
fn what_iptables_would_refuse_is_an_error_with_its_line() {
    let first = |text: &str| {
        let error = errors(text).remove(0);
        (error.line, error.message)
    };
    let is = |text: &str, line: u32, part: &str| {
        let (at, message) = first(text);
        assert!(at == line && message.contains(part), "{text:?}: {at}: {message}");
    };
    is("-A INPUT -j DROP\n", 1, "outside any `*table`");
    is("*nope\n", 1, "expected a table");
    is("*filter\n-A INPUT\n", 2, "not committed");
    is("*filter\n\n-A NOWHERE -j DROP\nCOMMIT\n", 3, "no chain `NOWHERE`");
    is("*filter\n-A INPUT -j DROP what\nCOMMIT\n", 2, "expected an option, found `what`");
    is("*filter\n-A INPUT -m comment --comment \"x\nCOMMIT\n", 2, "the quote is not closed");
    is("*filter\n-A INPUT -j\nCOMMIT\n", 2, "needs a value");
    is("*filter\n-A INPUT -j DROP -j DROP\nCOMMIT\n", 2, "a second target");
    is("*filter\n-A INPUT ! ! -s 10.0.0.1\nCOMMIT\n", 2, "two `!`");
    is("*filter\n-D INPUT 1\nCOMMIT\n", 2, "found `-D`");
    is("*filter\n:INPUT MAYBE [0:0]\nCOMMIT\n", 2, "expected a policy");
    is("*filter\n-I INPUT 3 -j DROP\nCOMMIT\n", 2, "no place 3");
    is("*filter\n-A INPUT -s 10.0.0.1 -d fd00::1\nCOMMIT\n", 2, "an IPv4 rule with something of IPv6");
    is("*nat\n:A - [0:0]\n:B - [0:0]\n-A A -j B\n-A B -g A\nCOMMIT\n", 5, "leads back to itself");
    assert_eq!(errors(&"what\n".repeat(1000)).len(), 100);
}

#[test]
fn long_texts_are_read_in_time() {
    // Chains that are nested deeper than a stack would hold, and jumps in front of each other.
    let mut text = String::from("*filter\n");
    (0..30_000).for_each(|n| text += &format!(":c{n} - [0:0]\n"));
    (1..30_000).for_each(|n| text += &format!("-A c{} -j c{n}\n", n - 1));
    (0..30_000).for_each(|n| text += &format!("-I INPUT -s 10.0.0.{} -j c0\n", n % 256));
    text += "COMMIT\n";
    assert_eq!(dump(&text).tables[0].chains.len(), 30_001);
}

/// Long texts are read in two halves, with the same result and the same errors.
#[test]
fn a_long_text_is_read_as_a_short_one() {
    let rule = |nth: u32| match nth % 9 {
        0 => format!("[7:9] -A LONG-NAME-OF-A-CHAIN-{} -p tcp --dport {} -j ACCEPT", nth % 50, nth % 60_000),
        1 => format!("-A LONG-NAME-OF-A-CHAIN-{} -j LONG-NAME-OF-A-CHAIN-{}", nth % 49, nth % 49 + 1),
        2 => "# a comment\r".to_owned(),
        3 => String::new(),
        _ => format!(
            "-A LONG-NAME-OF-A-CHAIN-{} -p udp -m udp --dport {} -m comment --comment \"number {nth}\" -j DNAT --to-destination 10.0.0.1:{}",
            nth % 50,
            nth % 60_000,
            nth % 60_000 + 1
        ),
    };
    let chains: String = (0..50).map(|nth| format!(":LONG-NAME-OF-A-CHAIN-{nth} - [0:0]\n")).collect();
    let rules: Vec<String> = (0..14_000).map(rule).collect();
    let text = format!("*nat\n{chains}{}\nCOMMIT\n", rules.join("\n"));
    assert!(text.len() > 1 << 20, "{}", text.len());
    let dump = read(&text, Families::Both).expect("a dump");
    assert_eq!(dump.tables[0].chains.iter().map(|chain| chain.rules.len()).sum::<usize>(), 14_000 - 2 * 1_556);
    let wrong =
        text.replace("number 9004", "number\" 9004").replace("-j LONG-NAME-OF-A-CHAIN-30", "-j NO-SUCH --chain");
    read(&wrong, Families::Both).expect_err("an unclosed quote");
}
