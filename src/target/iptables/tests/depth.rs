//! No chain lies deeper than nf_tables lets iptables-nft load.

use crate::generated::config;
use crate::target::iptables::lower;
use crate::target::iptables::model::{Table, Target};
use crate::target::{Layout, Options, cost};

/// The most chains that a packet passes below a built-in one.
fn depth(table: &Table) -> usize {
    fn below(table: &Table, chain: usize, known: &mut Vec<usize>) -> usize {
        if known[chain] == 0 {
            let rules = table.chains[chain].v4.iter().chain(&table.chains[chain].v6);
            let targets: Vec<usize> = rules
                .filter_map(|rule| match rule.target {
                    Target::Jump(chain) | Target::Goto(chain) => Some(chain.0 as usize),
                    _ => None,
                })
                .collect();
            known[chain] = 1 + targets.into_iter().map(|chain| below(table, chain, known)).max().unwrap_or(0);
        }
        known[chain]
    }
    let mut known = vec![0; table.chains.len()];
    table.hooks.iter().map(|hook| below(table, hook.chain.0 as usize, &mut known)).max().unwrap_or(0)
}

#[test]
fn the_deepest_services_among_thousands_of_addresses_fit() {
    let mut text = String::new();
    for nth in 0..2_000u32 {
        let at = std::net::Ipv4Addr::from(0x0a00_0000 + nth * 5);
        text.push_str(&format!("balance tcp {at}:80 output masquerade -> 10.9.0.1:80, 10.9.0.2:80\n"));
    }
    let clients = "from 10.0.0.0/8, 192.168.0.0/16 else reject";
    for (nth, sum) in [4_096, 2_187, 3_125, 4_093].into_iter().enumerate() {
        let weights = format!("10.9.0.1:80 weight {}, 10.9.0.2:81 weight {}", sum / 2, sum - sum / 2 - 1);
        text.push_str(&format!(
            "balance tcp,udp 192.0.2.{nth}:80 {clients} by round-robin counter output masquerade -> {weights}, 10.9.0.3:82\n"
        ));
    }
    let many: Vec<String> =
        (0..5_000u32).map(|nth| format!("{}:80", std::net::Ipv4Addr::from(0x0a09_0000 + nth))).collect();
    text.push_str(&format!("balance tcp,udp 192.0.2.9:80 {clients} counter output -> {}\n", many.join(", ")));
    text.push_str(&format!(
        "balance tcp,udp 192.0.2.10:80 {clients} by source-hash buckets 343 counter -> 10.9.0.1:80, 10.9.0.2:81\n"
    ));
    let config = config(&text);
    for layout in [Layout::Auto, Layout::Linear, Layout::Tree] {
        let rules = lower(&config, &Options { layout, ..Options::default() }).expect("a correct program");
        for table in &rules.tables {
            assert!(depth(table) <= cost::MAX_DEPTH, "{layout:?} {:?}: {}", table.name, depth(table));
        }
    }
}
