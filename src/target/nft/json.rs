//! The ruleset as commands for `nft -j -f`, a command a line. No other file knows libnftables' JSON.
//!
//! The types are the `nftables` crate's. What it cannot say are plain values: the declarations of verdict maps and of
//! sets that rules fill, an element whose verdict is `drop`, and a limit for each element. Order matters to nft 1.0.6:
//! chains stand before the maps whose elements go to them, and those before the rules that ask them.

mod memory;

use std::borrow::Cow;
use std::io;
use std::net::IpAddr;

use nftables::expr::{
    CT, CTDir, Elem, Expression, Fib, FibFlag, FibResult, JHash, Map, Meta, MetaKey, NamedExpression, NgMode, Numgen,
    Payload, PayloadField, Prefix, Range, SetItem,
};
use nftables::schema::{self, NfCmd, NfListObject, NfObject};
use nftables::stmt::{self, JumpTarget, NAT, NATFamily, Operator, RejectType, VerdictMap as AskMap};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook, RejectCode};
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::ir::{Family, Interface};

use super::model::{
    AddressType, Chain, Choice, Destination, Element, Field, Held, Hook, Name, NewPort, Numbers, Pick, PortMap, Reject,
    Rule, Ruleset, Seat, Server, ServerMap, Statement, TurnMap, Value, ValueSet, Verdict, VerdictMap,
};
use super::text::data_type;

/// Bytes that are gathered before they are written.
const PIECE: usize = 64 << 10;

/// Prints all commands.
pub fn print(ruleset: &Ruleset, out: &mut impl io::Write) -> io::Result<()> {
    let mut list = Commands { out, text: Vec::with_capacity(PIECE + (4 << 10)), any: false };
    list.text.extend(b"{\"nftables\": [\n");
    let name = &ruleset.table;
    let table =
        || NfListObject::Table(schema::Table { family: NfFamily::INet, name: name.as_str().into(), handle: None });
    list.add(table())?;
    list.command(&NfObject::CmdObject(NfCmd::Delete(table())))?;
    list.add(table())?;
    for one in &ruleset.chains {
        list.add(NfListObject::Chain(chain(name, one)))?;
    }
    for counter in &ruleset.counters {
        list.command(&memory::counter(name, counter))?;
    }
    for one in &ruleset.memories {
        list.command(&memory::declaration(name, one))?;
    }
    for set in &ruleset.sets {
        list.command(&value_set(name, set))?;
    }
    for map in &ruleset.ports {
        list.command(&port_map(name, map))?;
    }
    for map in &ruleset.maps {
        list.command(&declaration(name, map))?;
        if !is_whole(map) {
            elements(&mut list, name, map)?;
        }
    }
    for map in &ruleset.turns {
        list.command(&turn_map(name, map))?;
    }
    for map in &ruleset.servers {
        list.command(&server_declaration(name, map))?;
        list.command(&Added { add: AddedServers { element: servers(name, map) } })?;
    }
    for chain in &ruleset.chains {
        for one in &chain.rules {
            list.command(&Added { add: AddedRule { rule: rule(name, &chain.name, one) } })?;
        }
    }
    list.text.extend(b"\n]}\n");
    list.out.write_all(&list.text)
}

struct Commands<'a, W> {
    out: &'a mut W,
    text: Vec<u8>,
    any: bool,
}

impl<W: io::Write> Commands<'_, W> {
    fn add(&mut self, object: NfListObject<'_>) -> io::Result<()> {
        self.command(&NfObject::CmdObject(NfCmd::Add(object)))
    }

    fn command(&mut self, command: &impl Serialize) -> io::Result<()> {
        if std::mem::replace(&mut self.any, true) {
            self.text.extend(b",\n");
        }
        serde_json::to_writer(&mut self.text, command)?;
        if self.text.len() >= PIECE {
            self.out.write_all(&self.text)?;
            self.text.clear();
        }
        Ok(())
    }
}

fn chain<'a>(table: &'a Name, chain: &'a Chain) -> schema::Chain<'a> {
    let mut object =
        schema::Chain { table: table.as_str().into(), name: chain.name.as_str().into(), ..schema::Chain::default() };
    object.family = NfFamily::INet;
    if let Some(hook) = chain.hook {
        object._type = Some(NfChainType::NAT);
        object.hook = Some(match hook {
            Hook::Prerouting => NfHook::Prerouting,
            Hook::Output => NfHook::Output,
            Hook::Postrouting => NfHook::Postrouting,
        });
        object.prio = Some(hook.priority());
        object.policy = Some(NfChainPolicy::Accept);
    }
    object
}

/// The crate's maps lead to data, not to verdicts.
fn declaration(table: &Name, map: &VerdictMap) -> Json {
    let types: Vec<&str> = map.key.iter().map(|field| data_type(*field)).collect();
    let mut object = json!({
        "family": "inet", "table": table.as_str(), "name": map.name.as_str(), "type": types, "map": "verdict",
    });
    if let [only] = types[..] {
        object["type"] = json!(only);
    }
    if map.interval {
        object["flags"] = json!(["interval"]);
    }
    if is_whole(map) {
        let element = |one: &Element| match verdict_expression(&one.verdict) {
            Some(verdict) => json!([key(one), verdict]),
            None => json!([key(one), {bare(&one.verdict): null}]),
        };
        object["elem"] = map.elements.iter().map(element).collect();
    }
    json!({"add": {"map": object}})
}

/// As nft 1.0.6 lists it. It does not read it again, so [`super::lower()`] makes none for JSON.
fn turn_map(table: &Name, map: &TurnMap) -> Json {
    let element = |(turn, to): (usize, &Verdict)| match verdict_expression(to) {
        Some(verdict) => json!([turn, verdict]),
        None => json!([turn, {bare(to): null}]),
    };
    let elements: Vec<Json> = map.turns.iter().enumerate().map(element).collect();
    let (table, name) = (table.as_str(), map.name.as_str());
    json!({"add": {"map": {
        "family": "inet", "table": table, "name": name, "type": "integer", "map": "verdict", "elem": elements,
    }}})
}

/// Whether a map is declared with its elements: nft 1.0.6 sends ranges of one field twice that are added later.
fn is_whole(map: &VerdictMap) -> bool {
    map.interval && map.key.len() == 1
}

/// The elements of a map: those that the crate can say, then the others.
fn elements<W: io::Write>(list: &mut Commands<'_, W>, table: &Name, map: &VerdictMap) -> io::Result<()> {
    let mut typed = Vec::with_capacity(map.elements.len());
    let mut plain = Vec::new();
    for element in &map.elements {
        match verdict_expression(&element.verdict) {
            Some(verdict) => typed.push(Expression::List(vec![key(element), verdict])),
            None => plain.push(json!([key(element), {bare(&element.verdict): null}])),
        }
    }
    if !typed.is_empty() {
        list.add(NfListObject::Element(schema::Element {
            family: NfFamily::INet,
            table: table.as_str().into(),
            name: map.name.as_str().into(),
            elem: typed.into(),
        }))?;
    }
    if !plain.is_empty() {
        let (table, map) = (table.as_str(), map.name.as_str());
        list.command(&json!({"add": {"element": {"family": "inet", "table": table, "name": map, "elem": plain}}}))?;
    }
    Ok(())
}

fn key(element: &Element) -> Expression<'_> {
    let key = single_or_concatenated(&element.key);
    match &element.comment {
        Some(comment) => named(NamedExpression::Elem(Elem {
            val: Box::new(key),
            timeout: None,
            expires: None,
            comment: Some(comment.as_str().into()),
            counter: None,
        })),
        None => key,
    }
}

fn value_set(table: &Name, set: &ValueSet) -> Json {
    let types: Vec<&str> = set.key.iter().map(|field| data_type(*field)).collect();
    let elements: Vec<Expression<'_>> = set.elements.iter().map(|one| single_or_concatenated(one)).collect();
    let mut object = json!({
        "family": "inet", "table": table.as_str(), "name": set.name.as_str(), "type": types, "elem": elements,
    });
    if let [only] = types[..] {
        object["type"] = json!(only);
    }
    if set.interval {
        object["flags"] = json!(["interval"]);
    }
    json!({"add": {"set": object}})
}

fn single_or_concatenated(values: &[Value]) -> Expression<'_> {
    match values {
        [only] => value(only),
        _ => concatenated(values),
    }
}

fn port_map(table: &Name, map: &PortMap) -> Json {
    let port = data_type(Field::AnyPort);
    let elements: Vec<[u16; 2]> = map.ports.iter().map(|&(old, new)| [old, new]).collect();
    json!({"add": {"map": {
        "family": "inet", "table": table.as_str(), "name": map.name.as_str(), "type": port, "map": port, "elem": elements,
    }}})
}

/// nft 1.0.6 takes one word for the data, and a list of them for a set without any.
fn server_declaration(table: &Name, map: &ServerMap) -> Json {
    let key = ServerMap::key(map.family).map(data_type);
    let (address, port) = (data_type(Field::Destination(map.family)), data_type(Field::AnyPort));
    let data = match map.data {
        Held::Endpoints => json!([address, port]),
        Held::Addresses => json!(address),
        Held::Ports => json!(port),
    };
    json!({"add": {"map": {
        "family": "inet", "table": table.as_str(), "name": map.name.as_str(), "type": key, "map": data,
    }}})
}

#[derive(Serialize)]
struct AddedServers<'a> {
    element: Servers<'a>,
}

/// The crate's own element takes several times as long, and there are a hundred thousand of them.
#[derive(Serialize)]
struct Servers<'a> {
    family: NfFamily,
    table: &'a str,
    name: &'a str,
    elem: Vec<(ServerKey<'a>, ServerData)>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ServerKey<'a> {
    Bare(Concat<(IpAddr, &'static str, u16)>),
    Commented { elem: CommentedKey<'a> },
}

#[derive(Serialize)]
#[serde(untagged)]
enum ServerData {
    Endpoint(Concat<(IpAddr, u16)>),
    Address(IpAddr),
    Port(u16),
}

#[derive(Serialize)]
struct CommentedKey<'a> {
    val: Concat<(IpAddr, &'static str, u16)>,
    comment: &'a str,
}

#[derive(Serialize)]
struct Concat<T> {
    concat: T,
}

fn servers<'a>(table: &'a Name, map: &'a ServerMap) -> Servers<'a> {
    let element = |server: &'a Server| {
        let key = Concat { concat: (server.address, server.protocol.name(), server.port) };
        let key = match &server.comment {
            Some(comment) => ServerKey::Commented { elem: CommentedKey { val: key, comment: comment.as_str() } },
            None => ServerKey::Bare(key),
        };
        let data = match server.to {
            Seat::Endpoint(address, port) => ServerData::Endpoint(Concat { concat: (address, port) }),
            Seat::Address(address) => ServerData::Address(address),
            Seat::Port(port) => ServerData::Port(port),
        };
        (key, data)
    };
    Servers {
        family: NfFamily::INet,
        table: table.as_str(),
        name: map.name.as_str(),
        elem: map.elements.iter().map(element).collect(),
    }
}

#[derive(Serialize)]
struct Added<T> {
    add: T,
}

#[derive(Serialize)]
struct AddedRule<'a> {
    rule: OwnRule<'a>,
}

/// The crate's own rule has no room for plain values.
#[derive(Serialize)]
struct OwnRule<'a> {
    family: NfFamily,
    table: &'a str,
    chain: &'a str,
    expr: Vec<Part<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'a str>,
}

/// A statement.
#[derive(Serialize)]
#[serde(untagged)]
enum Part<'a> {
    Typed(stmt::Statement<'a>),
    Plain(Json),
}

fn rule<'a>(table: &'a Name, chain: &'a Name, rule: &'a Rule) -> OwnRule<'a> {
    OwnRule {
        family: NfFamily::INet,
        table: table.as_str(),
        chain: chain.as_str(),
        expr: rule.statements.iter().map(statement).collect(),
        comment: rule.comment.as_ref().map(|comment| comment.as_str()),
    }
}

fn statement(statement: &Statement) -> Part<'_> {
    Part::Typed(match statement {
        Statement::Match { field: left, negated, values } => {
            let right = match &values[..] {
                [only] => value(only),
                _ => set(values.iter().map(|one| SetItem::Element(value(one)))),
            };
            // A state is a bit of several, as is a status.
            let op = match (negated, left) {
                (true, _) => Operator::NEQ,
                (false, Field::ConnectionState | Field::ConnectionStatus) => Operator::IN,
                (false, _) => Operator::EQ,
            };
            stmt::Statement::Match(stmt::Match { left: field(*left), right, op })
        }
        Statement::Tuple { key, values } => stmt::Statement::Match(stmt::Match {
            left: fields(key),
            right: set(values.iter().map(|tuple| SetItem::Element(concatenated(tuple)))),
            op: Operator::EQ,
        }),
        Statement::Member { key, negated, set } => stmt::Statement::Match(stmt::Match {
            left: fields(key),
            right: text(format!("@{set}")),
            op: if *negated { Operator::NEQ } else { Operator::EQ },
        }),
        Statement::Drawn { pick: from, numbers } => {
            stmt::Statement::Match(stmt::Match { left: pick(*from), right: range_of(*numbers), op: Operator::EQ })
        }
        Statement::Remember { family, memory, what } => {
            return Part::Plain(memory::remember(field(Field::Source(*family)), memory, *what));
        }
        Statement::Limit(rate) => stmt::Statement::Limit(memory::rate(*rate)),
        Statement::CountOver(count) => stmt::Statement::CTCount(memory::count_over(*count)),
        Statement::Counter(name) => stmt::Statement::Counter(stmt::Counter::Named(name.as_str().into())),
        Statement::Log(prefix) => stmt::Statement::Log(Some(memory::log(prefix))),
        Statement::Lookup { key, map } => {
            stmt::Statement::VerdictMap(AskMap { key: fields(key), data: text(format!("@{map}")) })
        }
        Statement::TakeTurn { modulus, map } => stmt::Statement::VerdictMap(AskMap {
            key: pick(Pick::InTurn { modulus: *modulus }),
            data: text(format!("@{map}")),
        }),
        Statement::Branch(choice) => stmt::Statement::VerdictMap(AskMap {
            key: pick(choice.pick),
            data: items(choice, |verdict| verdict_expression(verdict).expect("a choice leads to chains")),
        }),
        Statement::Dnat { family, to } => stmt::Statement::DNAT(Some(dnat(*family, to))),
        Statement::Redirect(port) => {
            stmt::Statement::Redirect(Some(NAT { addr: None, family: None, port: new_port(port), flags: None }))
        }
        Statement::Masquerade => stmt::Statement::Masquerade(None),
        Statement::Snat(one) => stmt::Statement::SNAT(Some(NAT {
            addr: Some(address(*one)),
            family: Some(nat_family(Family::of(*one))),
            port: None,
            flags: None,
        })),
        Statement::Reject(Reject::TcpReset) => {
            stmt::Statement::Reject(Some(stmt::Reject::new(Some(RejectType::TCPReset), None)))
        }
        Statement::Reject(Reject::PortUnreachable) => {
            stmt::Statement::Reject(Some(stmt::Reject::new(Some(RejectType::ICMPX), Some(RejectCode::PortUnreach))))
        }
        Statement::Verdict(Verdict::Drop) => stmt::Statement::Drop(None),
        Statement::Verdict(Verdict::Return) => stmt::Statement::Return(None),
        Statement::Verdict(Verdict::Goto(chain)) => stmt::Statement::Goto(JumpTarget { target: chain.as_str().into() }),
        Statement::Verdict(Verdict::Jump(chain)) => stmt::Statement::Jump(JumpTarget { target: chain.as_str().into() }),
    })
}

fn dnat(family: Family, to: &Destination) -> NAT<'_> {
    let (addr, port) = match to {
        Destination::One(one, port) => (address(*one), new_port(port)),
        Destination::Addresses(choice) => (map(choice, |one| address(*one)), None),
        Destination::Endpoints(choice) => {
            let endpoint = |(one, port): &(IpAddr, u16)| {
                named(NamedExpression::Concat(vec![address(*one), Expression::Number(u32::from(*port))]))
            };
            (map(choice, endpoint), None)
        }
        Destination::Listed { map, ports } => {
            let asked = |map: &Name| {
                let (key, data) = (fields(&ServerMap::key(family)), text(format!("@{map}")));
                named(NamedExpression::Map(Box::new(Map { key, data })))
            };
            (asked(map), ports.as_ref().map(asked))
        }
        Destination::Remembered { family, map, port } => {
            let (key, data) = (field(Field::Source(*family)), text(format!("@{map}")));
            (named(NamedExpression::Map(Box::new(Map { key, data }))), new_port(port))
        }
    };
    NAT { addr: Some(addr), family: Some(nat_family(family)), port, flags: None }
}

fn nat_family(family: Family) -> NATFamily {
    match family {
        Family::V4 => NATFamily::IP,
        Family::V6 => NATFamily::IP6,
    }
}

fn new_port(port: &NewPort) -> Option<Expression<'_>> {
    match port {
        NewPort::Kept => None,
        NewPort::Fixed(port) => Some(Expression::Number(u32::from(*port))),
        NewPort::Mapped { field: from, ports } => {
            let number = |port: u16| Expression::Number(u32::from(port));
            let data = set(ports.iter().map(|&(old, new)| SetItem::Mapping(number(old), number(new))));
            Some(named(NamedExpression::Map(Box::new(Map { key: field(*from), data }))))
        }
        NewPort::Listed { field: from, map } => {
            let data = text(format!("@{map}"));
            Some(named(NamedExpression::Map(Box::new(Map { key: field(*from), data }))))
        }
    }
}

fn map<'a, T>(choice: &'a Choice<T>, data: impl Fn(&'a T) -> Expression<'a>) -> Expression<'a> {
    named(NamedExpression::Map(Box::new(Map { key: pick(choice.pick), data: items(choice, data) })))
}

fn items<'a, T>(choice: &'a Choice<T>, data: impl Fn(&'a T) -> Expression<'a>) -> Expression<'a> {
    set(choice.elements.iter().map(|(numbers, to)| SetItem::Mapping(range_of(*numbers), data(to))))
}

fn range_of(numbers: Numbers) -> Expression<'static> {
    match numbers.first == numbers.last {
        true => Expression::Number(numbers.first),
        false => range(Expression::Number(numbers.first), Expression::Number(numbers.last)),
    }
}

fn pick(pick: Pick) -> Expression<'static> {
    let numgen = |mode, modulus| named(NamedExpression::Numgen(Numgen { mode, ng_mod: modulus, offset: None }));
    match pick {
        Pick::Random { modulus } => numgen(NgMode::Random, modulus),
        Pick::InTurn { modulus } => numgen(NgMode::Inc, modulus),
        Pick::SourceHash { family, modulus, seed } => named(NamedExpression::JHash(JHash {
            hash_mod: modulus,
            offset: None,
            expr: Box::new(field(Field::Source(family))),
            seed: Some(seed),
        })),
    }
}

fn field(field: Field) -> Expression<'static> {
    let ip = |family| match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    let payload = |protocol: &'static str, field: &'static str| {
        NamedExpression::Payload(Payload::PayloadField(PayloadField { protocol: protocol.into(), field: field.into() }))
    };
    named(match field {
        Field::Family => NamedExpression::Meta(Meta { key: MetaKey::Nfproto }),
        Field::Source(family) => payload(ip(family), "saddr"),
        Field::Destination(family) => payload(ip(family), "daddr"),
        Field::Protocol => NamedExpression::Meta(Meta { key: MetaKey::L4proto }),
        Field::Port(protocol) => payload(protocol.name(), "dport"),
        Field::AnyPort => payload("th", "dport"),
        Field::Interface => NamedExpression::Meta(Meta { key: MetaKey::Iifname }),
        // A set of one flag has one order.
        Field::DestinationType => NamedExpression::Fib(Fib { result: FibResult::Type, flags: [FibFlag::Daddr].into() }),
        Field::ConnectionState => connection("state", None),
        Field::ConnectionDirection => connection("direction", None),
        Field::ConnectionStatus => connection("status", None),
        Field::OriginalDestination(Family::V4) => connection("ip daddr", Some(CTDir::Original)),
        Field::OriginalDestination(Family::V6) => connection("ip6 daddr", Some(CTDir::Original)),
        Field::OriginalPort => connection("proto-dst", Some(CTDir::Original)),
    })
}

fn connection(key: &'static str, dir: Option<CTDir>) -> NamedExpression<'static> {
    NamedExpression::CT(CT { key: key.into(), family: None, dir })
}

fn fields(key: &[Field]) -> Expression<'static> {
    if let [only] = key {
        return field(*only);
    }
    named(NamedExpression::Concat(key.iter().map(|one| field(*one)).collect()))
}

fn concatenated(values: &[Value]) -> Expression<'_> {
    named(NamedExpression::Concat(values.iter().map(value).collect()))
}

fn value(value: &Value) -> Expression<'_> {
    match value {
        Value::Family(Family::V4) => text("ipv4"),
        Value::Family(Family::V6) => text("ipv6"),
        Value::Address(one) => address(*one),
        Value::Net(net) => named(NamedExpression::Prefix(Prefix {
            addr: Box::new(address(net.addr())),
            len: u32::from(net.prefix_len()),
        })),
        Value::Addresses(first, last) => range(address(*first), address(*last)),
        Value::Protocol(protocol) => text(protocol.name()),
        Value::Ports(ports) => {
            let (first, last) = (u32::from(ports.first()), u32::from(ports.last()));
            range_of(Numbers { first, last })
        }
        Value::Interface(Interface::Exact(name)) => text(name.as_str()),
        Value::Interface(Interface::Prefix(prefix)) => text(format!("{prefix}*")),
        Value::AddressType(AddressType::Local) => text("local"),
        Value::AddressType(AddressType::Broadcast) => text("broadcast"),
        Value::Invalid => text("invalid"),
        Value::Reply => text("reply"),
        Value::Translated => text("dnat"),
    }
}

/// The word for a verdict that [`verdict_expression`] cannot say.
fn bare(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Drop => "drop",
        Verdict::Return => "return",
        Verdict::Goto(_) => "goto",
        Verdict::Jump(_) => "jump",
    }
}

/// `None` for `drop` and `return`: the crate writes them as strings, nft wants objects.
fn verdict_expression(verdict: &Verdict) -> Option<Expression<'_>> {
    match verdict {
        Verdict::Goto(chain) => {
            Some(Expression::Verdict(nftables::expr::Verdict::Goto(JumpTarget { target: chain.as_str().into() })))
        }
        Verdict::Jump(chain) => {
            Some(Expression::Verdict(nftables::expr::Verdict::Jump(JumpTarget { target: chain.as_str().into() })))
        }
        Verdict::Drop | Verdict::Return => None,
    }
}

fn named(expression: NamedExpression<'_>) -> Expression<'_> {
    Expression::Named(expression)
}

fn text<'a>(text: impl Into<Cow<'a, str>>) -> Expression<'a> {
    Expression::String(text.into())
}

fn address(address: IpAddr) -> Expression<'static> {
    let mut shown = String::with_capacity(16);
    super::text::address(&mut shown, address).expect("writing into a string does not fail");
    text(shown)
}

fn range<'a>(first: Expression<'a>, last: Expression<'a>) -> Expression<'a> {
    Expression::Range(Box::new(Range { range: [first, last] }))
}

fn set<'a>(items: impl Iterator<Item = SetItem<'a>>) -> Expression<'a> {
    named(NamedExpression::Set(items.collect()))
}
