//! Counters that run in step, and the flags of a first packet.

use serde_json::{Value, json};

use super::read::{dnat, machine, share, tcp};
use crate::meaning::Action;
use crate::target::nft::dump::Dump;
use crate::target::nft::walk::Evaluator;
use crate::trace::{Packet, Trace, Walk};

/// A chain before nat, one of nat, and one that both may jump to.
fn listing(mangle: &[Value], nat: &[Value], own: &[Value]) -> String {
    let chain = |name: &str| json!({"family": "ip", "table": "t", "name": name});
    let base = |name: &str, kind: &str, priority: i32| json!({"chain": {"family": "ip", "table": "t", "name": name, "type": kind, "hook": "prerouting", "prio": priority, "policy": "accept"}});
    let mut list = vec![
        json!({"table": {"family": "ip", "name": "t"}}),
        base("mangle", "filter", -150),
        base("nat", "nat", -100),
        json!({"chain": chain("own")}),
    ];
    for (name, rules) in [("mangle", mangle), ("nat", nat), ("own", own)] {
        let rules =
            rules.iter().map(|expr| json!({"rule": {"family": "ip", "table": "t", "chain": name, "expr": expr}}));
        list.extend(rules);
    }
    json!({"nftables": list}).to_string()
}

fn walked(mangle: &[Value], nat: &[Value], own: &[Value]) -> Trace {
    let dump = Dump::read_json(&listing(mangle, nat, own)).expect("a listing");
    let trace = Evaluator::new(&dump).walk(&packet(), &machine(), true);
    assert_eq!(trace.unknown, []);
    trace
}

fn packet() -> Packet {
    tcp("203.0.113.10", 80)
}

fn numgen(mode: &str, modulus: u32) -> Value {
    json!({"numgen": {"mode": mode, "mod": modulus, "offset": 0}})
}

fn is(left: Value, right: Value) -> Value {
    json!({"match": {"op": "==", "left": left, "right": right}})
}

fn mark() -> Value {
    json!({"meta": {"key": "mark"}})
}

fn set_mark(value: Value) -> Value {
    json!({"mangle": {"key": mark(), "value": value}})
}

fn to(last: u32) -> Value {
    json!({"dnat": {"addr": format!("10.9.1.{last}")}})
}

fn pick(modulus: u32) -> Value {
    let element = |number: u32| json!([number, format!("10.9.1.{number}")]);
    let set: Vec<Value> = (0..modulus).map(element).collect();
    json!({"dnat": {"addr": {"map": {"key": numgen("inc", modulus), "data": {"set": set}}}}})
}

#[test]
fn two_numgens_that_all_pass_give_the_same_number() {
    let nat = |number: u32| [json!([is(mark(), json!(number)), pick(2)])];
    let both = [
        json!([is(numgen("inc", 2), json!(0)), set_mark(json!(1))]),
        json!([is(numgen("inc", 4), json!(2)), set_mark(json!(2))]),
    ];
    // 0 and 2 of four get the first mark, and 2 gets the other one over it.
    assert_eq!(
        walked(&both, &nat(1), &[]).actions(),
        [(dnat("10.9.1.0", 80), share(1, 8)), (dnat("10.9.1.1", 80), share(1, 8)), (Action::Pass, share(3, 4)),]
    );
    let mangle = [json!([set_mark(numgen("inc", 2))])];
    let nat = [
        json!([is(mark(), json!(1)), is(numgen("inc", 2), json!(0)), to(1)]),
        json!([is(numgen("inc", 2), json!(1)), is(mark(), json!(0)), to(2)]),
    ];
    let trace = walked(&mangle, &nat, &[]);
    // Every second packet has the mark, and of these every second goes to the first; what is left is 0, 1, 0 of each four.
    assert!(!trace.loose);
    assert_eq!(trace.actions().iter().map(|(_, share)| share.clone()).sum::<crate::ir::share::Share>(), share(1, 1));
    let dump = Dump::read_json(&listing(&mangle, &nat, &[])).expect("a listing");
    let sequence = Evaluator::new(&dump).sequence(&packet(), &machine(), 1200).expect("no chance");
    for (action, part) in trace.actions() {
        let seen = sequence.iter().filter(|one| **one == action).count() as u32;
        assert_eq!(share(seen, 1200), part, "{action:?}");
    }
}

#[test]
fn a_numgen_that_a_packet_reaches_twice_goes_on_by_two() {
    let jump = json!([{"jump": {"target": "own"}}]);
    let own = [json!([is(numgen("inc", 2), json!(1)), set_mark(json!(1))])];
    let nat = [json!([is(mark(), json!(1)), to(1)])];
    let trace = walked(&[jump.clone(), jump], &nat, &own);
    assert_eq!(trace.actions(), [(dnat("10.9.1.1", 80), share(1, 1))]);
}

#[test]
fn chance_beside_numgens_in_step_is_exact() {
    let mangle = [json!([is(numgen("inc", 2), json!(0)), is(numgen("random", 2), json!(0)), set_mark(json!(1))])];
    let nat = [json!([is(numgen("inc", 4), json!(0)), is(mark(), json!(1)), to(1)])];
    let trace = walked(&mangle, &nat, &[]);
    assert_eq!(trace.actions(), [(dnat("10.9.1.1", 80), share(1, 8)), (Action::Pass, share(7, 8))]);
    assert!(!trace.loose);
}

#[test]
fn numgens_with_too_many_joint_states_are_said_to_be_loose() {
    let mangle = [
        json!([is(numgen("inc", 65_537), json!(0)), set_mark(json!(1))]),
        json!([is(numgen("inc", 3), json!(0)), set_mark(json!(1))]),
    ];
    let nat = [json!([is(mark(), json!(1)), pick(2)])];
    assert!(walked(&mangle, &nat, &[]).loose);
}

#[test]
fn a_mark_that_is_drawn_is_followed_with_each_number() {
    let nat = [0, 1].map(|number| json!([is(mark(), json!(number)), to(number)]));
    for mode in ["inc", "random"] {
        let trace = walked(&[json!([set_mark(numgen(mode, 3))])], &nat, &[]);
        let third = |last: u32| (dnat(&format!("10.9.1.{last}"), 80), share(1, 3));
        assert_eq!(trace.actions(), [third(0), third(1), (Action::Pass, share(1, 3))]);
    }
}

#[test]
fn marks_behind_a_target_of_iptables_are_not_known() {
    let mangle = |name: &str| [json!([{"xt": {"type": "target", "name": name}}])];
    let nat = [json!([is(mark(), json!(1)), to(1)])];
    for (name, count) in [("HMARK", 2), ("TTL", 1)] {
        let dump = Dump::read_json(&listing(&mangle(name), &nat, &[])).expect("a listing");
        let trace = Evaluator::new(&dump).walk(&packet(), &machine(), true);
        assert_eq!(trace.unknown.len(), count, "{name} {:#?}", trace.unknown);
    }
}

#[test]
fn a_first_packet_has_the_flag_syn_alone() {
    let flags = || json!({"payload": {"protocol": "tcp", "field": "flags"}});
    let under = |mask: Value| json!({"&": [flags(), mask]});
    let test = |op: &str, left: Value, right: Value| json!({"match": {"op": op, "left": left, "right": right}});
    let four = || json!(["fin", "syn", "rst", "ack"]);
    let nested = json!({"|": [{"|": [{"|": ["fin", "syn"]}, "rst"]}, "ack"]});
    // As nft 1.0.6 lists them, and the sums as other versions do.
    let tests = [
        (test("in", flags(), json!("syn")), true),
        (test("==", flags(), json!("syn")), true),
        (test("!=", flags(), json!("syn")), false),
        (test("==", under(four()), json!("syn")), true),
        (test("!=", under(four()), json!("syn")), false),
        (test("==", under(nested.clone()), json!({"set": ["fin", "syn"]})), true),
        (test("==", under(nested), json!("syn")), true),
        (test("in", flags(), json!(["fin", "syn"])), true),
        (test("in", flags(), json!(["fin", "ack"])), false),
        (test("!", flags(), json!("syn")), false),
        (test("!", flags(), json!(["fin", "rst"])), true),
        (test("==", flags(), json!({"set": [{"|": ["syn", "ack"]}, "syn"]})), true),
        (test("==", flags(), json!({"set": [{"|": ["syn", "ack"]}, "rst"]})), false),
        (test("==", under(json!(["syn", "ack"])), json!(["syn", "ack"])), false),
        (test("==", under(json!(["syn", "ack"])), json!({"|": ["syn", "ack"]})), false),
        (test(">", flags(), json!("syn")), false),
    ];
    for (one, matches) in tests {
        let trace = walked(&[], &[json!([one, to(1)])], &[]);
        let action = if matches { dnat("10.9.1.1", 80) } else { Action::Pass };
        assert_eq!(trace.actions(), [(action, share(1, 1))], "{one}");
    }
    let dump = Dump::read_json(&listing(&[], &[json!([test("!=", flags(), json!("ack")), to(1)])], &[]));
    let udp = Packet { protocol: crate::statement::balance::Protocol::Udp, ..packet() };
    let trace = Evaluator::new(&dump.expect("a listing")).walk(&udp, &machine(), false);
    assert_eq!(trace.actions(), [(Action::Pass, share(1, 1))], "UDP has none");
}
