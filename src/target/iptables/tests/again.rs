//! Chains that are reached over and over: on more ways than anyone can follow one by one.

use num_bigint::BigUint;
use num_traits::One;

use super::{machine, outcomes, to, trace};
use crate::trace::Trace;

/// So many chains, each of which leads twice to the next, and the rules of the last one.
fn ladder(chains: usize, way: &str, last: &[&str]) -> Trace {
    let declared: String = (0..chains).map(|nth| format!(":C{nth} - [0:0]\n")).collect();
    let jumps: String = (1..chains).map(|nth| format!("-A C{} {way} -j C{nth}\n", nth - 1).repeat(2)).collect();
    let last: String = last.iter().map(|rule| format!("-A C{} {rule}\n", chains - 1)).collect();
    let behind = "-A PREROUTING -m mark --mark 7 -j DROP\n";
    let text = format!("*mangle\n{declared}-A PREROUTING -j C0\n{jumps}{last}{behind}COMMIT\n");
    trace(&text, &to("203.0.113.10", 80), &machine(&[]))
}

#[test]
fn chains_that_double_forty_times_are_walked() {
    for way in ["-p tcp", "-m statistic --mode random --probability 0.5"] {
        let trace = ladder(40, way, &["-p tcp --dport 443 -j DROP"]);
        assert_eq!(outcomes(&trace), ["Pass 1"]);
        assert!(!trace.cut && trace.unlisted && trace.steps.len() <= 100_000);
    }
    // 2^39 times to and fro.
    let toggled = ladder(40, "", &["-j MARK --set-xmark 0x7/0x0"]);
    assert_eq!((outcomes(&toggled), toggled.cut), (vec!["Pass 1".to_owned()], false));
    let set = ladder(40, "", &["-j MARK --set-mark 7"]);
    assert_eq!((outcomes(&set), set.cut), (vec!["Drop 1".to_owned()], false));
}

#[test]
fn what_a_part_gets_each_time_is_exact() {
    let half = "-m statistic --mode random --probability 0.5 -j DROP";
    let trace = ladder(18, "", &[half]);
    assert!(!trace.cut);
    let pass = &trace.outcomes[0];
    assert_eq!((pass.share.numer(), pass.share.denom()), (&BigUint::one(), &(BigUint::one() << (1usize << 17))));
    assert!((&pass.share + &trace.outcomes[1].share).is_one());
    // Shares of 2^39 digits are not.
    let trace = ladder(40, "", &[half]);
    assert!(trace.cut && trace.unknown.iter().any(|one| one.what.contains("digits")), "{:?}", trace.unknown);
    let sum: crate::ir::share::Share = trace.outcomes.iter().map(|one| one.share.clone()).sum();
    assert!(sum.is_one());
}

#[test]
fn rules_as_long_as_a_file_are_listed_once() {
    let long = format!("-m comment --comment \"{}\" -j MARK --set-mark 7", "x".repeat(1 << 20));
    let trace = ladder(12, "", &[&long]);
    let bytes: usize = trace.steps.iter().map(|step| step.rule.len()).sum();
    assert!(trace.unlisted && bytes <= 32 << 20, "{bytes}");
    assert_eq!(outcomes(&trace), ["Drop 1"]);
}
