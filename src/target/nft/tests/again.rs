//! Chains that are reached over and over: on more ways than anyone can follow one by one.

use num_bigint::BigUint;
use num_traits::One;
use serde_json::{Value, json};

use super::read::{machine, tcp};
use crate::ir::share::Share;
use crate::meaning::Action;
use crate::target::nft::{Dump, Evaluator};
use crate::trace::{Trace, Walk};

/// So many chains, each of which leads four times to the next, and the rule of the last one.
fn ladder(chains: usize, last: &Value) -> Trace {
    let of = |kind: &str, inner: Value| {
        let mut object = json!({"family": "inet", "table": "t"});
        inner.as_object().expect("an object").iter().for_each(|(key, value)| object[key] = value.clone());
        json!({ kind: object })
    };
    let base = json!({"name": "p", "type": "filter", "hook": "prerouting", "prio": 0, "policy": "accept"});
    let mut list = vec![json!({"table": {"family": "inet", "name": "t"}}), of("chain", base)];
    list.extend((0..chains).map(|nth| of("chain", json!({"name": format!("c{nth}")}))));
    let jump =
        |from: String, to: usize| of("rule", json!({"chain": from, "expr": [{"jump": {"target": format!("c{to}")}}]}));
    list.push(jump("p".to_owned(), 0));
    for nth in 1..chains {
        list.extend((0..4).map(|_| jump(format!("c{}", nth - 1), nth)));
    }
    list.push(of("rule", json!({"chain": format!("c{}", chains - 1), "expr": last})));
    let dump = Dump::read_json(&json!({ "nftables": list }).to_string()).expect("a listing");
    Evaluator::new(&dump).walk(&tcp("10.0.0.1", 80), &machine(), true)
}

fn half() -> Value {
    let draw = json!({"numgen": {"mode": "random", "mod": 2, "offset": 0}});
    json!([{"match": {"op": "==", "left": draw, "right": 0}}, {"drop": null}])
}

#[test]
fn chains_that_lead_four_times_to_the_next_are_walked() {
    let other = json!([{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 443}}, {"drop": null}]);
    let trace = ladder(14, &other);
    assert_eq!(trace.actions(), [(Action::Pass, Share::one())]);
    assert!(!trace.cut && trace.unlisted && trace.steps.len() <= 100_000);
}

#[test]
fn what_a_part_gets_each_time_is_exact() {
    let trace = ladder(9, &half());
    assert!(!trace.cut);
    let pass = &trace.outcomes[0];
    assert_eq!((pass.share.numer(), pass.share.denom()), (&BigUint::one(), &(BigUint::one() << (1usize << 16))));
    let trace = ladder(14, &half());
    assert!(trace.cut && trace.unknown.iter().any(|one| one.what.contains("digits")), "{:?}", trace.unknown);
}
