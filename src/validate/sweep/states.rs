//! What the machine remembers: limits that are reached, clients that are known, stores that are full.
//!
//! Who a client is known to is nothing that the meaning says in the words of the rules. So two connections of one client are
//! asked about: what the rules do to the first says in which lists, sets or maps it leaves the client, and with the client
//! in just those the second has to go where the first went. A rule that puts the client elsewhere, that asks elsewhere,
//! or that is not there, sends the second one somewhere else.

use foldhash::HashMap;

use crate::meaning::{Action, Direction};
use crate::statement::balance::Protocol;
use crate::survey::{Amount, Survey};
use crate::trace::{Known, Machine, Memory, Packet};

use super::{Difference, Reach, Stop, Sweep};

/// The clients that were asked about so far.
#[derive(Default)]
pub struct Returning {
    /// For each service, protocol and side how often clients came back.
    cells: HashMap<(u32, Protocol, bool), usize>,
    /// The service that each list, set or map is for.
    owners: HashMap<String, u32>,
}

/// Backends whose clients are asked about together: each of them passes the rules of all.
const MOST_AT_ONCE: usize = 64;

impl Sweep<'_> {
    /// A connection at which the machine remembers something, for ports below `end`: what becomes of one at which it does
    /// not is `wanted`, by the service `owner`.
    pub(super) fn states(
        &mut self,
        packet: &Packet,
        machine: &Machine,
        (owner, wanted): (Option<u32>, &[(Action, Amount)]),
        end: u32,
    ) -> Result<Reach, Stop> {
        let mut all = Reach::below(end);
        for memory in self.reference.limits(owner) {
            self.state(packet, machine, memory, &mut all)?;
        }
        let translates = wanted.iter().any(|(action, _)| matches!(action, Action::Dnat(..) | Action::Redirect(_)));
        if let Some(owner) = owner.filter(|owner| translates && self.reference.sticky(*owner).is_some()) {
            self.state(packet, machine, Memory { full: true, ..Memory::default() }, &mut all)?;
            self.returning(packet, machine, (owner, wanted), &mut all)?;
        }
        Ok(all)
    }

    fn state(&mut self, packet: &Packet, machine: &Machine, memory: Memory, all: &mut Reach) -> Result<(), Stop> {
        let machine = Machine { memory, ..machine.clone() };
        let mut reach = self.compare(packet, &machine, all.horizon.port)?.reach;
        reach.translates = false;
        all.join(reach);
        Ok(())
    }

    /// Clients that come back: where they are asked about for the first time those of every backend (of many, some of all
    /// parts of the list), elsewhere those of one.
    fn returning(
        &mut self,
        packet: &Packet,
        machine: &Machine,
        (owner, wanted): (u32, &[(Action, Amount)]),
        all: &mut Reach,
    ) -> Result<(), Stop> {
        let left = self.rules.remembered(packet, machine).unwrap_or_default();
        if left.len() != wanted.len() || left.iter().zip(wanted).any(|(known, (action, _))| known.action != *action) {
            return Err(self.forgets(packet, machine, left));
        }
        for store in left.iter().flat_map(|known| &known.stores) {
            let own = *self.returning.owners.entry(store.name.clone()).or_insert(owner);
            if own != owner {
                return Err(self.forgets(packet, machine, left));
            }
        }
        let cell = (owner, packet.protocol, packet.direction == Direction::Out);
        let times = self.returning.cells.entry(cell).or_default();
        let only = (*times > 0).then(|| *times % left.len());
        let step = left.len().div_ceil(MOST_AT_ONCE);
        *times += 1;
        // Some targets count whole seconds, up or down.
        let sticky = u64::from(self.reference.sticky(owner).unwrap_or_default());
        let (fresh, stale) = (sticky / 1000 * 1000, sticky.div_ceil(1000) * 1000 + 1000);
        for (nth, known) in left.into_iter().enumerate() {
            if only.map_or(nth % step != 0, |only| only != nth) {
                continue;
            }
            let fresh = Known { age: fresh, ..known };
            let memory = Memory { known: Some(fresh.clone()), ..Memory::default() };
            self.state(packet, machine, memory.clone(), all)?;
            if only.is_none() {
                let machine = Machine { memory, ..machine.clone() };
                let again = self.rules.remembered(packet, &machine).unwrap_or_default();
                let is_same = |one: &Known| (&one.action, &one.stores) == (&fresh.action, &fresh.stores);
                // The time starts anew.
                if !matches!(&again[..], [one] if is_same(one)) {
                    return Err(self.forgets(packet, &machine, again));
                }
                let stale = Known { age: stale, is_stale: true, ..fresh };
                self.state(packet, &machine, Memory { known: Some(stale), ..Memory::default() }, all)?;
            }
        }
        Ok(())
    }

    /// What is left behind by a connection is not what a sticky service leaves.
    fn forgets(&self, packet: &Packet, machine: &Machine, left: Vec<Known>) -> Stop {
        let wanted = self.reference.answer(packet, machine).actions;
        let found = self.rules.answer(packet, machine).actions;
        let machine =
            Machine { memory: Memory { known: left.into_iter().next(), ..Memory::default() }, ..machine.clone() };
        Stop::Differs(Box::new(Difference { packet: packet.clone(), machine, wanted, found, seen: None }))
    }
}
