//! A program before its names are resolved: its files, and the order in which their statements stand.

use crate::file::File;
use crate::source::{Loc, SourceId, Sources, Spanned};
use crate::statement::{Item, Statement};
use std::net::IpAddr;

/// All files of one program.
#[derive(Debug, Default)]
pub struct Program {
    pub sources: Sources,
    /// The parsed file of each source; empty for sources that are not `.lb` files.
    pub files: Vec<File>,
    /// Every statement but `include`, in program order: an included file stands where it is first included.
    pub order: Vec<(SourceId, u32)>,
    /// Hosts that the command line declares.
    pub hosts: Vec<OuterHost>,
    /// `--set NAME=WEIGHT`.
    pub weights: Vec<(String, u16)>,
}

/// A host declared outside of the files, by `-D` or `--hosts`.
#[derive(Clone, Debug)]
pub struct OuterHost {
    pub name: Loc,
    pub source: SourceId,
    pub addresses: Vec<Spanned<IpAddr>>,
    /// From a hosts file, where several addresses of a family are usual: an error only where the name is used.
    pub lenient: bool,
}

impl Program {
    /// The statements in program order.
    pub fn items(&self) -> impl Iterator<Item = (SourceId, &Item)> {
        self.order.iter().map(|&(source, index)| (source, &self.files[source.0 as usize].items[index as usize]))
    }

    /// Appends a file's own statements; includes are the loader's to follow.
    pub fn push_order(&mut self, source: SourceId, index: usize) {
        let item = &self.files[source.0 as usize].items[index];
        if !matches!(item.statement, Statement::Include(_)) {
            self.order.push((source, index as u32));
        }
    }
}
