//! What rules keep of connections: counters, sets and maps of clients, limits.

use super::{Read, concatenated, data_values, elements, fields, kinds};
use crate::option::limit::Unit;
use crate::option::sticky::millis;
use crate::target::nft::dump::{Bound, Data, Element, Expr, Kind, Quiet, Set, Statement};
use crate::target::nft::tokens::{Token, Tokens};

/// Behind `set`.
pub fn set(tokens: &mut Tokens<'_>) -> Read<Set> {
    let name = tokens.word("the name of a set")?.to_owned();
    tokens.sign(b'{')?;
    tokens.peek_on();
    tokens.words(&["type"])?;
    let key = kinds(tokens)?;
    if matches!(tokens.peek_on(), Token::Word("size")) {
        let timeout = filled(tokens)?;
        return Ok(Set { name, key, data: Vec::new(), timeout, elements: Vec::new() });
    }
    let elements =
        elements(tokens, |tokens| Ok(Element { key: concatenated(tokens, &key)?, data: Data::None, comment: None }))?;
    tokens.sign(b'}')?;
    Ok(Set { name, key, data: Vec::new(), timeout: None, elements })
}

/// Behind the type of a set or map that rules fill: its timeout in milliseconds.
pub fn filled(tokens: &mut Tokens<'_>) -> Read<Option<u64>> {
    tokens.words(&["size"])?;
    tokens.number("a size")?;
    tokens.peek_on();
    tokens.words(&["flags", "dynamic"])?;
    let timeout = match tokens.accept(b',') {
        true => {
            tokens.words(&["timeout"])?;
            tokens.peek_on();
            tokens.words(&["timeout"])?;
            let word = tokens.word("a duration")?;
            match millis(word) {
                Some(timeout) => Some(timeout),
                None => return tokens.error(format!("expected a duration, found `{word}`")),
            }
        }
        false => None,
    };
    tokens.sign(b'}')?;
    Ok(timeout)
}

/// Behind `update` or `add`.
pub fn learn(tokens: &mut Tokens<'_>, update: bool) -> Read<Statement> {
    tokens.sign(b'@')?;
    let set = tokens.word("a set")?.into();
    tokens.sign(b'{')?;
    let word = tokens.word("a field")?;
    let key = fields(tokens, word)?;
    let mut data = None;
    let mut inner = Vec::new();
    if tokens.accept_word(":") {
        data = Some(Expr::Constant(data_values(tokens)?, Kind::Unknown));
    } else if tokens.accept_word("limit") {
        inner.push(limit(tokens)?);
    } else if tokens.accept_word("ct") {
        tokens.words(&["count"])?;
        inner.push(count(tokens)?);
    }
    tokens.sign(b'}')?;
    Ok(Statement::Learn { update, set, key, data, inner })
}

/// Behind `limit`.
pub fn limit(tokens: &mut Tokens<'_>) -> Read<Statement> {
    tokens.words(&["rate"])?;
    let over = tokens.accept_word("over");
    let word = tokens.word("a rate")?;
    let parts = word
        .split_once('/')
        .and_then(|(rate, unit)| Some((rate.parse().ok()?, Unit::ALL.into_iter().find(|known| known.name() == unit)?)));
    let Some((rate, unit)) = parts else { return tokens.error(format!("expected a rate, found `{word}`")) };
    tokens.words(&["burst"])?;
    let burst = tokens.number("a burst")?;
    tokens.words(&["packets"])?;
    Ok(Statement::Limit { over, bound: Bound::Packets { rate, unit, burst } })
}

/// Behind `ct count`.
pub fn count(tokens: &mut Tokens<'_>) -> Read<Statement> {
    let over = tokens.accept_word("over");
    let count = tokens.number("a number of connections")?;
    Ok(Statement::Limit { over, bound: Bound::Connections(count) })
}

/// Behind `counter`.
pub fn counter(tokens: &mut Tokens<'_>) -> Read<Statement> {
    tokens.words(&["name"])?;
    let name = quoted(tokens, "the name of a counter in quotes")?;
    Ok(Statement::Quiet(Quiet::Counter(Some(name))))
}

/// Behind `log`.
pub fn log(tokens: &mut Tokens<'_>) -> Read<Statement> {
    tokens.words(&["prefix"])?;
    Ok(Statement::Quiet(Quiet::Log(Some(quoted(tokens, "a prefix in quotes")?))))
}

fn quoted(tokens: &mut Tokens<'_>, what: &str) -> Read<Box<str>> {
    match tokens.peek() {
        Token::Quoted(text) => {
            tokens.next();
            Ok(text.into())
        }
        Token::Word(_) | Token::Sign(_) | Token::Newline | Token::End => tokens.expected(what),
    }
}
