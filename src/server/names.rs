//! Hosts, nets and pools: where each is declared, and where it is used.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::diagnostic::at;
use crate::program::Program;
use crate::source::{Loc, SourceId, Span};
use crate::statement::pool::Pool;
use crate::statement::{self, Item, Statement};

/// One place where a name stands.
#[derive(Clone, Copy, Debug)]
pub struct Occurrence {
    pub loc: Loc,
    pub is_declaration: bool,
    /// The index of the statement in its file; `None` on the command line, and in a statement that could not be read.
    pub item: Option<u32>,
}

/// What kind of thing a name can stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinds {
    Host,
    Net,
    Pool,
}

/// All names of a program.
#[derive(Debug, Default)]
pub struct Names {
    by_name: HashMap<String, Vec<Occurrence>>,
    /// The places of each source, ascending, with their names.
    by_place: HashMap<SourceId, Vec<(Span, String)>>,
}

impl Names {
    pub fn of(program: &Program) -> Names {
        let mut names = Names::default();
        for &(source, index) in &program.order {
            let item = &program.files[source.0 as usize].items[index as usize];
            statement::names::names(&item.statement, &mut |span, is_declaration| {
                let loc = at(source, span);
                names.add(program, Occurrence { loc, is_declaration, item: Some(index) });
            });
        }
        for (source, file) in program.sources.ids().zip(&program.files) {
            for &span in &file.broken {
                names.add(program, Occurrence { loc: at(source, span), is_declaration: true, item: None });
            }
        }
        for host in &program.hosts {
            names.add(program, Occurrence { loc: host.name, is_declaration: true, item: None });
        }
        names.by_place.values_mut().for_each(|places| places.sort_unstable_by_key(|(span, _)| *span));
        names
    }

    fn add(&mut self, program: &Program, occurrence: Occurrence) {
        let name = program.sources.text(occurrence.loc);
        self.by_place.entry(occurrence.loc.source).or_default().push((occurrence.loc.span, name.to_owned()));
        match self.by_name.get_mut(name) {
            Some(list) => list.push(occurrence),
            None => drop(self.by_name.insert(name.to_owned(), vec![occurrence])),
        }
    }

    /// The name at a place, or directly before it.
    pub fn find(&self, source: SourceId, offset: u32) -> Option<(&str, Span)> {
        let places = self.by_place.get(&source)?;
        let behind = places.partition_point(|(span, _)| span.start <= offset);
        let (span, name) = places[..behind].last().filter(|(span, _)| offset <= span.end)?;
        Some((name, *span))
    }

    /// Every place of a name, in program order.
    pub fn occurrences(&self, name: &str) -> &[Occurrence] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    pub fn declarations(&self, name: &str) -> impl Iterator<Item = &Occurrence> {
        self.occurrences(name).iter().filter(|one| one.is_declaration)
    }

    /// The statement that declares a name: the first one.
    pub fn statement<'a>(&self, program: &'a Program, name: &str) -> Option<(SourceId, &'a Item)> {
        let first = self.declarations(name).find_map(|one| Some((one.loc.source, one.item?)));
        first.map(|(source, item)| (source, &program.files[source.0 as usize].items[item as usize]))
    }

    pub fn pool<'a>(&self, program: &'a Program, name: &str) -> Option<(SourceId, &'a Pool)> {
        match self.statement(program, name)? {
            (source, Item { statement: Statement::Pool(pool), .. }) => Some((source, pool)),
            _ => None,
        }
    }

    /// The addresses of a host, wherever it is declared.
    pub fn host(&self, program: &Program, name: &str) -> Option<Vec<IpAddr>> {
        if let Some((_, item)) = self.statement(program, name) {
            return match &item.statement {
                Statement::Host(host) => Some(host.addresses.iter().map(|address| address.value).collect()),
                _ => None,
            };
        }
        let outer = program.hosts.iter().find(|host| program.sources.text(host.name) == name)?;
        Some(outer.addresses.iter().map(|address| address.value).collect())
    }

    /// Every declared name of some kinds, sorted.
    pub fn declared(&self, program: &Program, kinds: &[Kinds]) -> Vec<(&str, Kinds)> {
        let kind = |name: &str| match self.statement(program, name) {
            Some((_, item)) => match &item.statement {
                Statement::Host(_) => Some(Kinds::Host),
                Statement::Net(_) => Some(Kinds::Net),
                Statement::Pool(_) => Some(Kinds::Pool),
                Statement::Include(_) | Statement::Default(_) | Statement::Balance(_) => None,
            },
            None => self.host(program, name).map(|_| Kinds::Host),
        };
        let declared = self.by_name.keys().filter_map(|name| Some((name.as_str(), kind(name)?)));
        let mut list: Vec<(&str, Kinds)> = declared.filter(|(_, kind)| kinds.contains(kind)).collect();
        list.sort_unstable_by_key(|(name, _)| *name);
        list
    }
}
