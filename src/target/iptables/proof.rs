//! Proves that restore text does what its program means.

use crate::ir::hash::Hash6;
use crate::ir::{Config, Family};
use crate::validate::{Coverage, Difference, Reference, Tolerance, validate};

use super::{Evaluator, Families, read};

/// Why a text is not what its program means.
#[derive(Debug)]
pub enum Flaw {
    /// It cannot be read back.
    Unreadable(String),
    Differs(Box<Difference>),
}

/// Reads restore text back and holds it against the meaning, for every packet of the families that it is for.
pub fn prove(config: &Config, text: &str, families: Families) -> Result<Coverage, Flaw> {
    let dump = read(text, families).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(|error| format!("line {}: {}", error.line, error.message)).collect();
        Flaw::Unreadable(lines.join("; "))
    })?;
    let reference = Reference::new(config, Hash6::Bpf);
    let mut coverage = Coverage::default();
    let families: &[Family] = match families {
        Families::One(Family::V4) => &[Family::V4],
        Families::One(Family::V6) => &[Family::V6],
        Families::Both => &Family::ALL,
    };
    for &family in families {
        let rules = Evaluator::new(&dump, family);
        coverage.packets +=
            validate(&reference, &rules, &[family], &Tolerance::Rounded).map_err(Flaw::Differs)?.packets;
    }
    Ok(coverage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Program;
    use crate::source::Source;
    use crate::target::Options;
    use crate::target::iptables::{Hooks, lower, print_restore};

    fn compiled(text: &str) -> (Config, String) {
        let mut program = Program::default();
        let id = program.sources.add(Source::new("t.lb", "t.lb", text));
        let (file, errors) = crate::file::parse(program.sources.get(id), id);
        assert_eq!(errors, [], "{text}");
        let count = file.items.len();
        program.files.push(file);
        (0..count).for_each(|index| program.push_order(id, index));
        let config = crate::resolve::resolve(&program).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"));
        let rules = lower(&config, &Options::default()).expect("every option here is lowered");
        let mut text = Vec::new();
        print_restore(&rules, Families::Both, Hooks::Include, &mut text).expect("memory takes every write");
        (config, String::from_utf8(text).expect("ASCII"))
    }

    #[test]
    fn every_example_is_proven() {
        for (name, text) in [
            ("first", include_str!("../../../tests/examples/first.lb")),
            ("shop", include_str!("../../../tests/examples/shop.lb")),
            ("dns", include_str!("../../../tests/examples/dns.lb")),
            ("canary", include_str!("../../../tests/examples/canary.lb")),
            ("port-forward", include_str!("../../../tests/examples/port-forward.lb")),
            ("local-ports", include_str!("../../../tests/examples/local-ports.lb")),
        ] {
            let (config, text) = compiled(text);
            let coverage =
                prove(&config, &text, Families::Both).unwrap_or_else(|flaw| panic!("{name}: {flaw:#?}\n{text}"));
            println!("{name}: {coverage:?}");
        }
    }
}
