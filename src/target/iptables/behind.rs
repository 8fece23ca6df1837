//! Behind the translation: who is masqueraded on the way out, and who is accepted on the way through.

use ipnet::IpNet;
use smallvec::smallvec;

use crate::address::outside;
use crate::diagnostic::{Code, Diagnostic};
use crate::dispatch::owners::{Claim, Clients, Effect, claims};
use crate::ir::options::SourceNat;
use crate::ir::{Config, Family, Service};
use crate::target::Layout;

use super::arrange::{Claimed, Place, arrange};
use super::lower::NatChains;
use super::model::{Chain, ChainId, CommentId, DestinationType, HookJump, Match, Negatable, Rule, Target, Translated};
use super::names::Names;
use super::plant::Garden;

/// Rules for the claims of one service on one destination: clients times backends.
const MAX_RULES: usize = 65_536;

/// The chain behind a built-in one; both families share it.
pub fn hook(built_in: &'static str, names: &mut Names, chains: &mut Vec<Chain>, hooks: &mut Vec<HookJump>) -> ChainId {
    if let Some(jump) = hooks.iter().find(|jump| jump.built_in == built_in) {
        return jump.chain;
    }
    chains.push(Chain { name: names.fixed(built_in), v4: Vec::new(), v6: Vec::new() });
    let chain = ChainId(chains.len() as u32 - 1);
    hooks.push(HookJump { built_in, chain });
    chain
}

/// The chain behind POSTROUTING, where any service changes who backends see.
pub fn postrouting(config: &Config, layout: Layout, nat: &mut NatChains, hooks: &mut Vec<HookJump>) {
    let opens = config.services().iter().any(|service| service.output);
    for family in Family::ALL {
        let mut list = Vec::new();
        for claim in own_claims(config, family, Effect::SourceNat, nat) {
            let service = &config.services()[claim.service as usize];
            let target = match &service.options.source_nat {
                SourceNat::Kept => Target::Return,
                SourceNat::Masquerade => Target::Masquerade,
                SourceNat::Address(addresses) => addresses.get(family).map_or(Target::Return, Target::Snat),
                SourceNat::Hairpin(_) => Target::Goto(hairpin(service, family, claim.service, nat)),
            };
            let (claim, target) = match by_client(&claim, &target) {
                Some(list) => {
                    let chain = nat.behind(claim.service, &service.name, "/src");
                    if nat.chains[chain.0 as usize].rules(family).is_empty() {
                        list.into_iter().for_each(|rule| nat.push(chain, family, rule));
                    }
                    (Claim { clients: Clients::All, ..claim }, Target::Jump(chain))
                }
                None => (claim, target),
            };
            list.push(claimed(&claim, rules(&claim, family, &target)));
        }
        if list.is_empty() {
            continue;
        }
        let chain = hook("POSTROUTING", &mut nat.names, &mut nat.chains, hooks);
        // What was redirected on its way out comes by here too, and looks like what another service has.
        if opens {
            let matches = smallvec![Match::DestinationType(DestinationType::Local)];
            nat.push(chain, family, Rule { matches, ..Rule::EMPTY });
        }
        let mut garden = Garden { names: &mut nat.names, chains: &mut nat.chains, family };
        arrange(list, layout, &Place { name: "POST/", tracked: false }, chain, &mut garden);
    }
}

/// The chain behind FORWARD of the filter table, where any service accepts.
pub fn forward(
    config: &Config,
    layout: Layout,
    nat: &mut NatChains,
    chains: &mut Vec<Chain>,
    hooks: &mut Vec<HookJump>,
) {
    for family in Family::ALL {
        let mut list = Vec::new();
        for claim in own_claims(config, family, Effect::Accept, nat) {
            let accepts = config.services()[claim.service as usize].options.accept;
            let target = if accepts { Target::Accept } else { Target::Return };
            // ICMP errors of a connection are of its protocol to conntrack alone: `-p` would leave them out.
            list.push(claimed(&claim, rules(&claim, family, &target).into_iter().map(for_errors_too).collect()));
        }
        if list.is_empty() {
            continue;
        }
        let chain = hook("FORWARD", &mut nat.names, chains, hooks);
        let mut garden = Garden { names: &mut nat.names, chains: &mut *chains, family };
        arrange(list, layout, &Place { name: "FWD/", tracked: true }, chain, &mut garden);
    }
}

fn claimed(claim: &Claim<'_>, rules: Vec<Rule>) -> Claimed {
    Claimed { destination: claim.destination, protocol: claim.protocol, ports: claim.ports, rules }
}

fn own_claims<'c>(config: &'c Config, family: Family, effect: Effect, nat: &mut NatChains) -> Vec<Claim<'c>> {
    let claims = claims(config, family, effect, "iptables").unwrap_or_else(|errors| {
        nat.errors.extend(errors);
        Vec::new()
    });
    for claim in &claims {
        let service = &config.services()[claim.service as usize];
        let ends = match &service.options.source_nat {
            SourceNat::Masquerade => effect == Effect::SourceNat,
            SourceNat::Address(addresses) => effect == Effect::SourceNat && addresses.get(family).is_some(),
            SourceNat::Kept | SourceNat::Hairpin(_) => false,
        };
        let backends = claim.backends.as_ref().map_or(1, Vec::len);
        let count = match claim.clients {
            Clients::All | Clients::In([_]) | Clients::NotIn([_]) => backends,
            // In a chain of their own.
            Clients::In(nets) | Clients::NotIn(nets) if ends => nets.len() + backends,
            Clients::In(nets) => nets.len() * backends,
            Clients::NotIn(nets) => outside(family, nets).len() * backends,
        };
        if count > MAX_RULES {
            nat.errors.push(
                Diagnostic::error(
                    Code::TargetLimit,
                    service.loc,
                    format!("`{}` would need {count} rules behind the translation", service.name),
                )
                .here("clients of `from` times backends")
                .help("give the service an address of its own to listen on, or fewer nets in `from`"),
            );
            return Vec::new();
        }
    }
    claims
}

/// The chain of a service with a rule for each backend and the clients near it; both families share it.
fn hairpin(service: &Service, family: Family, index: u32, nat: &mut NatChains) -> ChainId {
    let chain = nat.behind(index, &service.name, "/hp");
    if !nat.chains[chain.0 as usize].rules(family).is_empty() {
        return chain;
    }
    let SourceNat::Hairpin(near) = &service.options.source_nat else { return chain };
    let positive = |value| Some(Negatable { not: false, value });
    for near in near.get(family) {
        for &client in &near.clients {
            let rule = Rule {
                source: positive(client),
                destination: positive(IpNet::from(near.backend)),
                comment: Some(CommentId(index)),
                target: Target::Masquerade,
                ..Rule::EMPTY
            };
            nat.push(chain, family, rule);
        }
    }
    chain
}

/// The rules of a chain that asks for the clients, where a list of them stands before a target that ends the way: so
/// there are as many rules as clients and backends, and not one for each pair. Others go on with the next claim.
fn by_client(claim: &Claim<'_>, target: &Target) -> Option<Vec<Rule>> {
    let ends = matches!(target, Target::Masquerade | Target::Snat(_));
    let backends = claim.backends.as_ref().map_or(1, Vec::len);
    let comment = Some(CommentId(claim.service));
    let rule = |source, target| Rule { source, comment, target, ..Rule::EMPTY };
    let positive = |value: &IpNet| Some(Negatable { not: false, value: *value });
    match claim.clients {
        Clients::In(nets @ [_, _, ..]) if ends && backends > 1 => {
            Some(nets.iter().map(|net| rule(positive(net), target.clone())).collect())
        }
        Clients::NotIn(nets @ [_, _, ..]) if ends => {
            let others = nets.iter().map(|net| rule(positive(net), Target::Return));
            Some(others.chain([rule(None, target.clone())]).collect())
        }
        Clients::All | Clients::In(_) | Clients::NotIn(_) => None,
    }
}

/// The rule with the protocol of the connection in the place of that of the packet.
fn for_errors_too(mut rule: Rule) -> Rule {
    let protocol = rule.protocol.take();
    for one in &mut rule.matches {
        if let Match::Translated(translated) = one {
            translated.protocol = protocol;
        }
    }
    rule
}

/// A rule for each client net and backend of a claim: conntrack takes one of each.
fn rules(claim: &Claim<'_>, family: Family, target: &Target) -> Vec<Rule> {
    let net = |not: bool| move |value: &IpNet| Some(Negatable { not, value: *value });
    let clients: Vec<Option<Negatable<IpNet>>> = match claim.clients {
        Clients::All => vec![None],
        Clients::In(nets) => nets.iter().map(net(false)).collect(),
        Clients::NotIn([only]) => vec![net(true)(only)],
        Clients::NotIn(nets) => outside(family, nets).iter().map(net(false)).collect(),
    };
    let backends = match &claim.backends {
        None => vec![None],
        Some(list) => list.iter().map(|one| Some((one.address, one.ports))).collect(),
    };
    let mut rules = Vec::with_capacity(clients.len() * backends.len());
    for client in clients {
        for &backend in &backends {
            let Claim { destination, ports, .. } = *claim;
            let port = Some(ports);
            let translated = Translated { protocol: None, destination, port, client: client.clone(), backend };
            rules.push(Rule {
                protocol: Some(claim.protocol),
                matches: smallvec![Match::Translated(Box::new(translated))],
                comment: Some(CommentId(claim.service)),
                target: target.clone(),
                ..Rule::EMPTY
            });
        }
    }
    rules
}
