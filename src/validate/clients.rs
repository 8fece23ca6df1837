//! Which clients stand for all, where a hash of the client decides.

use foldhash::{HashMap, HashMapExt};

use crate::address::address;
use crate::ir::Family;
use crate::ir::hash::{Hash6, SourceHash};
use crate::survey::Hashed;

/// Clients of a stretch that are tried where every bucket was tried already, with another port or destination.
const FEW: u128 = 7;

/// Clients that are looked at for each bucket: far more than it takes to find one of each.
const TRIES: u128 = 64;

/// Who asks: whether this machine opens the connection, and the statement and the rule that hash.
pub type Asker = (bool, Hashed, Hashed);

/// The buckets that were tried so far.
pub struct Clients {
    hash6: Hash6,
    family: Family,
    tried: HashMap<Asker, Vec<bool>>,
}

impl Clients {
    pub fn new(family: Family, hash6: Hash6) -> Clients {
        Clients { hash6, family, tried: HashMap::new() }
    }

    /// Clients from `first` to `last`: one for every bucket that was not tried for this asker and has one there, and a few
    /// of any bucket.
    pub fn of(&mut self, asker: Asker, hashes: &[SourceHash], first: u128, last: u128) -> Vec<u128> {
        let buckets: usize = hashes.iter().map(|hash| hash.levels.buckets() as usize).sum();
        let tried = self.tried.entry(asker).or_insert_with(|| vec![false; buckets]);
        let rest = last - first;
        let mut list: Vec<u128> = (0..=FEW).map(|nth| first + rest / FEW * nth).collect();
        let mut missing = tried.iter().filter(|tried| !**tried).count();
        let tries = TRIES * buckets as u128;
        for nth in 0..=rest.min(tries) {
            if missing == 0 {
                break;
            }
            // Every one of a few, and of many some that lie anywhere.
            let step = match rest <= tries {
                true => nth,
                false => nth.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) % rest,
            };
            let client = first + step;
            let mut start = 0;
            let mut is_new = false;
            for hash in hashes {
                let place = start + hash.bucket(address(self.family, client), self.hash6) as usize;
                start += hash.levels.buckets() as usize;
                if !std::mem::replace(&mut tried[place], true) {
                    is_new = true;
                    missing -= 1;
                }
            }
            if is_new {
                list.push(client);
            }
        }
        list.sort_unstable();
        list.dedup();
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::hash::Levels;

    #[test]
    fn every_bucket_that_has_a_client_is_tried_wherever_the_clients_lie() {
        let hash = SourceHash { seed: 0, levels: Levels::of_buckets(49).expect("49 buckets") };
        for (family, first, last) in [
            (Family::V4, 0x0a14_0000, 0x0a14_ffff),
            (Family::V6, 0xfd20 << 112, (0xfd20 << 112) | u128::from(u64::MAX)),
            (Family::V4, 0, u128::from(u32::MAX)),
        ] {
            let mut clients = Clients::new(family, Hash6::Jhash);
            // The first stretch has a part of the buckets, the second the others.
            let list = [
                clients.of((false, Some(0), Some(0)), &[hash], first, first + 31),
                clients.of((false, Some(0), Some(0)), &[hash], first + 32, last),
            ];
            let all = list.iter().flatten();
            let mut buckets: Vec<u32> = all.map(|client| hash.bucket(address(family, *client), Hash6::Jhash)).collect();
            buckets.sort_unstable();
            buckets.dedup();
            assert_eq!(buckets.len(), 49);
            assert!(list.iter().flatten().all(|client| (first..=last).contains(client)));
            let again = clients.of((false, Some(0), Some(0)), &[hash], first, last);
            assert!(again.len() <= 8, "{again:?}");
        }
    }
}
