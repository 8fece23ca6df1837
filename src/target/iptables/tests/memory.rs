//! What a packet leaves behind for the rules below: lists of addresses, and marks that are not known.

use super::{machine, outcomes, to, trace};
use crate::ir::Family;
use crate::target::iptables::model::{Match, Recent};
use crate::target::iptables::{Families, read, rebuild};

fn shares(rules: &[&str]) -> Vec<String> {
    let lines: String = rules.iter().map(|rule| format!("-A PREROUTING {rule}\n")).collect();
    let trace = trace(&format!("*mangle\n{lines}COMMIT\n"), &to("203.0.113.10", 80), &machine(&[]));
    let unknown = trace.unknown.iter().map(|one| format!("? {}", one.what));
    outcomes(&trace).into_iter().chain(unknown).collect()
}

const DROPS: [&str; 1] = ["Drop 1"];
const PASSES: [&str; 1] = ["Pass 1"];

#[test]
fn what_a_packet_puts_into_a_list_is_found_by_the_rules_below() {
    let set = "-m recent --set --name X --mask 255.255.255.255 --rsource";
    assert_eq!(shares(&["-m recent --rcheck --name X -j DROP"]), PASSES, "a new client is in no list");
    assert_eq!(shares(&[set, "-m recent --rcheck --name X -j DROP"]), DROPS);
    assert_eq!(shares(&[set, "-m recent --update --seconds 60 --reap --name X -j DROP"]), DROPS);
    assert_eq!(shares(&[set, "-m recent ! --rcheck --name X -j DROP"]), PASSES);
    assert_eq!(shares(&[set, "-m recent --rcheck --name Y -j DROP"]), PASSES);
    assert_eq!(shares(&[set, "-m recent --rcheck -j DROP"]), PASSES, "the list is called DEFAULT");
    assert_eq!(shares(&[set, "-m recent --rcheck --name X --rdest -j DROP"]), PASSES, "the destination is not in it");
    assert_eq!(shares(&["-m recent --set --rdest", "-m recent --rcheck --rdest -j DROP"]), DROPS);
    let remove = "-m recent --remove --name X";
    assert_eq!(shares(&[set, remove, "-m recent --rcheck --name X -j DROP"]), PASSES);
}

/// What a rule of our own asks of a list; `None` where we would not have written it.
fn own(form: &str) -> Option<Recent> {
    let text = format!("*nat\n:LBC-X - [0:0]\n-A LBC-X -m recent {form} -j DROP\nCOMMIT\n");
    let rules = rebuild(&read(&text, Families::Both).expect("a dump")).ok()?;
    match &rules.tables[0].chains[0].v4[0].matches[..] {
        [Match::Recent(recent)] => Some((**recent).clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn lists_are_read_back_in_the_forms_that_we_write_and_in_no_other() {
    let recent = |seconds, family| Some(Recent { seconds, name: "X".to_owned(), family });
    let (v4, v6) = ("--mask 255.255.255.255", "--mask ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    let check = "--rcheck --seconds 60 --reap --name X";
    assert_eq!(own(&format!("{check} {v4} --rsource")), recent(Some(60), Family::V4));
    assert_eq!(own(&format!("{check} {v6} --rsource")), recent(Some(60), Family::V6));
    assert_eq!(own(&format!("--set --name X {v4} --rsource")), recent(None, Family::V4));
    assert_eq!(own(&format!("--set --name X {v6} --rsource")), recent(None, Family::V6));
    for other in [
        format!("! {check} {v4} --rsource"),
        format!("{check} {v4} --rdest"),
        format!("{check} --rsource"),
        format!("{check} --mask 255.255.255.0 --rsource"),
        format!("{check} --hitcount 2 {v4} --rsource"),
        format!("{check} --rttl {v4} --rsource"),
        format!("--rcheck --seconds 60 --name X {v4} --rsource"),
        format!("--rcheck --seconds 0 --reap --name X {v4} --rsource"),
        format!("--rcheck --name X {v4} --rsource"),
        format!("--set --seconds 60 --reap --name X {v4} --rsource"),
        format!("--update --seconds 60 --reap --name X {v4} --rsource"),
        format!("--remove --name X {v4} --rsource"),
    ] {
        assert_eq!(own(&other), None, "{other}");
    }
}

#[test]
fn hits_are_counted_as_far_as_they_are_the_packets_own() {
    let (set, update) = ("-m recent --set --name X", "-m recent --update --name X");
    let twice = "-m recent --rcheck --name X --hitcount 2 -j DROP";
    assert_eq!(shares(&[set, twice]), PASSES);
    assert_eq!(shares(&[set, set, twice]), DROPS);
    assert_eq!(shares(&[set, update, twice]), DROPS, "an update is a hit, too");
    assert_eq!(shares(&[set, "-m recent ! --update --name X", twice]), PASSES, "one that does not match is none");
}

#[test]
fn an_entry_is_made_where_the_packet_gets_to_the_match_and_not_where_the_rule_takes_it() {
    let check = "-m recent --rcheck --name X -j DROP";
    assert_eq!(shares(&["-m recent --set --name X -m mark --mark 1 -j ACCEPT", check]), DROPS);
    assert_eq!(shares(&["-m mark --mark 1 -m recent --set --name X -j ACCEPT", check]), PASSES);
    let half = "-m statistic --mode random --probability 0.5";
    assert_eq!(shares(&[&format!("{half} -m recent --set --name X"), check]), ["Pass 1/2", "Drop 1/2"]);
    assert_eq!(shares(&[&format!("-m recent --set --name X {half} -j ACCEPT"), check]), ["Pass 1/2", "Drop 1/2"]);
}

#[test]
fn what_the_kernel_alone_knows_of_a_list_cannot_be_told() {
    let set = "-m recent --set --name X";
    let unknown = ["Pass 1", "? a list of addresses that is not known"];
    assert_eq!(shares(&[set, "-m recent --rcheck --name X --rttl -j DROP"]), unknown);
    let masked = "-m recent --rcheck --name X --mask 255.0.0.0 --rdest -j DROP";
    assert_eq!(shares(&[set, masked]), unknown, "the destination may be in the client's net");
    assert_eq!(shares(&[set, "-m recent --rcheck --name X --mask 255.0.0.0 -j DROP"]), DROPS);
}

#[test]
fn marks_behind_what_is_not_known_are_not_known() {
    let test = "-m mark --mark 0x1/0xff -j DROP";
    let unknown = |what: &'static str| vec!["Pass 1", what, "? a mark that is not known"];
    let ports = "-p tcp -j HMARK --hmark-sport-mask 0xffff --hmark-rnd 0x00000007 --hmark-mod 3";
    let what = "? -j HMARK --hmark-sport-mask 0xffff --hmark-rnd 0x00000007 --hmark-mod 3";
    assert_eq!(shares(&[ports, test]), unknown(what));
    let mapped = "-j SET --map-set x src --map-mark";
    assert_eq!(shares(&[mapped, test]), unknown("? -j SET --map-set x src --map-mark"));
    assert_eq!(shares(&["-j SET --add-set x src", test]), ["Pass 1", "? -j SET --add-set x src"]);
    assert_eq!(shares(&["-j TTL --ttl-set 1", test]), ["Pass 1", "? -j TTL --ttl-set 1"]);
    let foreign = "-j WHATEVER --at-all";
    assert_eq!(shares(&[foreign, "-j CONNMARK --restore-mark", test])[2..], ["? a mark that is not known"]);
    // What is written over is known again, bit by bit.
    assert_eq!(shares(&[mapped, "-j MARK --set-xmark 0x1/0xff", test])[0], "Drop 1");
    assert_eq!(
        shares(&[mapped, "-j MARK --set-xmark 0x2/0x2", test]),
        ["Pass 1", "? -j SET --map-set x src --map-mark"]
    );
    assert_eq!(shares(&[mapped, "-j MARK --set-xmark 0x1/0x1", test]), unknown("? -j SET --map-set x src --map-mark"));
    assert_eq!(
        shares(&[mapped, "-j CONNMARK --save-mark --nfmask 0xf00 --ctmask 0xf00", "-m connmark --mark 0/0xff -j DROP"])
            [0],
        "Drop 1"
    );
}

#[test]
fn hmark_is_read_as_it_is_saved() {
    let given = "-j HMARK --hmark-tuple src,dst --hmark-mod 10 --hmark-offset 5 --hmark-rnd 0xcafe";
    let saved =
        "-j HMARK --hmark-src-prefix 32 --hmark-dst-prefix 32 --hmark-rnd 0x0000cafe --hmark-mod 10 --hmark-offset 5";
    for mark in 5..15 {
        let test = format!("-m mark --mark {mark} -j DROP");
        assert_eq!(shares(&[given, &test]), shares(&[saved, &test]));
    }
    let all: usize =
        (5..15).filter(|mark| shares(&[saved, &format!("-m mark --mark {mark} -j DROP")]) == DROPS).count();
    assert_eq!(all, 1);
    let none = "-j HMARK --hmark-src-prefix 0 --hmark-dst-prefix 0 --hmark-rnd 0x1 --hmark-mod 10";
    let net = |prefix: u8| format!("-j HMARK --hmark-src-prefix {prefix} --hmark-rnd 0x1 --hmark-mod 10");
    let mark = |rule: &str| (0..10).find(|mark| shares(&[rule, &format!("-m mark --mark {mark} -j DROP")]) == DROPS);
    assert_eq!(mark(none), mark(&net(0)));
    assert!((1..=32).any(|prefix| mark(&net(prefix)) != mark(none)));
}
