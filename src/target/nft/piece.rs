//! The small pieces that rules are made of.

use ipnet::IpNet;

use crate::dispatch::AddressRange;
use crate::ir::{Family, From, Interface, On};
use crate::option::on::MAX_INTERFACE_BYTES;

use super::model::{AddressType, Field, Name, Rule, Statement, Value, Verdict};

pub fn one(field: Field, value: Value) -> Statement {
    Statement::Match { field, negated: false, values: vec![value] }
}

/// The destination belongs to this machine, loopback included.
pub fn local() -> Statement {
    one(Field::DestinationType, Value::AddressType(AddressType::Local))
}

pub fn broadcast() -> Statement {
    one(Field::DestinationType, Value::AddressType(AddressType::Broadcast))
}

pub fn not_broadcast() -> Statement {
    let values = vec![Value::AddressType(AddressType::Broadcast)];
    Statement::Match { field: Field::DestinationType, negated: true, values }
}

pub fn goto(name: Name) -> Statement {
    Statement::Verdict(Verdict::Goto(name))
}

/// A rule that belongs to no service.
pub fn plain(statements: impl Into<Vec<Statement>>) -> Rule {
    Rule { statements: statements.into(), comment: None }
}

/// A range of addresses in its shortest form.
pub fn addresses(range: AddressRange) -> Value {
    match (range.is_single(), range.as_prefix()) {
        (true, _) => Value::Address(range.first_address()),
        (false, Some(net)) => Value::Net(net),
        (false, None) => Value::Addresses(range.first_address(), range.last_address()),
    }
}

/// A prefix in its shortest form.
pub fn net(net: IpNet) -> Value {
    match net.prefix_len() == net.max_prefix_len() {
        true => Value::Address(net.addr()),
        false => Value::Net(net),
    }
}

/// The client is one of those that `from` lets in. Only where it neither lets in all nor none of the family.
pub fn allowed(from: &From, family: Family) -> Statement {
    clients(from, family, from.not)
}

/// The client is one of those that `from` keeps out. Only where it neither lets in all nor none of the family.
pub fn kept_out(from: &From, family: Family) -> Statement {
    clients(from, family, !from.not)
}

fn clients(from: &From, family: Family, negated: bool) -> Statement {
    let values = from.nets.get(family).iter().map(|&prefix| net(prefix)).collect();
    Statement::Match { field: Field::Source(family), negated, values }
}

/// The connection arrives where `on` says.
///
/// Names that a listed prefix holds are left out: elements of a set may not overlap. A prefix as long as a name can
/// be is a name.
pub fn interfaces(on: &On) -> Statement {
    let covered = |interface: &Interface| {
        let (Interface::Exact(name) | Interface::Prefix(name)) = interface;
        on.interfaces.iter().any(|other| match other {
            Interface::Prefix(prefix) => other != interface && name.starts_with(prefix.as_str()),
            Interface::Exact(_) => false,
        })
    };
    let whole = |interface: &Interface| match interface {
        Interface::Prefix(prefix) if prefix.len() == MAX_INTERFACE_BYTES => Interface::Exact(prefix.clone()),
        Interface::Prefix(_) | Interface::Exact(_) => interface.clone(),
    };
    let mut values: Vec<Value> =
        on.interfaces.iter().filter(|one| !covered(one)).map(|one| Value::Interface(whole(one))).collect();
    values.dedup();
    Statement::Match { field: Field::Interface, negated: on.not, values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_of_a_set_do_not_overlap() {
        let exact = |name: &str| Interface::Exact(name.to_owned());
        let prefix = |name: &str| Interface::Prefix(name.to_owned());
        let long = "abcdefghijklmno";
        let on = On {
            not: true,
            interfaces: vec![exact(long), exact("eth0"), exact("wg0"), prefix(long), prefix("wg"), prefix("wgx")],
        };
        let values = [exact("eth0"), exact(long), prefix("wg")].map(Value::Interface).to_vec();
        assert_eq!(interfaces(&on), Statement::Match { field: Field::Interface, negated: true, values });
    }
}
