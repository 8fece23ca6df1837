//! `pool NAME = BACKENDS`

use crate::endpoint::new_name;
use crate::print::Printer;
use crate::source::Span;
use crate::syntax::{In, Parsed, blank0, equals};

use super::backends::{Backends, backends};

/// A reusable list of backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    pub name: Span,
    pub backends: Backends,
}

pub fn parse(i: In<'_>) -> Parsed<'_, Pool> {
    let (i, _) = blank0(i)?;
    let (i, name) = new_name(i)?;
    let (i, ()) = equals(i)?;
    let (i, backends) = backends(i)?;
    Ok((i, Pool { name, backends }))
}

impl Pool {
    pub fn format(&self, p: &mut Printer<'_>) {
        p.words("pool ");
        p.source(self.name);
        p.words(" = ");
        self.backends.format(p);
    }
}
