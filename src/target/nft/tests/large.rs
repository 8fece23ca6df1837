//! The shape for thousands of services.

use std::fmt::Write;

use super::{check_form, config, lower, read};
use crate::target::nft::model::{Destination, Pick, Statement};
use crate::target::nft::shape::MAX_WRITTEN_OUT;
use crate::target::nft::{Dump, Evaluator, Format, Ruleset, prove_json, prove_text};
use crate::target::{Layout, Options};
use crate::trace::{Machine, Walk};

fn lowered(program: &str, layout: Layout) -> Ruleset {
    let options = Options { layout, ..Options::default() };
    let ruleset = lower(&config(program), &options, Format::Text).unwrap_or_else(|errors| panic!("{errors:#?}"));
    check_form(&ruleset);
    ruleset
}

fn text(ruleset: &Ruleset) -> String {
    let mut text = Vec::new();
    ruleset.print_text(&mut text).expect("a vector takes everything");
    String::from_utf8(text).expect("text")
}

/// Sets and maps that rules write out.
fn written_out(ruleset: &Ruleset) -> usize {
    let statements = ruleset.chains.iter().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.statements);
    let writes = |statement: &&Statement| match statement {
        Statement::Match { values, .. } => values.len() > 1,
        Statement::Tuple { .. } | Statement::Branch(_) => true,
        Statement::Dnat { to: Destination::Addresses(_) | Destination::Endpoints(_), .. } => true,
        _ => false,
    };
    statements.filter(writes).count()
}

/// Services of every kind, in both families.
fn mixed(services: usize) -> String {
    let mut program = String::from("net near = 10.1.0.0/16, 10.3.0.0/16, fd01::/16\n");
    for nth in 0..services {
        let (high, low) = (nth / 250, nth % 250);
        let to = format!("{{10.50.{high}.{low}, [2001:db8:5::{nth:x}]}}");
        let weights: Vec<usize> = (0..4).map(|place| 1 + (nth * 7 + place * place * (nth % 13)) % 9).collect();
        let backends: Vec<String> = (0..4).map(|place| format!("[fd00:{place:x}::{nth:x}]:8080")).collect();
        let mut list = String::new();
        for place in 0..4 {
            let _ = write!(
                list,
                "172.{}.{high}.{low}:8080 weight {w}, {} weight {w}, ",
                16 + place,
                backends[place],
                w = weights[place]
            );
        }
        let list = list.trim_end_matches(", ");
        let options = match nth % 20 {
            0..12 => "",
            12..15 => "by round-robin ",
            15..18 => "by source-hash ",
            18 => "from 10.0.0.0/8, 192.168.0.0/16, near masquerade counter ",
            _ => "on eth0, wg* from not 10.9.0.0/16, 10.7.0.0/16 else reject masquerade hairpin ",
        };
        let protocols = if nth % 3 == 0 { "tcp,udp" } else { "tcp" };
        let _ = writeln!(program, "balance {protocols} {to}:80 as s{nth} {options}-> {list}");
    }
    program
}

#[test]
fn a_program_becomes_large_by_what_its_rules_would_write_out() {
    let few = mixed(40);
    assert_eq!(lowered(&few, Layout::Auto), lowered(&few, Layout::Linear));
    let many = mixed(400);
    assert_eq!(lowered(&many, Layout::Auto), lowered(&many, Layout::Tree));
    assert!(written_out(&lowered(&many, Layout::Linear)) > MAX_WRITTEN_OUT);
}

#[test]
fn a_large_program_writes_few_maps_out() {
    let program = mixed(2000);
    let ruleset = lowered(&program, Layout::Auto);
    assert!(written_out(&ruleset) <= MAX_WRITTEN_OUT, "{}", written_out(&ruleset));
    let read = Dump::read_text(&text(&ruleset)).expect("own text");
    assert_eq!(Ruleset::of_dump(&read).as_ref(), Some(&ruleset));
}

#[test]
fn services_of_every_kind_are_proven_in_the_large_shape() {
    let config = config(&mixed(40));
    for format in [Format::Text, Format::Json] {
        let options = Options { layout: Layout::Tree, ..Options::default() };
        let ruleset = lower(&config, &options, format).expect("a correct program");
        let proven = match format {
            Format::Text => prove_text(&config, &text(&ruleset)),
            Format::Json => {
                let mut json = Vec::new();
                ruleset.print_json(&mut json).expect("a vector takes everything");
                prove_json(&config, std::str::from_utf8(&json).expect("text"))
            }
        };
        proven.unwrap_or_else(|flaw| panic!("{format:?} {flaw:#?}"));
    }
}

#[test]
fn json_has_addresses_and_ports_apart() {
    let program = "balance tcp 10.0.0.1:80 as a -> 10.1.0.1:8080 weight 2, 10.1.0.2:8080\n\
                   balance tcp 10.0.0.2:80 as b -> 10.1.0.1:1, 10.1.0.2:2\n";
    let options = Options { layout: Layout::Tree, ..Options::default() };
    let ruleset = lower(&config(program), &options, Format::Json).expect("a correct program");
    check_form(&ruleset);
    let names: Vec<&str> = ruleset.servers.iter().map(|map| map.name.as_str()).collect();
    assert_eq!(names, ["at-0-ip4", "at-1-ip4", "to-port-ip4"]);
    // Nor could a map of addresses say which port of `b` is whose.
    assert!(ruleset.servers.iter().all(|map| map.elements.len() == 1), "{:#?}", ruleset.servers);
}

/// Many prefixes and ranges that overlap, in both families: no map has ranges of several fields.
#[test]
fn ranges_are_looked_up_in_two_steps() {
    let mut program = String::new();
    for nth in 0..60u16 {
        let (wide, port) = (nth % 5 == 0, 1000 + nth * 10);
        let (v4, v6) = if wide { (16, 48) } else { (24, 64) };
        let nets = format!(
            "{{10.{}.{}.0/{v4}, [2001:db8:{:x}:{:x}::]/{v6}}}",
            nth / 20,
            if wide { 0 } else { nth },
            nth / 20,
            if wide { 0 } else { nth }
        );
        let _ = writeln!(
            program,
            "balance tcp,udp {nets}:{port}-{} as n{nth} output -> 10.9.0.1:{port}, [fd00::1]:80",
            port + 20
        );
        let _ = writeln!(program, "balance tcp 10.200.0.{nth}:{port}-{} as h{nth} -> 10.9.0.2:80", port + 9);
    }
    program.push_str("balance tcp *:1-2000 as rest -> 10.9.0.9\nbalance tcp 1500-1600 on eth0 as own -> 10.9.0.8\n");
    let config = config(&program);
    for layout in [Layout::Linear, Layout::Tree] {
        let options = Options { layout, ..Options::default() };
        let ruleset = lower(&config, &options, Format::Text).expect("a correct program");
        check_form(&ruleset);
        let several = ruleset.maps.iter().filter(|map| map.interval && map.key.len() > 1);
        assert_eq!(several.count() == 0, layout == Layout::Tree);
        prove_text(&config, &text(&ruleset)).unwrap_or_else(|flaw| panic!("{layout:?} {flaw:#?}"));
    }
}

/// Nets in nets with ranges of ports across: too much for cells, so that they stand in a tree, as do the claims behind.
#[test]
fn what_overlaps_too_much_for_cells_is_a_tree() {
    let mut program = String::new();
    for nth in 0..40u32 {
        let (length, port) = (12 + nth % 16, 8000 + nth * 30);
        let net = ipnet::Ipv4Net::new(std::net::Ipv4Addr::from(0x0a64_0000 + nth * 9), length as u8).expect("a length");
        let _ = writeln!(program, "balance tcp {}:{port} as n{nth} masquerade -> 10.9.0.1:80", net.trunc());
        let (first, end) = (8000 + nth * 7, 8900 + nth * 7);
        let _ = writeln!(
            program,
            "balance tcp,udp {{10.100.0.{}, [2001:db8::{nth:x}]}}:{first}-{end} as r{nth} output masquerade -> 10.9.0.2, [fd00::2]",
            nth * 3
        );
        let wide = 30 + nth % 2;
        let _ = writeln!(program, "balance tcp [2001:db8::/{}]:{port} as w{nth} -> [fd00::1]", wide * 4);
    }
    program.push_str("balance tcp *:7000-9000 as rest -> 10.9.0.9\nbalance tcp 8100 on eth0 as own -> 10.9.0.8\n");
    let config = config(&program);
    let ruleset = lowered(&program, Layout::Auto);
    let longest = |name: &str| {
        let own = ruleset.chains.iter().filter(|chain| chain.name.as_str().starts_with(name));
        own.map(|chain| chain.rules.len()).max().unwrap_or(0)
    };
    for name in ["wide-", "original-"] {
        assert!((2..=40).contains(&longest(name)), "{name} {}", longest(name));
    }
    assert!(longest("dispatch") < 10 && longest("source-nat") < 10);
    prove_text(&config, &text(&ruleset)).unwrap_or_else(|flaw| panic!("{flaw:#?}"));
    let linear = lowered(&program, Layout::Linear);
    assert!(!linear.chains.iter().any(|chain| chain.name.as_str().starts_with("wide-")));
}

#[test]
fn services_with_the_same_weights_share_all_but_their_elements() {
    let program = "balance tcp 10.0.0.1:80 as a -> 10.1.0.1:1 weight 3, 10.1.0.2:2 weight 2, 10.1.0.3:3\n\
                   balance udp 10.0.0.2:81 as b -> 10.1.0.4:4 weight 2, 10.1.0.5:5 weight 6, 10.1.0.6 weight 4\n\
                   balance tcp 10.0.0.3:80 as c -> 10.1.0.7\n";
    let text = text(&lowered(program, Layout::Tree));
    let expected = r#"	map exact-ip4 {
		type ipv4_addr . inet_proto . inet_service : verdict
		elements = {
			10.0.0.3 . tcp . 80 comment "test.lb:3 c" : goto at-0,
		}
	}

	map at-0-ip4 {
		type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
		elements = {
			10.0.0.1 . tcp . 80 comment "test.lb:1 a" : 10.1.0.1 . 1,
			10.0.0.2 . udp . 81 comment "test.lb:2 b" : 10.1.0.5 . 5,
			10.0.0.3 . tcp . 80 comment "test.lb:3 c" : 10.1.0.7 . 80,
		}
	}
"#;
    assert!(text.contains(expected), "{text}");
    for part in [
        "\tchain at-0 {\n\t\tmeta l4proto tcp dnat ip to ip daddr . meta l4proto . th dport map @at-0-ip4\n\
         \t\tmeta l4proto udp dnat ip to ip daddr . meta l4proto . th dport map @at-0-ip4\n\t}\n",
        "\t\tnumgen random mod 6 vmap { 0-2 : goto at-0, 3-4 : goto at-1, 5 : goto at-2 }\n",
        "\t\tip daddr . meta l4proto . th dport vmap @exact-ip4\n\t\tgoto pick-1\n",
        "\t\t\t10.0.0.2 . udp . 81 comment \"test.lb:2 b\" : 10.1.0.6 . 81,\n",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("svc-"), "{text}");
}

/// What most services do is done to all that no map holds, and what is no service's comes back from there.
#[test]
fn what_most_services_do_needs_no_map() {
    let most = "balance tcp 10.0.0.1:80 as a -> 10.1.0.1, 10.1.0.2\n\
                balance tcp 10.0.0.2:80 as b -> 10.1.0.3, 10.1.0.4\n\
                balance tcp 10.0.0.3:80 as c by round-robin -> 10.1.0.5, 10.1.0.6\n";
    let [jump, goto, lookup] = ["\t\tjump pick-1\n", "\t\tgoto pick-1\n", " vmap @exact-ip4\n"];
    for (more, has, has_not) in [
        ("", vec![goto, lookup], vec![jump]),
        ("balance tcp 443 as here -> 10.1.0.7\n", vec![jump, lookup], vec![goto]),
        ("balance tcp 10.0.0.0/24:80 as wide -> 10.1.0.8\n", vec![jump, lookup], vec![goto]),
        // Half of them, and fewer.
        ("balance tcp 10.0.0.4:80 as d from 10.0.0.0/8 -> 10.1.0.9\n", vec![goto, lookup], vec![jump]),
        ("balance tcp {10.0.0.4, 10.0.0.5}:80 as d from 10.0.0.0/8 -> 10.1.0.9\n", vec![lookup], vec![jump, goto]),
    ] {
        let program = format!("{most}{more}");
        for format in [Format::Text, Format::Json] {
            let options = Options { layout: Layout::Tree, ..Options::default() };
            let ruleset = lower(&config(&program), &options, format).expect("a correct program");
            check_form(&ruleset);
            let text = text(&ruleset);
            has.iter().for_each(|part| assert!(text.contains(part), "{part}{text}"));
            has_not.iter().for_each(|part| assert!(!text.contains(part), "{part}{text}"));
        }
        let ruleset = lowered(&program, Layout::Tree);
        prove_text(&config(&program), &text(&ruleset)).unwrap_or_else(|flaw| panic!("{flaw:#?}"));
    }
    // Connections that this machine opens find services in the maps that are not for them.
    let program = most.replace("as a", "as a output");
    let ruleset = lowered(&program, Layout::Tree);
    let text = text(&ruleset);
    assert!(
        text.contains(
            "chain dispatch-output-ip4 {\n\t\tip daddr . meta l4proto . th dport vmap @exact-output-ip4\n\t}"
        )
    );
    assert!(text.contains(goto), "{text}");
    prove_text(&config(&program), &text).unwrap_or_else(|flaw| panic!("{flaw:#?}"));
    let wrong = text.replace("\t\tip daddr . meta l4proto . th dport vmap @exact-output-ip4\n", goto);
    assert!(prove_text(&config(&program), &wrong).is_err());
}

/// A row of counters and one counter give the same sequence.
#[test]
fn turns_are_the_same_in_both_shapes() {
    for backends in
        ["10.1.0.1 weight 3, 10.1.0.2 weight 2", "10.1.0.1 weight 97, 10.1.0.2 weight 5, 10.1.0.3:1 weight 31"]
    {
        for protocols in ["tcp", "tcp,udp"] {
            let program = format!("balance {protocols} 10.0.0.1:80 as a by round-robin -> {backends}\n");
            let sequences = [Layout::Linear, Layout::Tree].map(|layout| {
                let dump = Dump::read_text(&text(&lowered(&program, layout))).expect("own text");
                let machine = Machine { local: Vec::new(), ..Machine::default() };
                Evaluator::new(&dump).sequence(&read::tcp("10.0.0.1", 80), &machine, 300).expect("it is told")
            });
            assert_eq!(sequences[0], sequences[1]);
        }
    }
}

#[test]
fn draws_in_a_row_are_in_lowest_terms() {
    let ruleset = lowered(
        "balance tcp 10.0.0.1:80 counter -> 10.1.0.1 weight 4, 10.1.0.2 weight 2, 10.1.0.3 weight 3, 10.1.0.4 weight 3\n",
        Layout::Tree,
    );
    let statements = ruleset.chains.iter().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.statements);
    let draws = statements.filter_map(|statement| match statement {
        Statement::Drawn { pick: Pick::Random { modulus }, numbers } => Some((numbers.first, numbers.last, *modulus)),
        _ => None,
    });
    assert_eq!(draws.collect::<Vec<_>>(), [(0, 0, 3), (0, 0, 4), (0, 0, 2)]);
}
