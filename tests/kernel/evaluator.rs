//! What `lbc`'s evaluator says of the rules that the kernel lists: the third opinion, beside the meaning and the packets.

use lbc::ir::Family;
use lbc::ir::share::Share;
use lbc::target::{iptables, nft};
use lbc::trace::{Machine, Walk};

use crate::model::{Attempt, local_addresses, named};
use crate::net::Lab;
use crate::target::Target;

/// The rules of a balancer as its own tools save them.
pub struct Loaded {
    target: Target,
    /// For iptables one text for each family, for nft JSON for both.
    texts: Vec<String>,
}

impl Lab {
    pub fn loaded(&self, target: Target) -> Loaded {
        let texts = self.saved(target).unwrap_or_else(|trouble| panic!("{target}: {trouble}"));
        Loaded { target, texts }
    }
}

impl Loaded {
    /// Lets `look` at the rules of a family.
    pub fn look<T>(&self, ipv6: bool, look: impl FnOnce(&dyn Walk) -> T) -> T {
        let family = Family::ALL[usize::from(ipv6)];
        if self.target.is_iptables() {
            let text = &self.texts[usize::from(ipv6)];
            let dump = iptables::read(text, iptables::Families::One(family));
            let dump = dump.unwrap_or_else(|errors| panic!("{}: {errors:#?}\n{text}", self.target));
            return look(&iptables::Evaluator::new(&dump, family));
        }
        let dump = nft::Dump::read_json(&self.texts[0]);
        look(&nft::Evaluator::new(&dump.unwrap_or_else(|error| panic!("{error}\n{}", self.texts[0]))))
    }

    /// What becomes of a connection, as [`Model::servers`](crate::model::Model::servers) writes it.
    pub fn servers(&self, attempt: &Attempt) -> Vec<(String, Share)> {
        self.look(attempt.to.is_ipv6(), |rules| servers(rules, attempt))
    }

    /// Where the first connections of a kind go; `None` where chance has a say.
    pub fn sequence(&self, attempt: &Attempt, count: usize) -> Option<Vec<String>> {
        self.look(attempt.to.is_ipv6(), |rules| {
            let actions = rules.sequence(&attempt.packet(), &machine(), count)?;
            let name = |action| named(attempt, [(action, Share::default())]).remove(0).0;
            Some(actions.into_iter().map(name).collect())
        })
    }
}

/// [`Loaded::servers`] of rules that are read already.
pub fn servers(rules: &dyn Walk, attempt: &Attempt) -> Vec<(String, Share)> {
    let trace = rules.walk(&attempt.packet(), &machine(), false);
    assert!(trace.unknown.is_empty(), "own rules hold nothing unknown: {:#?}", trace.unknown);
    named(attempt, trace.actions())
}

/// Whether two opinions are one: iptables' probabilities have 31 bits.
pub fn agree(meant: &[(String, Share)], said: &[(String, Share)]) -> bool {
    let near = |one: &Share, other: &Share| {
        let apart = if one > other { one - other } else { other - one };
        apart <= Share::new(meant.len().into(), (1u64 << 32).into())
    };
    meant.len() == said.len()
        && meant.iter().all(|(server, share)| said.iter().any(|(own, part)| own == server && near(share, part)))
}

fn machine() -> Machine {
    Machine { local: local_addresses(), ..Machine::default() }
}
