//! Counters that run in step: shares are how often things happen, not products.

use num_traits::ToPrimitive;
use proptest::prelude::*;

use super::{dump, machine, outcomes, to, trace};
use crate::ir::Family;
use crate::target::iptables::Evaluator;
use crate::trace::{Packet, Trace, Walk};

fn packet() -> Packet {
    to("203.0.113.10", 80)
}

fn walked(mangle: &[String], nat: &[String]) -> Trace {
    trace(&text(mangle, nat), &packet(), &machine(&[]))
}

fn text(mangle: &[String], nat: &[String]) -> String {
    let lines = |rules: &[String]| rules.iter().map(|rule| format!("-A {rule}\n")).collect::<String>();
    format!("*mangle\n:own - [0:0]\n{}COMMIT\n*nat\n:own - [0:0]\n{}COMMIT\n", lines(mangle), lines(nat))
}

fn nth(every: u32, packet: u32) -> String {
    format!("-m statistic --mode nth --every {every} --packet {packet}")
}

fn dnat(last: u32) -> String {
    format!("-p tcp -j DNAT --to-destination 10.9.1.{last}")
}

/// `LAST SHARE` of each, 0 where it passes.
fn shares(trace: &Trace) -> Vec<String> {
    outcomes(trace).iter().map(|text| text.replace("Dnat(10.9.1.", "").replace(", 80)", "")).collect()
}

#[test]
fn two_counters_that_all_pass_agree_or_never_meet() {
    let mark = [format!("PREROUTING {} -j MARK --set-mark 1", nth(2, 0))];
    let same = walked(&mark, &[format!("PREROUTING {} -m mark --mark 1 {}", nth(2, 0), dnat(1))]);
    assert_eq!((shares(&same), same.loose), (vec!["1 1/2".to_owned(), "Pass 1/2".to_owned()], false));
    let taken: Vec<_> = same.steps.iter().map(|step| (step.reached.to_f64(), step.taken.to_f64())).collect();
    assert_eq!(taken, [(Some(1.0), Some(0.5)); 2], "{:#?}", same.steps);
    let other = walked(&mark, &[format!("PREROUTING {} -m mark --mark 1 {}", nth(2, 1), dnat(1))]);
    assert_eq!(shares(&other), ["Pass 1"]);
}

#[test]
fn a_counter_that_only_the_marked_reach_takes_its_part_of_them() {
    let mark = [format!("PREROUTING {} -j MARK --set-mark 1", nth(2, 0))];
    let trace = walked(&mark, &[format!("PREROUTING -m mark --mark 1 {} {}", nth(2, 1), dnat(1))]);
    assert_eq!(shares(&trace), ["1 1/4", "Pass 3/4"]);
}

#[test]
fn a_counter_that_a_packet_reaches_twice_goes_on_by_two() {
    let own = format!("own {} -j MARK --set-mark 1", nth(2, 0));
    let trace = walked(
        &[own.clone(), "PREROUTING -j own".to_owned(), "PREROUTING -j own".to_owned()],
        &[format!("PREROUTING -m mark --mark 1 {}", dnat(1))],
    );
    assert_eq!(shares(&trace), ["1 1"], "one of two packets in a row is marked");
    // Twice only where it is marked: 0, 1 | 2 | 0, 1 | 2 …
    let every = format!("own {} -j MARK --set-mark 1", nth(3, 0));
    let trace = walked(
        &[every, "PREROUTING -j own".to_owned(), "PREROUTING -m mark --mark 1 -j own".to_owned()],
        &[format!("PREROUTING -m mark --mark 1 {}", dnat(1))],
    );
    assert_eq!(shares(&trace), ["1 1/2", "Pass 1/2"]);
}

#[test]
fn chance_before_between_and_behind_counters_in_step_is_exact() {
    let half = "-m statistic --mode random --probability 0.5";
    let second = format!("PREROUTING {} -m mark --mark 1 {}", nth(4, 0), dnat(1));
    // A mark for every second packet, kept for half of them; the other counter sees every packet.
    let behind =
        walked(&[format!("PREROUTING {} {half} -j MARK --set-mark 1", nth(2, 0))], std::slice::from_ref(&second));
    assert_eq!((shares(&behind), behind.loose), (vec!["1 1/8".to_owned(), "Pass 7/8".to_owned()], false));
    // The counter sees half of the packets, by chance: nothing is in step any more.
    let before = walked(&[format!("PREROUTING {half} {} -j MARK --set-mark 1", nth(2, 0))], &[second]);
    assert_eq!((shares(&before), before.loose), (vec!["1 1/16".to_owned(), "Pass 15/16".to_owned()], false));
}

#[test]
fn what_takes_too_long_is_said_to_be_loose() {
    let mark = [format!("PREROUTING {} -j MARK --set-mark 1", nth(65_537, 0))];
    let trace = walked(&mark, &[format!("PREROUTING {} -m mark --mark 1 {}", nth(2, 0), dnat(1))]);
    assert!(trace.loose);
    assert_eq!(shares(&trace), ["1 1/131074", "Pass 131073/131074"]);
}

#[test]
fn places_that_are_met_unevenly_are_said_to_be_loose() {
    // From 2 a packet goes on by two with a half: some places are met more often than others.
    let half = "-m statistic --mode random --probability 0.5";
    let rules = [
        format!("own {} -j MARK --set-mark 1", nth(3, 2)),
        "PREROUTING -j own".to_owned(),
        format!("PREROUTING -m mark --mark 1 {half} -j own"),
    ];
    let trace = walked(&rules, &[format!("PREROUTING -m mark --mark 1 {}", dnat(1))]);
    assert!(trace.loose, "{trace:#?}");
}

fn rule() -> impl Strategy<Value = String> {
    let counter = prop_oneof![
        4 => (2..4u32).prop_flat_map(|every| (Just(every), 0..every)).prop_map(|(every, packet)| nth(every, packet)),
        1 => Just(String::new()),
    ];
    let mark = prop_oneof![3 => Just(""), 1 => Just("-m mark --mark 1"), 1 => Just("-m mark ! --mark 1")];
    let target = prop_oneof![
        Just("-j MARK --set-mark 1".to_owned()),
        Just("-j MARK --set-mark 2".to_owned()),
        Just("-j own".to_owned()),
        Just("-j RETURN".to_owned()),
    ];
    (counter, mark, any::<bool>(), target).prop_map(|(counter, mark, first, target)| match first {
        true => format!("{mark} {counter} {target}"),
        false => format!("{counter} {mark} {target}"),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shares_are_how_often_things_happen(rules in prop::collection::vec(rule(), 2..5), own in rule()) {
        let mut mangle: Vec<String> = rules.iter().map(|rule| format!("PREROUTING {rule}")).collect();
        mangle.push(format!("own {}", own.replace("-j own", "-j RETURN")));
        let nat = [1, 2].map(|mark| format!("PREROUTING -m mark --mark {mark} {}", dnat(mark)));
        let text = text(&mangle, &nat);
        let dump = dump(&text);
        let rules = Evaluator::new(&dump, Family::V4);
        let trace = rules.walk(&packet(), &machine(&[]), false);
        prop_assert!(!trace.loose);
        // At most 3^5 joint states: behind so many, each is as far off as one of them at most.
        const MANY: usize = 243 * 16;
        let sequence = rules.sequence(&packet(), &machine(&[]), MANY + 243).expect("no chance");
        for (action, share) in trace.actions() {
            let count = sequence[243..].iter().filter(|one| **one == action).count();
            let seen = count as f64 / MANY as f64;
            prop_assert!((seen - share.to_f64().expect("a number")).abs() <= 1.0 / 16.0, "{action:?} {seen} {share}\n{text}");
        }
    }
}
