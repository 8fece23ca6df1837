//! Proves that a script or JSON does what its program means.

use crate::ir::hash::Hash6;
use crate::ir::{Config, Family};
use crate::validate::{Coverage, Flaw, Reference, Tolerance, validate};

use super::{Dump, Evaluator, ReadError};

/// Reads a script back and holds it against the meaning, for every packet.
pub fn prove_text(config: &Config, text: &str) -> Result<Coverage, Flaw> {
    prove(config, || Dump::read_text(text))
}

/// As [`prove_text`], of JSON.
pub fn prove_json(config: &Config, text: &str) -> Result<Coverage, Flaw> {
    prove(config, || Dump::read_json(text))
}

fn prove(config: &Config, read: impl FnOnce() -> Result<Dump, ReadError>) -> Result<Coverage, Flaw> {
    let (reference, dump) = std::thread::scope(|scope| {
        let reference = scope.spawn(|| Reference::new(config, Hash6::Jhash));
        let dump = read();
        (reference.join().expect("a reference does not panic"), dump)
    });
    let dump = dump.map_err(|error| Flaw::Unreadable(error.to_string()))?;
    Ok(validate(&reference, &Evaluator::new(&dump).strict(), &Family::ALL, &Tolerance::Exact)?)
}
