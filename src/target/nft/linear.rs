//! One listener as one rule, for groups whose cells would be too many.

use crate::dispatch::{AddressRange, Hook, Listener, falls_through, loopback, multicast, tests_interface};
use crate::ir::{Destination, Family};

use super::lower::Lowering;
use super::model::{Field, Rule, Statement, Value};
use super::piece::{self, addresses, local, not_broadcast, one};

/// The whole match of a listener, then where its connections go.
pub fn rule(lowering: &mut Lowering<'_>, family: Family, hook: Hook, listener: &Listener) -> Rule {
    let service = &lowering.config.services()[listener.service as usize];
    let mut statements = destination(family, listener);
    statements.push(one(Field::Port(listener.protocol), Value::Ports(listener.ports)));
    if tests_interface(service, hook) {
        statements.extend(service.on.as_ref().map(piece::interfaces));
    }
    if falls_through(service, family) {
        statements.extend(service.from.as_ref().map(|from| piece::allowed(from, family)));
    }
    statements.push(Statement::Verdict(lowering.verdict(listener.service, family)));
    Rule { statements, comment: Some(lowering.comment(listener.service)) }
}

/// The tests of a destination that no stage before has made.
fn destination(family: Family, listener: &Listener) -> Vec<Statement> {
    let daddr = Field::Destination(family);
    let loopback = addresses(AddressRange::of(loopback(family)));
    let multicast = addresses(AddressRange::of(multicast(family)));
    let not = |values| Statement::Match { field: daddr, negated: true, values };
    let mut tests = Vec::with_capacity(6);
    match listener.destination {
        // Every address of the family.
        Destination::Prefix(net) if net.prefix_len() == 0 => {}
        Destination::Prefix(net) => tests.push(one(daddr, addresses(AddressRange::of(net)))),
        Destination::Local => {
            if !listener.loopback {
                tests.push(not(vec![loopback]));
            }
            tests.push(local());
        }
        Destination::Any => {
            let special = if listener.loopback { vec![multicast] } else { vec![loopback, multicast] };
            tests.push(not(special));
            if family == Family::V4 {
                tests.push(not_broadcast());
            }
        }
    }
    tests
}
