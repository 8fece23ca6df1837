//! `masquerade` and `snat`: rules for connections that were translated, on their way out.
//!
//! The first [`Claim`] that holds says whose a connection is. `ct original proto-dst` has to stand behind a test of the
//! protocol that is not made anew by a test of the port: nft 1.0.6 lists `meta l4proto tcp … tcp dport 80` without the
//! former, and then does not know what it compares. So a claim that asks for the backend starts with its port.
//!
//! Many claims in a row that ask for nothing but an address and a port are looked up in a map. Where others are many too,
//! all stand in a tree over the original destination.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::diagnostic::Diagnostic;
use crate::dispatch::Area;
use crate::dispatch::owners::{Claim, Clients, Effect, Endpoint, claims};
use crate::endpoint::PortRange;
use crate::ir::options::{Near, SourceNat};
use crate::ir::{Config, Family};
use crate::statement::balance::Protocol;
use crate::target::{Layout, cost};

use super::model::{Chain, Element, Field, Hook, Name, Rule, Statement, Value, Verdict, VerdictMap, short};
use super::names::{Names, fixed};
use super::piece::{goto, local, net, one, plain};
use super::wide::{self, Ground};

/// The chains of source NAT: none where no service has any.
#[derive(Default)]
pub struct Chains {
    pub base: Option<Chain>,
    pub maps: Vec<VerdictMap>,
    pub chains: Vec<Chain>,
}

/// Fewer claims are as fast to ask as to look up.
const FEW: usize = 8;

pub fn chains(config: &Config, names: &Names, layout: Layout) -> Result<Chains, Vec<Diagnostic>> {
    let mut made = Chains::default();
    let mut errors = Vec::new();
    let mut base = Vec::new();
    for family in Family::ALL {
        let claims = match claims(config, family, Effect::SourceNat, "nftables") {
            Ok(claims) => claims,
            Err(more) => {
                errors.extend(more);
                continue;
            }
        };
        if claims.is_empty() {
            continue;
        }
        let name = fixed(&format!("source-nat-{}", short(family)));
        let translated = one(Field::ConnectionStatus, Value::Translated);
        base.push(plain([one(Field::Family, Value::Family(family)), translated, goto(name.clone())]));
        let at = made.chains.len();
        made.chains.push(Chain { name, hook: None, rules: Vec::new() });
        let mut family = Claims {
            config,
            names,
            family,
            hairpins: BTreeMap::new(),
            ends: BTreeMap::new(),
            maps: 0,
            made: &mut made,
        };
        let runs: Vec<&[Claim<'_>]> = claims.chunk_by(|one, next| is_exact(one) && is_exact(next)).collect();
        let is_map = |run: &[Claim<'_>]| is_exact(&run[0]) && run.len() >= FEW;
        let in_a_row = runs.iter().map(|run| if is_map(run) { 1 } else { run.len() }).sum();
        let tree = if cost::looks_up(layout, in_a_row) {
            wide::tree(family.family, &areas(&claims, family.family))
        } else {
            None
        };
        let rules = match tree {
            Some(tree) => wide::plant(&tree, &mut Originals { claims: &mut family, list: &claims, named: 0 }),
            None => {
                let rules = |run: &[Claim<'_>]| match is_map(run) {
                    true => vec![family.lookup(run)],
                    false => run.iter().flat_map(|claim| family.rules(claim)).collect(),
                };
                runs.into_iter().flat_map(rules).collect()
            }
        };
        made.chains[at].rules = rules;
    }
    // What was redirected on its way out comes by here too, and looks like what another service has.
    if !base.is_empty() && config.services().iter().any(|service| service.output) {
        base.insert(0, plain([local(), Statement::Verdict(Verdict::Return)]));
    }
    if !base.is_empty() {
        made.base = Some(Chain { name: fixed(Hook::Postrouting.name()), hook: Some(Hook::Postrouting), rules: base });
    }
    if errors.is_empty() { Ok(made) } else { Err(errors) }
}

/// The claims of a family in the making.
struct Claims<'a> {
    config: &'a Config,
    names: &'a Names,
    family: Family,
    /// The chains of services whose clients are asked about, by service.
    hairpins: BTreeMap<u32, Name>,
    /// The chains that elements of maps go to, by their names.
    ends: BTreeMap<String, Name>,
    /// How many maps there are.
    maps: u32,
    made: &'a mut Chains,
}

/// Whether a claim is one key of a map.
fn is_exact(claim: &Claim<'_>) -> bool {
    let is_host = claim.destination.is_some_and(|net| net.prefix_len() == net.max_prefix_len());
    is_host && claim.ports.is_single() && claim.clients == Clients::All && claim.backends.is_none()
}

fn areas(claims: &[Claim<'_>], family: Family) -> Vec<Area> {
    let area = |claim: &Claim<'_>| Area::new(claim.destination, family, claim.protocol, claim.ports);
    claims.iter().map(area).collect()
}

/// Claims by their original destination.
struct Originals<'l, 'c> {
    claims: &'l mut Claims<'c>,
    list: &'l [Claim<'l>],
    named: usize,
}

impl Ground for Originals<'_, '_> {
    fn leaf(&mut self, items: &[u32]) -> Vec<Rule> {
        items.iter().flat_map(|&item| self.claims.rules(&self.list[item as usize])).collect()
    }

    fn address(&self) -> Field {
        Field::OriginalDestination(self.claims.family)
    }

    fn ports(&self, protocol: Protocol) -> (Option<Statement>, Field) {
        (Some(one(Field::Protocol, Value::Protocol(protocol))), Field::OriginalPort)
    }

    fn name(&mut self) -> Name {
        self.named += 1;
        fixed(&format!("original-{}-{}", self.named, short(self.claims.family)))
    }

    fn behind(&self) -> Option<Name> {
        None
    }

    fn add_map(&mut self, map: VerdictMap) {
        self.claims.made.maps.push(map);
    }

    fn add_chain(&mut self, chain: Chain) {
        self.claims.made.chains.push(chain);
    }
}

impl Claims<'_> {
    fn rules(&mut self, claim: &Claim<'_>) -> Vec<Rule> {
        let end = self.end(claim.service);
        let family = self.family;
        let mut rest = Vec::with_capacity(4);
        rest.extend(claim.destination.map(|place| one(Field::OriginalDestination(family), net(place))));
        rest.push(one(Field::OriginalPort, Value::Ports(claim.ports)));
        rest.extend(clients(claim.clients, family));
        rest.push(end);
        let heads = match &claim.backends {
            None => vec![vec![one(Field::Protocol, Value::Protocol(claim.protocol))]],
            Some(endpoints) => backends(endpoints, family, Field::Port(claim.protocol)),
        };
        let comment = self.names.comment(claim.service);
        let rule = |mut statements: Vec<Statement>| {
            statements.extend(rest.iter().cloned());
            Rule { statements, comment: Some(comment.clone()) }
        };
        heads.into_iter().map(rule).collect()
    }

    /// The rule that asks a map of exact claims. Of two with one key the first holds.
    fn lookup(&mut self, claims: &[Claim<'_>]) -> Rule {
        let family = self.family;
        let mut protocols = Vec::new();
        let mut seen = HashSet::with_capacity(claims.len());
        let mut elements = Vec::with_capacity(claims.len());
        for claim in claims {
            let Some(host) = claim.destination.filter(|host| seen.insert((*host, claim.protocol, claim.ports))) else {
                continue;
            };
            let protocol = Value::Protocol(claim.protocol);
            if !protocols.contains(&protocol) {
                protocols.push(protocol.clone());
            }
            let verdict = match self.end(claim.service) {
                Statement::Verdict(verdict) => verdict,
                other => Verdict::Goto(self.chain_of(other)),
            };
            let key = vec![Value::Address(host.addr()), protocol, Value::Ports(claim.ports)];
            elements.push(Element { key, verdict, comment: Some(self.names.comment(claim.service).clone()) });
        }
        self.maps += 1;
        let name = fixed(&format!("claims-{}-{}", self.maps, short(family)));
        let key = vec![Field::OriginalDestination(family), Field::Protocol, Field::OriginalPort];
        self.made.maps.push(VerdictMap { name: name.clone(), key: key.clone(), interval: false, elements });
        let spoken = Statement::Match { field: Field::Protocol, negated: false, values: protocols };
        plain([spoken, Statement::Lookup { key, map: name }])
    }

    /// A chain of one statement, which is no verdict.
    fn chain_of(&mut self, end: Statement) -> Name {
        let text = match &end {
            Statement::Snat(address) => format!("snat-{}", address.to_string().replace(':', "-")),
            _ => format!("masquerade-{}", short(self.family)),
        };
        if let Some(name) = self.ends.get(&text) {
            return name.clone();
        }
        let name = fixed(&text);
        self.ends.insert(text, name.clone());
        self.made.chains.push(Chain { name: name.clone(), hook: None, rules: vec![plain([end])] });
        name
    }

    /// What a service does to its connections; a claim without an effect keeps them from the others.
    fn end(&mut self, service: u32) -> Statement {
        let family = self.family;
        match &self.config.services()[service as usize].options.source_nat {
            SourceNat::Kept => Statement::Verdict(Verdict::Return),
            SourceNat::Masquerade => Statement::Masquerade,
            SourceNat::Address(address) => {
                address.get(family).map_or(Statement::Verdict(Verdict::Return), Statement::Snat)
            }
            SourceNat::Hairpin(near) => {
                let near = near.get(family);
                goto(self.hairpin(service, near))
            }
        }
    }

    /// The chain that asks whether the client is near the backend.
    fn hairpin(&mut self, service: u32, near: &[Near]) -> Name {
        if let Some(name) = self.hairpins.get(&service) {
            return name.clone();
        }
        let family = self.family;
        let name = fixed(&format!("{}-hairpin", self.names.service(service, family)));
        self.hairpins.insert(service, name.clone());
        let mut groups: BTreeMap<&[IpNet], Vec<IpAddr>> = BTreeMap::new();
        for Near { backend, clients } in near {
            groups.entry(clients).or_default().push(*backend);
        }
        let is_host = |net: &IpNet| net.prefix_len() == net.max_prefix_len();
        let mut pairs = Vec::new();
        let mut rules = Vec::new();
        let comment = Some(self.names.comment(service).clone());
        for (clients, backends) in groups {
            if clients.iter().all(is_host) {
                let with = |backend: &IpAddr| {
                    let backend = Value::Address(*backend);
                    clients.iter().map(move |client| vec![backend.clone(), Value::Address(client.addr())])
                };
                pairs.extend(backends.iter().flat_map(with));
                continue;
            }
            let near = clients.iter().map(|client| net(*client)).collect();
            let backends = backends.into_iter().map(Value::Address).collect();
            let statements = vec![
                Statement::Match { field: Field::Source(family), negated: false, values: near },
                Statement::Match { field: Field::Destination(family), negated: false, values: backends },
                Statement::Masquerade,
            ];
            rules.push(Rule { statements, comment: comment.clone() });
        }
        if !pairs.is_empty() {
            let key = vec![Field::Destination(family), Field::Source(family)];
            let statements = vec![Statement::Tuple { key, values: pairs }, Statement::Masquerade];
            rules.push(Rule { statements, comment });
        }
        self.made.chains.push(Chain { name: name.clone(), hook: None, rules });
        name
    }
}

fn clients(clients: Clients<'_>, family: Family) -> Option<Statement> {
    let (negated, nets) = match clients {
        Clients::All => return None,
        Clients::In(nets) => (false, nets),
        Clients::NotIn(nets) => (true, nets),
    };
    let values = nets.iter().map(|one| net(*one)).collect();
    Some(Statement::Match { field: Field::Source(family), negated, values })
}

/// Tests that hold between them for all of the backends: one for those with a single port, and one for each range.
fn backends(endpoints: &[Endpoint], family: Family, port: Field) -> Vec<Vec<Statement>> {
    let mut hosts = Vec::new();
    let mut ranges: BTreeMap<(u16, u16), Vec<Value>> = BTreeMap::new();
    for Endpoint { address, ports } in endpoints {
        let address = Value::Address(*address);
        match ports.is_single() {
            true => hosts.push(vec![address, Value::Ports(*ports)]),
            false => ranges.entry((ports.first(), ports.last())).or_default().push(address),
        }
    }
    let mut heads = Vec::new();
    if !hosts.is_empty() {
        heads.push(vec![Statement::Tuple { key: vec![Field::Destination(family), port], values: hosts }]);
    }
    for ((first, last), values) in ranges {
        let ports = PortRange::new(first, last).expect("the ports of a backend");
        let hosts = Statement::Match { field: Field::Destination(family), negated: false, values };
        heads.push(vec![hosts, one(port, Value::Ports(ports))]);
    }
    heads
}
