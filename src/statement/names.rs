//! The names of hosts, nets and pools in a statement.

use crate::option::{BalanceOption, Kind};
use crate::source::Span;

use super::Statement;
use super::backends::{Backends, Server};
use super::listen::Destination;
use super::net::NetItem;

/// Tells every name in a statement, and whether it is declared there.
pub fn names(statement: &Statement, tell: &mut impl FnMut(Span, bool)) {
    match statement {
        Statement::Include(_) => {}
        Statement::Host(host) => tell(host.name, true),
        Statement::Net(net) => {
            tell(net.name, true);
            net.items.iter().for_each(|item| of_net_item(item, tell));
        }
        Statement::Pool(pool) => {
            tell(pool.name, true);
            of_backends(&pool.backends, tell);
        }
        Statement::Default(default) => of_options(&default.options, tell),
        Statement::Balance(balance) => {
            for destination in &balance.listen.destinations {
                match destination {
                    Destination::Name(span) => tell(*span, false),
                    Destination::Local(_) | Destination::Any(_) | Destination::Prefix(_) => {}
                }
            }
            of_options(&balance.options, tell);
            of_backends(&balance.backends, tell);
        }
    }
}

fn of_net_item(item: &NetItem, tell: &mut impl FnMut(Span, bool)) {
    match item {
        NetItem::Name(span) => tell(*span, false),
        NetItem::Prefix(_) => {}
    }
}

fn of_options(options: &[BalanceOption], tell: &mut impl FnMut(Span, bool)) {
    for option in options {
        match &option.kind {
            Kind::From(from) => from.nets.iter().for_each(|item| of_net_item(item, tell)),
            Kind::As(_)
            | Kind::By(_)
            | Kind::Sticky(_)
            | Kind::On(_)
            | Kind::Masquerade { .. }
            | Kind::Snat(_)
            | Kind::Output
            | Kind::Accept
            | Kind::Limit(_)
            | Kind::MaxConnections(_)
            | Kind::Counter
            | Kind::Log(_) => {}
        }
    }
}

fn of_backends(backends: &Backends, tell: &mut impl FnMut(Span, bool)) {
    for backend in &backends.list {
        match backend.server {
            Server::Name(span) => tell(span, false),
            Server::Address(..) | Server::Local => {}
        }
    }
}
