//! What holds for all lints: documentation, and fixes that keep the meaning.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::diagnostic::{Applicability, Code, Diagnostic};
use crate::generated::{self, connections, local};
use crate::ir::hash::Hash6;
use crate::ir::{Body, Config, Family};
use crate::source::SourceId;
use crate::{meaning, resolve};

use super::{LINTS, Settings, check, document, fix, page};

/// What the lints find in a program, sorted.
fn found(text: &str) -> Vec<Diagnostic> {
    let program = generated::parse(text).unwrap_or_else(|errors| panic!("{errors}"));
    let config = resolve::resolve(&program).unwrap_or_else(|errors| panic!("{errors:#?}\n{text}"));
    resolve::sort(&program, check(&program, &config, &Settings::default()))
}

/// Applies fixes until nothing changes; every text on the way.
fn fixed(text: &str, most: Applicability) -> Vec<String> {
    let mut texts = vec![text.to_owned()];
    for _ in 0..50 {
        let text = texts.last().expect("the first").clone();
        let program =
            generated::parse(&text).unwrap_or_else(|errors| panic!("a fix broke the syntax: {errors}\n{texts:#?}"));
        let round = fix::apply(&program.sources, &found(&text), most, false);
        let Some(next) = BTreeMap::get(&round.texts, &SourceId(0)) else { return texts };
        texts.push(next.clone());
    }
    panic!("fixes go round in circles: {texts:#?}");
}

#[test]
fn every_code_is_documented_and_every_lint_registered() {
    for &code in Code::ALL {
        assert!(page(code).contains(code.name()) && !document(code).why.is_empty());
        assert_eq!(code.is_lint(), LINTS.iter().any(|lint| lint.code == code), "{}", code.name());
    }
    assert!(LINTS.windows(2).all(|pair| pair[0].code < pair[1].code));
}

#[test]
fn every_lint_fires_on_its_example_and_the_twin_is_clean() {
    for lint in LINTS.iter().filter(|lint| !lint.doc.example.is_empty()) {
        let codes: Vec<Code> = found(lint.doc.example).iter().map(|diagnostic| diagnostic.code).collect();
        assert!(codes.contains(&lint.code), "{}: {codes:?}", lint.code.name());
        assert_eq!(found(lint.doc.instead), [], "{}", lint.code.name());
    }
}

#[test]
fn every_fix_that_is_documented_makes_the_finding_go_away() {
    for lint in LINTS.iter().filter(|lint| !lint.doc.example.is_empty()) {
        let fixes = found(lint.doc.example).into_iter().any(|one| one.code == lint.code && one.fix.is_some());
        assert_eq!(fixes, !lint.doc.fix.is_empty(), "{}", lint.code.name());
        if fixes {
            let after = fixed(lint.doc.example, Applicability::Unsafe).pop().expect("a text");
            let left: Vec<Code> = found(&after).iter().map(|diagnostic| diagnostic.code).collect();
            assert!(!left.contains(&lint.code), "{}: {after}", lint.code.name());
        }
    }
}

#[test]
fn fixes_write_what_is_meant() {
    use Applicability::{Safe, Unsafe};
    for (most, text, wanted) in [
        // Weights.
        (
            Safe,
            "balance tcp 80 -> 10.0.0.1:80 weight 50, 10.0.0.2:80 weight 50\n",
            "balance tcp 80 -> 10.0.0.1:80, 10.0.0.2:80\n",
        ),
        (
            Safe,
            "balance tcp 80 -> {\n    10.0.0.1 weight 4 # big\n    10.0.0.2 weight 2\n    10.0.0.3 backup weight 9\n}\n",
            "balance tcp 80 -> {\n    10.0.0.1 weight 2 # big\n    10.0.0.2 weight 1\n    10.0.0.3 backup\n}\n",
        ),
        (
            Safe,
            "balance tcp 80 -> 10.0.0.1 weight 3, 10.0.0.2:81\n",
            "balance tcp 80 -> 10.0.0.1 weight 3, 10.0.0.2:81 weight 1\n",
        ),
        (
            Safe,
            "balance tcp 80 -> 10.0.0.1 weight 3, 10.0.0.2 backup\n",
            "balance tcp 80 -> 10.0.0.1, 10.0.0.2 backup\n",
        ),
        // What is listed twice.
        (
            Safe,
            "balance tcp 80 -> 10.0.0.1, 10.0.0.2, 10.0.0.1\n",
            "balance tcp 80 -> 10.0.0.1 weight 2, 10.0.0.2 weight 1\n",
        ),
        (
            Safe,
            "balance tcp 80 -> {\n    10.0.0.1 # first\n    10.0.0.2 # second\n    10.0.0.1 weight 3\n    10.0.0.3\n}\n",
            "balance tcp 80 -> {\n    10.0.0.1 weight 4 # first\n    10.0.0.2 weight 1 # second\n    10.0.0.3 weight 1\n}\n",
        ),
        (
            Safe,
            "balance tcp 80 by round-robin -> 10.0.0.1, 10.0.0.2, 10.0.0.1\n",
            "balance tcp 80 by round-robin -> 10.0.0.1, 10.0.0.2, 10.0.0.1\n",
        ),
        (
            Safe,
            "balance tcp 80 -> 10.0.0.1 weight 65535, 10.0.0.1\n",
            "balance tcp 80 -> 10.0.0.1 weight 65535, 10.0.0.1 weight 1\n",
        ),
        // Unused names, with what stands around them.
        (
            Safe,
            "# The servers.\nhost a = 10.0.0.1\nhost b = 10.0.0.2 # gone\n\n# Left over.\n# Really.\nhost c = ::1; host d = ::1\n\nbalance tcp 80 -> a\n",
            "# The servers.\nhost a = 10.0.0.1\n\n\nbalance tcp 80 -> a\n",
        ),
        (
            Safe,
            "host a = 10.0.0.1; host b = 10.0.0.2; balance tcp 80 -> a\n",
            "host a = 10.0.0.1; balance tcp 80 -> a\n",
        ),
        (Safe, "pool p = q\npool q = r\nhost r =\n    10.0.0.1, # one\n    ::1\n", ""),
        (
            Safe,
            "net n = 10.0.0.0/8\nbalance tcp 80 masquerade hairpin -> 10.0.0.1\n",
            "net n = 10.0.0.0/8\nbalance tcp 80 masquerade hairpin -> 10.0.0.1\n",
        ),
        // Options.
        (
            Safe,
            "default by round-robin counter\nbalance tcp 80 by random counter -> 10.0.0.1\n",
            "default by round-robin counter\nbalance tcp 80 by random -> 10.0.0.1\n",
        ),
        (Safe, "balance tcp 80 on * from 0.0.0.0/0, ::/0 -> 10.0.0.1\n", "balance tcp 80 -> 10.0.0.1\n"),
        (
            Safe,
            "default by random counter\ndefault by random\nbalance tcp 80 -> 10.0.0.1\n",
            "default counter\nbalance tcp 80 -> 10.0.0.1\n",
        ),
        (
            Safe,
            "default by round-robin\ndefault by random\nbalance tcp 80 -> 10.0.0.1\n",
            "default by round-robin\ndefault by random\nbalance tcp 80 -> 10.0.0.1\n",
        ),
        // Suppressions.
        (
            Safe,
            "host a = 10.0.0.1\n# lbc: ignore[LB105] of the pool\npool p = a, a\nbalance tcp 80 -> a\n",
            "host a = 10.0.0.1\nbalance tcp 80 -> a\n",
        ),
        (Safe, "\u{feff}host a = 10.0.0.1\nbalance tcp 80 -> 10.0.0.1\n", "\u{feff}balance tcp 80 -> 10.0.0.1\n"),
        (
            Safe,
            "# lbc: ignore[LB104, LB102] ssh is on 2222\nbalance tcp 22 -> 10.0.0.1\n",
            "# lbc: ignore[LB102] ssh is on 2222\nbalance tcp 22 -> 10.0.0.1\n",
        ),
        (
            Safe,
            "# lbc: ignore-file[LB104] no\n# lbc: ignore[nosuch]\nbalance tcp 80 -> 10.0.0.1 # lbc: ignore[LB010]\n",
            "balance tcp 80 -> 10.0.0.1\n",
        ),
        // Unsafe ones.
        (Unsafe, "balance tcp *:80 -> 10.0.0.1\n", "balance tcp local:80 -> 10.0.0.1\n"),
        (
            Unsafe,
            "balance tcp *:80 on * counter -> 10.0.0.1\nbalance tcp 81 on eth0 -> 10.0.0.1\n",
            "balance tcp *:80 on eth0 counter -> 10.0.0.1\nbalance tcp 81 on eth0 -> 10.0.0.1\n",
        ),
        (
            Unsafe,
            "balance tcp *:80 counter -> 10.0.0.1\nbalance tcp 81 on wan* -> 10.0.0.1\n",
            "balance tcp *:80 counter on wan* -> 10.0.0.1\nbalance tcp 81 on wan* -> 10.0.0.1\n",
        ),
        (
            Unsafe,
            "balance tcp 80 -> 127.0.0.1:8080 weight 2, [::1]:81\n",
            "balance tcp 80 -> :8080 weight 2, :81 weight 1\n",
        ),
        (Unsafe, "balance tcp 80 -> 127.0.0.1:80, 127.0.0.1\n", "balance tcp 80 -> 127.0.0.1:80, 127.0.0.1\n"),
        (
            Unsafe,
            "balance tcp 80 from 10.0.0.0/8 -> 10.0.0.1\n",
            "balance tcp 80 from 10.0.0.0/8 masquerade -> 10.0.0.1\n",
        ),
        (
            Unsafe,
            "balance tcp 80 by source-hash seed 7 -> 10.0.0.1 weight 9, 10.0.0.2 weight 2, 10.0.0.3 weight 3, 10.0.0.4, 10.0.0.5\n",
            "balance tcp 80 by source-hash seed 7 -> 10.0.0.1 weight 9, 10.0.0.2 weight 2, 10.0.0.3 weight 3, 10.0.0.4 weight 1, 10.0.0.5 weight 1\n",
        ),
        (
            Unsafe,
            "balance tcp 80 by source-hash buckets 7 seed 3 -> 10.0.0.1 weight 9, 10.0.0.2 weight 1\n",
            "balance tcp 80 by source-hash buckets 49 seed 3 -> 10.0.0.1 weight 9, 10.0.0.2 weight 1\n",
        ),
        (
            Unsafe,
            "# all\nbalance tcp 80-90 -> 10.0.0.1\n\n# one\nbalance tcp 85 -> 10.0.0.2 # here\n",
            "# one\nbalance tcp 85 -> 10.0.0.2 # here\n# all\nbalance tcp 80-90 -> 10.0.0.1\n\n",
        ),
        (
            Unsafe,
            "# lbc: ignore[LB102] ok\nbalance tcp 1-90 as a -> 10.0.0.1\n# one\n# two\nbalance tcp 50 as b -> 10.0.0.2",
            "# one\n# two\nbalance tcp 50 as b -> 10.0.0.2\n# lbc: ignore[LB102] ok\nbalance tcp 1-90 as a -> 10.0.0.1\n",
        ),
        (
            Unsafe,
            "balance tcp 80-90 -> 10.0.0.1\ndefault counter\nbalance tcp 85 -> 10.0.0.2\n",
            "balance tcp 80-90 -> 10.0.0.1\ndefault counter\nbalance tcp 85 -> 10.0.0.2\n",
        ),
    ] {
        let texts = fixed(text, most);
        assert_eq!(texts.last().map(String::as_str), Some(wanted), "{texts:#?}");
    }
}

/// A fix that would break something is none.
#[test]
fn what_cannot_be_applied_is_not_offered() {
    for (text, code) in [
        ("balance tcp 80 -> 10.0.0.4:8080, # old\n  10.0.0.4:8080\nhost b = 10.0.0.1\n", "LB105"),
        ("balance tcp 80 masquerade -> 127.0.0.1:8080, 10.0.0.1:8080\n", "LB104"),
        ("pool p = 127.0.0.1:8080, 10.0.0.1:8080\nbalance tcp 80 snat 192.0.2.1 -> p\n", "LB104"),
        ("balance tcp 80,81 -> 10.0.0.1\nbalance tcp *:81 as x -> 10.0.0.2\n", "LB101"),
    ] {
        let found = found(text);
        let own = found.iter().find(|one| one.code.as_str() == code).unwrap_or_else(|| panic!("{text}: {found:#?}"));
        assert!(own.fix.is_none(), "{text}: {own:#?}");
    }
    for (text, code) in [
        ("balance tcp 80 -> {\n  10.0.0.4:8080 # old\n  10.0.0.4:8080\n}\n", "LB105"),
        ("balance tcp 80 -> 127.0.0.1:8080, 10.0.0.1:8080\n", "LB104"),
        ("balance tcp 80,82 -> 10.0.0.1\nbalance tcp *:81 as x -> 10.0.0.2\n", "LB101"),
        ("balance tcp 81 on eth0 -> 10.0.0.1\nbalance tcp *:81 as x -> 10.0.0.2\n", "LB101"),
    ] {
        let found = found(text);
        assert!(found.iter().any(|one| one.code.as_str() == code && one.fix.is_some()), "{text}: {found:#?}");
    }
    // A port that is kept is a port all the same.
    let found = found("balance tcp 80 -> 10.0.0.1:80, 10.0.0.1\nbalance tcp 81,82 -> 10.0.0.1:81, 10.0.0.1\n");
    assert_eq!(found.iter().filter(|one| one.code.as_str() == "LB105").count(), 1, "{found:#?}");
}

#[test]
fn suppressions_speak_of_their_line_the_next_one_or_the_file() {
    let silent = |text: &str| assert_eq!(found(text), [], "{text}");
    silent("balance tcp 22 -> 10.0.0.1 # lbc: ignore[LB102] ssh is elsewhere\n");
    silent("# lbc: ignore[management-port] by name\nbalance tcp 22 -> 10.0.0.1\n");
    silent("# lbc: ignore[LB102] both\n# lbc: ignore[LB104] of them\nbalance tcp 22 -> 127.0.0.1:23\n");
    silent("balance tcp 80 -> {\n    # lbc: ignore[LB104]\n    127.0.0.1:81\n}\n");
    silent("balance tcp 81 -> 127.0.0.1:82\nbalance tcp 80 -> 127.0.0.1:82\n# lbc: ignore-file[LB104] all of it\n");
    silent("balance tcp 80 -> {\n    10.0.0.1 weight 0\n} # lbc: ignore[LB111] the last line\n");
    // A statement as a whole, from above and from behind.
    silent("# lbc: ignore[LB104]\nbalance tcp 80 -> {\n    10.0.0.1\n    127.0.0.1:81\n}\n");
    silent("balance tcp 22 -> {\n    127.0.0.1:81\n} # lbc: ignore[LB104, LB102]\n");
    let codes = |text: &str| found(text).iter().map(|one| one.code.as_str()).collect::<Vec<_>>();
    assert_eq!(codes("\n# lbc: ignore[LB102]\n\nbalance tcp 22 -> 10.0.0.1\n"), ["LB206", "LB102"]);
    assert_eq!(
        codes("# lbc: ignore[LB999]\n# lbc: ignore\n# lbc: ignore[]\n# lbc: later\nbalance tcp 80 -> 10.0.0.1\n"),
        ["LB206"; 3]
    );
    assert_eq!(codes("# lbc: ignore-file[LB206]\n# lbc: ignore[LB104]\nbalance tcp 80 -> 10.0.0.1\n"), [""; 0]);
    // Also where it is about itself, or all that a file has.
    assert_eq!(codes("# lbc: ignore[LB206]\nbalance tcp 80 -> 10.0.0.1\n"), ["LB206"]);
    assert_eq!(codes("# lbc: ignore[LB206, LB104]\nbalance tcp 80 -> 10.0.0.1\n"), ["LB206"; 2]);
    assert_eq!(codes("# lbc: ignore[LB104] x\n"), ["LB206"]);
    // Within a statement it speaks of its own line.
    assert_eq!(
        codes("balance tcp 80 -> {\n    10.0.0.1 # lbc: ignore[LB104]\n    127.0.0.1:81\n}\n"),
        ["LB206", "LB104"]
    );
    // As many as there are findings, and twice for one of them is once too often.
    silent("# lbc: ignore[LB104]\nbalance tcp 80 -> 127.0.0.1:1, 127.0.0.1:2 # lbc: ignore[LB104]\n");
    assert_eq!(codes("# lbc: ignore[LB102]\nbalance tcp 22 -> 10.0.0.1 # lbc: ignore[LB102]\n"), ["LB206"]);
}

#[test]
fn the_canonical_form_has_the_findings_of_what_was_written() {
    let told = |text: &str| found(text).into_iter().map(|one| (one.code, one.message)).collect::<Vec<_>>();
    for (text, count) in [
        ("host a=::1; host b=::1 # lbc: ignore[LB202]\nhost c=::1; host d=::1\n", 2),
        ("# lbc: ignore[LB202]\nhost a=::1;pool p={\n 10.0.0.1 # c\n};host c=::1\nhost d=::1\n", 1),
        ("host a=::1;pool p={\n 10.0.0.1 # c\n};host c=::1 # lbc: ignore[LB202]\n;host d=::1\n", 1),
        ("host a=::1;net n=::/64, # lbc: ignore[LB202]\n fd00::/64\n", 0),
        ("host a=::1;pool p={\n # lbc: ignore[LB104]\n 127.0.0.1:1\n 127.0.0.1:2\n}\n", 3),
        ("host a=::1\n;# lbc: ignore[LB202]\nhost b=::1;host c=::1;# lbc: ignore[LB202, LB104]\n", 2),
        ("host a=::1; # lbc: ignore[LB202] x\nhost b=::1; host c=::1 # lbc: ignore[LB202]\n;;host d=::1\n", 1),
        ("host a=::1;balance tcp 81\n# lbc: ignore[LB104]\n -> 127.0.0.1:1 # lbc: ignore[LB202]\n", 0),
        (
            "balance tcp 81 -> 127.0.0.1:1;balance tcp 82\n# lbc: ignore[LB104]\n -> 127.0.0.1:2 # lbc: ignore[LB104]\n",
            0,
        ),
    ] {
        let text = format!("{text}balance tcp 80 -> 10.0.0.1\n");
        let source = crate::source::Source::new("x.lb", "x.lb", text.clone());
        let formatted = crate::file::format(&source, &crate::file::parse(&source, SourceId(0)).0);
        assert_eq!(told(&formatted), told(&text), "{text}\n{formatted}");
        assert_eq!(told(&text).len(), count, "{text}");
    }
}

#[test]
fn a_hundred_thousand_suppressions_take_no_time() {
    let start = std::time::Instant::now();
    let lines = "# lbc: ignore[LB102]\n".repeat(100_000);
    let codes = vec!["LB104"; 100_000].join(",");
    let text = format!("{lines}balance tcp 22 -> 10.0.0.1\n# lbc: ignore[{codes}]\n");
    assert_eq!(found(&text).last().map(|one| one.code), Some(Code::UnusedSuppression));
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

/// Weights, spellings and names that the fixes are about.
const BACKENDS: &[&str] = &[
    "a:8080 weight 4, b:8080 weight 2",
    "a:8080 weight 2, b:8080",
    "a:8080 weight 2, b:8080, a:8080, a:8081",
    "both weight 6, both weight 2, c:1 weight 4 backup, d:1 backup weight 2",
    "a weight 1, b weight 1",
    "a weight 0, a weight 4, b weight 2",
    "{\n a:1 weight 3 # one\n b:1 weight 3 # two\n a:1 weight 3 # three\n\n # four\n a:1 weight 0\n}",
    "nested weight 10, a:90 weight 5",
    ":9050 weight 2, :9050, :9051",
    "10.9.1.11:1, a:1, 10.9.1.11:1 weight 2",
];

const OPTIONS: &[&str] = &[
    "",
    " by random",
    " by round-robin",
    " by source-hash",
    " counter",
    " from 0.0.0.0/0, ::/0",
    " on *",
    " sticky 10m",
];

/// The program's meaning, down to the sequences of round robins and the buckets of hashes.
fn assert_same(before: &Config, after: &Config, texts: &[String]) {
    assert_eq!(before.services().len(), after.services().len(), "{texts:#?}");
    for connection in connections() {
        for hash6 in [Hash6::Jhash, Hash6::Bpf] {
            let (one, other) = (
                meaning::outcome(before, &connection, &local(), hash6),
                meaning::outcome(after, &connection, &local(), hash6),
            );
            assert_eq!(one, other, "{connection:?}\n{texts:#?}");
        }
    }
    for (one, other) in before.services().iter().zip(after.services()) {
        assert_eq!((&one.name, one.algorithm, one.output), (&other.name, other.algorithm, other.output), "{texts:#?}");
        assert_eq!(one.options.source_nat, other.options.source_nat);
        let rest = |options: &crate::ir::options::Options| {
            (
                options.sticky,
                options.limit,
                options.max_connections,
                options.counter,
                options.log.clone(),
                options.accept,
            )
        };
        assert_eq!(rest(&one.options), rest(&other.options), "{texts:#?}");
        for family in Family::ALL {
            if let (Some(Body::Balance(one_group)), Some(Body::Balance(other_group))) =
                (one.body(family), other.body(family))
            {
                let turns = |group: &crate::ir::Group| {
                    let turns = meaning::sequence(group, 64).into_iter();
                    turns.map(|index| group.backends[index as usize]).collect::<Vec<_>>()
                };
                if one.algorithm == crate::ir::Algorithm::RoundRobin {
                    assert_eq!(turns(one_group), turns(other_group), "{texts:#?}");
                }
                let owners = |group: &crate::ir::Group| {
                    group.buckets.iter().map(|owner| group.backends[*owner as usize]).collect::<Vec<_>>()
                };
                assert_eq!(owners(one_group), owners(other_group), "{texts:#?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..crate::generated::regressions() })]

    #[test]
    fn safe_fixes_keep_the_meaning(
        statements in proptest::collection::vec(generated::statement(&generated::PARTS), 1..4),
        lists in proptest::collection::vec((0..BACKENDS.len(), 0..OPTIONS.len(), any::<bool>()), 1..4),
    ) {
        let mut names = generated::NAMES.to_owned();
        names.push_str("# unused\nhost old = 10.9.1.99 # gone\nnet none = near, old\n");
        let Some((mut text, _)) = generated::program(&names, &statements) else { return Ok(()) };
        for (number, (list, option, default)) in lists.into_iter().enumerate() {
            if default {
                text.push_str("default counter by random\n");
            }
            let line = format!("balance tcp {} as own{number}{} -> {}\n", [79, 91, 8003][number], OPTIONS[option], BACKENDS[list]);
            if generated::try_config(&format!("{text}{line}")).is_ok() {
                text.push_str(&line);
            }
        }
        let texts = fixed(&text, Applicability::Safe);
        let (before, after) = (generated::config(&text), generated::config(texts.last().expect("a text")));
        assert_same(&before, &after, &texts);
    }

    /// No text that parses and resolves makes a lint panic, and unsafe fixes leave text that parses.
    #[test]
    fn unsafe_fixes_leave_a_program(
        statements in proptest::collection::vec(generated::statement(&generated::PARTS), 1..6),
    ) {
        let Some((text, _)) = generated::program(generated::NAMES, &statements) else { return Ok(()) };
        let program = generated::parse(&text).expect("a program");
        let round = fix::apply(&program.sources, &found(&text), Applicability::Unsafe, false);
        for text in round.texts.values() {
            prop_assert!(generated::parse(text).is_ok(), "{text}");
        }
    }
}
