//! How pools and nets hang together: what contains itself, what is nested too deep, and what a list holds at any depth.
//!
//! Nothing here recurses: a chain of names may be as long as a file.

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};

use ipnet::IpNet;

use crate::diagnostic::{Code, Diagnostic, at};
use crate::ir::{Family, PerFamily};
use crate::source::{Loc, SourceId};
use crate::statement::Statement;
use crate::statement::backends::{Backends, Server};
use crate::statement::net::NetItem;

use super::Context;
use super::names::{Declaration, aggregate};

/// How deep pools may be nested (language section 6).
const MAX_DEPTH: u32 = 16;

/// What a list of backends holds, the pools that it lists included.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Pools on the longest way down; 0 where it lists none.
    height: u32,
    /// Backends at any depth, counted as often as they are listed.
    pub backends: u64,
    /// The first place that names a port.
    pub port: Option<Loc>,
    /// The first `:port` backend.
    pub redirect: Option<Loc>,
    /// The first backend that is another machine.
    pub server: Option<Loc>,
    /// The families in which a backend may have an address.
    pub families: PerFamily<bool>,
    /// Not part of a circle, nor nested too deep: it can be expanded.
    pub sound: bool,
}

impl Shape {
    const EMPTY: Shape = Shape {
        height: 0,
        backends: 0,
        port: None,
        redirect: None,
        server: None,
        families: PerFamily { v4: false, v6: false },
        sound: true,
    };

    const BOTH: PerFamily<bool> = PerFamily { v4: true, v6: true };
}

impl Shape {
    fn add(&mut self, backends: u64, families: PerFamily<bool>) {
        self.backends = self.backends.saturating_add(backends);
        self.families.v4 |= families.v4;
        self.families.v6 |= families.v6;
    }

    fn add_pool(&mut self, inner: Shape) {
        self.add(inner.backends, inner.families);
        self.height = self.height.max(inner.height);
        self.port = self.port.or(inner.port);
        self.redirect = self.redirect.or(inner.redirect);
        self.server = self.server.or(inner.server);
        self.sound &= inner.sound;
    }
}

impl<'a> Context<'a> {
    /// Finds every circle among nets and pools, and the shape of each pool.
    pub fn check_nesting(&mut self) {
        let program = self.program;
        let (mut nets, mut pools) = (Vec::new(), Vec::new());
        for (source, item) in program.items() {
            match &item.statement {
                Statement::Net(net) => nets.push(self.text(source, net.name)),
                Statement::Pool(pool) => pools.push(self.text(source, pool.name)),
                Statement::Include(_) | Statement::Host(_) | Statement::Default(_) | Statement::Balance(_) => {}
            }
        }
        self.bottom_up(&nets, "net", |_, _| {});
        self.bottom_up(&pools, "pool", |context, name| {
            let Some(&(_, Declaration::Pool(source, pool))) = context.names.get(name) else { return };
            let mut shape = context.shape(source, &pool.backends);
            if shape.sound && shape.height > MAX_DEPTH - 1 {
                let members = pool.backends.list.iter();
                let deepest = members.filter_map(|backend| context.listed_pool(source, backend.server));
                if let Some((_, loc)) = deepest.max_by_key(|(name, _)| context.shapes[name].height) {
                    context.error(
                        Diagnostic::error(
                            Code::PoolNesting,
                            loc,
                            format!("pools are nested more than {MAX_DEPTH} deep"),
                        )
                        .here(format!("below this one are {MAX_DEPTH} more"))
                        .help("list the inner pool's backends in the outer one"),
                    );
                }
                shape.sound = false;
            }
            context.shapes.insert(name, Shape { height: shape.height + 1, ..shape });
        });
    }

    /// What a list holds; of the pools in it, only those that have a shape are known.
    pub fn shape(&self, source: SourceId, list: &Backends) -> Shape {
        let mut shape = Shape::EMPTY;
        for backend in &list.list {
            let loc = at(source, backend.span);
            shape.port = shape.port.or(backend.port.map(|port| at(source, port.span)));
            let families = match backend.server {
                Server::Address(address, _) => PerFamily { v4: address.is_ipv4(), v6: address.is_ipv6() },
                Server::Local => {
                    shape.redirect = shape.redirect.or(Some(loc));
                    shape.add(1, Shape::BOTH);
                    continue;
                }
                Server::Name(span) => match self.names.get(self.text(source, span)) {
                    Some((_, Declaration::Pool(..))) => {
                        let inner = self.shapes.get(self.text(source, span)).copied();
                        shape.add_pool(inner.unwrap_or(Shape { sound: false, ..Shape::EMPTY }));
                        continue;
                    }
                    Some((_, Declaration::Host(host))) => {
                        let addresses = &host.addresses;
                        PerFamily { v4: addresses.v4.is_some(), v6: addresses.v6.is_some() }
                    }
                    // An error that is recorded elsewhere.
                    Some((_, Declaration::Net(..))) | None => Shape::BOTH,
                },
            };
            shape.server = shape.server.or(Some(loc));
            shape.add(1, families);
        }
        shape
    }

    fn listed_pool(&self, source: SourceId, server: Server) -> Option<(&'a str, Loc)> {
        match server {
            Server::Name(span) => {
                let name = self.text(source, span);
                let is_pool = matches!(self.names.get(name), Some((_, Declaration::Pool(..))));
                is_pool.then_some((name, at(source, span)))
            }
            Server::Address(..) | Server::Local => None,
        }
    }

    /// The declarations of its own kind that a net or a pool lists.
    fn listed(&self, name: &str) -> Vec<(&'a str, Loc)> {
        match self.names.get(name) {
            Some(&(_, Declaration::Net(source, net))) => {
                let items = net.items.iter().filter_map(|item| match item {
                    NetItem::Prefix(_) => None,
                    NetItem::Name(span) => Some((self.text(source, *span), at(source, *span))),
                });
                items.filter(|(name, _)| matches!(self.names.get(name), Some((_, Declaration::Net(..))))).collect()
            }
            Some(&(_, Declaration::Pool(source, pool))) => {
                pool.backends.list.iter().filter_map(|backend| self.listed_pool(source, backend.server)).collect()
            }
            Some((_, Declaration::Host(_))) | None => Vec::new(),
        }
    }

    /// Visits each declaration after all that it lists. What lists itself, directly or through others, is an error.
    fn bottom_up(&mut self, roots: &[&'a str], kind: &str, mut done: impl FnMut(&mut Self, &'a str)) {
        /// A declaration that is being visited, and what of its list is still to be.
        struct Open<'a> {
            name: &'a str,
            rest: std::vec::IntoIter<(&'a str, Loc)>,
        }
        let mut visited: HashMap<&str, bool> = HashMap::new();
        let mut open: Vec<Open<'a>> = Vec::new();
        for &root in roots {
            let mut next = (!visited.contains_key(root)).then_some(root);
            loop {
                if let Some(name) = next.take() {
                    visited.insert(name, false);
                    open.push(Open { name, rest: self.listed(name).into_iter() });
                }
                let Some(top) = open.last_mut() else { break };
                let Some((name, loc)) = top.rest.next() else {
                    visited.insert(top.name, true);
                    let finished = top.name;
                    open.pop();
                    done(self, finished);
                    continue;
                };
                match visited.get(name) {
                    None => next = Some(name),
                    Some(true) => {}
                    Some(false) => {
                        let through: Vec<&str> =
                            open.iter().skip_while(|open| open.name != name).skip(1).map(|open| open.name).collect();
                        let error = contains_itself(self, kind, name, loc, &through);
                        self.error(error);
                    }
                }
            }
        }
    }

    /// The prefixes of a net, those of the nets that it lists included: ascending and disjoint.
    pub fn flatten(&mut self, name: &'a str) -> Vec<IpNet> {
        if let Some(known) = self.nets.get(name) {
            return known.clone();
        }
        let mut prefixes = Vec::new();
        let mut seen = HashSet::new();
        seen.insert(name);
        let mut open = vec![name];
        while let Some(name) = open.pop() {
            let Some(&(_, Declaration::Net(source, net))) = self.names.get(name) else { continue };
            for item in &net.items {
                match item {
                    NetItem::Prefix(prefix) => prefixes.push(prefix.value),
                    NetItem::Name(span) => {
                        let name = self.text(source, *span);
                        match self.names.get(name) {
                            Some((_, Declaration::Host(host))) => {
                                let addresses = Family::ALL.iter().filter_map(|&family| *host.addresses.get(family));
                                prefixes.extend(addresses.map(IpNet::from));
                            }
                            Some((_, Declaration::Net(..))) if seen.insert(name) => open.push(name),
                            Some((_, Declaration::Net(..) | Declaration::Pool(..))) | None => {}
                        }
                    }
                }
            }
        }
        let prefixes = aggregate(prefixes);
        self.nets.insert(name, prefixes.clone());
        prefixes
    }
}

fn contains_itself(context: &Context<'_>, kind: &str, name: &str, loc: Loc, through: &[&str]) -> Diagnostic {
    let through = match through {
        [] => String::new(),
        [one] => format!(" through `{one}`"),
        [first, .., last] => format!(" through `{first}` … `{last}`"),
    };
    let error = Diagnostic::error(Code::PoolNesting, loc, format!("the {kind} `{name}` contains itself{through}"))
        .here("it is listed here");
    match context.names.get(name) {
        Some(&(declared, _)) => error.label(declared, "declared here"),
        None => error,
    }
    .help(format!("take it out of the {kind}s that it lists"))
}
