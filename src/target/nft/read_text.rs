//! nft's language, as far as our own printer writes it; anything else is an error that names the line.

mod memory;
mod nat;

use std::net::IpAddr;

use ipnet::IpNet;

use crate::endpoint::quad;
use crate::ir::Family;

use super::dump::{
    Base, Chain, ChainKind, Data, Dump, Element, Elements, Expr, Field, HookPoint, Kind, Nat, Operand, Operator,
    ReadError, Rule, Set, Statement, Table, TableFamily, Value, Verdict, address as address_of, number,
};
use super::read_chains;
use super::read_rule::payload;
use super::tokens::{Token, Tokens};

type Read<T> = Result<T, ReadError>;

/// Reads a script that [`super::text`] has printed.
pub fn read(text: &str) -> Read<Dump> {
    let mut tokens = Tokens::new(text);
    let mut dump = Dump::default();
    loop {
        if tokens.peek_on() == Token::End {
            return Ok(dump);
        }
        let deletes = tokens.accept_word("delete");
        tokens.words(&["table", "inet"])?;
        let name = tokens.word("the name of a table")?;
        let is_it = |table: &Table| table.name == name;
        if deletes {
            dump.tables.retain(|table| !is_it(table));
            continue;
        }
        if !dump.tables.iter().any(is_it) {
            dump.tables.push(Table::new(TableFamily::Inet, name));
        }
        if tokens.peek() == Token::Sign(b'{') {
            let at = dump.tables.iter_mut().find(|table| is_it(table));
            table(&mut tokens, at.expect("it was just made"))?;
        }
    }
}

/// `update @MAP { KEY : DATA }` alone, as nft 1.0.6 puts it into JSON; `None` for anything else.
pub fn learn(text: &str) -> Option<Statement> {
    let mut tokens = Tokens::new(text);
    let update = tokens.accept_word("update");
    if !update && !tokens.accept_word("add") {
        return None;
    }
    let statement = memory::learn(&mut tokens, update).ok()?;
    (tokens.peek_on() == Token::End).then_some(statement)
}

fn table(tokens: &mut Tokens<'_>, table: &mut Table) -> Read<()> {
    tokens.sign(b'{')?;
    let mut one_by_one = false;
    while !tokens.accept(b'}') {
        match tokens.peek_on() {
            Token::Word("map") => {
                tokens.next();
                let one = map(tokens)?;
                if table.set(&one.name).is_some() {
                    return tokens.error(format!("the map `{}` is there twice", one.name));
                }
                table.add_set(one);
            }
            Token::Word("set") => {
                tokens.next();
                let one = memory::set(tokens)?;
                if table.set(&one.name).is_some() {
                    return tokens.error(format!("the set `{}` is there twice", one.name));
                }
                table.add_set(one);
            }
            Token::Word("counter") => {
                tokens.next();
                table.counters.push(tokens.word("the name of a counter")?.to_owned());
                tokens.sign(b'{')?;
                tokens.sign(b'}')?;
            }
            Token::Word("chain") => {
                let read = if one_by_one { None } else { read_chains::read(tokens) };
                one_by_one = true;
                let list = match read {
                    Some(list) => list,
                    None => {
                        tokens.next();
                        vec![chain(tokens)?]
                    }
                };
                for one in list {
                    if table.chain(&one.name).is_some() {
                        return tokens.error(format!("the chain `{}` is there twice", one.name));
                    }
                    table.add_chain(one);
                }
            }
            Token::Word(_) | Token::Quoted(_) | Token::Sign(_) | Token::Newline | Token::End => {
                return tokens.expected("`counter`, `set`, `map`, `chain` or `}`");
            }
        }
    }
    Ok(())
}

fn map(tokens: &mut Tokens<'_>) -> Read<Set> {
    let name = tokens.word("the name of a map")?.to_owned();
    tokens.sign(b'{')?;
    tokens.peek_on();
    let key = match tokens.accept_word("typeof") {
        // Of turns: `numgen inc mod N`.
        true => {
            tokens.words(&["numgen"])?;
            draw(tokens, "numgen")?;
            vec![Kind::Number]
        }
        false => {
            tokens.words(&["type"])?;
            kinds(tokens)?
        }
    };
    tokens.words(&[":"])?;
    let data = kinds(tokens)?;
    tokens.peek_on();
    if data != [Kind::Verdict] {
        if !tokens.accept_word("elements") {
            let timeout = memory::filled(tokens)?;
            return Ok(Set { name, key, data, timeout, elements: Vec::new() });
        }
        tokens.sign(b'=')?;
        let elements = braced(tokens, |tokens| match tokens.take(server) {
            Some(element) => Ok(element),
            None => {
                let (key, comment) = keyed(tokens, &key)?;
                Ok(Element { key, data: Data::Values(data_values(tokens)?), comment })
            }
        })?;
        tokens.sign(b'}')?;
        return Ok(Set { name, key, data, timeout: None, elements });
    }
    let elements = elements(tokens, |tokens| {
        let (key, comment) = keyed(tokens, &key)?;
        Ok(Element { key, data: Data::Verdict(verdict(tokens)?), comment })
    })?;
    tokens.sign(b'}')?;
    Ok(Set { name, key, data: Vec::new(), timeout: None, elements })
}

/// `KEY comment "…" :`
fn keyed(tokens: &mut Tokens<'_>, kinds: &[Kind]) -> Read<(Vec<Value>, Option<Box<str>>)> {
    let key = concatenated(tokens, kinds)?;
    let comment = comment(tokens)?;
    tokens.words(&[":"])?;
    Ok((key, comment))
}

/// `flags interval` or nothing, and `elements = { … }`.
fn elements<'a, T>(tokens: &mut Tokens<'a>, item: impl FnMut(&mut Tokens<'a>) -> Read<T>) -> Read<Vec<T>> {
    if tokens.accept_word("flags") {
        tokens.words(&["interval"])?;
        tokens.peek_on();
    }
    tokens.words(&["elements"])?;
    tokens.sign(b'=')?;
    braced(tokens, item)
}

/// Types with dots between.
fn kinds(tokens: &mut Tokens<'_>) -> Read<Vec<Kind>> {
    let mut list = Vec::new();
    loop {
        list.push(Kind::of_type(tokens.word("a type")?));
        if !tokens.accept_word(".") {
            return Ok(list);
        }
    }
}

/// `{ item, item, }`
fn braced<'a, T>(tokens: &mut Tokens<'a>, mut item: impl FnMut(&mut Tokens<'a>) -> Read<T>) -> Read<Vec<T>> {
    tokens.sign(b'{')?;
    let mut list = Vec::with_capacity(8);
    while !tokens.accept(b'}') {
        list.push(item(tokens)?);
        if !tokens.accept(b',') {
            tokens.sign(b'}')?;
            break;
        }
    }
    Ok(list)
}

fn comment(tokens: &mut Tokens<'_>) -> Read<Option<Box<str>>> {
    if !tokens.accept_word("comment") {
        return Ok(None);
    }
    match tokens.peek() {
        Token::Quoted(text) => {
            tokens.next();
            Ok(Some(text.into()))
        }
        Token::Word(_) | Token::Sign(_) | Token::Newline | Token::End => tokens.expected("a comment in quotes"),
    }
}

/// Behind the word `chain`.
pub fn chain(tokens: &mut Tokens<'_>) -> Read<Chain> {
    let name = tokens.word("the name of a chain")?.to_owned();
    tokens.sign(b'{')?;
    tokens.peek_on();
    let base = match tokens.accept_word("type") {
        true => Some(base(tokens)?),
        false => None,
    };
    let mut rules = Vec::new();
    while !tokens.accept(b'}') {
        rules.push(rule(tokens)?);
    }
    Ok(Chain { name, base, rules })
}

/// `nat hook prerouting priority -100; policy accept;`
fn base(tokens: &mut Tokens<'_>) -> Read<Base> {
    tokens.words(&["nat", "hook"])?;
    let hook = match tokens.word("a hook")? {
        "prerouting" => HookPoint::Prerouting,
        "input" => HookPoint::Input,
        "output" => HookPoint::Output,
        "postrouting" => HookPoint::Postrouting,
        other => return tokens.error(format!("no hook of nat is called `{other}`")),
    };
    tokens.words(&["priority"])?;
    let word = tokens.word("a priority")?;
    let Ok(priority) = word.parse() else { return tokens.error(format!("expected a priority, found `{word}`")) };
    tokens.sign(b';')?;
    tokens.words(&["policy", "accept"])?;
    tokens.sign(b';')?;
    Ok(Base { kind: ChainKind::Nat, hook, priority, drops: false })
}

fn rule(tokens: &mut Tokens<'_>) -> Read<Rule> {
    let mut statements = Vec::with_capacity(2);
    loop {
        match tokens.peek() {
            Token::Newline => {
                tokens.next();
                return Ok(Rule { statements, comment: None });
            }
            Token::Word("comment") => {
                let comment = comment(tokens)?;
                return match tokens.peek() {
                    Token::Newline => {
                        tokens.next();
                        Ok(Rule { statements, comment })
                    }
                    Token::Word(_) | Token::Quoted(_) | Token::Sign(_) | Token::End => {
                        tokens.expected("the end of the line")
                    }
                };
            }
            Token::Word(word) => {
                tokens.next();
                statements.push(statement(tokens, word)?);
            }
            Token::Quoted(_) | Token::Sign(_) | Token::End => return tokens.expected("a statement"),
        }
    }
}

fn statement(tokens: &mut Tokens<'_>, word: &str) -> Read<Statement> {
    match word {
        "drop" => Ok(Statement::Verdict(Verdict::Drop)),
        "accept" => Ok(Statement::Verdict(Verdict::Accept)),
        "return" => Ok(Statement::Verdict(Verdict::Return)),
        "goto" => Ok(Statement::Verdict(Verdict::Goto(tokens.word("a chain")?.into()))),
        "jump" => Ok(Statement::Verdict(Verdict::Jump(tokens.word("a chain")?.into()))),
        "dnat" => nat::dnat(tokens),
        "snat" => nat::snat(tokens),
        "masquerade" => Ok(Statement::Nat { nat: Nat::Masquerade, family: None, address: None, port: None }),
        "redirect" => nat::redirect(tokens),
        "update" => memory::learn(tokens, true),
        "add" => memory::learn(tokens, false),
        "limit" => memory::limit(tokens),
        "ct" if tokens.accept_word("count") => memory::count(tokens),
        "counter" => memory::counter(tokens),
        "log" => memory::log(tokens),
        "reject" => {
            tokens.words(&["with"])?;
            if tokens.accept_word("tcp") {
                tokens.words(&["reset"])?;
                return Ok(Statement::Reject("with tcp reset".into()));
            }
            let icmp = tokens.word("`tcp` or a kind of ICMP")?;
            tokens.words(&["type"])?;
            Ok(Statement::Reject(format!("with {icmp} type {}", tokens.word("a code")?).into()))
        }
        "numgen" | "jhash" => {
            let key = draw(tokens, word)?;
            if tokens.accept_word("vmap") {
                let map = match tokens.accept(b'@') {
                    true => Elements::Named(tokens.word("a map")?.into()),
                    false => Elements::Anonymous(choices(tokens, |tokens| Ok(Data::Verdict(verdict(tokens)?)))?),
                };
                return Ok(Statement::Lookup { key, map });
            }
            let right = Operand::Values(concatenated(tokens, &[Kind::Number])?);
            Ok(Statement::Match { left: key, operator: Operator::Equal, right })
        }
        _ => matching(tokens, word),
    }
}

fn verdict(tokens: &mut Tokens<'_>) -> Read<Verdict> {
    match tokens.word("a verdict")? {
        "drop" => Ok(Verdict::Drop),
        "accept" => Ok(Verdict::Accept),
        "return" => Ok(Verdict::Return),
        "goto" => Ok(Verdict::Goto(tokens.word("a chain")?.into())),
        "jump" => Ok(Verdict::Jump(tokens.word("a chain")?.into())),
        other => tokens.error(format!("expected a verdict, found `{other}`")),
    }
}

fn family(tokens: &mut Tokens<'_>) -> Read<Family> {
    match tokens.word("`ip` or `ip6`")? {
        "ip" => Ok(Family::V4),
        "ip6" => Ok(Family::V6),
        other => tokens.error(format!("expected `ip` or `ip6`, found `{other}`")),
    }
}

/// Behind `numgen` or `jhash`.
fn draw(tokens: &mut Tokens<'_>, word: &str) -> Read<Expr> {
    if word == "numgen" {
        let random = match tokens.word("`random` or `inc`")? {
            "random" => true,
            "inc" => false,
            other => return tokens.error(format!("expected `random` or `inc`, found `{other}`")),
        };
        let modulus = modulus(tokens)?;
        return Ok(Expr::Numgen { random, modulus, offset: 0 });
    }
    let family = family(tokens)?;
    tokens.words(&["saddr"])?;
    let modulus = modulus(tokens)?;
    tokens.words(&["seed"])?;
    let seed = Some(tokens.number("a seed")?);
    Ok(Expr::Jhash { of: Box::new(Expr::Field(Field::Source(family))), modulus, seed, offset: 0 })
}

fn modulus(tokens: &mut Tokens<'_>) -> Read<u32> {
    tokens.words(&["mod"])?;
    match tokens.number("a modulus")? {
        0 => tokens.error("the modulus is 0"),
        modulus => Ok(modulus),
    }
}

/// `{ 0-2 : DATA, 3 : DATA }`
fn choices<'a>(tokens: &mut Tokens<'a>, mut data: impl FnMut(&mut Tokens<'a>) -> Read<Data>) -> Read<Vec<Element>> {
    braced(tokens, |tokens| choice(tokens, &mut data))
}

fn choice<'a>(tokens: &mut Tokens<'a>, data: impl FnOnce(&mut Tokens<'a>) -> Read<Data>) -> Read<Element> {
    let key = concatenated(tokens, &[Kind::Number])?;
    tokens.words(&[":"])?;
    Ok(Element { key, data: data(tokens)?, comment: None })
}

/// Choices among servers.
fn hosts(tokens: &mut Tokens<'_>) -> Read<Vec<Element>> {
    braced(tokens, |tokens| match tokens.take(host) {
        Some(element) => Ok(element),
        None => choice(tokens, |tokens| Ok(Data::Values(data_values(tokens)?))),
    })
}

/// `0-2 : 192.0.2.1 . 8080`, which a program has by the hundred thousand, in one go. `None` for anything else.
fn host(text: &str) -> Option<(Element, &str)> {
    let number = |text: &[u8]| {
        let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        // More may be too many.
        let number =
            text[..length].iter().fold(0, |number: u32, digit| number.wrapping_mul(10) + u32::from(digit - b'0'));
        (1..=9).contains(&length).then_some((number, length))
    };
    let mut rest = text.trim_start_matches([' ', '\t']).as_bytes();
    let (first, length) = number(rest)?;
    rest = &rest[length..];
    let key = match rest.strip_prefix(b"-") {
        Some(behind) => {
            let (last, length) = number(behind)?;
            rest = &behind[length..];
            Value::Numbers(first, last)
        }
        None => Value::Number(first),
    };
    rest = rest.strip_prefix(b" : ")?;
    let (address, length) = quad(rest)?;
    rest = rest[length..].strip_prefix(b" . ")?;
    let (port, length) = number(rest)?;
    rest = &rest[length..];
    let data = Data::Values(vec![Value::Address(address.into()), Value::Number(port)]);
    let element = Element { key: vec![key], data, comment: None };
    matches!(rest.first(), Some(b',' | b'\n')).then(|| (element, &text[text.len() - rest.len()..]))
}

/// `10.0.0.1 . tcp . 80 comment "…" : 192.0.2.1 . 8080`, as [`host`].
fn server(text: &str) -> Option<(Element, &str)> {
    let number = |text: &[u8]| {
        let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = text[..length.min(5)].iter().fold(0u32, |number, digit| number * 10 + u32::from(digit - b'0'));
        (1..=5).contains(&length).then_some((number, length))
    };
    let text = text.trim_start_matches([' ', '\t']);
    let mut rest = text.as_bytes();
    let (from, length) = quad(rest)?;
    rest = rest[length..].strip_prefix(b" . ")?;
    let length = rest.iter().position(|byte| *byte == b' ')?;
    let protocol = match &rest[..length] {
        b"tcp" => 6,
        b"udp" => 17,
        b"sctp" => 132,
        _ => return None,
    };
    rest = rest[length..].strip_prefix(b" . ")?;
    let (port, length) = number(rest)?;
    rest = &rest[length..];
    let mut comment = None;
    if let Some(behind) = rest.strip_prefix(b" comment \"") {
        let start = text.len() - behind.len();
        let length = memchr::memchr2(b'"', b'\n', behind)?;
        comment = Some(text[start..start + length].into());
        rest = behind[length..].strip_prefix(b"\"")?;
    }
    rest = rest.strip_prefix(b" : ")?;
    let (to, length) = quad(rest)?;
    rest = rest[length..].strip_prefix(b" . ")?;
    let (new, length) = number(rest)?;
    rest = &rest[length..];
    let key = vec![Value::Address(from.into()), Value::Number(protocol), Value::Number(port)];
    let data = Data::Values(vec![Value::Address(to.into()), Value::Number(new)]);
    matches!(rest.first(), Some(b',' | b'\n'))
        .then(|| (Element { key, data, comment }, &text[text.len() - rest.len()..]))
}

/// `10.0.0.1 . 80`, an address or a port alone.
fn data_values(tokens: &mut Tokens<'_>) -> Read<Vec<Value>> {
    let mut list = Vec::with_capacity(2);
    loop {
        let word = tokens.word("an address or a port")?;
        let value = number(word).map(Value::Number).or_else(|| address_of(word).map(Value::Address));
        match value {
            Some(value) => list.push(value),
            None => return tokens.error(format!("expected an address or a port, found `{word}`")),
        }
        if !tokens.accept_word(".") {
            return Ok(list);
        }
    }
}

/// A test, or the question to a named map.
fn matching(tokens: &mut Tokens<'_>, word: &str) -> Read<Statement> {
    let left = fields(tokens, word)?;
    if tokens.accept_word("vmap") {
        tokens.sign(b'@')?;
        let map = Elements::Named(tokens.word("a map")?.into());
        return Ok(Statement::Lookup { key: left, map });
    }
    let negated = tokens.peek() == Token::Sign(b'!');
    if negated {
        tokens.next();
        tokens.sign(b'=')?;
    }
    let kinds = left.kinds();
    let operator = match (negated, kinds.first()) {
        (true, _) => Operator::NotEqual,
        (false, Some(kind)) if kind.is_bits() => Operator::In,
        (false, _) => Operator::Equal,
    };
    let right = match tokens.peek() {
        Token::Sign(b'{') => Operand::Elements(Elements::Anonymous(braced(tokens, |tokens| {
            Ok(Element { key: concatenated(tokens, &kinds)?, data: Data::None, comment: None })
        })?)),
        Token::Sign(b'@') => {
            tokens.next();
            Operand::Elements(Elements::Named(tokens.word("a set")?.into()))
        }
        Token::Word(_) | Token::Quoted(_) | Token::Sign(_) | Token::Newline | Token::End => {
            Operand::Values(concatenated(tokens, &kinds)?)
        }
    };
    Ok(Statement::Match { left, operator, right })
}

/// A field whose first word is given, or several with dots between.
fn fields(tokens: &mut Tokens<'_>, word: &str) -> Read<Expr> {
    let first = Expr::Field(field(tokens, word)?);
    if tokens.peek() != Token::Word(".") {
        return Ok(first);
    }
    let mut list = vec![first];
    while tokens.accept_word(".") {
        let word = tokens.word("a field")?;
        list.push(Expr::Field(field(tokens, word)?));
    }
    Ok(Expr::Concat(list))
}

fn field(tokens: &mut Tokens<'_>, word: &str) -> Read<Field> {
    let found = match word {
        "iifname" => Some(Field::InInterface),
        "meta" => match tokens.word("a key of `meta`")? {
            "nfproto" => Some(Field::Family),
            "l4proto" => Some(Field::Protocol),
            _ => None,
        },
        "ct" => match tokens.word("a key of `ct`")? {
            "state" => Some(Field::State),
            "direction" => Some(Field::Direction),
            "status" => Some(Field::Status),
            "original" => match tokens.word("a key of `ct original`")? {
                "proto-dst" => Some(Field::OriginalPort),
                "ip" => {
                    tokens.words(&["daddr"])?;
                    Some(Field::OriginalDestination(Family::V4))
                }
                "ip6" => {
                    tokens.words(&["daddr"])?;
                    Some(Field::OriginalDestination(Family::V6))
                }
                _ => None,
            },
            _ => None,
        },
        "fib" => {
            tokens.words(&["daddr", "type"])?;
            Some(Field::DestinationType)
        }
        "ip" | "ip6" | "tcp" | "udp" | "sctp" | "th" => payload(word, tokens.word("a field")?),
        _ => None,
    };
    match found {
        Some(field) => Ok(field),
        None => tokens.error(format!("cannot read the statement that starts with `{word}`")),
    }
}

/// A value for each kind, with dots between.
fn concatenated(tokens: &mut Tokens<'_>, kinds: &[Kind]) -> Read<Vec<Value>> {
    let mut list = Vec::with_capacity(kinds.len());
    for (index, kind) in kinds.iter().enumerate() {
        if index > 0 {
            tokens.words(&["."])?;
        }
        list.push(value(tokens, *kind)?);
    }
    Ok(list)
}

fn value(tokens: &mut Tokens<'_>, kind: Kind) -> Read<Value> {
    let word = match tokens.peek_on() {
        Token::Word(word) | Token::Quoted(word) => word,
        Token::Sign(_) | Token::Newline | Token::End => return tokens.expected("a value"),
    };
    tokens.next();
    match span(kind, word).unwrap_or_else(|| kind.value(word)) {
        Value::Other(_) => tokens.error(format!("cannot read the value `{word}`")),
        value => Ok(value),
    }
}

/// A range or a prefix.
fn span(kind: Kind, word: &str) -> Option<Value> {
    let ends = || word.split_once('-');
    match kind {
        Kind::Number => {
            let (first, last) = ends()?;
            Some(Value::Numbers(number(first)?, number(last)?))
        }
        Kind::Address => match ends() {
            Some((first, last)) => Some(Value::Addresses(first.parse::<IpAddr>().ok()?, last.parse().ok()?)),
            None if word.contains('/') => word.parse::<IpNet>().ok().map(Value::Net),
            None => None,
        },
        Kind::Family
        | Kind::Protocol
        | Kind::Interface
        | Kind::Mark
        | Kind::AddressType
        | Kind::State
        | Kind::Direction
        | Kind::Status
        | Kind::TcpFlags
        | Kind::Verdict
        | Kind::Unknown => None,
    }
}
