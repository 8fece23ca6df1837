//! Which shape a program gets, by what it would cost.
//!
//! Measured with nft 1.0.6 on Linux 6.18, two processors, ten backends a service. The kernel walks all that a transaction
//! holds so far for each set or map that a rule writes out: 250, 1,000, 2,000 and 3,000 of them take 0.03, 0.20, 0.84 and
//! 1.4 s, 10,000 take 23 s. An element of a named map takes some 13 us, a rule of two or three steps some 16 us, a chain
//! some 15 us, however many there are. A new connection of a random one of 10,000 services pays about 1.3 us above what
//! connection tracking takes for two look-ups in named maps, and 2.1 us for ten rules in a chain of its own.

use crate::dispatch;
use crate::ir::{Body, Config, Family, Service};
use crate::target::Layout;

use super::Format;
use super::lower::tables;
use super::names::Names;
use super::shared::{Shared, shared};

/// Maps and sets inside rules up to which a program keeps them: they are read where they are used.
pub const MAX_WRITTEN_OUT: usize = 250;

/// Patterns of weights that services share, the most used first; each is a map inside a rule.
pub const MAX_PATTERNS: usize = 150;

/// Seeds and sizes of source hashes that services share, for each family: each is 8 or 57 maps inside rules.
pub const MAX_HASHES: usize = 4;

/// Listeners up to which a service is put into shared maps, which have an element for each of them and each backend.
pub const MAX_LISTENERS: usize = 4;

/// Slots up to which weights that few services have are written as so many equal ones, if they are not more than
/// [`MAX_SPREAD`] times the backends: elements are more than the rules would be, but two look-ups are faster.
pub const MAX_SLOTS: u64 = 100;
pub const MAX_SPREAD: u64 = 2;

/// Rules in a row, above which they stand in chains of their own, as many as each has rules.
pub const MAX_IN_A_ROW: usize = 16;

/// Elements of all maps from ranges of several fields: nft 1.0.6 damages about one in 964 of a large transaction. Beyond
/// that each map asks for one field, which it does right.
pub const MAX_INTERVALS: usize = 800;

/// Cells of one stretch of addresses that are rules in a row; more are looked up by their ports.
pub const MAX_CELLS_IN_A_ROW: usize = 8;

/// The tree over prefixes and ranges that overlap: a look-up in a map of one field costs about as much with a few
/// elements as with many, and a rule of two steps some 30 ns, so nodes are wide and leaves small.
pub const WIDE: dispatch::Shape = dispatch::Shape { fan_out: 32, leaf: 8 };

/// Maps above each other in that tree: with what stands before and behind, chains are not too deep.
pub const WIDE_DEPTH: usize = 4;

/// How a service's chain picks a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// By a map in its rule.
    Map,
    /// By a chain that services of the same weights share: the heaviest backends come first.
    Shared,
    /// By rules in a row.
    Row,
}

/// The shapes of a program's services.
pub struct Shapes {
    is_large: bool,
    shared: Shared,
}

impl Shapes {
    pub fn of(config: &Config, layout: Layout, format: Format) -> Shapes {
        let is_large = is_large(config, layout);
        let shared = match is_large {
            true => shared(config, &Names::of(config), &tables(config), format),
            false => Shared::default(),
        };
        Shapes { is_large, shared }
    }

    /// Whether rules are shared and write out no maps.
    pub fn is_large(&self) -> bool {
        self.is_large
    }

    /// That of a service, by its place among all.
    pub fn get(&self, service: usize, family: Family) -> Shape {
        match (self.is_large, self.shared.entrance(service as u32, family)) {
            (_, Some(_)) => Shape::Shared,
            (true, None) => Shape::Row,
            (false, None) => Shape::Map,
        }
    }
}

/// Whether a program gets the shape for thousands of services.
pub fn is_large(config: &Config, layout: Layout) -> bool {
    match layout {
        Layout::Linear => false,
        Layout::Tree => true,
        Layout::Auto => {
            let written = config
                .services()
                .iter()
                .flat_map(|service| Family::ALL.into_iter().map(|family| written_out(service, family)));
            written
                .scan(0, |sum, more| {
                    *sum += more;
                    Some(*sum)
                })
                .any(|sum| sum > MAX_WRITTEN_OUT)
        }
    }
}

/// About how many maps and sets a service's rules would write out.
fn written_out(service: &Service, family: Family) -> usize {
    let Some(body) = service.body(family) else { return 0 };
    let several = |nets: &[_]| usize::from(nets.len() > 1);
    let clients = service.from.as_ref().map_or(0, |from| several(from.nets.get(family)));
    let interfaces = service.on.as_ref().map_or(0, |on| usize::from(on.interfaces.len() > 1));
    let picks = match body {
        Body::Closed | Body::Drained(_) => 0,
        Body::Balance(group) if !group.buckets.is_empty() => 8,
        Body::Balance(group) => usize::from(group.backends.len() > 1).max(usize::from(service.protocols.len() > 1)),
    };
    clients + interfaces + picks
}
