//! Rules of a [`super::dump::Dump`] as nft would list them, for people.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

use crate::ir::Family;
use crate::statement::balance::Protocol;

use super::dump::{
    Bits, Bound, Data, Element, Elements, Expr, Field, Kind, Nat, Operand, Operator, Quiet, Rule, Statement, Value,
    Verdict,
};
use super::text::joined;

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        joined(f, " ", &self.statements, |f, statement| write!(f, "{statement}"))?;
        match &self.comment {
            Some(comment) if self.statements.is_empty() => write!(f, "comment \"{comment}\""),
            Some(comment) => write!(f, " comment \"{comment}\""),
            None => Ok(()),
        }
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Statement::Match { left, operator, right } => {
                write!(f, "{left}")?;
                f.write_str(match operator {
                    Operator::Equal if matches!(left, Expr::Bits(..) | Expr::Field(Field::TcpFlags)) => " == ",
                    Operator::NotIn => " ! ",
                    Operator::Equal | Operator::In => " ",
                    Operator::NotEqual => " != ",
                    Operator::Less => " < ",
                    Operator::Greater => " > ",
                    Operator::LessOrEqual => " <= ",
                    Operator::GreaterOrEqual => " >= ",
                })?;
                match right {
                    Operand::Values(list) => values(f, list, &left.kinds()),
                    Operand::Elements(list) => elements(f, list, &left.kinds()),
                    Operand::Unknown(text) => f.write_str(text),
                }
            }
            Statement::Lookup { key, map } => {
                write!(f, "{key} vmap ")?;
                elements(f, map, &key.kinds())
            }
            Statement::Verdict(verdict) => write!(f, "{verdict}"),
            Statement::Nat { nat, family, address, port } => {
                f.write_str(match nat {
                    Nat::Dnat => "dnat",
                    Nat::Snat => "snat",
                    Nat::Masquerade => "masquerade",
                    Nat::Redirect => "redirect",
                })?;
                f.write_str(match family {
                    Some(Family::V4) => " ip",
                    Some(Family::V6) => " ip6",
                    None => "",
                })?;
                if address.is_some() || port.is_some() {
                    f.write_str(" to ")?;
                }
                match address {
                    Some(Expr::Constant(list, _)) if port.is_some() => match &list[..] {
                        [Value::Address(IpAddr::V6(one))] => write!(f, "[{one}]")?,
                        other => values(f, other, &[Kind::Address])?,
                    },
                    Some(other) => write!(f, "{other}")?,
                    None => {}
                }
                port.as_ref().map_or(Ok(()), |port| write!(f, ":{port}"))
            }
            Statement::Reject(with) if with.is_empty() => f.write_str("reject"),
            Statement::Reject(with) => write!(f, "reject {with}"),
            Statement::Mark { field, value } => write!(f, "{field} set {value}"),
            Statement::Learn { update, set, key, data, inner } => {
                write!(f, "{} @{set} {{ {key}", if *update { "update" } else { "add" })?;
                for one in inner {
                    write!(f, " {one}")?;
                }
                data.as_ref().map_or(Ok(()), |data| write!(f, " : {data}"))?;
                f.write_str(" }")
            }
            Statement::Limit { over, bound } => {
                let sign = if *over { "over " } else { "" };
                match bound {
                    Bound::Packets { rate, unit, burst } => {
                        write!(f, "limit rate {sign}{rate}/{} burst {burst} packets", unit.name())
                    }
                    Bound::Connections(count) => write!(f, "ct count {sign}{count}"),
                    Bound::Other(text) => f.write_str(text),
                }
            }
            Statement::Quiet(Quiet::Counter(None)) => f.write_str("counter"),
            Statement::Quiet(Quiet::Counter(Some(name))) => write!(f, "counter name \"{name}\""),
            Statement::Quiet(Quiet::Compat(text)) => f.write_str(text),
            Statement::Quiet(Quiet::Log(None)) => f.write_str("log"),
            Statement::Quiet(Quiet::Log(Some(prefix))) => write!(f, "log prefix \"{prefix}\""),
            Statement::Unknown(text) => f.write_str(text),
        }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Accept => f.write_str("accept"),
            Verdict::Drop => f.write_str("drop"),
            Verdict::Return => f.write_str("return"),
            Verdict::Continue => f.write_str("continue"),
            Verdict::Jump(chain) => write!(f, "jump {chain}"),
            Verdict::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

impl Expr {
    /// What the parts of the expression are.
    pub fn kinds(&self) -> Vec<Kind> {
        match self {
            Expr::Field(field) => vec![field.kind()],
            Expr::Constant(list, kind) => vec![*kind; list.len()],
            Expr::Concat(parts) => parts.iter().flat_map(Expr::kinds).collect(),
            Expr::Numgen { .. } | Expr::Jhash { .. } => vec![Kind::Number],
            Expr::Bits(_, left, _) => left.kinds(),
            Expr::Map(..) | Expr::Unknown(_) => vec![Kind::Unknown],
        }
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Field(field) => write!(f, "{field}"),
            Expr::Constant(list, kind) => values(f, list, &vec![*kind; list.len()]),
            Expr::Concat(parts) => joined(f, " . ", parts, |f, part| write!(f, "{part}")),
            Expr::Numgen { random, modulus, offset } => {
                write!(f, "numgen {} mod {modulus}", if *random { "random" } else { "inc" })?;
                shifted(f, *offset)
            }
            Expr::Jhash { of, modulus, seed, offset } => {
                write!(f, "jhash {of} mod {modulus}")?;
                seed.map_or(Ok(()), |seed| write!(f, " seed {seed:#x}"))?;
                shifted(f, *offset)
            }
            Expr::Bits(bits, left, right) => {
                let sign = match bits {
                    Bits::And => "&",
                    Bits::Or => "|",
                    Bits::Xor => "^",
                };
                write!(f, "{left} {sign} {right}")
            }
            Expr::Map(key, map) => {
                write!(f, "{key} map ")?;
                elements(f, map, &key.kinds())
            }
            Expr::Unknown(text) => f.write_str(text),
        }
    }
}

fn shifted(f: &mut Formatter<'_>, offset: u32) -> fmt::Result {
    if offset == 0 { Ok(()) } else { write!(f, " offset {offset}") }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ip = |family: Family| match family {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        };
        let transport = |protocol: Option<Protocol>| protocol.map_or("th", Protocol::name);
        match *self {
            Field::Family => f.write_str("meta nfproto"),
            Field::Protocol => f.write_str("meta l4proto"),
            Field::NextHeader(Family::V4) => f.write_str("ip protocol"),
            Field::NextHeader(Family::V6) => f.write_str("ip6 nexthdr"),
            Field::InInterface => f.write_str("iifname"),
            Field::OutInterface => f.write_str("oifname"),
            Field::Mark => f.write_str("meta mark"),
            Field::ConnectionMark => f.write_str("ct mark"),
            Field::Source(family) => write!(f, "{} saddr", ip(family)),
            Field::Destination(family) => write!(f, "{} daddr", ip(family)),
            Field::SourcePort(protocol) => write!(f, "{} sport", transport(protocol)),
            Field::Port(protocol) => write!(f, "{} dport", transport(protocol)),
            Field::SourceType => f.write_str("fib saddr type"),
            Field::DestinationType => f.write_str("fib daddr type"),
            Field::State => f.write_str("ct state"),
            Field::Direction => f.write_str("ct direction"),
            Field::Status => f.write_str("ct status"),
            Field::OriginalSource(family) => write!(f, "ct original {} saddr", ip(family)),
            Field::OriginalDestination(family) => write!(f, "ct original {} daddr", ip(family)),
            Field::OriginalSourcePort => f.write_str("ct original proto-src"),
            Field::OriginalPort => f.write_str("ct original proto-dst"),
            Field::TcpFlags => f.write_str("tcp flags"),
        }
    }
}

fn values(f: &mut Formatter<'_>, list: &[Value], kinds: &[Kind]) -> fmt::Result {
    let mut kinds = kinds.iter().copied().chain(std::iter::repeat(Kind::Unknown));
    joined(f, " . ", list, |f, one| value(f, one, kinds.next().unwrap_or(Kind::Unknown)))
}

fn value(f: &mut Formatter<'_>, value: &Value, kind: Kind) -> fmt::Result {
    match value {
        Value::Number(number) => match (kind.word(*number), kind) {
            (Some(word), _) => f.write_str(word),
            (None, Kind::Mark) => write!(f, "{number:#x}"),
            (None, kind) if kind.is_bits() => {
                let set: Vec<u32> = (0..32).map(|bit| 1 << bit).filter(|bit| number & bit != 0).collect();
                joined(f, ",", &set, |f, bit| match kind.word(*bit) {
                    Some(word) => f.write_str(word),
                    None => write!(f, "{bit:#x}"),
                })
            }
            (None, _) => write!(f, "{number}"),
        },
        Value::Numbers(first, last) => write!(f, "{first}-{last}"),
        Value::Address(one) => write!(f, "{one}"),
        Value::Net(net) => write!(f, "{net}"),
        Value::Addresses(first, last) => write!(f, "{first}-{last}"),
        Value::Name(name) => write!(f, "\"{name}\""),
        Value::NamePrefix(prefix) => write!(f, "\"{prefix}*\""),
        Value::Rest => f.write_str("*"),
        Value::Other(text) => f.write_str(text),
    }
}

fn elements(f: &mut Formatter<'_>, list: &Elements, key: &[Kind]) -> fmt::Result {
    match list {
        Elements::Named(name) => write!(f, "@{name}"),
        Elements::Anonymous(list) => {
            f.write_str("{ ")?;
            joined(f, ", ", list, |f, one| element(f, one, key))?;
            f.write_str(" }")
        }
    }
}

fn element(f: &mut Formatter<'_>, element: &Element, key: &[Kind]) -> fmt::Result {
    values(f, &element.key, key)?;
    element.comment.as_ref().map_or(Ok(()), |comment| write!(f, " comment \"{comment}\""))?;
    match &element.data {
        Data::None => Ok(()),
        Data::Values(list) => {
            f.write_str(" : ")?;
            values(f, list, &[])
        }
        Data::Verdict(verdict) => write!(f, " : {verdict}"),
        Data::Other(text) => write!(f, " : {text}"),
    }
}
