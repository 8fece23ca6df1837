//! What a file says, without how it is laid out: equal for a file and its canonical form.

use std::fmt::Write;

use lbc::file::File;
use lbc::option::{BalanceOption, Else, Kind};
use lbc::source::{Source, Span};
use lbc::statement::Statement;
use lbc::statement::backends::{Backends, Server};
use lbc::statement::listen::Destination;
use lbc::statement::net::NetItem;

/// One line for each statement.
pub fn dump(source: &Source, file: &File) -> Vec<String> {
    let dump = Dump { text: source.text() };
    file.items.iter().map(|item| dump.statement(&item.statement)).collect()
}

struct Dump<'a> {
    text: &'a str,
}

impl<'a> Dump<'a> {
    fn at(&self, span: Span) -> &'a str {
        &self.text[span.range()]
    }

    fn statement(&self, statement: &Statement) -> String {
        match statement {
            Statement::Include(include) => format!("include {:?}", self.at(include.path)),
            Statement::Host(host) => {
                let addresses: Vec<_> = host.addresses.iter().map(|address| address.value).collect();
                format!("host {} {addresses:?}", self.at(host.name))
            }
            Statement::Net(net) => format!("net {} {}", self.at(net.name), self.nets(&net.items)),
            Statement::Pool(pool) => format!("pool {} {}", self.at(pool.name), self.backends(&pool.backends)),
            Statement::Default(default) => format!("default {:?}", self.options(&default.options)),
            Statement::Balance(balance) => {
                let protocols: Vec<_> = balance.protocols.iter().map(|protocol| protocol.value).collect();
                let ports: Vec<_> = balance.listen.ports.iter().map(|ports| ports.value).collect();
                let to: Vec<_> = balance.listen.destinations.iter().map(|it| self.destination(it)).collect();
                let options = self.options(&balance.options);
                format!("balance {protocols:?} {to:?} {ports:?} {options:?} {}", self.backends(&balance.backends))
            }
        }
    }

    fn destination(&self, destination: &Destination) -> String {
        match destination {
            Destination::Local(_) => "local".to_owned(),
            Destination::Any(_) => "any".to_owned(),
            Destination::Prefix(prefix) => format!("{:?}", prefix.value),
            Destination::Name(name) => format!("name {}", self.at(*name)),
        }
    }

    fn nets(&self, items: &[NetItem]) -> String {
        let show = |item: &NetItem| match item {
            NetItem::Prefix(prefix) => format!("{:?}", prefix.value),
            NetItem::Name(name) => format!("name {}", self.at(*name)),
        };
        format!("{:?}", items.iter().map(show).collect::<Vec<_>>())
    }

    fn backends(&self, backends: &Backends) -> String {
        let mut out = String::new();
        for backend in &backends.list {
            let server = match backend.server {
                Server::Address(address, _) => format!("{address:?}"),
                Server::Name(name) => format!("name {}", self.at(name)),
                Server::Local => "local".to_owned(),
            };
            let port = backend.port.map(|port| port.value);
            let weight = backend.weight.map(|weight| weight.value);
            write!(out, "[{server} {port:?} {weight:?} {:?}]", backend.backup).expect("a string");
        }
        out
    }

    fn options(&self, options: &[BalanceOption]) -> Vec<String> {
        options.iter().map(|option| self.option(&option.kind)).collect()
    }

    fn option(&self, kind: &Kind) -> String {
        match kind {
            Kind::As(name) => format!("as {}", self.at(*name)),
            Kind::By(by) => format!("{by:?}"),
            Kind::Sticky(sticky) => format!("sticky {}", sticky.millis.value),
            Kind::From(from) => format!("from {:?} {} {:?}", from.not, self.nets(&from.nets), from.otherwise),
            Kind::On(on) => {
                let names: Vec<_> = on.interfaces.iter().map(|interface| self.at(interface.name)).collect();
                format!("on {:?} {names:?}", on.not)
            }
            Kind::Masquerade { hairpin } => format!("masquerade {hairpin:?}"),
            Kind::Snat(snat) => {
                format!("snat {:?}", snat.addresses.iter().map(|address| address.value).collect::<Vec<_>>())
            }
            Kind::Output => "output".to_owned(),
            Kind::Accept => "accept".to_owned(),
            Kind::Limit(limit) => {
                let burst = limit.burst.map(|burst| burst.value);
                let otherwise: Option<Else> = limit.otherwise;
                format!("limit {} {:?} {burst:?} {:?} {otherwise:?}", limit.rate.value, limit.unit, limit.per_source)
            }
            Kind::MaxConnections(max) => {
                format!("max-connections {} {:?} {:?}", max.count.value, max.per_source, max.otherwise)
            }
            Kind::Counter => "counter".to_owned(),
            Kind::Log(prefix) => format!("log {:?}", prefix.map(|prefix| self.at(prefix))),
        }
    }
}
