//! A large document of JSON in two halves that are read at the same time: what a rule says needs nothing before it.

use std::borrow::Cow;

use super::dump::{Dump, ReadError, Rule, TableFamily};
use super::json_value::Json;
use super::read_json::{command, comment, family, only, table, wrong};
use super::read_rule::statement;

/// Reads a document that is the list `nftables` and nothing else. `None` for any other, right or wrong.
pub fn read(text: &str) -> Option<Result<Dump, ReadError>> {
    if text.len() < MIN_HALVES { None } else { halves(text) }
}

/// Shorter documents are not worth a second thread.
const MIN_HALVES: usize = 1 << 20;

fn halves(text: &str) -> Option<Result<Dump, ReadError>> {
    let list = text.trim().strip_prefix('{')?.trim_start().strip_prefix("\"nftables\"")?.trim_start();
    let list = list.strip_prefix(':')?.trim_start().strip_prefix('[')?;
    let list = list.strip_suffix('}')?.trim_end().strip_suffix(']')?;
    // No string holds a newline. If this is not between two objects of the list, neither half is a list of objects.
    let middle = list.len() / 2 + memchr::memchr(b'\n', &list.as_bytes()[list.len() / 2..])?;
    let first = list[..middle].trim_end().strip_suffix(',')?;
    let (first, second) = std::thread::scope(|scope| {
        let second = scope.spawn(|| objects(&list[middle..]));
        (objects(first), second.join().expect("reading does not panic"))
    });
    let mut dump = Dump::default();
    let done = first?.into_iter().chain(second?).try_for_each(|object| object.apply(&mut dump));
    Some(done.map(|()| dump))
}

/// One object of the list.
enum Object<'t> {
    Rule { family: TableFamily, table: Cow<'t, str>, chain: Cow<'t, str>, rule: Rule },
    Other(Json<'t>),
}

/// At least one object, with commas between them.
fn objects(text: &str) -> Option<Vec<Object<'_>>> {
    let mut list = Vec::new();
    let mut rest = text;
    loop {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Json<'_>>();
        list.push(Object::of(values.next()?.ok()?));
        rest = rest[values.byte_offset()..].trim_start();
        if rest.is_empty() {
            return Some(list);
        }
        rest = rest.strip_prefix(',')?;
    }
}

impl<'t> Object<'t> {
    fn of(json: Json<'t>) -> Object<'t> {
        Object::rule(&json).unwrap_or(Object::Other(json))
    }

    /// `None` for what is no rule, or none that can be added.
    fn rule(json: &Json<'t>) -> Option<Object<'t>> {
        let object = match only(json)? {
            ("rule", object) => object,
            ("add" | "create", inner) => only(inner).filter(|(kind, _)| *kind == "rule")?.1,
            _ => return None,
        };
        let name = |key| match object.get(key) {
            Some(Json::String(name)) => Some(name.clone()),
            Some(_) | None => None,
        };
        let statements = object.get("expr")?.as_array()?.iter().map(statement).collect();
        Some(Object::Rule {
            family: family(object).ok()??,
            table: name("table")?,
            chain: name("chain")?,
            rule: Rule { statements, comment: comment(object) },
        })
    }

    fn apply(self, dump: &mut Dump) -> Result<(), ReadError> {
        match self {
            Object::Other(json) => command(dump, &json),
            Object::Rule { family, table: own, chain: name, rule } => {
                let chain = table(dump, family, &own)?.chain_mut(&name);
                chain.ok_or_else(|| wrong(format!("the chain `{name}` is used before it is made")))?.rules.push(rule);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"{"add": {"table": {"family": "inet", "name": "t"}}}"#;
    const CHAIN: &str = r#"{"add": {"chain": {"family": "inet", "table": "t", "name": "c"}}}"#;
    const RULE: &str = r#"{"rule": {"family": "inet", "table": "t", "chain": "c", "expr": [{"accept": null}, "?"]}}"#;

    fn document(objects: &[&str]) -> String {
        format!("{{\"nftables\": [\n{}\n]}}\n", objects.join(",\n"))
    }

    #[test]
    fn halves_are_the_whole() {
        for objects in
            [&[TABLE, CHAIN, RULE, RULE][..], &[TABLE, RULE, CHAIN, RULE], &[CHAIN, TABLE, RULE], &[TABLE, "1"]]
        {
            let text = document(objects);
            assert_eq!(halves(&text), Some(Dump::read_json(&text)), "{text}");
        }
    }

    #[test]
    fn what_is_not_cut_between_objects_is_left_alone() {
        let document = document(&[TABLE, CHAIN, RULE, RULE]);
        for (text, to) in [
            (",", ",\n"),
            ("[\n", "{\n"),
            ("\"nftables\"", "\"other\": 1, \"nftables\""),
            ("]}\n", "], \"more\": 1}\n"),
            ("\n]}", "]}]}"),
            ("\n", " "),
        ] {
            let changed = document.replace(text, to);
            assert!(halves(&changed).is_none_or(|read| read == Dump::read_json(&changed)), "{changed}");
        }
    }
}
