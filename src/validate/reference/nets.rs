//! Prefixes, and what stands at each: two of them are one in the other, or apart.

/// What there is for each prefix.
pub struct Nets<T> {
    /// By first address ascending, the larger before those inside it.
    nets: Vec<Net<T>>,
}

struct Net<T> {
    last: u128,
    first: u128,
    /// The smallest one around it.
    parent: Option<u32>,
    own: T,
}

impl<T> Default for Nets<T> {
    fn default() -> Nets<T> {
        Nets { nets: Vec::new() }
    }
}

impl<T> Nets<T> {
    /// From the first and last addresses of prefixes, each with one of those that stand there.
    pub fn new(mut listed: Vec<((u128, u128), u32)>, own: impl Fn(Vec<u32>) -> T) -> Nets<T> {
        listed.sort_unstable_by_key(|&((first, last), index)| (first, std::cmp::Reverse(last), index));
        let mut nets: Vec<Net<T>> = Vec::new();
        let mut around: Vec<u32> = Vec::new();
        for same in listed.chunk_by(|(one, _), (other, _)| one == other) {
            let (first, last) = same[0].0;
            while around.last().is_some_and(|&outer| nets[outer as usize].last < first) {
                around.pop();
            }
            let parent = around.last().copied();
            around.push(nets.len() as u32);
            nets.push(Net { first, last, parent, own: own(same.iter().map(|(_, index)| *index).collect()) });
        }
        Nets { nets }
    }

    /// What stands at the prefixes of an address, the longest first.
    pub fn around(&self, at: u128) -> impl Iterator<Item = &T> {
        let mut next = self.nets.partition_point(|net| net.first <= at).checked_sub(1);
        std::iter::from_fn(move || {
            while let Some(net) = next.map(|place| &self.nets[place]) {
                next = net.parent.map(|place| place as usize);
                if net.last >= at {
                    return Some(&net.own);
                }
            }
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_the_prefixes_that_hold_it() {
        let all = [(0, 15), (4, 7), (4, 4), (8, 15), (12, 13), (32, 63), (4, 7)];
        let listed: Vec<((u128, u128), u32)> = all.into_iter().zip(0..).collect();
        let nets = Nets::new(listed.clone(), |list| list);
        for at in 0..70 {
            let mut found: Vec<u32> = nets.around(at).flatten().copied().collect();
            found.sort_unstable();
            let held = listed.iter().filter(|((first, last), _)| (*first..=*last).contains(&at));
            assert_eq!(found, held.map(|(_, index)| *index).collect::<Vec<u32>>(), "{at}");
        }
    }
}
