//! What rules do that people write, and those that they write by mistake.

use super::{dump, machine, out, outcomes, to, trace};
use crate::ir::Family;
use crate::meaning::Action;
use crate::statement::balance::Protocol;
use crate::target::iptables::Evaluator;
use crate::trace::{Hit, Packet, Walk};

fn nat(rules: &str) -> String {
    format!("*nat\n:a - [0:0]\n:b - [0:0]\n:c - [0:0]\n{rules}\nCOMMIT\n")
}

fn dnat(choice: &str, last: u32) -> String {
    format!("-A PREROUTING -p tcp --dport 80 {choice} -j DNAT --to-destination 10.9.1.{last}:8080\n")
}

fn shares(text: &str) -> Vec<String> {
    outcomes(&trace(text, &to("203.0.113.10", 80), &machine(&[])))
}

#[test]
fn three_thirds_and_no_last_rule_let_some_pass() {
    let third = "-m statistic --mode random --probability 0.33";
    let text = nat(&(dnat(third, 1) + &dnat(third, 2) + &dnat(third, 3)));
    // k = 708669604 of 2^31: k', k'(1-k'), k'(1-k')^2, (1-k')^3, each with what it cancels.
    assert_eq!(
        shares(&text),
        [
            "Dnat(10.9.1.1, 8080) 177167401/536870912",
            "Dnat(10.9.1.2, 8080) 63727736174444911/288230376151711744",
            "Dnat(10.9.1.3, 8080) 22923090450029542962782521/154742504910672534362390528",
            "Pass 46540819988922209551621831/154742504910672534362390528",
        ]
    );
}

#[test]
fn nth_packets_0_1_2_of_3_are_not_thirds() {
    let nth = |packet| format!("-m statistic --mode nth --every 3 --packet {packet}");
    let text = nat(&(dnat(&nth(0), 1) + &dnat(&nth(1), 2) + &dnat(&nth(2), 3)));
    assert_eq!(
        shares(&text),
        ["Dnat(10.9.1.1, 8080) 1/3", "Dnat(10.9.1.2, 8080) 2/9", "Dnat(10.9.1.3, 8080) 4/27", "Pass 8/27",]
    );
    let dump = dump(&text);
    let walk = Evaluator::new(&dump, Family::V4);
    let sequence = walk.sequence(&to("203.0.113.10", 80), &machine(&[]), 9).expect("one sequence");
    let last: Vec<u8> = sequence
        .iter()
        .map(|action| match action {
            Action::Dnat(std::net::IpAddr::V4(address), _) => address.octets()[3],
            _ => 0,
        })
        .collect();
    // The second rule sees 2, 3, 5, 6, 8, 9 (from 1) and takes the second, fifth of them; the third sees what is left.
    assert_eq!(last, [1, 0, 2, 1, 0, 3, 1, 2, 0]);
}

#[test]
fn nth_that_falls_through_is_round_robin() {
    let nth = |every| format!("-m statistic --mode nth --every {every} --packet 0");
    let text = nat(&(dnat(&nth(3), 1) + &dnat(&nth(2), 2) + &dnat("", 3)));
    assert_eq!(shares(&text), ["Dnat(10.9.1.1, 8080) 1/3", "Dnat(10.9.1.2, 8080) 1/3", "Dnat(10.9.1.3, 8080) 1/3",]);
}

#[test]
fn goto_does_not_come_back_and_jump_does() {
    let rules = "-A PREROUTING -j a\n-A PREROUTING -p tcp -j REDIRECT --to-ports 1\n\
                 -A a -g b\n-A a -p tcp -j REDIRECT --to-ports 2\n-A b -s 192.0.2.1 -j DROP\n";
    assert_eq!(shares(&nat(rules)), ["Redirect(1) 1"]);
    let rules = rules.replace("-g b", "-j b");
    assert_eq!(shares(&nat(&rules)), ["Redirect(2) 1"]);
    let rules = "-A PREROUTING -g a\n-A PREROUTING -p tcp -j REDIRECT --to-ports 1\n-A a -j RETURN\n";
    assert_eq!(shares(&nat(rules)), ["Pass 1"]);
}

#[test]
fn marks_lead_to_masquerading() {
    let rules = "-A PREROUTING -m statistic --mode random --probability 0.25 -j MARK --or-mark 0x4000\n\
                 -A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.9.1.1\n\
                 -A POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n-A POSTROUTING -j MASQUERADE\n";
    assert_eq!(shares(&nat(rules)), ["Dnat(10.9.1.1, 80) 3/4", "Dnat(10.9.1.1, 80) masquerade 1/4"]);
}

#[test]
fn filter_sees_the_new_destination_and_the_old_one() {
    let nat = "*nat\n-A PREROUTING -d 203.0.113.10 -p tcp --dport 80 -m comment --comment web -j DNAT --to-destination 10.9.1.1:8080\nCOMMIT\n";
    let filter = |rule: &str| format!("{nat}*filter\n:FORWARD DROP [0:0]\n-A FORWARD {rule} -j ACCEPT\nCOMMIT\n");
    let open = ["Dnat(10.9.1.1, 8080) 1 (web)"];
    for rule in [
        "-d 10.9.1.1 -p tcp --dport 8080",
        "-m conntrack --ctstate DNAT --ctorigdst 203.0.113.10 --ctorigdstport 80",
        "-i eth0 -m state --state NEW",
    ] {
        assert_eq!(shares(&filter(rule)), open, "{rule}");
    }
    for rule in ["-d 203.0.113.10", "-p tcp --dport 80", "-m conntrack --ctstate ESTABLISHED", "-i eth1", "-p icmp"] {
        assert_eq!(shares(&filter(rule)), ["Drop 1"], "{rule}");
    }
}

#[test]
fn a_connection_of_this_machine_to_itself_comes_in_through_lo() {
    let text = "*nat\n-A OUTPUT -p tcp --dport 80 -j REDIRECT --to-ports 9\n-A PREROUTING -p tcp --dport 9 -j REDIRECT --to-ports 10\nCOMMIT\n\
                *filter\n-A INPUT -i lo -d 127.0.0.1 -p tcp --dport 9 -m conntrack --ctstate DNAT --ctorigdstport 80 -m comment --comment no -j REJECT\nCOMMIT\n";
    let packet = out(to("203.0.113.10", 80));
    assert_eq!(outcomes(&trace(text, &packet, &machine(&[]))), ["Reject 1 (no)"]);
}

#[test]
fn what_is_not_tracked_is_not_translated() {
    let text = "*raw\n-A PREROUTING -p udp --dport 514 -j CT --notrack\nCOMMIT\n\
                *nat\n-A PREROUTING -p udp --dport 514 -j DNAT --to-destination 10.9.1.1\nCOMMIT\n\
                *filter\n-A FORWARD -m conntrack --ctstate UNTRACKED -m comment --comment log -j DROP\nCOMMIT\n";
    let packet = Packet { protocol: Protocol::Udp, ..to("203.0.113.10", 514) };
    assert_eq!(outcomes(&trace(text, &packet, &machine(&[]))), ["Drop 1 (log)"]);
}

/// As Linux 6.18 treated packets.
#[test]
fn before_conntrack_there_is_no_connection_to_ask() {
    let dropped = |rule: &str| {
        let text = format!(
            "*raw\n-A PREROUTING -p tcp {rule}\nCOMMIT\n{}",
            nat("-A PREROUTING -p tcp -j DNAT --to-destination 10.0.0.1:80\n")
        );
        let trace = trace(&text, &to("203.0.113.10", 80), &machine(&["203.0.113.10"]));
        assert!(trace.unknown.is_empty());
        outcomes(&trace)[0].starts_with("Drop")
    };
    for test in ["--ctstate INVALID", "! --ctstate NEW"] {
        assert!(dropped(&format!("-m conntrack {test} -j DROP")), "{test}");
    }
    for test in
        ["--ctstate NEW", "--ctorigdst 203.0.113.10", "! --ctorigdst 192.0.2.1", "--ctdir ORIGINAL", "--ctproto 6"]
    {
        assert!(!dropped(&format!("-m conntrack {test} -j DROP")), "{test}");
    }
    for test in ["-m connmark ! --mark 1", "-m connmark --mark 0"] {
        assert!(!dropped(&format!("{test} -j DROP")), "{test}");
    }
    let cluster = "-m cluster --cluster-total-nodes 2 --cluster-local-nodemask 3 --cluster-hash-seed 0";
    assert!(!dropped(&format!("{cluster} -j DROP")));
    // Once seen, it is a new connection.
    let text = "*mangle\n-A PREROUTING -m conntrack --ctstate NEW -j DROP\nCOMMIT\n";
    assert!(outcomes(&trace(text, &to("203.0.113.10", 80), &machine(&[])))[0].starts_with("Drop"));
}

#[test]
fn an_unknown_match_is_no_match_and_is_said() {
    let text = nat("-A PREROUTING -m set --match-set lb src -p tcp --dport 80 -j DNAT --to-destination 10.9.1.1\n\
         -A PREROUTING -m set --match-set lb src -p tcp --dport 81 -j DNAT --to-destination 10.9.1.2\n\
         -A PREROUTING -p tcp --dport 80 -j FANCY --with x\n\
         -A PREROUTING -p tcp --dport 80 --sport 1000 -j DNAT --to-destination 10.9.1.4\n\
         -A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.9.1.3");
    let trace = trace(&text, &to("203.0.113.10", 80), &machine(&[]));
    assert_eq!(outcomes(&trace), ["Dnat(10.9.1.3, 80) 1"]);
    let what: Vec<&str> = trace.unknown.iter().map(|unknown| unknown.what.as_str()).collect();
    assert_eq!(what, ["--match-set lb src", "-j FANCY --with x", "a value of the packet that is not known"]);
    let hits: Vec<Hit> = trace.steps.iter().map(|step| step.hit).collect();
    assert_eq!(hits, [Hit::CannotTell, Hit::No, Hit::CannotTell, Hit::CannotTell, Hit::Yes]);
}

#[test]
fn steps_say_what_gets_to_a_rule_and_what_it_takes() {
    let half = "-m statistic --mode random --probability 0.5";
    let text = nat(&(dnat(half, 1) + &dnat(half, 2) + &dnat("", 3)));
    let trace = trace(&text, &to("203.0.113.10", 80), &machine(&[]));
    let steps: Vec<String> = trace
        .steps
        .iter()
        .map(|step| format!("{} {} {} {}", step.table, step.chain, step.reached, step.taken))
        .collect();
    assert_eq!(steps, ["nat PREROUTING 1 1/2", "nat PREROUTING 1/2 1/4", "nat PREROUTING 1/4 1/4"]);
    assert_eq!(trace.steps[0].rule, dnat(half, 1).trim_end());
}

#[test]
fn rules_that_double_again_and_again_are_told() {
    // Each chain leads to the next one twice: 2^40 ways.
    let mut text = String::from("*nat\n");
    (0..=40).for_each(|n| text += &format!(":d{n} - [0:0]\n"));
    (0..40).for_each(|n| text += &format!("-A d{n} -j d{}\n-A d{n} -j d{}\n", n + 1, n + 1));
    text += "-A d40 -s 192.0.2.77 -j ACCEPT\n-A PREROUTING -j d0\nCOMMIT\n";
    let dump = dump(&text);
    let walk = Evaluator::new(&dump, Family::V4).walk(&to("203.0.113.10", 80), &machine(&[]), false);
    assert_eq!(outcomes(&walk), ["Pass 1"]);
    assert_eq!((walk.unknown.len(), walk.cut), (0, false));
}

#[test]
fn marks_that_multiply_are_cut() {
    let flips: String = (0..32)
        .map(|bit| {
            format!(
                "-A PREROUTING -m statistic --mode random --probability 0.5 -j MARK --xor-mark {:#x}\n",
                1u32 << bit
            )
        })
        .collect();
    let text = nat(&flips);
    let dump = dump(&text);
    let walk = Evaluator::new(&dump, Family::V4).walk(&to("203.0.113.10", 80), &machine(&[]), false);
    assert_eq!(outcomes(&walk), ["Pass 1"]);
    assert!(!walk.unknown.is_empty());
}

#[test]
fn a_long_chain_finds_its_service_with_and_without_steps() {
    let rules: String = (0..2000)
        .map(|n| {
            format!(
                "-A PREROUTING -d 10.0.{}.{} -p tcp --dport 80 -j DNAT --to-destination 10.9.1.1:{n}\n",
                n / 256,
                n % 256
            )
        })
        .collect();
    let text = nat(&(rules + "-A PREROUTING -d 10.0.0.0/8 -p tcp --dport 80 -j REDIRECT --to-ports 7\n"));
    let at = |address| outcomes(&trace(&text, &to(address, 80), &machine(&[])));
    assert_eq!(at("10.0.4.1"), ["Dnat(10.9.1.1, 1025) 1"]);
    assert_eq!(at("10.1.0.0"), ["Redirect(7) 1"]);
    assert_eq!(at("11.1.0.0"), ["Pass 1"]);
}

#[test]
fn a_redirect_to_the_port_that_it_was_is_no_translation() {
    // Seen in a kernel 6.18: `--ctstate DNAT` does not match a connection to 127.0.0.1:10 that is redirected to port 10.
    let text = "*nat\n-A OUTPUT -p tcp --dport 9:10 -j REDIRECT --to-ports 10\nCOMMIT\n\
                *filter\n-A INPUT -p tcp --dport 10 -m conntrack --ctstate DNAT -j DROP\nCOMMIT\n";
    let at = |port| outcomes(&trace(text, &out(to("127.0.0.1", port)), &machine(&[])));
    assert_eq!(at(9), ["Drop 1"]);
    assert_eq!(at(10), ["Redirect(10) 1"]);
}
