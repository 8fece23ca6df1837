//! What is found is what the rules do, for packets of all kinds.

use num_traits::One;
use proptest::prelude::*;

use super::*;
use crate::target::iptables::{Evaluator, Families, read};
use crate::trace::Walk;

fn searched<T>(text: &str, look: impl FnOnce(&Evaluator<'_>, Found) -> T) -> T {
    let dump = read(text, Families::Both).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"));
    let rules = Evaluator::new(&dump, Family::V4);
    let found = find(&rules, Family::V4, None, MAX_COST).expect("few rules");
    assert_eq!((found.unseen, found.unseen_local), (None, false));
    look(&rules, found)
}

fn nat(rules: &[&str]) -> String {
    format!("*nat\n:OWN - [0:0]\n{}\nCOMMIT\n", rules.join("\n"))
}

/// The ports and places of each listener, with the number of its cases.
fn shapes(rules: &[&str]) -> Vec<String> {
    let place = |place: &Place| match place {
        Place::Range(first, last) => format!("{}-{}", address(Family::V4, *first), address(Family::V4, *last)),
        Place::OwnRange(first, _) => format!("own {}", address(Family::V4, *first)),
        Place::Local => "local".to_owned(),
    };
    let all = |list: &[Place]| list.iter().map(place).collect::<Vec<_>>().join(" ");
    searched(&nat(rules), |_, found| {
        let shape = |one: &Listener| {
            let places = match &one.places {
                Places::These(list) => all(list),
                Places::AllBut(list) => format!("* but [{}]", all(list)),
            };
            format!("{:?} {places} {:?} {}", one.protocols, one.ports, one.cases.len())
        };
        found.listeners.iter().map(shape).collect()
    })
}

#[test]
fn alike_connections_are_one_listener() {
    assert_eq!(
        shapes(&[
            "-A PREROUTING -d 10.0.0.1,10.0.0.3 -p tcp --dport 80 -j REDIRECT --to-ports 1",
            "-A PREROUTING -d 10.0.0.1,10.0.0.3 -p udp --dport 80 -j REDIRECT --to-ports 1",
            "-A PREROUTING -d 10.1.0.0/16 -p tcp -m multiport --dports 80,443,8000:8010 -j DNAT --to-destination 10.9.0.1",
        ]),
        [
            "[Tcp, Udp] 10.0.0.1-10.0.0.1 10.0.0.3-10.0.0.3 [(80, 80)] 2",
            "[Tcp] 10.1.0.0-10.1.255.255 [(80, 80), (443, 443), (8000, 8010)] 2",
        ]
    );
}

#[test]
fn what_is_for_every_address_says_for_which_it_is_not() {
    assert_eq!(
        shapes(&[
            "-A PREROUTING -d 10.0.0.1 -j RETURN",
            "-A PREROUTING -d 10.0.0.2 -p tcp --dport 443 -j REDIRECT --to-ports 1",
            "-A PREROUTING -p tcp --dport 80 ! -i lo -m addrtype ! --dst-type LOCAL -j REDIRECT --to-ports 2",
        ]),
        ["[Tcp] 10.0.0.2-10.0.0.2 [(443, 443)] 2", "[Tcp] * but [10.0.0.1-10.0.0.1 local] [(80, 80)] 2",]
    );
}

#[test]
fn addresses_of_the_machine_are_found_named_or_not() {
    let local = "-m addrtype --dst-type LOCAL";
    assert_eq!(
        shapes(&[
            &format!("-A PREROUTING {local} -p tcp --dport 80 -j REDIRECT --to-ports 1"),
            &format!("-A PREROUTING {local} -d 10.0.0.1 -p tcp --dport 81 -j REDIRECT --to-ports 2"),
            // An address that translation alone names is nothing of its own.
            &format!("-A PREROUTING {local} -p tcp --dport 82 -j DNAT --to-destination 10.0.0.2:80"),
            "-A POSTROUTING -d 10.0.0.2 -j MASQUERADE",
        ]),
        ["[Tcp] own 10.0.0.1 [(81, 81)] 2", "[Tcp] local [(80, 80)] 2", "[Tcp] local [(82, 82)] 2",]
    );
}

/// What stands behind a jump for this machine's addresses alone is asked about, too.
#[test]
fn addresses_behind_a_jump_for_those_of_the_machine_are_found() {
    assert_eq!(
        shapes(&[
            "-A PREROUTING -m addrtype --dst-type LOCAL -j OWN",
            "-A OWN -d 10.0.0.1 -p tcp --dport 80 -j REDIRECT --to-ports 1",
            "-A OWN -d 10.1.0.0/16 -p tcp --dport 81 -j RETURN",
            "-A OWN -p tcp --dport 81 -j REDIRECT --to-ports 2",
        ]),
        ["[Tcp] own 10.0.0.1 [(80, 80)] 2", "[Tcp] local [(81, 81)] 2"]
    );
}

/// A client that is this machine is told apart where it is known, and is not made up where it is not.
#[test]
fn rules_for_clients_of_this_machine_name_no_made_up_ones() {
    let text = nat(&[
        "-A PREROUTING -d 10.0.0.1 -j RETURN",
        "-A PREROUTING -s 128.0.0.0/8 -d 128.0.0.0/8 -j RETURN",
        "-A PREROUTING -p tcp --dport 80 -m addrtype --dst-type LOCAL -m addrtype --src-type LOCAL -j REDIRECT --to-ports 1",
        "-A PREROUTING -p tcp --dport 80 -m addrtype --dst-type LOCAL -j REDIRECT --to-ports 2",
    ]);
    let loopback = (0x7f00_0000, 0x7fff_ffff);
    searched(&text, |_, found| {
        let places: Vec<&Places> = found.listeners.iter().map(|one| &one.places).collect();
        let range = Place::OwnRange(0x8000_0000, 0x80ff_ffff);
        assert_eq!(places, [&Places::These(vec![range]), &Places::These(vec![Place::Local])]);
        assert!(found.listeners[1].cases.iter().any(|case| case.sources == Some(vec![loopback])), "{found:#?}");
    });
    let dump = read(&text, Families::Both).expect("a dump");
    let own = Machine { local: vec!["192.0.2.0/31".parse().expect("a prefix")], ..Machine::default() };
    let found = find(&Evaluator::new(&dump, Family::V4), Family::V4, Some(&own), MAX_COST).expect("few rules");
    let listener = found.listeners.last().expect("one of this machine");
    assert_eq!(listener.places, Places::These(vec![Place::OwnRange(0xc000_0200, 0xc000_0201)]));
    let sources = Some(vec![loopback, (0xc000_0200, 0xc000_0201)]);
    assert!(listener.cases.iter().any(|case| case.sources == sources), "{listener:#?}");
}

#[test]
fn what_has_too_many_ways_is_no_pass() {
    let mut chains = String::from("*nat\n");
    (0..=24).for_each(|nth| chains += &format!(":C{nth} - [0:0]\n"));
    chains += "-A PREROUTING -d 10.0.0.1 -p tcp --dport 80 -j C0\n-A C24 -m statistic --mode random --probability 0.5 -j ACCEPT\n";
    (0..24).for_each(|nth| chains += &format!("-A C{nth} -j C{}\n", nth + 1).repeat(2));
    chains += "COMMIT\n";
    let dump = read(&chains, Families::Both).expect("a dump");
    let rules = Evaluator::new(&dump, Family::V4).hasty();
    let found = find(&rules, Family::V4, None, MAX_COST).expect("most packets are simple");
    assert_eq!(found.listeners.len(), 1);
    assert!(found.listeners[0].cases.iter().any(|case| case.fate == Fate::Untold));
    assert!(rules.walk(&found.listeners[0].cases[0].packet, &Machine::default(), false).cut);
}

#[test]
fn an_address_that_is_kept_is_no_address_of_its_own() {
    let rules = nat(&[
        "-A PREROUTING -p tcp --dport 80:90 -j DNAT --to-destination :1080-1090/80",
        "-A OUTPUT -d 10.0.0.1 -j RETURN",
    ]);
    searched(&rules, |_, found| {
        assert_eq!(found.listeners.len(), 1, "{found:#?}");
        let case = &found.listeners[0].cases[0];
        assert_eq!(case.fate, Fate::Shares(vec![(Goal::To(None, ToPort::Moved(1000)), One::one())]));
    });
}

#[test]
fn a_mark_that_is_a_hash_is_for_each_client() {
    let mark = "-j HMARK --hmark-src-prefix 32 --hmark-dst-prefix 8 --hmark-rnd 0x1 --hmark-mod 2";
    let nat = "-A PREROUTING -p tcp --dport 80 -m mark --mark 1 -j REDIRECT --to-ports 81";
    let text = format!("*mangle\n-A PREROUTING -d 10.0.0.0/7 {mark}\nCOMMIT\n*nat\n{nat}\nCOMMIT\n");
    searched(&text, |_, found| {
        let [listener] = &found.listeners[..] else { panic!("{found:#?}") };
        assert_eq!(listener.ports, [(80, 80)], "where no rule asks for the mark it does not matter");
        assert!(matches!(listener.cases[0].fate, Fate::Hashed(_)), "{listener:#?}");
    });
}

#[test]
fn too_many_rules_are_told_and_not_waited_for() {
    // Ranges, because single ports are looked up.
    let rule = |port| format!("-A PREROUTING -p tcp --dport {port}:{} -j REDIRECT --to-ports 1000", port + 1);
    let rules: Vec<String> = (1..=300).map(rule).collect();
    let text = format!("*nat\n{}\nCOMMIT\n", rules.join("\n"));
    let dump = read(&text, Families::Both).expect("a dump");
    let rules = Evaluator::new(&dump, Family::V4);
    assert_eq!(find(&rules, Family::V4, None, 10_000), Err(TooLarge));
    let whole = find(&rules, Family::V4, None, MAX_COST).expect("few rules");
    assert_eq!((whole.unseen, whole.unseen_local, whole.listeners.len()), (None, false, 1));
    let parts: Vec<Found> = (1..20)
        .filter_map(|nth| find(&rules, Family::V4, None, 100_000 * nth).ok())
        .filter(|one| one != &whole)
        .collect();
    assert!(
        !parts.is_empty() && parts.iter().all(|part| part.unseen.is_some() || part.unseen_local || part.unseen_own)
    );
    assert!(parts.iter().all(|part| !part.listeners.is_empty()));
}

/// What the listeners say of a packet, where they say it for every port; `own` where it is for an address of this machine that no rule names.
fn said(rules: &Evaluator<'_>, found: &Found, packet: &Packet, own: bool) -> Option<Vec<(Action, Share)>> {
    let at = crate::address::number(packet.destination);
    let is_in = |list: &[Place]| {
        list.iter().any(|place| match place {
            Place::Range(first, last) => !own && (*first..=*last).contains(&at),
            Place::OwnRange(..) => false,
            Place::Local => own,
        })
    };
    let listener = found.listeners.iter().filter(|one| {
        one.protocols.contains(&packet.protocol)
            && one.ports.iter().any(|(first, last)| (*first..=*last).contains(&packet.port))
            && match &one.places {
                Places::These(list) => is_in(list),
                Places::AllBut(list) => !is_in(list),
            }
    });
    let listeners: Vec<&Listener> = listener.collect();
    assert!(listeners.len() <= 1, "{packet}: {listeners:#?}");
    let arrival = found.arrivals.iter().position(|one| one.direction() == packet.direction).expect("an arrival") as u32;
    let source = crate::address::number(packet.source);
    let case = listeners.iter().flat_map(|one| &one.cases).find(|case| {
        case.arrivals.contains(&arrival)
            && case.sources.as_ref().is_none_or(|list| list.iter().any(|(a, b)| (*a..=*b).contains(&source)))
    });
    let mut shares: Vec<(Action, Share)> = match case.map(|case| &case.fate) {
        Some(Fate::Shares(shares)) => {
            let varies = |goal: &Goal| matches!(goal, Goal::To(_, ToPort::Varied(_)) | Goal::Here(ToPort::Varied(_)));
            if shares.iter().any(|(goal, _)| varies(goal)) {
                return None;
            }
            shares.iter().map(|(goal, share)| (goal.action(packet), share.clone())).collect()
        }
        Some(Fate::InStep(_, shares)) => {
            // What one of its packets gets is for all of them.
            let fixed = |goal: &Goal| match goal {
                Goal::To(address, port) => address.is_some() && matches!(port, ToPort::Fixed(_)),
                Goal::Here(port) => matches!(port, ToPort::Fixed(_)),
                Goal::Pass | Goal::Drop | Goal::Reject => true,
            };
            let case = case.filter(|_| shares.iter().all(|(goal, _)| fixed(goal)))?;
            rules.walk(&case.packet, &case.machine, false).actions()
        }
        Some(Fate::Hashed(_)) => panic!("no rule of these hashes"),
        Some(Fate::Untold) => panic!("few rules"),
        None => vec![(Action::Pass, One::one())],
    };
    shares.sort();
    Some(shares)
}

fn rule() -> impl Strategy<Value = String> {
    let pick = |list: &[&'static str]| prop::sample::select(list.to_vec());
    let chain = pick(&["PREROUTING", "PREROUTING", "OUTPUT", "OWN"]);
    let destination = pick(&["", "-d 10.0.0.1", "-d 10.0.0.0/24", "! -d 10.0.0.2", "-d 10.0.0.3"]);
    let other = pick(&[
        "",
        "",
        "-i eth0",
        "! -i eth0",
        "-i wg+",
        "-s 192.0.2.0/24",
        "! -s 192.0.2.7",
        "-m addrtype --dst-type LOCAL",
    ]);
    let port = pick(&[
        "",
        "-p tcp --dport 80",
        "-p udp --dport 80:90",
        "-p tcp -m multiport --dports 80,85:100",
        "-p tcp ! --dport 90",
    ]);
    let chance =
        pick(&["", "", "-m statistic --mode random --probability .5", "-m statistic --mode nth --every 3 --packet 1"]);
    let target = pick(&[
        "-j OWN",
        "-g OWN",
        "-j RETURN",
        "-j DNAT --to-destination 10.0.0.2",
        "-j DNAT --to-destination 10.9.0.1:8080",
        "-j DNAT --to-destination 10.9.0.2:1080-1120/80",
        "-j DNAT --to-destination :81",
        "-j REDIRECT",
        "-j REDIRECT --to-ports 9",
    ]);
    (chain, destination, other, port, chance, target).prop_filter_map(
        "ports have a protocol, chains no circle, and OUTPUT no input",
        |(chain, destination, other, port, chance, target)| {
            let circle = chain == "OWN" && target.contains("OWN");
            let input = chain == "OUTPUT" && other.contains("-i");
            let right = !circle && !input && (!target.contains(':') || !port.is_empty());
            let protocol = if target.contains("--to") && port.is_empty() { "-p tcp" } else { "" };
            right.then(|| format!("-A {chain} {destination} {other} {port} {protocol} {chance} {target}"))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn listeners_say_what_the_rules_do(rules in prop::collection::vec(rule(), 1..8)) {
        let text = nat(&rules.iter().map(String::as_str).collect::<Vec<_>>());
        searched(&text, |rules, found| {
            let own = "203.0.113.77";
            for arrival in &found.arrivals {
                for (destination, is_own) in [("10.0.0.1", false), ("10.0.0.2", false), ("10.0.0.9", false), ("10.0.0.3", false), (own, false), (own, true)] {
                    for (source, port) in [("192.0.2.7", 80), ("192.0.2.8", 85), ("198.51.100.1", 95), ("192.0.2.7", 90), ("192.0.2.7", 9)] {
                        for protocol in Protocol::ALL {
                            let packet = Packet {
                                protocol,
                                source: source.parse().expect("an address"),
                                source_port: None,
                                destination: destination.parse().expect("an address"),
                                port,
                                direction: arrival.direction(),
                            };
                            let machine = Machine { local: if is_own { vec![packet.destination.into()] } else { Vec::new() }, ..Machine::default() };
                            let done = rules.walk(&packet, &machine, false).actions();
                            if let Some(said) = said(rules, &found, &packet, is_own) {
                                prop_assert_eq!(said, done, "{} {}\n{}\n{:#?}", packet, is_own, text, found);
                            }
                        }
                    }
                }
            }
            Ok(())
        })?;
    }
}
