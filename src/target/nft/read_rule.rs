//! The statements and expressions of rules in libnftables JSON.

use crate::ir::Family;
use crate::option::limit::Unit;
use crate::statement::balance::Protocol;

use super::dump::{Bits, Bound, Elements, Expr, Field, Kind, Nat, Operand, Operator, Quiet, Statement, Value};
use super::json_value::Json;
use super::read_json::{element, only, value, values, verdict};
use super::read_text;

/// One statement; what is not understood becomes [`Statement::Unknown`].
pub fn statement(json: &Json<'_>) -> Statement {
    let unknown = || Statement::Unknown(compact(json));
    if let Json::String(text) = json {
        // nft 1.0.6 lists `update @map { … }` as it lists it in text.
        return read_text::learn(text).unwrap_or_else(|| Statement::Unknown(text.as_ref().into()));
    }
    if let Some(verdict) = verdict(json) {
        return Statement::Verdict(verdict);
    }
    let Some((word, inner)) = only(json) else { return unknown() };
    let read = match word {
        "match" => matching(inner),
        "vmap" => lookup(inner),
        "dnat" => nat(Nat::Dnat, inner),
        "snat" => nat(Nat::Snat, inner),
        "masquerade" => nat(Nat::Masquerade, inner),
        "redirect" => nat(Nat::Redirect, inner),
        "reject" => Some(Statement::Reject(reject(inner))),
        "mangle" => mangle(inner),
        "set" => learn(inner, "set"),
        "map" => learn(inner, "map"),
        // What a named one is about stands elsewhere, and whether it matches what is over it.
        "limit" => inner.get("rate").map(|_| limit(inner)),
        "ct count" => count(inner),
        "counter" => Some(Statement::Quiet(Quiet::Counter(inner.as_str().map(Into::into)))),
        "log" => {
            let prefix = inner.get("prefix").and_then(Json::as_str);
            Some(Statement::Quiet(Quiet::Log(prefix.map(Into::into))))
        }
        "xt" => says_only(inner).then(|| Statement::Quiet(Quiet::Compat(compact(json)))),
        _ => None,
    };
    read.unwrap_or_else(unknown)
}

/// Whether what iptables has put there lets every packet go on as it is. Of all else no more is listed than the name.
fn says_only(xt: &Json<'_>) -> bool {
    let word = |key: &str| xt.get(key).and_then(Json::as_str);
    matches!((word("type"), word("name")), (Some("match"), Some("comment")) | (Some("target"), Some("LOG" | "NFLOG")))
}

/// JSON without the quotes: the shape of what is not understood.
fn compact(json: &Json<'_>) -> Box<str> {
    json.to_string().replace('"', "").into()
}

fn matching(json: &Json<'_>) -> Option<Statement> {
    let operator = match json.get("op")?.as_str()? {
        "==" => Operator::Equal,
        "!=" => Operator::NotEqual,
        "<" => Operator::Less,
        ">" => Operator::Greater,
        "<=" => Operator::LessOrEqual,
        ">=" => Operator::GreaterOrEqual,
        "in" => Operator::In,
        "!" => Operator::NotIn,
        _ => return None,
    };
    let left = expression(json.get("left")?, Kind::Unknown);
    let right = json.get("right")?;
    let kinds = left.kinds();
    let right = match (right, only(right)) {
        (Json::String(name), _) if name.starts_with('@') => Operand::Elements(Elements::Named(name[1..].into())),
        (_, Some(("set", set))) => Operand::Elements(anonymous(set, &kinds)),
        (_, Some(("concat" | "prefix" | "range" | "|", _))) => Operand::Values(values(right, &kinds)),
        (Json::Object(_), _) => Operand::Unknown(expression(right, Kind::Unknown).to_string().into()),
        _ => Operand::Values(values(right, &kinds)),
    };
    Some(Statement::Match { left, operator, right })
}

fn anonymous(set: &Json<'_>, kinds: &[Kind]) -> Elements {
    match set {
        Json::Array(items) => Elements::Anonymous(items.iter().map(|item| element(item, kinds, &[])).collect()),
        one => Elements::Anonymous(vec![element(one, kinds, &[])]),
    }
}

fn elements(json: &Json<'_>, key: &Expr) -> Option<Elements> {
    match (json, only(json)) {
        (Json::String(name), _) => Some(Elements::Named(name.strip_prefix('@')?.into())),
        (_, Some(("set", set))) => Some(anonymous(set, &key.kinds())),
        _ => None,
    }
}

fn lookup(json: &Json<'_>) -> Option<Statement> {
    let key = expression(json.get("key")?, Kind::Unknown);
    let map = elements(json.get("data")?, &key)?;
    Some(Statement::Lookup { key, map })
}

fn nat(nat: Nat, json: &Json<'_>) -> Option<Statement> {
    let part = |key: &str, kind| json.get(key).map(|json| expression(json, kind));
    let family = match json.get("family").map(Json::as_str) {
        None => None,
        Some(Some("ip")) => Some(Family::V4),
        Some(Some("ip6")) => Some(Family::V6),
        Some(_) => return None,
    };
    Some(Statement::Nat { nat, family, address: part("addr", Kind::Address), port: part("port", Kind::Number) })
}

/// As nft writes it.
fn reject(json: &Json<'_>) -> Box<str> {
    let kind = json.get("type").and_then(Json::as_str);
    let code = json.get("expr").and_then(Json::as_str);
    match (kind, code) {
        (None, _) => "".into(),
        (Some("tcp reset"), _) => "with tcp reset".into(),
        (Some(kind), Some(code)) => format!("with {kind} type {code}").into(),
        (Some(kind), None) => format!("with {kind}").into(),
    }
}

fn mangle(json: &Json<'_>) -> Option<Statement> {
    match expression(json.get("key")?, Kind::Unknown) {
        Expr::Field(field @ (Field::Mark | Field::ConnectionMark)) => {
            Some(Statement::Mark { field, value: expression(json.get("value")?, Kind::Mark) })
        }
        _ => None,
    }
}

fn learn(json: &Json<'_>, word: &str) -> Option<Statement> {
    let update = match json.get("op")?.as_str()? {
        "update" => true,
        "add" => false,
        _ => return None,
    };
    let set = json.get(word)?.as_str()?.strip_prefix('@')?.into();
    let key = json.get("elem")?;
    let key = match only(key) {
        Some(("elem", inner)) => inner.get("val")?,
        Some(_) | None => key,
    };
    let data = json.get("data").map(|data| expression(data, Kind::Unknown));
    let inner = json.get("stmt").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    let inner = inner.iter().map(statement).collect();
    Some(Statement::Learn { update, set, key: expression(key, Kind::Unknown), data, inner })
}

fn limit(json: &Json<'_>) -> Statement {
    let over = json.get("inv").and_then(Json::as_bool).unwrap_or(false);
    let word = |key: &str| json.get(key).and_then(Json::as_str);
    let number = |key: &str| json.get(key).and_then(Json::as_u64);
    let per = word("per").unwrap_or("second");
    let (rate, burst) = (number("rate").unwrap_or(0), number("burst"));
    let unit = Unit::ALL.into_iter().find(|unit| unit.name() == per);
    let packets = word("rate_unit").is_none_or(|unit| unit == "packets");
    if let (true, Some(unit), Ok(rate), Some(Ok(burst))) =
        (packets, unit, u32::try_from(rate), burst.map(u32::try_from))
    {
        return Statement::Limit { over, bound: Bound::Packets { rate, unit, burst } };
    }
    let unit = word("rate_unit").filter(|_| !packets).map_or_else(String::new, |unit| format!(" {unit}"));
    let mut text = format!("limit rate {}{rate}{unit}/{per}", if over { "over " } else { "" });
    if let Some(burst) = burst {
        text += &format!(" burst {burst} {}", word("burst_unit").unwrap_or("packets"));
    }
    Statement::Limit { over, bound: Bound::Other(text.into()) }
}

fn count(json: &Json<'_>) -> Option<Statement> {
    let over = json.get("inv").and_then(Json::as_bool).unwrap_or(false);
    // nft 1.0.6 writes numbers above 2^31 as negative ones.
    let number = json.get("val").and_then(Json::as_i64)?;
    let number = u32::try_from(number).ok().or_else(|| i32::try_from(number).ok().map(i32::cast_unsigned))?;
    Some(Statement::Limit { over, bound: Bound::Connections(number) })
}

/// One expression; `kind` is what a constant would be.
pub fn expression(json: &Json<'_>, kind: Kind) -> Expr {
    let unknown = || Expr::Unknown(compact(json));
    let Some((word, inner)) = only(json) else {
        return match value(json, kind) {
            Value::Other(_) => unknown(),
            one => Expr::Constant(vec![one], kind),
        };
    };
    let read = match word {
        "payload" | "meta" | "ct" | "fib" => field(word, inner).map(Expr::Field),
        "numgen" => numgen(inner),
        "jhash" => jhash(inner),
        "&" => bits(Bits::And, inner, kind),
        "|" => bits(Bits::Or, inner, kind),
        "^" => bits(Bits::Xor, inner, kind),
        "concat" => concat(json, inner),
        "map" => map(inner),
        "prefix" | "range" => match value(json, kind) {
            Value::Other(_) => None,
            one => Some(Expr::Constant(vec![one], kind)),
        },
        _ => None,
    };
    read.unwrap_or_else(unknown)
}

/// A concatenation of fields, or a constant with several parts.
fn concat(json: &Json<'_>, inner: &Json<'_>) -> Option<Expr> {
    let parts = inner.as_array()?;
    let constants = values(json, &[]);
    match constants.iter().any(|one| matches!(one, Value::Other(_))) {
        false => Some(Expr::Constant(constants, Kind::Unknown)),
        true => Some(Expr::Concat(parts.iter().map(|part| expression(part, Kind::Unknown)).collect())),
    }
}

fn map(json: &Json<'_>) -> Option<Expr> {
    let key = expression(json.get("key")?, Kind::Unknown);
    let map = elements(json.get("data")?, &key)?;
    Some(Expr::Map(Box::new(key), map))
}

fn bits(bits: Bits, json: &Json<'_>, kind: Kind) -> Option<Expr> {
    // A chain of operations nests to the left; what people write is short, and a tree must not outgrow the stack.
    let mut parts = json.as_array().filter(|parts| parts.len() <= 16)?.iter();
    let mut left = expression(parts.next()?, kind);
    for part in parts {
        let kind = left.kinds().first().copied().unwrap_or(kind);
        left = Expr::Bits(bits, Box::new(left), Box::new(expression(part, kind)));
    }
    Some(left)
}

/// A whole number of 32 bits; `None` where it is something else, `default` where it is not there.
fn whole(json: &Json<'_>, key: &str, default: Option<u32>) -> Option<u32> {
    match json.get(key) {
        Some(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
        None => default,
    }
}

fn numgen(json: &Json<'_>) -> Option<Expr> {
    let random = match json.get("mode")?.as_str()? {
        "random" => true,
        "inc" => false,
        _ => return None,
    };
    let modulus = whole(json, "mod", None).filter(|modulus| *modulus > 0)?;
    let offset = whole(json, "offset", Some(0))?;
    offset.checked_add(modulus - 1)?;
    Some(Expr::Numgen { random, modulus, offset })
}

fn jhash(json: &Json<'_>) -> Option<Expr> {
    let modulus = whole(json, "mod", None).filter(|modulus| *modulus > 0)?;
    let offset = whole(json, "offset", Some(0))?;
    offset.checked_add(modulus - 1)?;
    let seed = match json.get("seed") {
        Some(_) => Some(whole(json, "seed", None)?),
        None => None,
    };
    Some(Expr::Jhash { of: Box::new(expression(json.get("expr")?, Kind::Unknown)), modulus, seed, offset })
}

fn field(word: &str, json: &Json<'_>) -> Option<Field> {
    let text = |key: &str| json.get(key).and_then(Json::as_str);
    match word {
        "payload" => payload(text("protocol")?, text("field")?),
        "meta" => match text("key")? {
            "nfproto" => Some(Field::Family),
            "l4proto" => Some(Field::Protocol),
            "iifname" => Some(Field::InInterface),
            "oifname" => Some(Field::OutInterface),
            "mark" => Some(Field::Mark),
            _ => None,
        },
        "fib" => {
            let flag = match json.get("flags")? {
                Json::Array(flags) => flags.first().filter(|_| flags.len() == 1)?.as_str(),
                flag => flag.as_str(),
            };
            match (text("result")?, flag?) {
                ("type", "daddr") => Some(Field::DestinationType),
                ("type", "saddr") => Some(Field::SourceType),
                _ => None,
            }
        }
        _ => match (text("key")?, text("dir")) {
            ("state", None) => Some(Field::State),
            ("direction", None) => Some(Field::Direction),
            ("status", None) => Some(Field::Status),
            ("mark", None) => Some(Field::ConnectionMark),
            ("ip saddr", Some("original")) => Some(Field::OriginalSource(Family::V4)),
            ("ip6 saddr", Some("original")) => Some(Field::OriginalSource(Family::V6)),
            ("ip daddr", Some("original")) => Some(Field::OriginalDestination(Family::V4)),
            ("ip6 daddr", Some("original")) => Some(Field::OriginalDestination(Family::V6)),
            ("proto-src", Some("original")) => Some(Field::OriginalSourcePort),
            ("proto-dst", Some("original")) => Some(Field::OriginalPort),
            _ => None,
        },
    }
}

/// A field of a header.
pub fn payload(protocol: &str, field: &str) -> Option<Field> {
    let family = match protocol {
        "ip6" => Family::V6,
        _ => Family::V4,
    };
    let transport = Protocol::ALL.into_iter().find(|one| one.name() == protocol);
    match (protocol, field) {
        ("ip" | "ip6", "saddr") => Some(Field::Source(family)),
        ("ip" | "ip6", "daddr") => Some(Field::Destination(family)),
        ("ip", "protocol") | ("ip6", "nexthdr") => Some(Field::NextHeader(family)),
        ("tcp", "flags") => Some(Field::TcpFlags),
        ("th", "sport") => Some(Field::SourcePort(None)),
        ("th", "dport") => Some(Field::Port(None)),
        (_, "sport") => transport.map(|one| Field::SourcePort(Some(one))),
        (_, "dport") => transport.map(|one| Field::Port(Some(one))),
        _ => None,
    }
}
