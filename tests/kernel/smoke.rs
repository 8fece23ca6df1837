//! The shortest way through everything: one program, compiled, loaded and measured on every target.

use crate::lab;
use crate::stats::assert_shares;
use crate::target::Target;
use crate::traffic::Proto;

const PROGRAM: &str = "\
host a = 10.9.1.11, fd09:1::11
host b = 10.9.1.12, fd09:1::12
balance tcp {203.0.113.10, [2001:db8:ffff::10]}:80 -> a:8080 weight 2, b:8080
";

const WEIGHTS: [(&str, u64); 2] = [("b1:8080", 2), ("b2:8080", 1)];

#[test]
fn two_thirds_go_to_a_on_every_target() {
    let Some(lab) = lab!() else { return };
    for target in lab.targets() {
        let rules = lab.install(target, PROGRAM).expect("a correct program");
        lab.check_fixpoint(&rules).expect("rules survive a reboot");
        for to in ["203.0.113.10:80", "[2001:db8:ffff::10]:80"] {
            let servers = lab.probe(Proto::Tcp, to).count(600).servers();
            assert_shares(&format!("{target} {to}"), &servers, &WEIGHTS);
        }
    }
}

#[test]
fn nft_text_and_json_are_one_program_to_the_kernel() {
    let Some(lab) = lab!() else { return };
    if ![Target::Nft, Target::NftJson].iter().all(|target| lab.targets().any(|able| able == *target)) {
        return;
    }
    let [text, json] =
        [Target::Nft, Target::NftJson].map(|target| target.compile(PROGRAM, &[]).expect("a correct program"));
    lab.check_same_bytecode(&text, &json).expect("one model, two spellings");
}

#[test]
fn the_script_installs_once_and_removes_everything() {
    let Some(lab) = lab!() else { return };
    for target in lab.targets().filter(|target| target.is_iptables()) {
        lab.clear().expect("the balancer can be emptied");
        let script = target.compile_script(PROGRAM, &[]).expect("a correct program");
        lab.run_script(&script, &[]).expect("the first run");
        let once = lab.listing(target, &["nat"]).expect("a listing");
        lab.run_script(&script, &[]).expect("the second run");
        assert_eq!(once, lab.listing(target, &["nat"]).expect("a listing"), "{target}: twice is once");
        let servers = lab.probe(Proto::Tcp, "203.0.113.10:80").count(300).servers();
        assert_shares(&format!("{target}"), &servers, &WEIGHTS);
        lab.run_script(&script, &["remove"]).expect("removal");
        let rest = lab.listing(target, &["nat"]).expect("a listing");
        assert!(!rest.contains("LBC"), "{target} leaves something behind:\n{rest}");
    }
}

#[test]
fn the_compiler_refuses_nonsense_in_a_readable_way() {
    let trouble = Target::Nft.compile("nonsense\n", &[]).expect_err("nonsense is no statement");
    assert!(trouble.0.contains("--- program\n   1 nonsense"), "{trouble}");
}
