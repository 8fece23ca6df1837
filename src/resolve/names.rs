//! Hosts, nets and pools: one namespace, declared in any order.

use foldhash::{HashMap, HashMapExt};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::diagnostic::{Code, Diagnostic, at};
use crate::ir::{Family, PerFamily};
use crate::program::Program;
use crate::source::{Loc, SourceId, Spanned};
use crate::statement::Statement;
use crate::statement::net::{Net, NetItem};
use crate::statement::pool::Pool;

use super::Context;
use super::errors::Errors;

/// What a name stands for.
#[derive(Clone)]
pub enum Declaration<'a> {
    Host(Host),
    Net(SourceId, &'a Net),
    Pool(SourceId, &'a Pool),
}

impl Declaration<'_> {
    /// The kind, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Declaration::Host(_) => "host",
            Declaration::Net(..) => "net",
            Declaration::Pool(..) => "pool",
        }
    }
}

/// A host's addresses.
#[derive(Clone)]
pub struct Host {
    pub addresses: PerFamily<Option<IpAddr>>,
    /// Two addresses of one family from a hosts file: an error once the host is used.
    pub conflict: Option<(Loc, Loc)>,
}

/// All declared names.
pub struct Names<'a> {
    declared: HashMap<&'a str, (Loc, Declaration<'a>)>,
}

impl<'a> Names<'a> {
    /// Collects every declaration; what is declared twice is an error at the second place.
    pub fn declare(program: &'a Program, errors: &mut Errors) -> Names<'a> {
        let mut names = Names { declared: HashMap::new() };
        for (source, item) in program.items() {
            let (name, declaration) = match &item.statement {
                Statement::Host(host) => {
                    let host = host_of(source, &host.addresses, false, errors);
                    (statement_name(item), Declaration::Host(host))
                }
                Statement::Net(net) => (statement_name(item), Declaration::Net(source, net)),
                Statement::Pool(pool) => (statement_name(item), Declaration::Pool(source, pool)),
                Statement::Include(_) | Statement::Default(_) | Statement::Balance(_) => continue,
            };
            let Some(span) = name else { continue };
            names.insert(program, at(source, span), declaration, errors);
        }
        for outer in &program.hosts {
            let host = host_of(outer.source, &outer.addresses, outer.lenient, errors);
            names.insert(program, outer.name, Declaration::Host(host), errors);
        }
        names
    }

    fn insert(&mut self, program: &'a Program, loc: Loc, declaration: Declaration<'a>, errors: &mut Errors) {
        let name = program.sources.text(loc);
        match self.declared.get(name) {
            Some((first, earlier)) => errors.push_with(loc.source, || {
                Diagnostic::error(Code::DuplicateName, loc, format!("`{name}` is declared twice"))
                    .here("declared again here")
                    .label(*first, format!("first declared here, as a {}", earlier.kind()))
                    .help("hosts, nets and pools share their names; rename one of the two")
            }),
            None => {
                self.declared.insert(name, (loc, declaration));
            }
        }
    }

    pub fn get(&self, name: &str) -> Option<&(Loc, Declaration<'a>)> {
        self.declared.get(name)
    }

    /// The names of some kinds, for "did you mean"; sorted, so that ties fall the same way each time.
    pub fn of_kind(&self, wanted: impl Fn(&Declaration<'a>) -> bool) -> Vec<&'a str> {
        let fits = self.declared.iter().filter(|(_, (_, declaration))| wanted(declaration));
        let mut all: Vec<&str> = fits.map(|(name, _)| *name).collect();
        all.sort_unstable();
        all
    }

    /// The names of the nets, sorted.
    pub fn nets(&self) -> Vec<&'a str> {
        self.of_kind(|declaration| matches!(declaration, Declaration::Net(..)))
    }

    pub fn len(&self) -> usize {
        self.declared.len()
    }
}

fn statement_name(item: &crate::statement::Item) -> Option<crate::source::Span> {
    match &item.statement {
        Statement::Host(host) => Some(host.name),
        Statement::Net(net) => Some(net.name),
        Statement::Pool(pool) => Some(pool.name),
        Statement::Include(_) | Statement::Default(_) | Statement::Balance(_) => None,
    }
}

fn host_of(source: SourceId, addresses: &[Spanned<IpAddr>], lenient: bool, errors: &mut Errors) -> Host {
    let mut host = Host { addresses: PerFamily::default(), conflict: None };
    let mut first: PerFamily<Option<Loc>> = PerFamily::default();
    for address in addresses {
        let family = Family::of(address.value);
        let loc = at(source, address.span);
        match *first.get(family) {
            None => {
                *host.addresses.get_mut(family) = Some(address.value);
                *first.get_mut(family) = Some(loc);
            }
            Some(_) if *host.addresses.get(family) == Some(address.value) && lenient => {}
            Some(earlier) if lenient => host.conflict = Some((earlier, loc)),
            Some(earlier) => errors.push(two_addresses(family, earlier, loc)),
        }
    }
    host
}

fn two_addresses(family: Family, first: Loc, second: Loc) -> Diagnostic {
    Diagnostic::error(Code::InvalidAddress, second, format!("a host has at most one {} address", family.name()))
        .here("the second one")
        .label(first, "the first one")
        .help("declare two hosts, and a `pool` of both")
}

impl<'a> Context<'a> {
    /// The host of this name, or an error.
    pub fn check_host(&mut self, host: &Host) {
        if let Some((first, second)) = host.conflict {
            let family = if self.program.sources.text(second).contains(':') { Family::V6 } else { Family::V4 };
            self.error(two_addresses(family, first, second));
        }
    }

    /// Checks what no service may ever reach: nets, pools and defaults that nothing uses.
    pub fn check_declarations(&mut self) {
        let program = self.program;
        for (source, item) in program.items() {
            match &item.statement {
                Statement::Net(net) => net.items.iter().for_each(|item| self.check_net_item(source, item)),
                Statement::Pool(pool) => self.check_backends(source, &pool.backends),
                Statement::Balance(balance) => self.check_backends(source, &balance.backends),
                Statement::Default(default) => self.check_default(source, default),
                Statement::Include(_) | Statement::Host(_) => {}
            }
        }
    }

    /// The prefixes of one item of `from`, or of a destination.
    pub fn net_item(&mut self, source: SourceId, item: &NetItem) -> Vec<IpNet> {
        self.check_net_item(source, item);
        let span = match item {
            NetItem::Prefix(prefix) => return vec![prefix.value],
            NetItem::Name(span) => *span,
        };
        let name = self.text(source, span);
        match self.names.get(name) {
            Some((_, Declaration::Host(host))) => {
                Family::ALL.iter().filter_map(|&family| *host.addresses.get(family)).map(IpNet::from).collect()
            }
            Some((_, Declaration::Net(..))) => self.flatten(name),
            Some((_, Declaration::Pool(..))) | None => Vec::new(),
        }
    }

    /// Checks the name of an item.
    pub fn check_net_item(&mut self, source: SourceId, item: &NetItem) {
        let NetItem::Name(span) = *item else { return };
        let loc = at(source, span);
        let name = self.text(source, span);
        match self.names.get(name).cloned() {
            Some((_, Declaration::Host(host))) => self.check_host(&host),
            Some((_, Declaration::Net(..))) => {}
            Some((declared, Declaration::Pool(..))) => self.error(
                Diagnostic::error(
                    Code::UnknownName,
                    loc,
                    format!("`{name}` is a pool; a host or a net is needed here"),
                )
                .label(declared, "declared here")
                .help("a pool is a list of backends; list the same hosts in a `net`"),
            ),
            None => {
                let is_net = |declaration: &Declaration<'_>| !matches!(declaration, Declaration::Pool(..));
                let error = self.unknown_name(loc, "the host or net", is_net);
                self.error(error);
            }
        }
    }
}

/// Sorted, disjoint, and merged where two halves make a whole.
pub fn aggregate(prefixes: Vec<IpNet>) -> Vec<IpNet> {
    let mut all = IpNet::aggregate(&prefixes);
    all.sort_unstable();
    all
}
