//! What a ruleset makes the kernel hold.

use crate::target::Objects;

use super::model::{Destination, NewPort, Rule, Ruleset, Statement};

impl Ruleset {
    /// Counts what a load makes.
    pub fn objects(&self) -> Objects {
        let rules: Vec<&Rule> = self.chains.iter().flat_map(|chain| &chain.rules).collect();
        let written: Vec<usize> = rules.iter().flat_map(|rule| &rule.statements).flat_map(written_out).collect();
        let named = [
            self.sets.iter().map(|set| set.elements.len()).collect::<Vec<_>>(),
            self.ports.iter().map(|map| map.ports.len()).collect(),
            self.maps.iter().map(|map| map.elements.len()).collect(),
            self.turns.iter().map(|map| map.turns.len()).collect(),
            self.servers.iter().map(|map| map.elements.len()).collect(),
            self.memories.iter().map(|_| 0).collect(),
        ]
        .concat();
        Objects {
            chains: self.chains.len(),
            rules: rules.len(),
            named_sets: named.len(),
            written_out: written.len(),
            elements: named.iter().chain(&written).sum(),
            counters: self.counters.len(),
        }
    }
}

/// The sizes of the sets and maps that stand inside a statement.
fn written_out(statement: &Statement) -> Vec<usize> {
    let port = |port: &NewPort| match port {
        NewPort::Mapped { ports, .. } => vec![ports.len()],
        NewPort::Kept | NewPort::Fixed(_) | NewPort::Listed { .. } => Vec::new(),
    };
    match statement {
        Statement::Match { values, .. } if values.len() > 1 => vec![values.len()],
        Statement::Tuple { values, .. } => vec![values.len()],
        Statement::Branch(choice) => vec![choice.elements.len()],
        Statement::Dnat { to, .. } => match to {
            Destination::One(_, new) | Destination::Remembered { port: new, .. } => port(new),
            Destination::Addresses(choice) => vec![choice.elements.len()],
            Destination::Endpoints(choice) => vec![choice.elements.len()],
            Destination::Listed { .. } => Vec::new(),
        },
        Statement::Redirect(new) => port(new),
        _ => Vec::new(),
    }
}
