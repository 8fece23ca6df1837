//! From a dump of our own restore text back to the typed rules: nothing that is printed may be lost.

use std::iter::Peekable;
use std::slice;

use foldhash::{HashMap, HashMapExt};

use crate::endpoint::PortRange;
use crate::ir::Family;
use crate::ir::options::LogPrefix;
use crate::survey::Side;
use crate::target::split::Probability;

use super::dump::{self, AddressTypes, Dump, RecentVerb, RuleProtocol, States};
use super::model::{
    Chain, ChainId, ChainName, ClusterMask, Comment, CommentId, DestinationType, DnatPort, HookJump, Interface, Match,
    Matches, Negatable, Recent, Rule, Ruleset, Table, TableName, Target, Translated,
};

/// Rebuilds the rules. The error is the first rule that we would not have written.
///
/// Comments are numbered as they appear. Chains that were declared and have no rules are kept.
pub fn rebuild(dump: &Dump<'_>) -> Result<Ruleset, String> {
    let mut comments = Comments { list: Vec::new(), places: HashMap::new() };
    let mut tables = Vec::new();
    for table in &dump.tables {
        tables.push(rebuilt(table, &mut comments)?);
    }
    let own = tables.iter().flat_map(|table| table.hooks.iter().map(move |hook| (table, hook)));
    let prefix = own
        .map(|(table, hook)| table.chains[hook.chain.0 as usize].name.as_str().strip_suffix(hook.built_in))
        .find_map(|start| start?.strip_suffix('-'))
        .unwrap_or("LBC")
        .to_owned();
    let chains = || tables.iter().flat_map(|table| &table.chains);
    let families = Family::ALL.into_iter().filter(|family| chains().any(|chain| !chain.rules(*family).is_empty()));
    let families = families.collect();
    let rules = || chains().flat_map(|chain| chain.v4.iter().chain(&chain.v6));
    let forwards = rules().any(|rule| matches!(rule.target, Target::Dnat(..)));
    // Sets are no part of the text: their timeouts are not known.
    Ok(Ruleset { families, prefix, forwards, tables, sets: Vec::new(), comments: comments.list })
}

struct Comments<'d> {
    list: Vec<Comment>,
    places: HashMap<&'d str, CommentId>,
}

impl<'d> Comments<'d> {
    fn id(&mut self, text: &'d str) -> CommentId {
        *self.places.entry(text).or_insert_with(|| {
            self.list.push(Comment::new(text.to_owned()));
            CommentId(self.list.len() as u32 - 1)
        })
    }
}

fn rebuilt<'d>(table: &'d dump::Table<'d>, comments: &mut Comments<'d>) -> Result<Table, String> {
    let name = match table.name {
        dump::TableName::Filter => TableName::Filter,
        dump::TableName::Nat => TableName::Nat,
        dump::TableName::Raw | dump::TableName::Mangle | dump::TableName::Security => {
            return Err(format!("the table `{}`", table.name.as_str()));
        }
    };
    // Built-in chains are not ours: the places of the others move up.
    let mut next = 0;
    let places: Vec<Option<ChainId>> = table
        .chains
        .iter()
        .map(|chain| {
            let place = chain.policy.is_none().then_some(ChainId(next));
            next += u32::from(chain.policy.is_none());
            place
        })
        .collect();
    let (mut chains, mut hooks) = (Vec::new(), Vec::new());
    for chain in &table.chains {
        if chain.policy.is_some() {
            for rule in &chain.rules {
                hooks.push(hook(table, chain.name, rule, &places).ok_or_else(|| rule.text.to_owned())?);
            }
            continue;
        }
        let name = ChainName::new(chain.name.to_owned()).ok_or_else(|| format!("the chain `{}`", chain.name))?;
        let mut own = Chain { name, v4: Vec::new(), v6: Vec::new() };
        for rule in &chain.rules {
            let mut rebuilt = own_rule(rule, &places).ok_or_else(|| rule.text.to_owned())?;
            rebuilt.comment = rule.comment.as_deref().map(|text| comments.id(text));
            for family in Family::ALL.into_iter().filter(|family| rule.is_for(*family)) {
                own.rules_mut(family).push(rebuilt.clone());
            }
        }
        chains.push(own);
    }
    Ok(Table { name, chains, hooks })
}

fn hook(table: &dump::Table<'_>, chain: &str, rule: &dump::Rule<'_>, places: &[Option<ChainId>]) -> Option<HookJump> {
    let built_in = table.name.built_in().iter().find(|name| **name == chain)?;
    let Target::Jump(chain) = own_rule(rule, places)?.target else { return None };
    Some(HookJump { built_in, chain })
}

/// A rule without its comment.
fn own_rule(rule: &dump::Rule<'_>, places: &[Option<ChainId>]) -> Option<Rule> {
    let net = |net: &Option<Negatable<dump::Net>>| match net {
        Some(net) => Some(Some(Negatable { not: net.not, value: net.value.prefix()? })),
        None => Some(None),
    };
    let protocol = match &rule.protocol {
        Some(Negatable { not: false, value: RuleProtocol::One(protocol) }) => Some(*protocol),
        Some(Negatable { not: _, value: RuleProtocol::One(_) | RuleProtocol::Other }) => return None,
        None => None,
    };
    let interface = rule.input.as_ref().map(|input| {
        let value = Interface { name: input.value.name.clone().into_owned(), prefix: input.value.prefix };
        Box::new(Negatable { not: input.not, value })
    });
    rule.output.is_none().then_some(Rule {
        source: net(&rule.source)?,
        destination: net(&rule.destination)?,
        interface,
        protocol,
        matches: matches(&rule.matches)?,
        comment: None,
        target: target(&rule.target, places)?,
    })
}

fn matches(list: &[dump::Match<'_>]) -> Option<Matches> {
    let mut matches = Matches::new();
    let mut list = list.iter().peekable();
    while let Some(one) = list.next() {
        matches.push(match one {
            dump::Match::Port { not: false, side: Side::Destination, ports } => Match::Port(range(*ports)?),
            dump::Match::Multiport { not: false, side: Some(Side::Destination), ports } => {
                let ports: Option<Vec<PortRange>> = ports.iter().copied().map(range).collect();
                Match::Multiport(ports?)
            }
            dump::Match::AddressType { not, side: Side::Destination, types } => {
                let none = AddressTypes::default();
                Match::DestinationType(match not {
                    false if *types == AddressTypes { local: true, ..none } => DestinationType::Local,
                    true if *types == AddressTypes { multicast: true, ..none } => DestinationType::NotMulticast,
                    true if *types == AddressTypes { broadcast: true, multicast: true, ..none } => {
                        DestinationType::NotBroadcastNorMulticast
                    }
                    true | false => return None,
                })
            }
            dump::Match::Random { not: false, k } => Match::Random(Probability::from_raw(*k)?),
            dump::Match::Nth { not: false, every, packet: 0 } => Match::Nth { every: *every },
            dump::Match::Cluster { not: false, total: 7, nodes, seed } => {
                let mask = u8::try_from(*nodes).ok().and_then(ClusterMask::new)?;
                Match::Cluster { mask, seed: *seed }
            }
            dump::Match::Bpf(program) => Match::Bpf(program.clone()),
            dump::Match::State { not: false, states } if *states == (States { dnat: true, ..States::default() }) => {
                Match::Translated(Box::new(translated(&mut list)?))
            }
            dump::Match::Stateful(own) => (**own).clone(),
            dump::Match::Recent { not: false, ask } => Match::Recent(Box::new(recent(ask)?)),
            // What we never write.
            dump::Match::Port { .. }
            | dump::Match::Multiport { .. }
            | dump::Match::TcpFlags { .. }
            | dump::Match::Fragment { .. }
            | dump::Match::AddressType { .. }
            | dump::Match::Random { .. }
            | dump::Match::Nth { .. }
            | dump::Match::State { .. }
            | dump::Match::Reply(_)
            | dump::Match::TrackedProtocol { .. }
            | dump::Match::OriginalAddress { .. }
            | dump::Match::OriginalPort { .. }
            | dump::Match::ReplyAddress { .. }
            | dump::Match::ReplyPort { .. }
            | dump::Match::Mark { .. }
            | dump::Match::Remembered(_)
            | dump::Match::Recent { .. }
            | dump::Match::Cluster { .. }
            | dump::Match::Range { .. }
            | dump::Match::Unknown(_) => return None,
        });
    }
    Some(matches)
}

/// The conditions behind `--ctstate DNAT`, in the order in which we write them.
fn translated(list: &mut Peekable<slice::Iter<'_, dump::Match<'_>>>) -> Option<Translated> {
    let (mut protocol, mut client, mut destination, mut backend) = (None, None, None, None);
    if let Some(dump::Match::TrackedProtocol { not: false, protocol: RuleProtocol::One(one) }) = list.peek() {
        protocol = Some(*one);
        list.next();
    }
    if let Some(dump::Match::OriginalAddress { not, side: Side::Source, net }) = list.peek() {
        client = Some(Negatable { not: *not, value: net.prefix()? });
        list.next();
    }
    if let Some(dump::Match::OriginalAddress { not: false, side: Side::Destination, net }) = list.peek() {
        destination = Some(net.prefix()?);
        list.next();
    }
    if let Some(dump::Match::ReplyAddress { not: false, side: Side::Source, net }) = list.peek() {
        backend = Some(net.host()?);
        list.next();
    }
    let mut port = None;
    if let Some(dump::Match::OriginalPort { not: false, side: Side::Destination, ports }) = list.peek() {
        port = Some(range(*ports)?);
        list.next();
    }
    let backend = match backend {
        None => None,
        Some(address) => match list.next() {
            Some(dump::Match::ReplyPort { not: false, side: Side::Source, ports }) => Some((address, range(*ports)?)),
            Some(_) | None => return None,
        },
    };
    Some(Translated { protocol, destination, port, client, backend })
}

/// A list of whole addresses: who was seen in so many seconds, or is from now on.
fn recent(ask: &dump::Recent<'_>) -> Option<Recent> {
    let dump::Recent { verb, list, side: Side::Source, seconds, reap, hits: 0, ttl: false, mask, masked: false } = ask
    else {
        return None;
    };
    match (verb, seconds, reap) {
        (RecentVerb::Check, Some(1..), true) | (RecentVerb::Set, None, false) => {}
        (RecentVerb::Check | RecentVerb::Set | RecentVerb::Update | RecentVerb::Remove, ..) => return None,
    }
    // A mask that leaves anything out is known to.
    let family = Family::of((*mask)?);
    Some(Recent { seconds: *seconds, name: list.to_string(), family })
}

fn range(ports: dump::Ports) -> Option<PortRange> {
    PortRange::new(ports.first, ports.last)
}

fn target(target: &dump::Target<'_>, places: &[Option<ChainId>]) -> Option<Target> {
    let place = |chain: &dump::ChainId| places.get(chain.0 as usize).copied().flatten();
    match target {
        dump::Target::Jump(chain) => place(chain).map(Target::Jump),
        dump::Target::Goto(chain) => place(chain).map(Target::Goto),
        dump::Target::Return => Some(Target::Return),
        dump::Target::Dnat { address: Some(address), port } => Some(Target::Dnat(*address, *port)),
        dump::Target::Redirect(DnatPort::Fixed(port)) => Some(Target::Redirect(*port)),
        dump::Target::Reject => Some(Target::Reject),
        dump::Target::Drop => Some(Target::Drop),
        dump::Target::Next => Some(Target::Count),
        dump::Target::Accept => Some(Target::Accept),
        dump::Target::Masquerade => Some(Target::Masquerade),
        dump::Target::Snat(Some(address)) => Some(Target::Snat(*address)),
        dump::Target::Aside(Some(prefix)) => Some(Target::Log(Box::new(LogPrefix::new(prefix)?))),
        dump::Target::Remember(name) => Some(Target::Remember(Box::new(name.clone()))),
        dump::Target::Aside(None)
        | dump::Target::Dnat { address: None, .. }
        | dump::Target::Redirect(DnatPort::Kept | DnatPort::Shifted { .. })
        | dump::Target::Snat(None)
        | dump::Target::Mark { .. }
        | dump::Target::SaveMark { .. }
        | dump::Target::RestoreMark { .. }
        | dump::Target::Hmark { .. }
        | dump::Target::NoTrack
        | dump::Target::Unknown(_) => None,
    }
}
