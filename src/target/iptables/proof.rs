//! Proves that restore text does what its program means.

use crate::ir::hash::Hash6;
use crate::ir::{Config, Family};
use crate::validate::{Coverage, Flaw, Reference, Tolerance, validate};

use super::{Evaluator, Families, read};

/// Reads restore text back and holds it against the meaning, for every packet of the families that it is for.
pub fn prove(config: &Config, text: &str, families: Families) -> Result<Coverage, Flaw> {
    let (reference, dump) = std::thread::scope(|scope| {
        let reference = scope.spawn(|| Reference::new(config, Hash6::Bpf));
        let dump = read(text, families);
        (reference.join().expect("a reference does not panic"), dump)
    });
    let dump = dump.map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(|error| format!("line {}: {}", error.line, error.message)).collect();
        Flaw::Unreadable(lines.join("; "))
    })?;
    let mut coverage = Coverage::default();
    let families: &[Family] = match families {
        Families::One(Family::V4) => &[Family::V4],
        Families::One(Family::V6) => &[Family::V6],
        Families::Both => &Family::ALL,
    };
    for &family in families {
        let rules = Evaluator::new(&dump, family).strict();
        let own = validate(&reference, &rules, &[family], &Tolerance::Rounded)?;
        coverage.packets += own.packets;
        coverage.cost += own.cost;
    }
    Ok(coverage)
}
