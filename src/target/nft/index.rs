//! Elements of a large set or map, looked up part by part: a question costs the depth of the key, not the set's size.
//!
//! The parts of a key are asked in an order of their own: protocols, interfaces and the like before addresses, ports
//! last. So what a lookup says about the next address is about those of the packet's own protocol.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use crate::ir::Family;
use crate::target::plane::{Area, Plane, cover, path};

use super::dump::{Element, Value};
use super::value::{Atom, Blame, Notes, Part, Span, Weight, weigh};

/// Fewer elements are as fast to try one by one.
pub const SHORT: usize = 16;

/// Parts of a key that is indexed: what is built goes as deep.
const MAX_PARTS: usize = 8;

/// The elements of a set by their keys.
#[derive(Debug)]
pub struct Index<'d> {
    elements: &'d [Element],
    keys: Arc<Keys<'d>>,
}

/// The keys of sets that have the same ones in the same order.
#[derive(Debug)]
struct Keys<'d> {
    shapes: Vec<Shape>,
    /// The places of parts, in the order in which they are asked.
    order: Vec<usize>,
    root: Node<'d>,
    /// Elements of another shape, or with a value that was not understood: ascending.
    odd: Vec<u32>,
    /// The element `*`.
    rest: Option<u32>,
}

/// What the values of one part are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Name,
    Address(Family),
    Number,
}

#[derive(Debug)]
enum Node<'d> {
    /// An element of which the rest of the key is still to be asked, or the first of those with one key.
    Only(u32),
    Spans(Box<Spans<'d>>),
    Names(Box<Names<'d>>),
    Nothing,
}

/// Numbers or addresses, cut where any range begins or ends.
#[derive(Debug)]
struct Spans<'d> {
    /// The first numbers of stretches, ascending. Nothing lies before the first.
    starts: Vec<u128>,
    /// For each stretch the nodes of the ranges that hold it; those of several ranges may be one.
    held: Vec<Held>,
    nodes: Vec<Node<'d>>,
    /// Of addresses that ports alone stand behind: both together.
    plane: Option<Plane>,
}

#[derive(Debug)]
enum Held {
    None,
    One(u32),
    Many(Vec<u32>),
}

#[derive(Debug)]
struct Names<'d> {
    exact: HashMap<&'d str, Node<'d>>,
    prefixes: Vec<(&'d str, Node<'d>)>,
}

/// What a key has found.
pub enum Found<'d> {
    Element(&'d Element),
    Nothing,
    /// An element that cannot be told to hold the key stands before any that does.
    Unclear(Blame),
    /// The index does not know keys of this shape.
    Unknown,
}

impl<'d> Index<'d> {
    /// `None` for what is as well tried one by one.
    pub fn new(elements: &'d [Element]) -> Option<Index<'d>> {
        if elements.len() <= SHORT {
            return None;
        }
        Some(Index { elements, keys: Arc::new(Keys::new(elements)?) })
    }

    /// That of other elements, where they have the same keys in the same order.
    pub fn shared(&self, elements: &'d [Element]) -> Option<Index<'d>> {
        let is_same = |(one, other): (&Element, &Element)| one.key == other.key;
        let is_shared = elements.len() == self.elements.len() && elements.iter().zip(self.elements).all(is_same);
        is_shared.then(|| Index { elements, keys: Arc::clone(&self.keys) })
    }

    /// The first element that holds a key. Notes what it asks, and adds to `cost` the tests that it makes.
    pub fn find(&self, key: &[Part<'_>], notes: Notes<'_>, cost: &mut u64) -> Found<'d> {
        let fits = |(part, shape): (&Part<'_>, &Shape)| match (part, shape) {
            (Part::Known(Atom::Number(_), _), Shape::Number) | (Part::Known(Atom::Name(_), _), Shape::Name) => true,
            (Part::Known(Atom::Address(address), _), Shape::Address(family)) => Family::of(*address) == *family,
            (Part::Known(..) | Part::Drawn { .. }, _) => false,
        };
        let Keys { shapes, root, odd, rest, .. } = &*self.keys;
        if key.len() != shapes.len() || !key.iter().zip(shapes).all(fits) {
            return Found::Unknown;
        }
        let mut best = None;
        self.search(root, 0, key, notes, cost, &mut best);
        for &place in odd.iter().take_while(|place| best.is_none_or(|best| **place < best)) {
            *cost += 1;
            match weigh(key, &self.elements[place as usize].key, notes) {
                Ok(Weight::None) => {}
                Ok(Weight::All | Weight::Part(_)) => {
                    best = Some(place);
                    break;
                }
                Err(what) => return Found::Unclear(what),
            }
        }
        best.or(*rest).map_or(Found::Nothing, |place| Found::Element(&self.elements[place as usize]))
    }

    fn search(
        &self,
        node: &Node<'d>,
        depth: usize,
        key: &[Part<'_>],
        notes: Notes<'_>,
        cost: &mut u64,
        best: &mut Option<u32>,
    ) {
        *cost += 1;
        let order = &self.keys.order;
        let part = match node {
            Node::Only(place) => {
                let own = &self.elements[*place as usize].key;
                if order[depth..].iter().all(|&part| is_held(&key[part], &own[part], notes)) {
                    *best = Some(best.map_or(*place, |best| best.min(*place)));
                }
                return;
            }
            Node::Nothing => return,
            Node::Spans(_) | Node::Names(_) => &key[order[depth]],
        };
        let Part::Known(atom, origin) = part else { return };
        match (node, atom) {
            (Node::Spans(spans), _) => {
                let Some(number) = atom.number() else { return };
                let next = spans.starts.partition_point(|start| *start <= number);
                let before = next.checked_sub(1);
                let first = before.map_or(0, |at| spans.starts[at]);
                let port = order.get(depth + 1).map(|part| &key[*part]);
                let known = spans.plane.as_ref().is_some_and(|plane| notes.area(plane, part, port));
                // What is known of both together need not be noted of each.
                let notes = if known { Notes(None) } else { notes };
                notes.range(*origin, first, spans.starts.get(next).map_or(u128::MAX, |next| next - 1));
                let held = match before.map(|at| &spans.held[at]) {
                    None | Some(Held::None) => &[],
                    Some(Held::One(node)) => std::slice::from_ref(node),
                    Some(Held::Many(nodes)) => nodes.as_slice(),
                };
                for &node in held {
                    self.search(&spans.nodes[node as usize], depth + 1, key, notes, cost, best);
                }
            }
            (Node::Names(names), Atom::Name(name)) => {
                if let Some(node) = names.exact.get(name) {
                    self.search(node, depth + 1, key, notes, cost, best);
                }
                for (prefix, node) in &names.prefixes {
                    *cost += 1;
                    if name.starts_with(prefix) {
                        self.search(node, depth + 1, key, notes, cost, best);
                    }
                }
            }
            (Node::Names(_) | Node::Only(_) | Node::Nothing, _) => {}
        }
    }
}

/// Whether a part of an element's key holds a value. Notes up to where that is so.
fn is_held(part: &Part<'_>, value: &Value, notes: Notes<'_>) -> bool {
    let Part::Known(atom, origin) = part else { return false };
    match (value.span(), atom) {
        (Some(Span::Numbers(first, last) | Span::Addresses(_, first, last)), _) => {
            let Some(number) = atom.number().filter(|_| first <= last) else { return false };
            let held = (first..=last).contains(&number);
            let stretch = match number < first {
                true => (0, first - 1),
                false if held => (first, last),
                false => (last + 1, u128::MAX),
            };
            notes.range(*origin, stretch.0, stretch.1);
            held
        }
        (Some(Span::Name(wanted)), Atom::Name(name)) => *name == wanted,
        (Some(Span::Prefix(prefix)), Atom::Name(name)) => name.starts_with(prefix),
        (Some(Span::Name(_) | Span::Prefix(_)) | None, _) => false,
    }
}

impl<'d> Keys<'d> {
    fn new(elements: &'d [Element]) -> Option<Keys<'d>> {
        let of = |element: &Element| element.key.iter().map(shape).collect::<Option<Vec<Shape>>>();
        let shapes = elements.iter().find_map(of).filter(|shapes| shapes.len() <= MAX_PARTS)?;
        let fits = |element: &Element| {
            let own = element.key.iter().zip(&shapes);
            element.key.len() == shapes.len() && own.into_iter().all(|(value, wanted)| shape(value) == Some(*wanted))
        };
        // Of several numbers the last is a port, those before it are protocols and the like.
        let port = shapes.iter().rposition(|shape| *shape == Shape::Number);
        let mut order: Vec<usize> = (0..shapes.len()).collect();
        order.sort_by_key(|&part| match shapes[part] {
            Shape::Number if port == Some(part) => 3,
            Shape::Number => 0,
            Shape::Name => 1,
            Shape::Address(_) => 2,
        });
        let (mut even, mut odd, mut rest) = (Vec::with_capacity(elements.len()), Vec::new(), None);
        for (place, element) in (0u32..).zip(elements) {
            if matches!(element.key[..], [Value::Rest]) {
                rest = Some(place);
            } else if fits(element) {
                even.push(place);
            } else {
                odd.push(place);
            }
        }
        let root = Builder { elements, order: &order }.node(&even, 0);
        Some(Keys { shapes, order, root, odd, rest })
    }
}

fn shape(value: &Value) -> Option<Shape> {
    Some(match value.span()? {
        Span::Numbers(..) => Shape::Number,
        Span::Addresses(family, ..) => Shape::Address(family),
        Span::Name(_) | Span::Prefix(_) => Shape::Name,
    })
}

struct Builder<'d, 'o> {
    elements: &'d [Element],
    order: &'o [usize],
}

impl<'d> Builder<'d, '_> {
    /// The node for elements that agree in the parts before.
    fn node(&self, places: &[u32], depth: usize) -> Node<'d> {
        let part = match (places, self.order.get(depth)) {
            ([], _) => return Node::Nothing,
            ([only], _) | ([only, ..], None) => return Node::Only(*only),
            (_, Some(part)) => *part,
        };
        let (mut ranges, mut names) = (Vec::new(), Vec::new());
        for &place in places {
            match self.elements[place as usize].key[part].span() {
                Some(Span::Numbers(first, last) | Span::Addresses(_, first, last)) => ranges.push((first, last, place)),
                Some(Span::Name(name)) => names.push((name, false, place)),
                Some(Span::Prefix(prefix)) => names.push((prefix, true, place)),
                None => {}
            }
        }
        match names.is_empty() {
            true => self.spans(ranges, depth),
            false => self.names(names, depth),
        }
    }

    fn names(&self, names: Vec<(&'d str, bool, u32)>, depth: usize) -> Node<'d> {
        let mut exact: HashMap<&str, Vec<u32>> = HashMap::new();
        let mut prefixes: HashMap<&str, Vec<u32>> = HashMap::new();
        for (name, is_prefix, place) in names {
            let list = if is_prefix { &mut prefixes } else { &mut exact };
            list.entry(name).or_default().push(place);
        }
        Node::Names(Box::new(Names {
            exact: exact.into_iter().map(|(name, places)| (name, self.node(&places, depth + 1))).collect(),
            prefixes: prefixes.into_iter().map(|(name, places)| (name, self.node(&places, depth + 1))).collect(),
        }))
    }

    fn spans(&self, mut ranges: Vec<(u128, u128, u32)>, depth: usize) -> Node<'d> {
        // What holds no number holds nothing.
        ranges.retain(|(first, last, _)| first <= last);
        ranges.sort_unstable();
        let groups: Vec<&[(u128, u128, u32)]> =
            ranges.chunk_by(|one, other| (one.0, one.1) == (other.0, other.1)).collect();
        let ends = groups.iter().flat_map(|group| [Some(group[0].0), group[0].1.checked_add(1)]);
        let mut starts: Vec<u128> = ends.flatten().collect();
        // Mostly they are in order.
        starts.sort();
        starts.dedup();
        let stretches: Vec<(usize, usize)> = groups.iter().map(|group| stretch(&starts, group[0])).collect();
        let listed: usize = stretches.iter().map(|(from, to)| to - from).sum();
        let mut held: Vec<Held> = starts.iter().map(|_| Held::None).collect();
        let mut nodes: Vec<Node<'d>> = Vec::with_capacity(groups.len());
        let mut places: Vec<u32> = Vec::new();
        if listed <= MANY * groups.len() {
            for (node, (group, (from, to))) in (0u32..).zip(groups.iter().zip(stretches)) {
                held[from..to].iter_mut().for_each(|held| held.push(node));
                places.clear();
                places.extend(group.iter().map(|(.., place)| *place));
                nodes.push(self.node(&places, depth + 1));
            }
        } else {
            // Ranges that overlap stand in a tree of stretches, those that hold all of a branch at its root.
            let width = starts.len().next_power_of_two();
            let mut branches: Vec<Vec<u32>> = vec![Vec::new(); 2 * width];
            for (group, (from, to)) in groups.iter().zip(stretches) {
                for branch in cover(width, from, to) {
                    branches[branch].extend(group.iter().map(|(.., place)| *place));
                }
            }
            let mut own: Vec<Option<u32>> = vec![None; 2 * width];
            for (branch, mut list) in branches.into_iter().enumerate().filter(|(_, list)| !list.is_empty()) {
                list.sort_unstable();
                own[branch] = Some(nodes.len() as u32);
                nodes.push(self.node(&list, depth + 1));
            }
            for (leaf, held) in held.iter_mut().enumerate() {
                path(width, leaf).filter_map(|branch| own[branch]).for_each(|node| held.push(node));
            }
        }
        Node::Spans(Box::new(Spans { starts, held, nodes, plane: self.plane(&ranges, depth) }))
    }

    /// Many addresses with the ports that stand behind them, where nothing else does.
    fn plane(&self, ranges: &[(u128, u128, u32)], depth: usize) -> Option<Plane> {
        let last = self.order.last().filter(|_| depth + 2 == self.order.len() && ranges.len() > SHORT)?;
        let mut areas = Vec::with_capacity(ranges.len());
        for &(from, to, place) in ranges {
            let key = &self.elements[place as usize].key;
            let (Some(Span::Addresses(..)), Some(Span::Numbers(low, high))) =
                (key[self.order[depth]].span(), key[*last].span())
            else {
                return None;
            };
            let port = |number: u128| u16::try_from(number).unwrap_or(u16::MAX);
            areas.push(Area { destinations: (from, to), ports: (port(low), port(high)) });
        }
        Some(Plane::new(areas))
    }
}

/// From which stretch to before which one a range goes.
fn stretch(starts: &[u128], (first, last, _): (u128, u128, u32)) -> (usize, usize) {
    let from = starts.partition_point(|start| *start < first);
    (from, if first == last { from + 1 } else { starts.partition_point(|start| *start <= last) })
}

/// Stretches for each range, on average, up to which each stretch lists its ranges.
const MANY: usize = 4;

impl Held {
    fn push(&mut self, node: u32) {
        match self {
            Held::None => *self = Held::One(node),
            Held::One(first) => *self = Held::Many(vec![*first, node]),
            Held::Many(nodes) => nodes.push(node),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::meaning::Direction;
    use crate::statement::balance::Protocol;
    use crate::survey::{Asked, Horizon};
    use crate::target::nft::dump::Data;
    use crate::target::nft::value::Origin;
    use crate::trace::Packet;

    fn address(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    fn part(value: (u8, u8), to: impl Fn(u8, u8) -> Value) -> Value {
        to(value.0.min(value.1), value.0.max(value.1))
    }

    fn element() -> impl Strategy<Value = Element> {
        let ends = || prop_oneof![3 => (0..12u8).prop_map(|one| (one, one)), 1 => (0..12u8, 0..12u8)];
        let other = prop_oneof![20 => Just(false), 1 => Just(true)];
        (ends(), 0..3u32, ends(), other).prop_map(|(addresses, protocol, ports, other)| {
            let port = match other {
                true => Value::Other("?".into()),
                false => part(ports, |first, last| Value::Numbers(first.into(), last.into())),
            };
            let address = part(addresses, |first, last| Value::Addresses(address(first), address(last)));
            Element { key: vec![address, Value::Number(protocol), port], data: Data::None, comment: None }
        })
    }

    /// The first element that holds a key, or is unclear, by trying all.
    fn tried(elements: &[Element], key: &[Part<'_>]) -> Option<Result<usize, Blame>> {
        elements.iter().enumerate().find_map(|(place, element)| match weigh(key, &element.key, Notes(None)) {
            Ok(Weight::None) => None,
            Ok(_) => Some(Ok(place)),
            Err(what) => Some(Err(what)),
        })
    }

    fn found(
        index: &Index<'_>,
        elements: &[Element],
        key: &[Part<'_>],
        notes: Notes<'_>,
    ) -> Option<Result<usize, Blame>> {
        match index.find(key, notes, &mut 0) {
            Found::Element(element) => elements.iter().position(|one| std::ptr::eq(one, element)).map(Ok),
            Found::Nothing => None,
            Found::Unclear(what) => Some(Err(what)),
            Found::Unknown => panic!("a key of the elements' shape"),
        }
    }

    fn key(to: u8, protocol: u32, port: u8) -> [Part<'static>; 3] {
        [
            Part::Known(Atom::Address(address(to)), Origin::Destination),
            Part::Known(Atom::Number(protocol), Origin::Fixed),
            Part::Known(Atom::Number(port.into()), Origin::Port),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn an_index_finds_what_trying_all_finds_as_far_as_it_says(elements in proptest::collection::vec(element(), 17..60)) {
            let Some(index) = Index::new(&elements) else { return Ok(()) };
            for protocol in 0..3 {
                for to in 0..13 {
                    for port in 0..13 {
                        let own = key(to, protocol, port);
                        let packet = Packet {
                            protocol: Protocol::Tcp,
                            source: address(0),
                            source_port: None,
                            destination: address(to),
                            port: port.into(),
                            direction: Direction::Out,
                        };
                        let asked = Asked::new(&packet);
                        let wanted = tried(&elements, &own);
                        prop_assert_eq!(&found(&index, &elements, &own, Notes(Some(&asked))), &wanted);
                        let Horizon { destination, port: next_port, .. } = asked.horizon();
                        let base = crate::address::number(address(0));
                        let end = destination.map_or(13, |next| (next - base).min(13) as u8);
                        for other in to..end {
                            for port in port..(next_port.min(13) as u8) {
                                prop_assert_eq!(&tried(&elements, &key(other, protocol, port)), &wanted);
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn ten_thousand_elements_cost_no_more_than_a_few() {
        let elements: Vec<Element> = (0..10_000u32)
            .map(|number| Element {
                key: vec![
                    Value::Address(IpAddr::from((0x0a00_0000 + number).to_be_bytes())),
                    Value::Number(6),
                    Value::Number(80),
                ],
                data: Data::None,
                comment: None,
            })
            .collect();
        let index = Index::new(&elements).expect("more than a few");
        let mut cost = 0;
        assert!(matches!(index.find(&key(77, 6, 80), Notes(None), &mut cost), Found::Element(_)));
        assert!(matches!(index.find(&key(77, 6, 81), Notes(None), &mut cost), Found::Nothing));
        assert!(cost < 16, "{cost}");
    }
}
