//! What lints look at: statements beside what they became, and what names stand for.

use std::cell::OnceCell;
use std::net::IpAddr;

use foldhash::{HashMap, HashMapExt};

use crate::diagnostic::at;
use crate::endpoint::PortRange;
use crate::ir::{Config, Family, PerFamily, Service};
use crate::program::Program;
use crate::source::{Loc, SourceId, Span};
use crate::statement::backends::{Backend, Backends, Server};
use crate::statement::balance::Balance;
use crate::statement::net::Net;
use crate::statement::pool::Pool;
use crate::statement::{Item, Statement};

use super::Settings;
use super::overlap::{Overlap, overlaps};

/// A program without errors, and what the lints are told.
pub struct Context<'a> {
    pub program: &'a Program,
    pub config: &'a Config,
    pub settings: &'a Settings,
    names: OnceCell<HashMap<&'a str, Named<'a>>>,
    overlaps: OnceCell<Vec<(usize, Overlap)>>,
}

/// What a name stands for.
pub enum Named<'a> {
    Host(Vec<IpAddr>),
    Net(SourceId, &'a Net),
    Pool(SourceId, &'a Pool),
}

/// A `balance` statement and its service.
#[derive(Clone, Copy)]
pub struct Balanced<'a> {
    pub source: SourceId,
    pub item: &'a Item,
    pub balance: &'a Balance,
    pub service: &'a Service,
}

/// A list of backends as written.
#[derive(Clone, Copy)]
pub struct List<'a> {
    pub source: SourceId,
    pub list: &'a [Backend],
    /// The service whose own list it is.
    pub service: Option<&'a Service>,
    /// Whether every service that uses it picks at random: then nothing but the shares counts.
    pub random: bool,
}

/// What one member of a list is, for comparison.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Member<'a> {
    Address(IpAddr),
    Name(&'a str),
    Local,
}

impl<'a> Context<'a> {
    pub fn new(program: &'a Program, config: &'a Config, settings: &'a Settings) -> Context<'a> {
        Context { program, config, settings, names: OnceCell::new(), overlaps: OnceCell::new() }
    }

    pub fn text(&self, source: SourceId, span: Span) -> &'a str {
        self.program.sources.text(at(source, span))
    }

    /// Every service with its statement, in program order.
    pub fn balances(&self) -> impl Iterator<Item = Balanced<'a>> + use<'a> {
        let statements = self.program.items().filter_map(|(source, item)| match &item.statement {
            Statement::Balance(balance) => Some((source, item, &**balance)),
            Statement::Include(_)
            | Statement::Host(_)
            | Statement::Net(_)
            | Statement::Pool(_)
            | Statement::Default(_) => None,
        });
        let services = self.config.services().iter();
        statements.zip(services).map(|((source, item, balance), service)| Balanced { source, item, balance, service })
    }

    /// Every list of backends.
    pub fn lists(&self) -> impl Iterator<Item = List<'a>> + use<'a> {
        let random = |service: &Service| service.algorithm == crate::ir::Algorithm::Random;
        let all_random = self.config.services().iter().all(random);
        let mut services = self.config.services().iter();
        self.program.items().filter_map(move |(source, item)| {
            let (backends, service): (&Backends, _) = match &item.statement {
                Statement::Balance(balance) => (&balance.backends, services.next()),
                Statement::Pool(pool) => (&pool.backends, None),
                Statement::Include(_) | Statement::Host(_) | Statement::Net(_) | Statement::Default(_) => return None,
            };
            Some(List { source, list: &backends.list, service, random: service.map_or(all_random, random) })
        })
    }

    fn names(&self) -> &HashMap<&'a str, Named<'a>> {
        self.names.get_or_init(|| {
            let mut names = HashMap::new();
            for (source, item) in self.program.items() {
                let (span, named) = match &item.statement {
                    Statement::Host(host) => {
                        (host.name, Named::Host(host.addresses.iter().map(|address| address.value).collect()))
                    }
                    Statement::Net(net) => (net.name, Named::Net(source, net)),
                    Statement::Pool(pool) => (pool.name, Named::Pool(source, pool)),
                    Statement::Include(_) | Statement::Default(_) | Statement::Balance(_) => continue,
                };
                names.insert(self.text(source, span), named);
            }
            for host in &self.program.hosts {
                let addresses = host.addresses.iter().map(|address| address.value).collect();
                names.insert(self.program.sources.text(host.name), Named::Host(addresses));
            }
            names
        })
    }

    /// What a name stands for.
    pub fn named(&self, name: &str) -> Option<&Named<'a>> {
        self.names().get(name)
    }

    /// The addresses of a member that is no pool; none where it is a port of this machine.
    pub fn addresses(&self, source: SourceId, server: Server) -> Addresses<'_> {
        match server {
            Server::Address(address, _) => Addresses::One(address),
            Server::Local => Addresses::Many(&[]),
            Server::Name(name) => match self.named(self.text(source, name)) {
                Some(Named::Host(addresses)) => Addresses::Many(addresses),
                Some(Named::Net(..) | Named::Pool(..)) | None => Addresses::Many(&[]),
            },
        }
    }

    /// The pool that a member is.
    pub fn pool(&self, source: SourceId, server: Server) -> Option<(SourceId, &'a Pool)> {
        let Server::Name(name) = server else { return None };
        match self.named(self.text(source, name)) {
            Some(&Named::Pool(source, pool)) => Some((source, pool)),
            Some(Named::Host(_) | Named::Net(..)) | None => None,
        }
    }

    /// The families in which a member has an address.
    pub fn families(&self, source: SourceId, server: Server) -> PerFamily<bool> {
        let mut families = PerFamily { v4: server == Server::Local, v6: server == Server::Local };
        for address in self.addresses(source, server).as_slice() {
            *families.get_mut(Family::of(*address)) = true;
        }
        families
    }

    pub fn member(&self, source: SourceId, backend: &Backend) -> (Member<'a>, Option<PortRange>, bool) {
        let member = match backend.server {
            Server::Address(address, _) => Member::Address(address),
            Server::Name(name) => Member::Name(self.text(source, name)),
            Server::Local => Member::Local,
        };
        (member, backend.port.map(|port| port.value), backend.backup)
    }

    /// Whether the command line overrides the weight of a member of the list.
    pub fn overrides(&self, list: List<'_>) -> bool {
        !self.program.weights.is_empty()
            && list.list.iter().any(|backend| match backend.server {
                Server::Name(name) => {
                    let name = self.text(list.source, name);
                    self.program.weights.iter().any(|(set, _)| set == name)
                }
                Server::Address(..) | Server::Local => false,
            })
    }

    /// What earlier statements leave to each service: those of which something is to be said.
    pub fn overlaps(&self) -> &[(usize, Overlap)] {
        self.overlaps.get_or_init(|| overlaps(self.config))
    }

    /// The statements of some services, by their index.
    pub fn statements(&self, wanted: impl IntoIterator<Item = usize>) -> HashMap<usize, Balanced<'a>> {
        let wanted: foldhash::HashSet<usize> = wanted.into_iter().collect();
        self.balances().enumerate().filter(|(index, _)| wanted.contains(index)).collect()
    }
}

impl<'a> Balanced<'a> {
    /// The place of the listen part.
    pub fn listen(&self) -> Loc {
        at(self.source, self.balance.listen.span)
    }

    /// The place of the list of backends.
    pub fn backends(&self) -> Loc {
        at(self.source, self.balance.backends.span)
    }

    pub fn list(&self) -> List<'a> {
        let random = self.service.algorithm == crate::ir::Algorithm::Random;
        List { source: self.source, list: &self.balance.backends.list, service: Some(self.service), random }
    }
}

/// The addresses of a member.
pub enum Addresses<'a> {
    One(IpAddr),
    Many(&'a [IpAddr]),
}

impl Addresses<'_> {
    pub fn as_slice(&self) -> &[IpAddr] {
        match self {
            Addresses::One(address) => std::slice::from_ref(address),
            Addresses::Many(addresses) => addresses,
        }
    }
}
