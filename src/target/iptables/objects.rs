//! What a ruleset makes the kernel hold.

use crate::ir::Family;
use crate::target::Objects;

use super::model::Ruleset;

impl Ruleset {
    /// Counts what a load makes, in both families.
    pub fn objects(&self) -> Objects {
        let mut objects = Objects { named_sets: self.sets.len(), ..Objects::default() };
        for table in &self.tables {
            for family in &self.families {
                let of = |family: Family| table.chains.iter().map(move |chain| chain.rules(family).len());
                objects.chains += of(*family).filter(|rules| *rules > 0).count();
                objects.rules += of(*family).sum::<usize>() + table.hooks.len();
            }
        }
        objects
    }
}
