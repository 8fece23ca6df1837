//! Which protocols the tests on the way of a packet tell apart.

use crate::statement::balance::Protocol;

/// Protocols that were asked for one by one: each is told from all others, and those that are not here from none but these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protocols(u8);

impl Protocols {
    pub const NONE: Protocols = Protocols(0);
    /// Each is told from the others.
    pub const ALL: Protocols = Protocols((1 << Protocol::ALL.len()) - 1);

    /// Whether it is this one.
    pub fn one(protocol: Protocol) -> Protocols {
        Protocols(1 << protocol as u8)
    }

    /// Whether it is one for which this holds.
    pub fn those(mut holds: impl FnMut(Protocol) -> bool) -> Protocols {
        let inside = Protocol::ALL.into_iter().filter(|protocol| holds(*protocol));
        let inside = inside.fold(Protocols::NONE, |all, protocol| all.and(Protocols::one(protocol)));
        let outside = Protocols(Protocols::ALL.0 & !inside.0);
        match (inside.0.count_ones(), outside.0.count_ones()) {
            (0, _) | (_, 0) => Protocols::NONE,
            (1, _) => inside,
            (_, 1) => outside,
            (_, _) => Protocols::ALL,
        }
    }

    /// What either asks.
    pub fn and(self, other: Protocols) -> Protocols {
        Protocols(self.0 | other.0)
    }

    pub fn tell_apart(self, one: Protocol, other: Protocol) -> bool {
        one != other && self.0 & (Protocols::one(one).0 | Protocols::one(other).0) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_of_one_tells_no_others_apart() {
        let [tcp, udp, sctp] = Protocol::ALL;
        let asked = Protocols::one(tcp);
        assert!(asked.tell_apart(tcp, udp) && asked.tell_apart(sctp, tcp));
        assert!(!asked.tell_apart(udp, sctp) && !asked.tell_apart(tcp, tcp));
        assert!(Protocols::ALL.tell_apart(udp, sctp) && !Protocols::NONE.tell_apart(tcp, udp));
        assert_eq!(Protocols::those(|protocol| protocol != tcp), asked);
        assert_eq!(Protocols::those(|_| true), Protocols::NONE);
        assert_eq!(asked.and(Protocols::one(udp)).and(Protocols::one(sctp)), Protocols::ALL);
    }
}
