//! Up to where the answers of a sweep hold.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Ports from the first to below the second.
type Ports = (u32, u32);

/// Answers by the destination that they end before. Each is about ports of its own, and together they are all ports, as
/// far as their answers end anywhere.
#[derive(Default)]
pub struct Held {
    ends: BinaryHeap<Reverse<(u128, Ports)>>,
}

impl Held {
    /// An answer for these ports holds up to a destination.
    pub fn until(&mut self, destination: u128, ports: Ports) {
        self.ends.push(Reverse((destination, ports)));
    }

    /// The next destination up to `last` at which answers end, and neighbouring ports that they were about.
    pub fn next(&mut self, last: u128) -> Option<(u128, Ports)> {
        let Reverse((destination, mut ports)) = self.ends.pop()?;
        if destination > last {
            return None;
        }
        while let Some(&Reverse((other, next))) = self.ends.peek()
            && (other, next.0) == (destination, ports.1)
        {
            ports.1 = next.1;
            self.ends.pop();
        }
        Some((destination, ports))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_that_end_together_are_one() {
        let mut held = Held::default();
        for (destination, ports) in [(7, (80, 81)), (9, (1, 10)), (7, (90, 95)), (7, (81, 90)), (7, (96, 97))] {
            held.until(destination, ports);
        }
        assert_eq!(held.next(8), Some((7, (80, 95))));
        assert_eq!(held.next(8), Some((7, (96, 97))));
        assert_eq!(held.next(8), None);
    }
}
