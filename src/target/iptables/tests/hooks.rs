//! What both hooks have in common, and what they have not.

use crate::generated::config;
use crate::target::iptables::restore::{Families, Hooks, print};
use crate::target::iptables::{lower, prove};
use crate::target::{Layout, Options};

/// Connections that this machine opens come by no interface: `on` keeps none of them out.
#[test]
fn an_interface_is_asked_of_what_arrives_alone() {
    let many = (80..97).map(|port| format!("balance tcp {port} -> 10.0.0.1:8080\n")).collect::<String>();
    let nets = (0..18).map(|nth| format!("balance tcp 192.168.0.0/{}:{} -> 10.0.0.1\n", 16 + nth % 8, 80 + nth));
    for (program, layout) in [
        ("balance tcp,udp 80 on wan0 output -> 10.0.0.1\n".to_owned(), Layout::Tree),
        ("balance tcp *:80 on not wan0, wan1 output -> 10.0.0.1\n".to_owned(), Layout::Tree),
        (format!("default on wan0 output\n{many}"), Layout::Auto),
        (format!("default on \"eth*\" output\n{}", nets.collect::<String>()), Layout::Auto),
        (format!("default output\n{many}balance udp 53 on wan0, wan1 -> 10.0.0.1\n"), Layout::Auto),
    ] {
        let config = config(&program);
        let rules = lower(&config, &Options { layout, ..Options::default() }).expect("a correct program");
        let mut text = Vec::new();
        print(&rules, Families::Both, Hooks::Include, &mut text).expect("a vector takes everything");
        let text = String::from_utf8(text).expect("text");
        prove(&config, &text, Families::Both).unwrap_or_else(|flaw| panic!("{program}{text}\n{flaw:#?}"));
    }
}
