//! Where the destinations of listeners begin and end, by the ports that they are about.
//!
//! A tree over the ports: an answer that holds for some ports ends at the next cut that is about any of them, and not
//! at those of all other listeners.

/// Cuts of destinations, each for ports from one to below another.
#[derive(Default)]
pub struct Cuts {
    /// The first ports of stretches that no listener cuts, ascending; nothing lies before the first.
    ports: Vec<u32>,
    /// The children of a node are at twice its place and the next one; the root is at 1.
    nodes: Vec<Node>,
}

/// Both ascending.
#[derive(Clone, Default)]
struct Node {
    /// About all ports of the node, and not about all of its parent's.
    whole: Vec<u128>,
    /// About any port of the node, and not about all of its parent's.
    any: Vec<u128>,
}

/// Stretches of ports: the first one, and the one behind the last.
type Stretches = (usize, usize);

impl Cuts {
    pub fn new(cuts: impl Iterator<Item = (u128, (u32, u32))>) -> Cuts {
        let mut cuts: Vec<(u128, (u32, u32))> = cuts.collect();
        // In order, so that every list is.
        cuts.sort_unstable();
        cuts.dedup();
        let mut ports: Vec<u32> = cuts.iter().flat_map(|(_, (first, end))| [*first, *end]).collect();
        ports.sort_unstable();
        ports.dedup();
        let width = ports.len().next_power_of_two();
        let mut tree = Cuts { nodes: vec![Node::default(); 2 * width], ports };
        for (cut, (first, end)) in cuts {
            let place = |port| tree.ports.partition_point(|own| *own < port);
            let wanted = (place(first), place(end));
            add(&mut tree.nodes, 1, (0, width), wanted, cut);
        }
        tree
    }

    /// The first cut above an address that is about any port from the first to below the second.
    pub fn next(&self, at: u128, (first, end): (u32, u32)) -> Option<u128> {
        let from = self.ports.partition_point(|own| *own <= first).saturating_sub(1);
        let to = self.ports.partition_point(|own| *own < end);
        self.least(1, (0, self.nodes.len() / 2), (from, to), at)
    }

    fn least(&self, node: usize, own: Stretches, wanted: Stretches, at: u128) -> Option<u128> {
        if wanted.1 <= own.0 || own.1 <= wanted.0 {
            return None;
        }
        let above = |list: &[u128]| list.get(list.partition_point(|cut| *cut <= at)).copied();
        if wanted.0 <= own.0 && own.1 <= wanted.1 {
            return above(&self.nodes[node].any);
        }
        let middle = usize::midpoint(own.0, own.1);
        let lower = self.least(2 * node, (own.0, middle), wanted, at);
        let upper = self.least(2 * node + 1, (middle, own.1), wanted, at);
        above(&self.nodes[node].whole).into_iter().chain(lower).chain(upper).min()
    }
}

fn add(nodes: &mut [Node], node: usize, own: Stretches, wanted: Stretches, cut: u128) {
    if wanted.1 <= own.0 || own.1 <= wanted.0 {
        return;
    }
    let push = |list: &mut Vec<u128>| {
        if list.last() != Some(&cut) {
            list.push(cut);
        }
    };
    push(&mut nodes[node].any);
    if wanted.0 <= own.0 && own.1 <= wanted.1 {
        return push(&mut nodes[node].whole);
    }
    let middle = usize::midpoint(own.0, own.1);
    add(nodes, 2 * node, (own.0, middle), wanted, cut);
    add(nodes, 2 * node + 1, (middle, own.1), wanted, cut);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(crate::generated::regressions())]

        #[test]
        fn the_next_cut_is_the_first_of_those_about_the_ports(
            cuts in proptest::collection::vec((0..40u128, 0..20u32, 1..9u32), 0..30),
        ) {
            let cuts: Vec<(u128, (u32, u32))> =
                cuts.into_iter().map(|(cut, first, count)| (cut, (first, first + count))).collect();
            let tree = Cuts::new(cuts.iter().copied());
            for (at, first, end) in (0..40).flat_map(|at| (0..22).flat_map(move |p| (p + 1..24).map(move |e| (at, p, e)))) {
                let about = cuts.iter().filter(|(cut, own)| *cut > at && own.0 < end && first < own.1);
                let wanted = about.map(|(cut, _)| *cut).min();
                prop_assert_eq!(tree.next(at, (first, end)), wanted);
            }
        }
    }
}
