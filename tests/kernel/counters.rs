//! `counter` and `log`: counters that can be read, and prefixes that load and list.

use std::collections::BTreeMap;

use crate::available::tool;
use crate::case::with_hosts;
use crate::lab;
use crate::net::{Host, Lab};
use crate::target::Target;
use crate::traffic::Proto;

fn nft(lab: &Lab) -> Vec<Target> {
    lab.targets().filter(|target| !target.is_iptables()).collect()
}

/// The packets of every counter; in a nat chain a packet is a connection.
fn counters(lab: &Lab) -> BTreeMap<String, u64> {
    let text = lab.run_ok(Host::Balancer, tool("nft").args(["list", "counters", "table", "inet", "lbc"]), "");
    let text = text.expect("counters are listed");
    let mut list = BTreeMap::new();
    let mut name = None;
    for line in text.lines().map(str::trim) {
        match (line.strip_prefix("counter "), line.strip_prefix("packets ")) {
            (Some(rest), _) => name = rest.strip_suffix(" {").map(str::to_owned),
            (_, Some(rest)) => {
                let packets = rest.split(' ').next().and_then(|count| count.parse().ok());
                list.insert(name.take().expect("a name stands in front"), packets.expect("a number"));
            }
            (None, None) => {}
        }
    }
    list
}

#[test]
fn counters_count_connections_for_services_and_backends() {
    let Some(lab) = lab!() else { return };
    let program = with_hosts(
        "default counter\n\
         balance tcp,udp vip:80 as web by round-robin -> b1:8080, b2:8080 weight 2\n\
         balance tcp vip:81 as few by round-robin limit 3/hour sticky 10m output -> b1, b2:8080\n\
         balance tcp vip:443 as hashed by source-hash -> b1, b2, :9050\n\
         balance tcp,udp 8000 as gone -> b1 weight 0\n\
         balance tcp vip:8001 as closed from 10.20.0.0/16, fd20::/64 else reject -> b3\n\
         balance tcp vip:8002 as plain -> :9051\n",
    );
    for target in nft(&lab) {
        lab.install(target, &program).expect("a correct program");
        let both = ["203.0.113.10", "[2001:db8:ffff::10]"];
        for vip in both {
            let send = |proto, port, count| lab.probe(proto, &format!("{vip}:{port}")).count(count).servers();
            send(Proto::Tcp, 80, 6);
            send(Proto::Udp, 80, 3);
            lab.probe(Proto::Tcp, &format!("{vip}:81")).count(4).expecting_silence().send();
            lab.probe(Proto::Tcp, &format!("{vip}:81")).from(Host::Balancer).expecting_silence().send();
            send(Proto::Tcp, 443, 5);
            send(Proto::Tcp, 8000, 2);
            send(Proto::Udp, 8000, 1);
            send(Proto::Tcp, 8001, 7);
            send(Proto::Tcp, 8002, 4);
        }
        let all = counters(&lab);
        for (family, b1, b2, b3) in
            [("ip4", "10.9.1.11", "10.9.1.12", "10.9.1.13"), ("ip6", "fd09-1--11", "fd09-1--12", "fd09-1--13")]
        {
            let of = |name: &str| all.get(&name.replace("IP", family)).copied();
            assert_eq!(of("web-IP"), Some(9), "{target}: {all:#?}");
            assert_eq!(of(&format!("web-IP/{b1}-8080")), Some(3), "{target}: {all:#?}");
            assert_eq!(of(&format!("web-IP/{b2}-8080")), Some(6), "{target}: {all:#?}");
            // A connection that is dropped sends its first packet again; the client gave up before.
            assert_eq!(of("few-IP"), Some(5), "{target}: {all:#?}");
            assert_eq!(of(&format!("few-IP/{b1}")), Some(3), "{target}: {all:#?}");
            assert_eq!(of(&format!("few-IP/{b2}-8080")), Some(0), "{target}: {all:#?}");
            assert_eq!(of("hashed-IP"), Some(5), "{target}: {all:#?}");
            let picked = [format!("hashed-IP/{b1}"), format!("hashed-IP/{b2}"), "hashed-IP/local-9050".to_owned()];
            let mut picked: Vec<u64> = picked.iter().map(|name| of(name).expect("a counter")).collect();
            picked.sort_unstable();
            assert_eq!(picked, [0, 0, 5], "{target}: {all:#?}");
            assert_eq!(of("gone-IP"), Some(3), "{target}: {all:#?}");
            assert_eq!(of("closed-IP"), Some(0), "{target}: those that `from` keeps out are not counted: {all:#?}");
            assert_eq!(of(&format!("closed-IP/{b3}")), Some(0), "{target}: {all:#?}");
            assert_eq!(of("plain-IP/local-9051"), Some(4), "{target}: {all:#?}");
        }
    }
}

/// Every character that a prefix may hold: those that nft's own language knows among them.
#[test]
fn odd_prefixes_load_list_and_load_again() {
    let Some(lab) = lab!() else { return };
    let mut prefixes: Vec<String> = (' '..='~').filter(|c| !"\"$".contains(*c)).map(|c| format!("a{c}b: ")).collect();
    prefixes.extend(
        ["\\", "*", "x*", "\\*", "@x", "# no", "é – 日本", "{{}};", "comment 'x'", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]
            .map(str::to_owned),
    );
    let program: String = prefixes
        .iter()
        .zip(1000..)
        .map(|(prefix, port)| format!("balance tcp 203.0.113.10:{port} log \"{prefix}\" -> 10.9.1.11:8080\n"))
        .collect();
    for target in nft(&lab) {
        let rules = target.compile(&program, &[]).expect("a correct program");
        lab.check_fixpoint(&rules).unwrap_or_else(|trouble| panic!("{target}:\n{trouble}"));
        let listing = lab.listing(target, &[]).expect("a listing");
        for prefix in &prefixes {
            assert!(listing.contains(&format!("log prefix \"{prefix}\"")), "{target}: {prefix}");
        }
        for port in [1000, 1000 + prefixes.len() - 1] {
            // More than are logged: all of them get through.
            let servers = lab.probe(Proto::Tcp, &format!("203.0.113.10:{port}")).count(15).servers();
            assert_eq!(servers, vec!["b1:8080"; 15], "{target}");
        }
        target.compile("balance tcp 80 log \"a$b\" -> 10.9.1.11\n", &[]).expect_err("nft has no escape for `$`");
    }
}

/// What `iptables -t nat -L -v -n -x` shows of rules that only count: comment and packets.
fn counted(lab: &Lab, target: Target, ipv6: bool) -> BTreeMap<String, u64> {
    let text = lab.iptables(target, ipv6, &["-w", "5", "-t", "nat", "-L", "-v", "-n", "-x"]).expect("a listing");
    let rule = |line: &str| {
        let (front, comment) = line.split_once("/* test.lb:")?;
        let (_, comment) = comment.trim_end().strip_suffix(" */")?.split_once(' ')?;
        let mut columns = front.split_whitespace();
        let (packets, _bytes, protocol) = (columns.next()?.parse().ok()?, columns.next()?, columns.next()?);
        // A rule without a target has one column less.
        ["all", "0"].contains(&protocol).then(|| (comment.to_owned(), packets))
    };
    text.lines().filter_map(rule).collect()
}

#[test]
fn rules_without_a_target_count_on_iptables() {
    let Some(lab) = lab!() else { return };
    let program = with_hosts(
        "default counter\n\
         balance tcp,udp vip:80 as web by round-robin -> b1:8080, b2:8080 weight 2\n\
         balance tcp vip:81 as few by round-robin limit 3/hour output -> b1, b2:8080\n\
         balance tcp vip:443 as hashed by source-hash -> b1, b1:8080, :9050\n\
         balance tcp,udp 8000 as gone -> b1 weight 0\n\
         balance tcp vip:8001 as closed from 10.20.0.0/16, fd20::/64 else reject -> b3\n\
         balance tcp vip:8002 as plain -> :9051\n",
    );
    for target in lab.targets().filter(|target| target.is_iptables()) {
        lab.install(target, &program).expect("a correct program");
        for (ipv6, vip) in [(false, "203.0.113.10"), (true, "[2001:db8:ffff::10]")] {
            let send = |proto, port, count| lab.probe(proto, &format!("{vip}:{port}")).count(count).servers();
            send(Proto::Tcp, 80, 6);
            send(Proto::Udp, 80, 3);
            lab.probe(Proto::Tcp, &format!("{vip}:81")).count(4).expecting_silence().send();
            lab.probe(Proto::Tcp, &format!("{vip}:81")).from(Host::Balancer).expecting_silence().send();
            send(Proto::Tcp, 443, 5);
            send(Proto::Tcp, 8000, 2);
            send(Proto::Udp, 8000, 1);
            send(Proto::Tcp, 8001, 7);
            send(Proto::Tcp, 8002, 4);
            let all = counted(&lab, target, ipv6);
            let [b1, b2] = if ipv6 { ["[fd09:1::11]", "[fd09:1::12]"] } else { ["10.9.1.11", "10.9.1.12"] };
            let of = |name: &str| all.get(name).copied();
            assert_eq!(of("web: new connections"), Some(9), "{target}: {all:#?}");
            assert_eq!(of(&format!("web: to {b1}:8080")), Some(3), "{target}: {all:#?}");
            assert_eq!(of(&format!("web: to {b2}:8080")), Some(6), "{target}: {all:#?}");
            assert_eq!(of("few: new connections"), Some(5), "{target}: {all:#?}");
            assert_eq!(of(&format!("few: to {b2}:8080")), Some(1), "{target}: {all:#?}");
            assert_eq!(of("hashed: new connections"), Some(5), "{target}: {all:#?}");
            let picked: u64 =
                all.iter().filter(|(name, _)| name.starts_with("hashed: to ")).map(|(_, count)| count).sum();
            assert_eq!(picked, 5, "{target}: {all:#?}");
            assert_eq!(of("gone: new connections"), Some(3), "{target}: {all:#?}");
            assert_eq!(of("closed: new connections"), Some(0), "{target}: those kept out by `from`: {all:#?}");
            assert_eq!(of("plain: to :9051"), Some(4), "{target}: {all:#?}");
        }
    }
}

#[test]
fn odd_prefixes_load_and_are_saved_on_iptables() {
    let Some(lab) = lab!() else { return };
    let mut prefixes: Vec<String> = (' '..='~').filter(|c| *c != '"').map(|c| format!("a{c}b: ")).collect();
    prefixes.extend(["\\", "$(x) `y`", "x'y'", "{{}};", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxx", ""].map(str::to_owned));
    let program: String = prefixes
        .iter()
        .zip(1000..)
        .map(|(prefix, port)| format!("balance tcp 203.0.113.10:{port} log \"{prefix}\" -> 10.9.1.11:8080\n"))
        .collect();
    for target in lab.targets().filter(|target| target.is_iptables()) {
        let rules = target.compile(&program, &[]).expect("a correct program");
        lab.check_fixpoint(&rules).unwrap_or_else(|trouble| panic!("{target}:\n{trouble}"));
        let servers = lab.probe(Proto::Tcp, "203.0.113.10:1000").count(15).servers();
        assert_eq!(servers, vec!["b1:8080"; 15], "{target}");
    }
}
