//! LB204

use std::net::{IpAddr, Ipv4Addr};

use foldhash::{HashMap, HashMapExt};
use ipnet::IpNet;

use crate::diagnostic::{Code, Diagnostic, at};
use crate::lint::context::Context;
use crate::lint::{Doc, Lint};
use crate::source::{SourceId, Span};
use crate::statement::Statement;
use crate::statement::backends::{Backends, Server};
use crate::statement::listen::Destination;
use crate::statement::net::NetItem;

pub const LINT: Lint = Lint {
    code: Code::UnusualAddress,
    doc: Doc {
        what: "Finds backends, hosts and listeners with an address that no single machine has: an unspecified or multicast one, \
               255.255.255.255, or the first or last address of a declared IPv4 `net`.",
        why: "Nothing is sent to such an address the way that balancing needs. `0.0.0.0:80` is no listener on every address: that is \
              `*:80`, or `80` for this machine's own.",
        example: "net lan = 10.20.0.0/24\nbalance tcp 80 from lan masquerade hairpin -> 10.20.0.255:8080\n",
        instead: "net lan = 10.20.0.0/24\nbalance tcp 80 from lan masquerade hairpin -> 10.20.0.25:8080\n",
        fix: "",
    },
    check,
};

fn check(context: &Context<'_>) -> Vec<Diagnostic> {
    let mut finder = Finder { context, ends: ends(context), found: Vec::new() };
    for (source, item) in context.program.items() {
        match &item.statement {
            Statement::Host(host) => {
                host.addresses.iter().for_each(|one| finder.address(source, one.value, one.span, "host"))
            }
            Statement::Pool(pool) => finder.backends(source, &pool.backends),
            Statement::Balance(balance) => {
                for destination in &balance.listen.destinations {
                    if let Destination::Prefix(net) = destination {
                        finder.listener(source, net.value, net.span);
                    }
                }
                finder.backends(source, &balance.backends);
            }
            Statement::Include(_) | Statement::Net(_) | Statement::Default(_) => {}
        }
    }
    finder.found
}

/// The first and last addresses of the IPv4 prefixes that nets declare.
fn ends(context: &Context<'_>) -> HashMap<Ipv4Addr, (IpNet, &'static str)> {
    let mut ends = HashMap::new();
    for (_, item) in context.program.items() {
        let Statement::Net(net) = &item.statement else { continue };
        for item in &net.items {
            let NetItem::Prefix(prefix) = item else { continue };
            // Both addresses of a /31 belong to machines.
            if let IpNet::V4(net) = prefix.value
                && (1..=30).contains(&net.prefix_len())
            {
                ends.entry(net.network()).or_insert((prefix.value, "network address"));
                ends.entry(net.broadcast()).or_insert((prefix.value, "broadcast address"));
            }
        }
    }
    ends
}

struct Finder<'a, 'c> {
    context: &'c Context<'a>,
    ends: HashMap<Ipv4Addr, (IpNet, &'static str)>,
    found: Vec<Diagnostic>,
}

impl Finder<'_, '_> {
    fn backends(&mut self, source: SourceId, backends: &Backends) {
        for backend in &backends.list {
            match backend.server {
                Server::Address(address, span) => self.address(source, address, span, "backend"),
                Server::Name(_) | Server::Local => {}
            }
        }
    }

    fn listener(&mut self, source: SourceId, net: IpNet, span: Span) {
        match net.prefix_len() == net.max_prefix_len() {
            true => self.address(source, net.addr(), span, "listener"),
            false if net.addr().is_multicast() => self.tell(source, span, "listener", "multicast prefix", ""),
            false => {}
        }
    }

    fn address(&mut self, source: SourceId, address: IpAddr, span: Span, role: &str) {
        let kind = match address {
            _ if address.is_unspecified() => "unspecified address",
            _ if address.is_multicast() => "multicast address",
            IpAddr::V4(address) if address.is_broadcast() => "broadcast address",
            IpAddr::V4(address) if !self.ends.is_empty() => match self.ends.get(&address) {
                Some((net, kind)) => {
                    let (kind, of) = (*kind, format!(" of `{net}`"));
                    return self.tell(source, span, role, kind, &of);
                }
                None => return,
            },
            IpAddr::V4(_) | IpAddr::V6(_) => return,
        };
        self.tell(source, span, role, kind, "");
    }

    fn tell(&mut self, source: SourceId, span: Span, role: &str, kind: &str, of: &str) {
        let text = self.context.text(source, span);
        let article = if kind.starts_with('u') {
            "an"
        } else if of.is_empty() {
            "a"
        } else {
            "the"
        };
        let help = match (role, kind) {
            ("listener", "unspecified address") => {
                "write `*:PORT` for any destination, or the port alone for this machine's addresses"
            }
            _ => "write the address of one machine",
        };
        self.found.push(
            Diagnostic::warning(
                Code::UnusualAddress,
                at(source, span),
                format!("the {role} `{text}` is {article} {kind}{of}"),
            )
            .here("no machine has it")
            .help(help),
        );
    }
}
