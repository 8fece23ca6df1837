//! Boxes of destinations and ports, and how far around a point nothing changes.
//!
//! An evaluator that looks something up by destination and port says with this how far its answer holds: up to the edges
//! of the boxes at the point's own destination, and from there up to those of boxes that are about the ports between.

use crate::survey::Horizon;

/// Destinations as numbers, and ports; both ends are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    pub destinations: (u128, u128),
    pub ports: (u16, u16),
}

/// Areas, which may overlap.
#[derive(Debug, Default)]
pub struct Plane {
    columns: Columns,
    rows: Rows,
}

/// What lies at a destination.
#[derive(Debug, Default)]
struct Columns {
    /// The first destinations of stretches that no area cuts, ascending.
    starts: Vec<u128>,
    nodes: Vec<Column>,
}

/// The ports of areas that hold all of a node's destinations.
#[derive(Clone, Debug, Default)]
struct Column {
    /// Ascending by the first port; the second one is the last port of any that begins no later.
    spans: Vec<(u16, u16)>,
    /// The last ports, ascending.
    lasts: Vec<u16>,
}

/// Where destinations begin and end, by port.
#[derive(Debug, Default)]
struct Rows {
    /// The first ports of stretches that no area cuts, ascending.
    starts: Vec<u32>,
    nodes: Vec<Row>,
}

/// First destinations of areas and those behind their last ones, ascending.
#[derive(Clone, Debug, Default)]
struct Row {
    /// Of areas that hold all of a node's ports.
    whole: Vec<u128>,
    /// Of areas that hold any of them.
    any: Vec<u128>,
}

impl Plane {
    pub fn new(mut areas: Vec<Area>) -> Plane {
        areas.retain(|area| area.destinations.0 <= area.destinations.1 && area.ports.0 <= area.ports.1);
        Plane { rows: Rows::new(&areas), columns: Columns::new(areas) }
    }

    /// Whether a point lies in an area, and up to where nothing changes for ports below `end`: the horizon of the
    /// destination is that of the ports below that of the port.
    pub fn around(&self, at: u128, port: u16, end: u32) -> (bool, Horizon) {
        let (inside, next) = self.columns.at(at, port);
        let port_end = next.min(end);
        let destination = self.rows.next(at, (port.into(), port_end));
        (inside, Horizon { destination, port: port_end, ..Horizon::FAR })
    }
}

impl Columns {
    fn new(mut areas: Vec<Area>) -> Columns {
        let ends = areas.iter().flat_map(|area| [Some(area.destinations.0), area.destinations.1.checked_add(1)]);
        let starts = ascending(ends.flatten());
        let width = starts.len().next_power_of_two();
        let mut nodes = vec![Column::default(); 2 * width];
        // In order, so that every list is.
        areas.sort_unstable_by_key(|area| area.ports);
        for Area { destinations: (first, last), ports } in areas {
            let from = starts.partition_point(|start| *start < first);
            let to = starts.partition_point(|start| *start <= last);
            for node in cover(width, from, to) {
                nodes[node].add(ports);
            }
        }
        for node in &mut nodes {
            node.lasts.sort_unstable();
            node.lasts.dedup();
        }
        Columns { starts, nodes }
    }

    /// Whether there is anything at a point, and the next port at which that changes.
    fn at(&self, at: u128, port: u16) -> (bool, u32) {
        let Some(stretch) = self.starts.partition_point(|start| *start <= at).checked_sub(1) else {
            return (false, Horizon::FAR.port);
        };
        let (mut inside, mut next) = (false, Horizon::FAR.port);
        for node in path(self.nodes.len() / 2, stretch) {
            let Column { spans, lasts } = &self.nodes[node];
            let later = spans.partition_point(|(first, _)| *first <= port);
            inside |= later.checked_sub(1).is_some_and(|place| spans[place].1 >= port);
            let first = spans.get(later).map(|(first, _)| u32::from(*first));
            let behind = lasts.get(lasts.partition_point(|last| *last < port)).map(|last| u32::from(*last) + 1);
            next = first.into_iter().chain(behind).fold(next, u32::min);
        }
        (inside, next)
    }
}

impl Column {
    fn add(&mut self, (first, last): (u16, u16)) {
        let so_far = self.spans.last().map_or(last, |(_, so_far)| last.max(*so_far));
        match self.spans.last_mut() {
            Some(same) if same.0 == first => same.1 = so_far,
            _ => self.spans.push((first, so_far)),
        }
        self.lasts.push(last);
    }
}

impl Rows {
    fn new(areas: &[Area]) -> Rows {
        let ends = |area: &Area| [u32::from(area.ports.0), u32::from(area.ports.1) + 1];
        let starts = ascending(areas.iter().flat_map(ends));
        let width = starts.len().next_power_of_two();
        let mut nodes = vec![Row::default(); 2 * width];
        let edges = areas.iter().flat_map(|area| {
            let (first, last) = area.destinations;
            [Some(first), last.checked_add(1)].into_iter().flatten().map(|edge| (edge, ends(area)))
        });
        let push = |list: &mut Vec<u128>, edge| {
            if list.last() != Some(&edge) {
                list.push(edge);
            }
        };
        for (edge, [first, end]) in ascending(edges) {
            let from = starts.partition_point(|start| *start < first);
            let to = starts.partition_point(|start| *start < end);
            for node in path(width, from).chain(path(width, to - 1)) {
                push(&mut nodes[node].any, edge);
            }
            for node in cover(width, from, to) {
                push(&mut nodes[node].any, edge);
                push(&mut nodes[node].whole, edge);
            }
        }
        Rows { starts, nodes }
    }

    /// The first edge above a destination of an area that is about any port from the first to below the second.
    fn next(&self, at: u128, (first, end): (u32, u32)) -> Option<u128> {
        let from = self.starts.partition_point(|start| *start <= first).saturating_sub(1);
        let to = self.starts.partition_point(|start| *start < end);
        if from >= to {
            return None;
        }
        let width = self.nodes.len() / 2;
        let above = |list: &[u128]| list.get(list.partition_point(|edge| *edge <= at)).copied();
        let whole = path(width, from).chain(path(width, to - 1)).filter_map(|node| above(&self.nodes[node].whole));
        let any = cover(width, from, to).filter_map(|node| above(&self.nodes[node].any));
        whole.chain(any).min()
    }
}

fn ascending<T: Ord>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut list: Vec<T> = all.collect();
    list.sort_unstable();
    list.dedup();
    list
}

/// The nodes of a tree with so many leaves that hold together the leaves from one to before another, and no other leaf.
/// The children of a node are at twice its place and the next one; the root is at 1.
pub fn cover(width: usize, from: usize, to: usize) -> impl Iterator<Item = usize> {
    let (mut low, mut high) = (from + width, to + width);
    std::iter::from_fn(move || {
        while low < high {
            if low % 2 == 1 {
                low += 1;
                return Some(low - 1);
            }
            if high % 2 == 1 {
                high -= 1;
                return Some(high);
            }
            (low, high) = (low / 2, high / 2);
        }
        None
    })
}

/// The nodes that hold a leaf, and the leaf.
pub fn path(width: usize, leaf: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(leaf + width), |node| (*node > 1).then_some(node / 2))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn areas() -> impl Strategy<Value = Vec<Area>> {
        let one = (0..24u128, 0..9u128, 0..16u16, 0..6u16).prop_map(|(first, more, port, ports)| Area {
            destinations: (first, first + more),
            ports: (port, port + ports),
        });
        proptest::collection::vec(one, 0..14)
    }

    proptest! {
        #![proptest_config(crate::generated::regressions())]

        #[test]
        fn the_areas_at_a_point_are_those_of_all_points_up_to_the_horizon(areas in areas(), end in 1..30u32) {
            let plane = Plane::new(areas.clone());
            let held = |at: u128, port: u32| -> Vec<usize> {
                let within = |area: &Area| {
                    (area.destinations.0..=area.destinations.1).contains(&at)
                        && (u32::from(area.ports.0)..=u32::from(area.ports.1)).contains(&port)
                };
                (0..areas.len()).filter(|place| within(&areas[*place])).collect()
            };
            for at in 0..36 {
                for port in 0..end.min(24) {
                    let own = held(at, port);
                    let (inside, horizon) = plane.around(at, port as u16, end);
                    prop_assert_eq!(inside, !own.is_empty());
                    prop_assert!(horizon.port > port && horizon.port <= end);
                    for other in at..horizon.destination.unwrap_or(36) {
                        for port in port..horizon.port.min(24) {
                            prop_assert_eq!(&held(other, port), &own);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_about_other_ports_is_no_horizon() {
        let area = |first, last, port| Area { destinations: (first, last), ports: (port, port) };
        let plane = Plane::new(vec![area(100, 100, 80), area(0, 99, 1000), area(200, 200, 81)]);
        let far = |destination, port| Horizon { destination, port, ..Horizon::FAR };
        assert_eq!(plane.around(50, 1000, 65_536), (true, far(Some(100), 1001)));
        assert_eq!(plane.around(50, 1, 80), (false, far(None, 80)));
        assert_eq!(plane.around(50, 1, 65_536), (false, far(Some(100), 1000)));
        assert_eq!(plane.around(100, 81, 65_536), (false, far(Some(200), 65_536)));
        assert_eq!(Plane::new(Vec::new()).around(7, 7, 65_536), (false, Horizon::FAR));
    }
}
