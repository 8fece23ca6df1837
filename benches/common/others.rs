//! Rules in the shapes of others, for the program of [`super::uniform`].

use std::fmt::Write;

use super::{backend, listener, weight};

/// One flat list with a rule for each backend, as blogs show it.
pub fn blog(services: usize, backends: usize) -> String {
    let mut text = "*nat\n".to_owned();
    for service in 0..services {
        let mut left: usize = (0..backends).map(|nth| weight(service, nth)).sum();
        for nth in 0..backends {
            let _ = write!(text, "-A PREROUTING -d {}/32 -p tcp -m tcp --dport 80 ", listener(service));
            if nth + 1 < backends {
                let part = weight(service, nth) as f64 / left as f64;
                let _ = write!(text, "-m statistic --mode random --probability {part:.11} ");
            }
            let _ = writeln!(text, "-j DNAT --to-destination {}:8080", backend(service * backends + nth));
            left -= weight(service, nth);
        }
    }
    text + "COMMIT\n"
}

/// kube-proxy's iptables mode: a list of services, a chain for each, and one for each backend. It has no weights.
pub fn kube_iptables(services: usize, backends: usize) -> String {
    let mut text = "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n".to_owned();
    for service in 0..services {
        let _ = writeln!(text, ":KUBE-SVC-{service:016} - [0:0]");
        for nth in service * backends..(service + 1) * backends {
            let _ = writeln!(text, ":KUBE-SEP-{nth:016} - [0:0]");
        }
    }
    text.push_str("-A PREROUTING -j KUBE-SERVICES\n-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000\n");
    for service in 0..services {
        let comment = format!("-m comment --comment \"default/service-{service}:http\"");
        let _ = writeln!(
            text,
            "-A KUBE-SERVICES -d {}/32 -p tcp {comment} -m tcp --dport 80 -j KUBE-SVC-{service:016}",
            listener(service)
        );
        for nth in 0..backends {
            let number = service * backends + nth;
            let _ = write!(text, "-A KUBE-SVC-{service:016} {comment} ");
            if nth + 1 < backends {
                let part = 1.0 / (backends - nth) as f64;
                let _ = write!(text, "-m statistic --mode random --probability {part:.10} ");
            }
            let _ = writeln!(text, "-j KUBE-SEP-{number:016}");
            let _ = writeln!(text, "-A KUBE-SEP-{number:016} -s {}/32 {comment} -j KUBE-MARK-MASQ", backend(number));
            let _ = writeln!(
                text,
                "-A KUBE-SEP-{number:016} -p tcp {comment} -m tcp -j DNAT --to-destination {}:8080",
                backend(number)
            );
        }
    }
    text + "COMMIT\n"
}

/// kube-proxy's nft mode, as texts that are loaded one after the other: in one transaction, thousands of anonymous maps
/// take minutes. It has no weights.
pub fn kube_nft(services: usize, backends: usize) -> Vec<String> {
    const AT_ONCE: usize = 200;
    let mut texts = vec![
        "table ip kube {\n  chain to-masquerade { meta mark set meta mark | 0x4000; }\n  \
         map listeners { type ipv4_addr . inet_proto . inet_service : verdict; }\n  \
         chain prerouting { type nat hook prerouting priority -100; ip daddr . meta l4proto . th dport vmap @listeners; }\n}\n"
            .to_owned(),
    ];
    for start in (0..services).step_by(AT_ONCE) {
        let mut text = "table ip kube {\n".to_owned();
        let mut elements = String::new();
        for service in start..(start + AT_ONCE).min(services) {
            let mut ways = Vec::new();
            for nth in 0..backends {
                let number = service * backends + nth;
                let to = backend(number);
                let _ = writeln!(
                    text,
                    "  chain e{number} {{\n    ip saddr {to} jump to-masquerade\n    meta l4proto tcp dnat to {to}:8080\n  }}"
                );
                ways.push(format!("{nth} : goto e{number}"));
            }
            let at = listener(service);
            let _ = writeln!(
                text,
                "  chain s{service} {{\n    ip daddr {at} tcp dport 80 ip saddr != 10.0.0.0/8 jump to-masquerade\n    \
                 numgen random mod {backends} vmap {{ {} }}\n  }}",
                ways.join(", ")
            );
            let _ = writeln!(elements, "add element ip kube listeners {{ {at} . tcp . 80 : goto s{service} }}");
        }
        texts.push(text + "}\n" + &elements);
    }
    texts
}

/// The shapes that were the best known by hand: a verdict map to a chain for each sum of weights, and one shared map.
pub fn shared_map(services: usize, backends: usize) -> String {
    let mut text = "table ip shared {\n".to_owned();
    let mut exact = Vec::new();
    let mut sums = std::collections::BTreeMap::<usize, Vec<String>>::new();
    for service in 0..services {
        let sum: usize = (0..backends).map(|nth| weight(service, nth)).sum();
        let at = listener(service);
        exact.push(format!("{at} . tcp . 80 : goto w{sum}"));
        let list = sums.entry(sum).or_default();
        let mut slot = 0;
        for nth in 0..backends {
            for _ in 0..weight(service, nth) {
                list.push(format!("{at} . 80 . {slot} : {} . 8080", backend(service * backends + nth)));
                slot += 1;
            }
        }
    }
    for (sum, list) in &sums {
        let _ = writeln!(
            text,
            "  map m{sum} {{ typeof ip daddr . tcp dport . numgen random mod {sum} : ip daddr . tcp dport; elements = {{ {} }}; }}\n  \
             chain w{sum} {{ dnat ip to ip daddr . tcp dport . numgen random mod {sum} map @m{sum}; }}",
            list.join(", ")
        );
    }
    let _ = writeln!(
        text,
        "  map exact {{ type ipv4_addr . inet_proto . inet_service : verdict; elements = {{ {} }}; }}\n  \
         chain prerouting {{ type nat hook prerouting priority -100; ip daddr . meta l4proto . th dport vmap @exact; }}",
        exact.join(", ")
    );
    text + "}\n"
}

/// A prefix tree of chains with eight ways and a list of rules for each service, without comments.
pub fn tree(services: usize, backends: usize) -> String {
    let mut chains = String::from("*nat\n");
    let mut rules = String::new();
    let _ = writeln!(chains, ":T - [0:0]");
    rules.push_str("-A PREROUTING -g T\n");
    let first = u32::from(listener(0));
    grow("T", first, 32 - 18, services as u32 + first, &mut chains, &mut rules);
    for service in 0..services {
        let _ = writeln!(chains, ":S{service} - [0:0]");
        let mut left: usize = (0..backends).map(|nth| weight(service, nth)).sum();
        for nth in 0..backends {
            let _ = write!(rules, "-A S{service} -p tcp ");
            if nth + 1 < backends {
                let part = weight(service, nth) as f64 / left as f64;
                let _ = write!(rules, "-m statistic --mode random --probability {part:.11} ");
            }
            let _ = writeln!(rules, "-j DNAT --to-destination {}:8080", backend(service * backends + nth));
            left -= weight(service, nth);
        }
    }
    chains + &rules + "COMMIT\n"
}

/// Appends the rules of the chain that looks among `2^bits` addresses from `first` on, below `end`.
fn grow(chain: &str, first: u32, bits: u32, end: u32, chains: &mut String, rules: &mut String) {
    if bits <= 3 {
        for address in (first..first + (1 << bits)).take_while(|address| *address < end) {
            let (address, service) = (std::net::Ipv4Addr::from(address), address - u32::from(listener(0)));
            let _ = writeln!(rules, "-A {chain} -d {address}/32 -p tcp -m tcp --dport 80 -g S{service}");
        }
        return;
    }
    let bits = bits.saturating_sub(3).max(2);
    for part in (first..).step_by(1 << bits).take(8).take_while(|part| *part < end) {
        let name = format!("{chain}.{}", (part - first) >> bits);
        let _ = writeln!(chains, ":{name} - [0:0]");
        let _ = writeln!(rules, "-A {chain} -d {}/{} -g {name}", std::net::Ipv4Addr::from(part), 32 - bits);
        grow(&name, part, bits, end, chains, rules);
    }
}

/// The same program for ferm, another compiler to iptables.
pub fn ferm(services: usize, backends: usize) -> String {
    let mut text = String::from("domain ip table nat chain PREROUTING {\n");
    for service in 0..services {
        let mut left: usize = (0..backends).map(|nth| weight(service, nth)).sum();
        let _ = writeln!(text, "  daddr {} proto tcp dport 80 {{", listener(service));
        for nth in 0..backends {
            if nth + 1 < backends {
                let part = weight(service, nth) as f64 / left as f64;
                let _ = write!(text, "    mod statistic mode random probability {part:.11}");
            }
            let _ = writeln!(text, "    DNAT to \"{}:8080\";", backend(service * backends + nth));
            left -= weight(service, nth);
        }
        text.push_str("  }\n");
    }
    text + "}\n"
}
