//! libnftables JSON: what `nft -j list ruleset` prints, and commands as our own printer writes them.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use super::dump::{
    Base, Chain, ChainKind, Data, Dump, Element, HookPoint, Kind, ReadError, Rule, Set, Table, TableFamily, Value,
    Verdict, address,
};
use super::json_value::{Json, Object};
use super::read_halves;
use super::read_rule::{expression, statement};

/// Reads a whole document. What a rule holds that is not understood is kept as text; a document that is not a ruleset
/// is an error.
///
/// One object of the list is in memory at a time: as values, all of them would take forty times the text.
pub fn read(text: &str) -> Result<Dump, ReadError> {
    if let Some(read) = read_halves::read(text) {
        return read;
    }
    let mut reading = Reading::default();
    let mut json = serde_json::Deserializer::from_str(text);
    let parsed = Document(&mut reading).deserialize(&mut json).and_then(|()| json.end());
    if let Err(error) = parsed {
        return Err(match error.classify() {
            Category::Data => not_a_ruleset(),
            Category::Io | Category::Syntax | Category::Eof => {
                ReadError { line: Some(error.line()), message: format!("not JSON: {error}") }
            }
        });
    }
    match reading {
        Reading { error: Some(error), .. } => Err(error),
        Reading { found: false, .. } => Err(not_a_ruleset()),
        Reading { dump, .. } => Ok(dump),
    }
}

fn not_a_ruleset() -> ReadError {
    wrong("expected an object with the list `nftables`")
}

#[derive(Default)]
struct Reading {
    dump: Dump,
    /// Whether there is a list of objects.
    found: bool,
    error: Option<ReadError>,
}

/// The whole document.
struct Document<'r>(&'r mut Reading);

/// The list in it.
struct Objects<'r>(&'r mut Reading);

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "nftables" => map.next_value_seed(Objects(self.0))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Objects<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Objects<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.0.found = true;
        while let Some(object) = list.next_element::<Json<'_>>()? {
            // The rest is still read: a document that is not JSON is told so.
            if self.0.error.is_none() {
                self.0.error = command(&mut self.0.dump, &object).err();
            }
        }
        Ok(())
    }
}

/// One object of the list.
pub fn command(dump: &mut Dump, object: &Json<'_>) -> Result<(), ReadError> {
    let (word, inner) = only(object).ok_or_else(|| wrong("every object of the list has one member"))?;
    match word {
        "add" | "create" => {
            let (kind, inner) = only(inner).ok_or_else(|| wrong(format!("`{word}` has one member")))?;
            add(dump, kind, inner)
        }
        "delete" | "destroy" | "flush" => remove(dump, word, inner),
        "insert" | "replace" | "rename" | "reset" => Err(wrong(format!("cannot follow the command `{word}`"))),
        _ => add(dump, word, inner),
    }
}

pub fn wrong(message: impl Into<String>) -> ReadError {
    ReadError { line: None, message: message.into() }
}

/// The only member of an object.
pub fn only<'j, 't>(object: &'j Json<'t>) -> Option<(&'j str, &'j Json<'t>)> {
    object.as_object()?.only()
}

fn text<'a>(object: &'a Json<'_>, key: &str) -> Result<&'a str, ReadError> {
    let text = object.get(key).and_then(Json::as_str);
    text.ok_or_else(|| wrong(format!("expected the text `{key}` in {}", shown(object))))
}

/// The start of a value, for messages.
fn shown(json: &Json<'_>) -> String {
    json.to_string().chars().take(80).collect()
}

/// The table family of an object; `None` for those that see no IP packets.
pub fn family(object: &Json<'_>) -> Result<Option<TableFamily>, ReadError> {
    match text(object, "family")? {
        "ip" => Ok(Some(TableFamily::Ip)),
        "ip6" => Ok(Some(TableFamily::Ip6)),
        "inet" => Ok(Some(TableFamily::Inet)),
        "arp" | "bridge" | "netdev" => Ok(None),
        other => Err(wrong(format!("no family is called `{other}`"))),
    }
}

/// The table that an object belongs to.
pub fn table<'a>(dump: &'a mut Dump, family: TableFamily, name: &str) -> Result<&'a mut Table, ReadError> {
    let found = dump.tables.iter_mut().find(|table| table.family == family && table.name == name);
    found.ok_or_else(|| wrong(format!("the table `{name}` is used before it is made")))
}

fn add(dump: &mut Dump, kind: &str, object: &Json<'_>) -> Result<(), ReadError> {
    if !matches!(kind, "table" | "chain" | "counter" | "set" | "map" | "element" | "rule") {
        // Named limits and the like, and what nft says of itself: no part of a decision.
        return Ok(());
    }
    let Some(family) = family(object)? else { return Ok(()) };
    if kind == "table" {
        let name = text(object, "name")?;
        if table(dump, family, name).is_err() {
            dump.tables.push(Table::new(family, name));
        }
        return Ok(());
    }
    let table = table(dump, family, text(object, "table")?)?;
    match kind {
        "chain" => {
            table.add_chain(Chain { name: text(object, "name")?.to_owned(), base: base(object)?, rules: Vec::new() })
        }
        "counter" => table.counters.push(text(object, "name")?.to_owned()),
        "set" | "map" => table.add_set(set(object)?),
        "element" => {
            let name = text(object, "name")?;
            let set =
                table.set_mut(name).ok_or_else(|| wrong(format!("the set `{name}` is used before it is made")))?;
            let more = elements(object, &set.key, &set.data);
            set.elements.extend(more);
        }
        _ => {
            let name = text(object, "chain")?;
            let chain = table.chain_mut(name);
            let chain = chain.ok_or_else(|| wrong(format!("the chain `{name}` is used before it is made")))?;
            let list = object.get("expr").and_then(Json::as_array);
            let list = list.ok_or_else(|| wrong("a rule has the list `expr`"))?;
            chain.rules.push(Rule { statements: list.iter().map(statement).collect(), comment: comment(object) });
        }
    }
    Ok(())
}

fn remove(dump: &mut Dump, word: &str, inner: &Json<'_>) -> Result<(), ReadError> {
    let (kind, object) = only(inner).ok_or_else(|| wrong(format!("`{word}` has one member")))?;
    match (word, kind) {
        ("flush", "ruleset") => dump.tables.clear(),
        ("delete" | "destroy", "table") => {
            let (family, name) = (family(object)?, text(object, "name")?);
            dump.tables.retain(|table| Some(table.family) != family || table.name != name);
        }
        _ => return Err(wrong(format!("cannot follow the command `{word} {kind}`"))),
    }
    Ok(())
}

pub fn comment(object: &Json<'_>) -> Option<Box<str>> {
    object.get("comment").and_then(Json::as_str).map(Into::into)
}

fn base(object: &Json<'_>) -> Result<Option<Base>, ReadError> {
    if object.get("hook").is_none() {
        return Ok(None);
    }
    let hook = match text(object, "hook")? {
        "prerouting" => HookPoint::Prerouting,
        "input" => HookPoint::Input,
        "forward" => HookPoint::Forward,
        "output" => HookPoint::Output,
        "postrouting" => HookPoint::Postrouting,
        "ingress" | "egress" => HookPoint::Ingress,
        other => return Err(wrong(format!("no hook is called `{other}`"))),
    };
    let kind = match text(object, "type")? {
        "nat" => ChainKind::Nat,
        "filter" | "route" => ChainKind::Filter,
        other => return Err(wrong(format!("no chain type is called `{other}`"))),
    };
    let priority = match object.get("prio") {
        Some(Json::String(name)) => named_priority(name),
        Some(number) => number.as_i64().and_then(|number| i32::try_from(number).ok()),
        None => None,
    };
    let priority = priority.ok_or_else(|| wrong(format!("expected a priority in {}", shown(object))))?;
    let drops = object.get("policy").and_then(Json::as_str) == Some("drop");
    Ok(Some(Base { kind, hook, priority, drops }))
}

/// The numbers behind nft's names (include/uapi/linux/netfilter_ipv4.h).
fn named_priority(name: &str) -> Option<i32> {
    match name {
        "raw" => Some(-300),
        "mangle" => Some(-150),
        "dstnat" => Some(-100),
        "filter" => Some(0),
        "security" => Some(50),
        "srcnat" => Some(100),
        _ => None,
    }
}

fn set(object: &Json<'_>) -> Result<Set, ReadError> {
    let key = object.get("type").map(kinds).unwrap_or_default();
    let mut data = object.get("map").map(kinds).unwrap_or_default();
    if data == [Kind::Verdict] {
        data.clear();
    }
    let elements = elements(object, &key, &data);
    let timeout = object.get("timeout").and_then(Json::as_u64).map(|seconds| seconds.saturating_mul(1000));
    Ok(Set { name: text(object, "name")?.to_owned(), key, data, timeout, elements })
}

/// A type: a name, names with dots between, a list of names, or `typeof` with an expression.
pub fn kinds(json: &Json<'_>) -> Vec<Kind> {
    match json {
        Json::String(names) => names.split(" . ").map(Kind::of_type).collect(),
        Json::Array(names) => names.iter().flat_map(kinds).collect(),
        Json::Object(object) => {
            object.get("typeof").map_or_else(|| vec![Kind::Unknown], |inner| expression(inner, Kind::Unknown).kinds())
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => vec![Kind::Unknown],
    }
}

fn elements(object: &Json<'_>, key: &[Kind], data: &[Kind]) -> Vec<Element> {
    match object.get("elem") {
        // One that expires is there until then.
        Some(Json::Array(list)) => list.iter().map(|item| element(item, key, data)).collect(),
        Some(one) => vec![element(one, key, data)],
        None => Vec::new(),
    }
}

/// An element of a set, or a pair of a key and its data.
pub fn element(json: &Json<'_>, kinds: &[Kind], data: &[Kind]) -> Element {
    let (left, right) = match json.as_array().map(Vec::as_slice) {
        Some([left, right]) => (left, element_data(right, data)),
        Some(_) | None => (json, Data::None),
    };
    let (key, comment) = match only(left) {
        Some(("elem", inner)) => (inner.get("val").unwrap_or(inner), comment(inner)),
        Some(_) | None => (left, None),
    };
    Element { key: values(key, kinds), data: right, comment }
}

fn element_data(json: &Json<'_>, kinds: &[Kind]) -> Data {
    match verdict(json) {
        Some(verdict) => Data::Verdict(verdict),
        None => match json {
            Json::Object(_) | Json::String(_) | Json::Number(_) => Data::Values(values(json, kinds)),
            Json::Null | Json::Bool(_) | Json::Array(_) => Data::Other(json.to_string().into()),
        },
    }
}

/// A verdict, as a statement or as an element's data.
pub fn verdict(json: &Json<'_>) -> Option<Verdict> {
    let target = |inner: &Json<'_>| inner.get("target").and_then(Json::as_str).map(Box::from);
    match only(json)? {
        ("accept", _) => Some(Verdict::Accept),
        ("drop", _) => Some(Verdict::Drop),
        ("return", _) => Some(Verdict::Return),
        ("continue", _) => Some(Verdict::Continue),
        ("jump", inner) => target(inner).map(Verdict::Jump),
        ("goto", inner) => target(inner).map(Verdict::Goto),
        _ => None,
    }
}

/// The values of a concatenation, or the one there is. Without kinds addresses and numbers are told by their looks.
pub fn values(json: &Json<'_>, kinds: &[Kind]) -> Vec<Value> {
    let mut kinds = kinds.iter().copied().chain(std::iter::repeat(Kind::Unknown));
    let mut next = || kinds.next().unwrap_or(Kind::Unknown);
    match only(json) {
        Some(("concat", Json::Array(parts))) => parts.iter().map(|part| value(part, next())).collect(),
        Some(_) | None => vec![value(json, next())],
    }
}

/// One value or range. Lists are flags.
pub fn value(json: &Json<'_>, kind: Kind) -> Value {
    let other = || Value::Other(json.to_string().into());
    match json {
        Json::Number(number) => number.as_u64().and_then(|n| u32::try_from(n).ok()).map_or_else(other, Value::Number),
        Json::String(word) if word == "*" && kind != Kind::Interface => Value::Rest,
        Json::String(word) => match kind {
            Kind::Unknown => address(word).map_or_else(|| Value::Other(word.as_ref().into()), Value::Address),
            kind => kind.value(word),
        },
        Json::Array(flags) if kind.is_bits() => flagged(flags, kind).map_or_else(other, Value::Number),
        Json::Object(object) => match object.get("|").and_then(Json::as_array).filter(|_| kind.is_bits()) {
            Some(flags) => flagged(flags, kind).map_or_else(other, Value::Number),
            None => ranged(object, kind).unwrap_or_else(other),
        },
        Json::Array(_) | Json::Null | Json::Bool(_) => other(),
    }
}

/// Flags, one or the other of which is a list of flags again.
fn flagged(flags: &[Json<'_>], kind: Kind) -> Option<u32> {
    let mut bits = flags.iter().map(|flag| match value(flag, kind) {
        Value::Number(bits) => Some(bits),
        _ => None,
    });
    bits.try_fold(0, |all, bits| Some(all | bits?))
}

fn ranged(object: &Object<'_>, kind: Kind) -> Option<Value> {
    if let Some(prefix) = object.get("prefix") {
        let address = prefix.get("addr")?.as_str()?.parse().ok()?;
        let length = u8::try_from(prefix.get("len")?.as_u64()?).ok()?;
        return ipnet::IpNet::new(address, length).ok().map(Value::Net);
    }
    let [first, last] = &object.get("range")?.as_array()?[..] else { return None };
    match (value(first, kind), value(last, kind)) {
        (Value::Number(first), Value::Number(last)) => Some(Value::Numbers(first, last)),
        (Value::Address(first), Value::Address(last)) => Some(Value::Addresses(first, last)),
        _ => None,
    }
}
