//! Where NAT leads.

use crate::ir::Family;

use super::{Read, choices, data_values, draw, family, fields, hosts};
use crate::target::nft::dump::{Data, Elements, Expr, Kind, Nat, Statement, Value, address as address_of, number};
use crate::target::nft::tokens::{Token, Tokens};

/// Behind `redirect`.
pub fn redirect(tokens: &mut Tokens<'_>) -> Read<Statement> {
    tokens.words(&["to"])?;
    let word = tokens.word("a port")?;
    let port = match word.strip_prefix(':') {
        Some(port) => new_port(tokens, port)?,
        None => return tokens.error(format!("expected `:` and a port, found `{word}`")),
    };
    Ok(Statement::Nat { nat: Nat::Redirect, family: None, address: None, port: Some(port) })
}

/// Behind `snat`.
pub fn snat(tokens: &mut Tokens<'_>) -> Read<Statement> {
    let family = family(tokens)?;
    tokens.words(&["to"])?;
    let address = address(tokens)?;
    Ok(Statement::Nat { nat: Nat::Snat, family: Some(family), address: Some(address), port: None })
}

/// Behind `dnat`.
pub fn dnat(tokens: &mut Tokens<'_>) -> Read<Statement> {
    let family = family(tokens)?;
    tokens.words(&["to"])?;
    let done = |address, port| Statement::Nat { nat: Nat::Dnat, family: Some(family), address: Some(address), port };
    if tokens.peek() == Token::Sign(b'[') {
        tokens.next();
        let address = address(tokens)?;
        tokens.sign(b']')?;
        let word = tokens.word("`:` and a port")?;
        let Some(port) = word.strip_prefix(':') else { return tokens.error("expected `:` and a port") };
        return Ok(done(address, Some(new_port(tokens, port)?)));
    }
    match tokens.word("an address")? {
        word @ ("numgen" | "jhash") => {
            let key = draw(tokens, word)?;
            tokens.words(&["map"])?;
            let map = Elements::Anonymous(hosts(tokens)?);
            Ok(done(Expr::Map(Box::new(key), map), None))
        }
        word @ ("ip" | "ip6") => {
            let key = fields(tokens, word)?;
            tokens.words(&["map"])?;
            tokens.sign(b'@')?;
            let word = tokens.word("a map")?;
            let (name, port) = match word.split_once(':') {
                Some((name, port)) => (name, Some(new_port(tokens, port)?)),
                None => (word, None),
            };
            Ok(done(Expr::Map(Box::new(key), Elements::Named(name.into())), port))
        }
        word => match (family, word.split_once(':')) {
            (Family::V4, Some((before, port))) => {
                let address = constant_address(tokens, before)?;
                Ok(done(address, Some(new_port(tokens, port)?)))
            }
            (Family::V4 | Family::V6, _) => Ok(done(constant_address(tokens, word)?, None)),
        },
    }
}

fn address(tokens: &mut Tokens<'_>) -> Read<Expr> {
    let word = tokens.word("an address")?;
    constant_address(tokens, word)
}

fn constant_address(tokens: &Tokens<'_>, word: &str) -> Read<Expr> {
    match address_of(word) {
        Some(address) => Ok(Expr::Constant(vec![Value::Address(address)], Kind::Address)),
        None => tokens.error(format!("expected an address, found `{word}`")),
    }
}

/// `8080`, or `th dport map { … }` whose first word is given.
fn new_port(tokens: &mut Tokens<'_>, word: &str) -> Read<Expr> {
    if let Some(port) = number(word) {
        return Ok(Expr::Constant(vec![Value::Number(port)], Kind::Number));
    }
    let key = fields(tokens, word)?;
    tokens.words(&["map"])?;
    if tokens.accept(b'@') {
        return Ok(Expr::Map(Box::new(key), Elements::Named(tokens.word("a map")?.into())));
    }
    let map = Elements::Anonymous(choices(tokens, |tokens| Ok(Data::Values(data_values(tokens)?)))?);
    Ok(Expr::Map(Box::new(key), map))
}
