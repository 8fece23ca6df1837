//! Disjoint cells of addresses and ports as two questions: which stretch of addresses, then which protocol and port.

use std::collections::{BTreeMap, BTreeSet};

use super::cells::{AddressRange, Cell, Place};

/// Addresses that every cell holds all or none of, and the cells that hold them, as indices, in the order of the cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub at: AddressRange,
    pub cells: Vec<usize>,
}

/// Cells that all segments together may name, for each cell, before they are too many.
const NAMED_PER_CELL: usize = 8;

/// Cuts the addresses of cells at each other's ends: ascending, disjoint. Neighbours differ in their cells. `None` where
/// wide cells would be named by too many segments.
pub fn segments(cells: &[Cell]) -> Option<Vec<Segment>> {
    let ranges = cells.iter().enumerate().filter_map(|(index, cell)| match &cell.place {
        Place::Addresses(at) => Some((index, *at)),
        Place::Loopback | Place::Local { .. } | Place::Any { .. } => None,
    });
    // Which cells begin at an address, and which end before it.
    let mut changes: BTreeMap<u128, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    let mut family = None;
    let mut end = None;
    for (index, at) in ranges {
        family = Some(at.family);
        changes.entry(at.first).or_default().0.push(index);
        match at.last.checked_add(1) {
            Some(behind) => changes.entry(behind).or_default().1.push(index),
            None => end = Some(at.last),
        }
    }
    let Some(family) = family else { return Some(Vec::new()) };
    let mut budget = NAMED_PER_CELL * cells.len() + 64;
    let mut list: Vec<Segment> = Vec::with_capacity(changes.len());
    let mut open: BTreeSet<usize> = BTreeSet::new();
    let starts: Vec<u128> = changes.keys().copied().collect();
    for (place, (&first, (begin, behind))) in changes.iter().enumerate() {
        behind.iter().for_each(|index| {
            open.remove(index);
        });
        open.extend(begin);
        let last = starts.get(place + 1).map(|next| next - 1).or(end);
        let Some(last) = last.filter(|_| !open.is_empty()) else { continue };
        match list.last_mut() {
            Some(before) if before.at.last + 1 == first && before.cells.iter().eq(&open) => before.at.last = last,
            Some(_) | None => {
                budget = budget.checked_sub(open.len())?;
                let at = AddressRange { family, first, last };
                list.push(Segment { at, cells: open.iter().copied().collect() });
            }
        }
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::{Entry, Test};
    use crate::endpoint::PortRange;
    use crate::ir::Family;
    use crate::statement::balance::Protocol;

    fn cell(first: u128, last: u128, port: u16) -> Cell {
        Cell {
            place: Place::Addresses(AddressRange { family: Family::V6, first, last }),
            protocol: Protocol::Tcp,
            ports: PortRange::single(port).expect("a port"),
            entries: vec![Entry { service: 0, test: Test::Nothing, on: false, from: false }],
        }
    }

    #[test]
    fn segments_know_all_cells_of_their_addresses() {
        let cells = [cell(0, 9, 1), cell(5, 5, 2), cell(20, 29, 3), cell(6, u128::MAX, 4), cell(30, 39, 3)];
        let found = segments(&cells).expect("a few");
        for address in (0..60).chain([u128::MAX]) {
            let holds = |cell: &Cell| match &cell.place {
                Place::Addresses(at) => (at.first..=at.last).contains(&address),
                _ => false,
            };
            let wanted: Vec<usize> = (0..cells.len()).filter(|&index| holds(&cells[index])).collect();
            let own: Vec<&Segment> =
                found.iter().filter(|one| (one.at.first..=one.at.last).contains(&address)).collect();
            assert!(own.len() <= 1);
            assert_eq!(own.first().map_or(&[][..], |one| &one.cells), wanted, "{address}");
        }
        assert_eq!(segments(&[]), Some(Vec::new()));
    }

    #[test]
    fn wide_cells_over_many_others_are_too_many() {
        let wide = (0..40).map(|port| cell(0, 9_999, 1 + port));
        let narrow = (0..4_000).map(|host| cell(2 * host, 2 * host, 100));
        assert_eq!(segments(&wide.chain(narrow).collect::<Vec<_>>()), None);
    }
}
