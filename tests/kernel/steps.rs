//! Hand-written rules that remember: counters that run in step, lists of addresses, and flags of the first packet.

use lbc::ir::share::Share;

use crate::lab;
use crate::model::Attempt;
use crate::net::{Host, Lab, vip};
use crate::target::{Rules, Target};
use crate::traffic::Proto;

const IN_STEP: u16 = 80;
const TWICE: u16 = 443;
const LISTED: u16 = 81;

fn iptables() -> String {
    let to = |number| format!("-j DNAT --to-destination {}:8080", Host::Backend(number).address(false));
    let head = |chain: &str, port: u16| format!("-4 -A {chain} -d {} -p tcp -m tcp --dport {port}", vip::LOCAL);
    let nth = |every: u32, packet: u32| format!("-m statistic --mode nth --every {every} --packet {packet}");
    let (first, second, third) = (to(1), to(2), to(3));
    let (mangle, nat) = (head("PREROUTING", IN_STEP), head("PREROUTING", IN_STEP));
    let (before, twice) = (head("PREROUTING", TWICE), head("PREROUTING", TWICE));
    let list = head("PREROUTING", LISTED);
    let recent = "-m recent --name steps --rsource";
    let (mark, half, other, every_third) = ("-m mark --mark 0x1", nth(2, 0), nth(2, 1), nth(3, 0));
    // Marks of counters that see every packet would not be in step with those of nat: only first packets are counted.
    format!(
        "*mangle\n:OWN - [0:0]\n\
         {mangle} --syn {half} -j MARK --set-mark 1\n\
         {before} -m conntrack --ctstate NEW -j OWN\n\
         {before} -m conntrack --ctstate NEW -j OWN\n\
         -4 -A OWN {every_third} -j MARK --set-xmark 0x1/0x0\n\
         COMMIT\n*nat\n\
         {nat} {other} {mark} {first}\n\
         {nat} {mark} {every_third} {first}\n\
         {nat} {mark} {second}\n\
         {nat} {third}\n\
         {twice} {mark} {first}\n\
         {twice} {second}\n\
         {list} {recent} --rcheck {third}\n\
         {list} {recent} --set -m mark --mark 0x7 {third}\n\
         {list} {recent} --rcheck --hitcount 2 {third}\n\
         {list} {recent} --update --seconds 60 -m recent --name steps --rsource --rcheck --hitcount 2 {second}\n\
         COMMIT\n"
    )
}

fn nft() -> String {
    let to = |number| format!("dnat ip to {}:8080", Host::Backend(number).address(false));
    let head = |port: u16| format!("ip daddr {} tcp dport {port}", vip::LOCAL);
    let (step, twice) = (head(IN_STEP), head(TWICE));
    let (first, second, third) = (to(1), to(2), to(3));
    format!(
        "table inet ht\ndelete table inet ht\ntable inet ht {{\n\
         \x20chain own {{\n  numgen inc mod 3 0 meta mark set meta mark ^ 1\n }}\n\
         \x20chain mangle {{\n  type filter hook prerouting priority -150; policy accept;\n\
         \x20 {step} tcp flags & (fin|syn|rst|ack) == syn numgen inc mod 2 0 meta mark set 1\n\
         \x20 {twice} tcp flags == syn jump own\n\
         \x20 {twice} tcp flags ! fin,rst ct state new jump own\n }}\n\
         \x20chain nat {{\n  type nat hook prerouting priority -100; policy accept;\n\
         \x20 {step} numgen inc mod 2 1 meta mark 1 {first}\n\
         \x20 {step} meta mark 1 numgen inc mod 3 0 {first}\n\
         \x20 {step} meta mark 1 {second}\n\
         \x20 {step} {third}\n\
         \x20 {twice} meta mark 1 {first}\n\
         \x20 {twice} {second}\n }}\n}}\n"
    )
}

fn check(lab: &Lab, target: Target, port: u16, expected: &[(&str, u32)]) {
    let attempt = Attempt {
        proto: Proto::Tcp,
        from: Host::Client,
        source: None,
        to: format!("{}:{port}", vip::LOCAL).parse().expect("an address"),
    };
    let loaded = lab.loaded(target);
    let of: u32 = expected.iter().map(|(_, part)| part).sum();
    let mut said = loaded.servers(&attempt);
    said.sort();
    let wanted: Vec<(String, Share)> =
        expected.iter().map(|(server, part)| ((*server).to_owned(), Share::new((*part).into(), of.into()))).collect();
    assert_eq!(said, wanted, "{target} {port}");
    let count = 4 * of as usize;
    let servers = lab.probe(Proto::Tcp, &attempt.to.to_string()).count(count).servers();
    assert_eq!(loaded.sequence(&attempt, count), Some(servers.clone()), "{target} {port}");
    for (server, part) in expected {
        let seen = servers.iter().filter(|one| one == server).count();
        assert_eq!(seen, 4 * *part as usize, "{target} {port} {server}: {servers:?}");
    }
}

#[test]
fn counters_in_step_share_as_the_evaluator_says() {
    let Some(lab) = lab!() else { return };
    for target in lab.targets().filter(|target| *target != Target::NftJson) {
        lab.clear().expect("the balancer can be emptied");
        let text = if target.is_iptables() { iptables() } else { nft() };
        lab.load(&Rules { target, text }).expect("hand-written rules load");
        check(&lab, target, IN_STEP, &[("b1:8080", 1), ("b2:8080", 2), ("b3:8080", 3)]);
        check(&lab, target, TWICE, &[("b1:8080", 2), ("b2:8080", 1)]);
        if target.is_iptables() {
            // The first connection of a client; then the list holds it.
            let attempt = Attempt {
                proto: Proto::Tcp,
                from: Host::Client,
                source: None,
                to: format!("{}:{LISTED}", vip::LOCAL).parse().expect("an address"),
            };
            let said = lab.loaded(target).servers(&attempt);
            assert_eq!(said, [("b2:8080".to_owned(), Share::from_integer(1u32.into()))], "{target}");
            let probe = lab.probe(Proto::Tcp, &attempt.to.to_string());
            assert_eq!(probe.one().server(), "b2:8080", "{target}");
            assert_eq!(probe.one().server(), "b3:8080", "{target}");
        }
    }
}
