//! From a dump of our own output back to the typed ruleset that was printed.

mod memory;
mod named;

use crate::endpoint::PortRange;
use crate::ir::options::LogPrefix;
use crate::ir::{Family, Interface};
use crate::statement::balance::Protocol;

use super::dump::{
    self, Base, ChainKind, Data, Dump, Elements, Expr, HookPoint, Kind, Nat, Operand, Operator, Quiet, TableFamily,
};
use super::model::{
    AddressType, Chain, Choice, Comment, Destination, Element, Field, Hook, Name, NewPort, Numbers, Pick, Reject, Rule,
    Ruleset, ServerMap, Statement, Value, Verdict, VerdictMap,
};

impl Ruleset {
    /// The ruleset that a dump is the print of; `None` for a dump of anything else.
    ///
    /// libnftables JSON has the elements of a map in an order of its own: those with `drop` last.
    pub fn of_dump(dump: &Dump) -> Option<Ruleset> {
        let [table] = &dump.tables[..] else { return None };
        if table.family != TableFamily::Inet {
            return None;
        }
        let (mut memories, mut sets, mut ports) = (vec![], vec![], vec![]);
        let (mut maps, mut turns, mut servers) = (vec![], vec![], vec![]);
        for set in table.sets() {
            match (set.elements.first().map(|one| &one.data), &set.data[..]) {
                // What rules fill has no elements, and nothing else has none.
                (None, _) => memories.push(memory::declaration(table, set)?),
                (Some(Data::None), []) => sets.push(named::values(table, set)?),
                (Some(Data::Verdict(_)), []) if set.key == [Kind::Number] && named::is_of_turns(table, set) => {
                    turns.push(named::turns(set)?);
                }
                (Some(Data::Verdict(_)), []) => maps.push(map(table, set)?),
                (Some(Data::Values(_)), [Kind::Number]) if set.key.len() == 1 => ports.push(named::ports(set)?),
                (Some(Data::Values(_)), [Kind::Address, Kind::Number] | [Kind::Address] | [Kind::Number]) => {
                    servers.push(named::servers(set)?);
                }
                (Some(_), _) => return None,
            }
        }
        Some(Ruleset {
            table: name(&table.name)?,
            counters: table.counters.iter().map(|one| name(one)).collect::<Option<_>>()?,
            memories,
            sets,
            ports,
            maps,
            turns,
            servers,
            chains: table.chains().iter().map(chain).collect::<Option<_>>()?,
        })
    }
}

fn name(text: &str) -> Option<Name> {
    Name::new(text).ok()
}

/// Absent, or one that can be written.
fn comment(text: Option<&str>) -> Option<Option<Comment>> {
    text.map_or(Some(None), |text| Comment::new(text).map(Some))
}

fn map(table: &dump::Table, set: &dump::Set) -> Option<VerdictMap> {
    // The types alone do not tell a source from a destination: the rules that ask say it.
    let rules = table.chains().iter().flat_map(|chain| &chain.rules);
    let asks = |statement: &dump::Statement| match statement {
        dump::Statement::Lookup { key, map: Elements::Named(name) } if **name == *set.name => fields(key),
        _ => None,
    };
    let key = rules.flat_map(|rule| &rule.statements).find_map(asks)?;
    let element = |one: &dump::Element| {
        let key = one.key.iter().zip(&set.key).map(|(one, kind)| value(one, *kind)).collect::<Option<_>>()?;
        let Data::Verdict(to) = &one.data else { return None };
        Some(Element { key, verdict: verdict(to)?, comment: comment(one.comment.as_deref())? })
    };
    let elements: Vec<Element> = set.elements.iter().map(element).collect::<Option<_>>()?;
    let interval = elements.iter().any(|element| element.key.iter().any(Value::is_range));
    Some(VerdictMap { name: name(&set.name)?, key, interval, elements })
}

fn chain(chain: &dump::Chain) -> Option<Chain> {
    let hook = match chain.base {
        None => None,
        Some(Base { kind: ChainKind::Nat, hook, priority, drops: false }) => {
            let own = match hook {
                HookPoint::Prerouting => Hook::Prerouting,
                HookPoint::Output => Hook::Output,
                HookPoint::Postrouting => Hook::Postrouting,
                HookPoint::Input | HookPoint::Forward | HookPoint::Ingress => return None,
            };
            Some(Some(own).filter(|own| own.priority() == priority)?)
        }
        Some(_) => return None,
    };
    let rule = |rule: &dump::Rule| {
        let statements = rule.statements.iter().map(statement).collect::<Option<_>>()?;
        Some(Rule { statements, comment: comment(rule.comment.as_deref())? })
    };
    Some(Chain { name: name(&chain.name)?, hook, rules: chain.rules.iter().map(rule).collect::<Option<_>>()? })
}

fn statement(one: &dump::Statement) -> Option<Statement> {
    match one {
        dump::Statement::Match {
            left,
            operator: operator @ (Operator::Equal | Operator::NotEqual),
            right: Operand::Elements(Elements::Named(set)),
        } => {
            let negated = *operator == Operator::NotEqual;
            Some(Statement::Member { key: fields(left)?, negated, set: name(set)? })
        }
        dump::Statement::Match {
            left: left @ (Expr::Numgen { .. } | Expr::Jhash { .. }),
            operator: Operator::Equal,
            right: Operand::Values(list),
        } => Some(Statement::Drawn { pick: pick(left)?, numbers: numbers(list)? }),
        dump::Statement::Match {
            left: left @ Expr::Concat(_),
            operator: Operator::Equal,
            right: Operand::Elements(Elements::Anonymous(list)),
        } => {
            let kinds = left.kinds();
            let tuple = |one: &dump::Element| {
                one.key.iter().zip(&kinds).map(|(one, kind)| value(one, *kind)).collect::<Option<Vec<_>>>()
            };
            Some(Statement::Tuple { key: fields(left)?, values: list.iter().map(tuple).collect::<Option<_>>()? })
        }
        dump::Statement::Match { left: Expr::Field(from), operator, right } => {
            let kind = from.kind();
            let values = match right {
                Operand::Values(list) => list.iter().map(|one| value(one, kind)).collect::<Option<_>>()?,
                Operand::Elements(Elements::Anonymous(list)) => {
                    list.iter().map(|one| value(single(&one.key)?, kind)).collect::<Option<_>>()?
                }
                Operand::Elements(Elements::Named(_)) | Operand::Unknown(_) => return None,
            };
            let negated = match operator {
                Operator::Equal | Operator::In => false,
                Operator::NotEqual => true,
                Operator::Less
                | Operator::Greater
                | Operator::LessOrEqual
                | Operator::GreaterOrEqual
                | Operator::NotIn => return None,
            };
            Some(Statement::Match { field: field(*from)?, negated, values })
        }
        dump::Statement::Lookup { key: key @ Expr::Numgen { .. }, map: Elements::Named(map) } => match pick(key)? {
            Pick::InTurn { modulus } => Some(Statement::TakeTurn { modulus, map: name(map)? }),
            Pick::Random { .. } | Pick::SourceHash { .. } => None,
        },
        dump::Statement::Lookup { key, map: Elements::Named(map) } => {
            Some(Statement::Lookup { key: fields(key)?, map: name(map)? })
        }
        dump::Statement::Lookup { key, map: Elements::Anonymous(list) } => {
            Some(Statement::Branch(choice(key, list, |data| {
                let Data::Verdict(to) = data else { return None };
                verdict(to)
            })?))
        }
        dump::Statement::Verdict(one) => verdict(one).map(Statement::Verdict),
        dump::Statement::Nat { nat: Nat::Dnat, family: Some(family), address: Some(address), port } => {
            Some(Statement::Dnat { family: *family, to: destination(*family, address, port.as_ref())? })
        }
        dump::Statement::Nat { nat: Nat::Redirect, family: None, address: None, port: Some(port) } => {
            new_port(port).map(Statement::Redirect)
        }
        dump::Statement::Nat { nat: Nat::Masquerade, family: None, address: None, port: None } => {
            Some(Statement::Masquerade)
        }
        dump::Statement::Nat { nat: Nat::Snat, family, address: Some(Expr::Constant(list, _)), port: None } => {
            let dump::Value::Address(address) = single(list)? else { return None };
            (*family == Some(Family::of(*address))).then_some(Statement::Snat(*address))
        }
        dump::Statement::Learn { update, set, key, data, inner } => {
            memory::remember(*update, set, key, data.as_ref(), inner)
        }
        dump::Statement::Limit { over, bound } => memory::limit(*over, bound),
        dump::Statement::Quiet(Quiet::Counter(Some(counter))) => Some(Statement::Counter(name(counter)?)),
        dump::Statement::Quiet(Quiet::Log(Some(prefix))) => LogPrefix::new(prefix).map(Statement::Log),
        dump::Statement::Reject(with) => match &**with {
            "with tcp reset" => Some(Statement::Reject(Reject::TcpReset)),
            "with icmpx type port-unreachable" => Some(Statement::Reject(Reject::PortUnreachable)),
            _ => None,
        },
        dump::Statement::Match { .. }
        | dump::Statement::Nat { .. }
        | dump::Statement::Mark { .. }
        | dump::Statement::Quiet(_)
        | dump::Statement::Unknown(_) => None,
    }
}

fn single<T>(list: &[T]) -> Option<&T> {
    match list {
        [only] => Some(only),
        _ => None,
    }
}

fn verdict(verdict: &dump::Verdict) -> Option<Verdict> {
    match verdict {
        dump::Verdict::Drop => Some(Verdict::Drop),
        dump::Verdict::Return => Some(Verdict::Return),
        dump::Verdict::Goto(chain) => name(chain).map(Verdict::Goto),
        dump::Verdict::Jump(chain) => name(chain).map(Verdict::Jump),
        dump::Verdict::Accept | dump::Verdict::Continue => None,
    }
}

fn destination(of: Family, address: &Expr, port: Option<&Expr>) -> Option<Destination> {
    match (address, port) {
        (Expr::Constant(list, _), port) => {
            let dump::Value::Address(address) = single(list)? else { return None };
            Some(Destination::One(*address, port.map_or(Some(NewPort::Kept), new_port)?))
        }
        (Expr::Map(key, Elements::Named(map)), port) => {
            let is_key = |key: &Expr| fields(key).is_some_and(|fields| fields == ServerMap::key(of));
            if let Expr::Concat(_) = **key {
                let ports = match port {
                    None => None,
                    Some(Expr::Map(key, Elements::Named(ports))) if is_key(key) => Some(name(ports)?),
                    Some(_) => return None,
                };
                return is_key(key).then_some(Destination::Listed { map: name(map)?, ports });
            }
            let Expr::Field(dump::Field::Source(family)) = **key else { return None };
            let port = port.map_or(Some(NewPort::Kept), new_port)?;
            Some(Destination::Remembered { family, map: name(map)?, port })
        }
        (Expr::Map(key, Elements::Anonymous(list)), None) => {
            let addresses = choice(key, list, |data| match data {
                Data::Values(list) => match list[..] {
                    [dump::Value::Address(address)] => Some(address),
                    _ => None,
                },
                Data::None | Data::Verdict(_) | Data::Other(_) => None,
            });
            if let Some(choice) = addresses {
                return Some(Destination::Addresses(choice));
            }
            let endpoints = choice(key, list, |data| match data {
                Data::Values(list) => match list[..] {
                    [dump::Value::Address(address), dump::Value::Number(port)] => {
                        Some((address, port.try_into().ok()?))
                    }
                    _ => None,
                },
                Data::None | Data::Verdict(_) | Data::Other(_) => None,
            });
            endpoints.map(Destination::Endpoints)
        }
        _ => None,
    }
}

fn new_port(port: &Expr) -> Option<NewPort> {
    match port {
        Expr::Constant(list, _) => match list[..] {
            [dump::Value::Number(port)] => Some(NewPort::Fixed(port.try_into().ok()?)),
            _ => None,
        },
        Expr::Map(key, Elements::Named(map)) => {
            let Expr::Field(from) = **key else { return None };
            Some(NewPort::Listed { field: field(from)?, map: name(map)? })
        }
        Expr::Map(key, Elements::Anonymous(list)) => {
            let Expr::Field(from) = **key else { return None };
            Some(NewPort::Mapped { field: field(from)?, ports: list.iter().map(pair).collect::<Option<_>>()? })
        }
        _ => None,
    }
}

/// An element of a map from ports to ports.
fn pair(one: &dump::Element) -> Option<(u16, u16)> {
    match (&one.key[..], &one.data) {
        ([dump::Value::Number(old)], Data::Values(new)) => match new[..] {
            [dump::Value::Number(new)] => Some(((*old).try_into().ok()?, new.try_into().ok()?)),
            _ => None,
        },
        _ => None,
    }
}

fn pick(key: &Expr) -> Option<Pick> {
    match key {
        Expr::Numgen { random: true, modulus, offset: 0 } => Some(Pick::Random { modulus: *modulus }),
        Expr::Numgen { random: false, modulus, offset: 0 } => Some(Pick::InTurn { modulus: *modulus }),
        Expr::Jhash { of, modulus, seed: Some(seed), offset: 0 } => match **of {
            Expr::Field(dump::Field::Source(family)) => {
                Some(Pick::SourceHash { family, modulus: *modulus, seed: *seed })
            }
            _ => None,
        },
        _ => None,
    }
}

fn numbers(list: &[dump::Value]) -> Option<Numbers> {
    match list {
        [dump::Value::Number(number)] => Some(Numbers::one(*number)),
        [dump::Value::Numbers(first, last)] => Some(Numbers { first: *first, last: *last }),
        _ => None,
    }
}

fn choice<T>(key: &Expr, list: &[dump::Element], data: impl Fn(&Data) -> Option<T>) -> Option<Choice<T>> {
    let pick = pick(key)?;
    let element = |one: &dump::Element| Some((numbers(&one.key)?, data(&one.data)?));
    Some(Choice { pick, elements: list.iter().map(element).collect::<Option<_>>()? })
}

fn fields(key: &Expr) -> Option<Vec<Field>> {
    let one = |part: &Expr| match part {
        Expr::Field(one) => field(*one),
        _ => None,
    };
    match key {
        Expr::Concat(parts) => parts.iter().map(one).collect(),
        other => Some(vec![one(other)?]),
    }
}

fn field(field: dump::Field) -> Option<Field> {
    match field {
        dump::Field::Family => Some(Field::Family),
        dump::Field::Protocol => Some(Field::Protocol),
        dump::Field::InInterface => Some(Field::Interface),
        dump::Field::Source(family) => Some(Field::Source(family)),
        dump::Field::Destination(family) => Some(Field::Destination(family)),
        dump::Field::Port(Some(protocol)) => Some(Field::Port(protocol)),
        dump::Field::Port(None) => Some(Field::AnyPort),
        dump::Field::SourceType => None,
        dump::Field::DestinationType => Some(Field::DestinationType),
        dump::Field::State => Some(Field::ConnectionState),
        dump::Field::Direction => Some(Field::ConnectionDirection),
        dump::Field::Status => Some(Field::ConnectionStatus),
        dump::Field::OriginalDestination(family) => Some(Field::OriginalDestination(family)),
        dump::Field::OriginalPort => Some(Field::OriginalPort),
        dump::Field::NextHeader(_)
        | dump::Field::OutInterface
        | dump::Field::Mark
        | dump::Field::ConnectionMark
        | dump::Field::SourcePort(_)
        | dump::Field::OriginalSource(_)
        | dump::Field::OriginalSourcePort
        | dump::Field::TcpFlags => None,
    }
}

fn value(value: &dump::Value, kind: Kind) -> Option<Value> {
    match value {
        dump::Value::Number(number) => match (kind, kind.word(*number)) {
            (Kind::Family, Some("ipv4")) => Some(Value::Family(Family::V4)),
            (Kind::Family, Some("ipv6")) => Some(Value::Family(Family::V6)),
            (Kind::Protocol, Some(word)) => {
                Protocol::ALL.into_iter().find(|one| one.name() == word).map(Value::Protocol)
            }
            (Kind::AddressType, Some("local")) => Some(Value::AddressType(AddressType::Local)),
            (Kind::AddressType, Some("broadcast")) => Some(Value::AddressType(AddressType::Broadcast)),
            (Kind::State, Some("invalid")) => Some(Value::Invalid),
            (Kind::Direction, Some("reply")) => Some(Value::Reply),
            (Kind::Status, Some("dnat")) => Some(Value::Translated),
            (Kind::Number, _) => ports(*number, *number),
            _ => None,
        },
        dump::Value::Numbers(first, last) => ports(*first, *last),
        dump::Value::Address(address) => Some(Value::Address(*address)),
        dump::Value::Net(net) => Some(Value::Net(*net)),
        dump::Value::Addresses(first, last) => Some(Value::Addresses(*first, *last)),
        dump::Value::Name(name) => Some(Value::Interface(Interface::Exact(name.to_string()))),
        dump::Value::NamePrefix(prefix) => Some(Value::Interface(Interface::Prefix(prefix.to_string()))),
        dump::Value::Rest | dump::Value::Other(_) => None,
    }
}

fn ports(first: u32, last: u32) -> Option<Value> {
    PortRange::new(first.try_into().ok()?, last.try_into().ok()?).map(Value::Ports)
}
