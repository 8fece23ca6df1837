//! The kernel's hashes of addresses on a little-endian machine, for the evaluators: written anew from
//! include/linux/jhash.h and include/linux/kernel.h, so that they find a mistake in what the compiler computes
//! ([`crate::ir::hash`]).

/// JHASH_INITVAL
const INITVAL: u32 = 0xdead_beef;

/// `reciprocal_scale`: `value * ceiling / 2^32`.
pub fn reciprocal_scale(value: u32, ceiling: u32) -> u32 {
    ((u64::from(value) * u64::from(ceiling)) >> 32) as u32
}

/// `jhash` of a register's bytes, 4 or 16, read as a little-endian machine reads them.
pub fn jhash<const N: usize>(key: &[u8; N], initval: u32) -> u32 {
    const { assert!(N > 0 && N.is_multiple_of(4) && N <= 16) };
    let mut words = key.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    let mut next = || words.next().unwrap_or(0);
    let mut state = [INITVAL.wrapping_add(N as u32).wrapping_add(initval); 3];
    if N > 12 {
        add(&mut state, [next(), next(), next()]);
        mix(&mut state);
    }
    // At most three words are left.
    add(&mut state, [next(), next(), next()]);
    last(state)
}

/// `__jhash_nwords` of up to three words, `count` of them counted.
pub fn jhash_words(words: [u32; 3], count: u32, seed: u32) -> u32 {
    let mut state = [INITVAL.wrapping_add(count << 2).wrapping_add(seed); 3];
    add(&mut state, words);
    last(state)
}

fn add(state: &mut [u32; 3], words: [u32; 3]) {
    for (own, word) in state.iter_mut().zip(words) {
        *own = own.wrapping_add(word);
    }
}

/// `__jhash_mix`: six rounds over (a, b, c), each turned by one place.
fn mix(state: &mut [u32; 3]) {
    for (round, shift) in [4, 6, 8, 16, 19, 4].into_iter().enumerate() {
        let (a, b, c) = (round % 3, (round + 1) % 3, (round + 2) % 3);
        state[a] = state[a].wrapping_sub(state[c]) ^ state[c].rotate_left(shift);
        state[c] = state[c].wrapping_add(state[b]);
    }
}

/// `__jhash_final`: seven rounds, beginning with c, which is what comes out.
fn last(mut state: [u32; 3]) -> u32 {
    for (round, shift) in [14, 11, 25, 16, 4, 14, 24].into_iter().enumerate() {
        let target = (round + 2) % 3;
        let other = (target + 2) % 3;
        state[target] = (state[target] ^ state[other]).wrapping_sub(state[other].rotate_left(shift));
    }
    state[2]
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::ir::hash::{DIGITS, Hash6, Levels, SourceHash};

    #[test]
    fn both_ways_to_write_the_hash_give_the_same() {
        for nth in 0..2000u32 {
            let word = nth.wrapping_mul(2_654_435_761);
            let hash = SourceHash { seed: nth % 11, levels: Levels::One };
            let seed = hash.level_seed(0);
            let (v4, v6) = (word.to_be_bytes(), (u128::from(word) * 0x9e37_79b9_7f4a_7c15_f39c).to_be_bytes());
            let bucket = |client: IpAddr| hash.bucket(client, Hash6::Jhash);
            assert_eq!(reciprocal_scale(jhash(&v4, seed), DIGITS), bucket(v4.into()));
            assert_eq!(reciprocal_scale(jhash(&v6, seed), DIGITS), bucket(v6.into()));
            assert_eq!(jhash_words([u32::from_le_bytes(v4), 0, 0], 1, seed), jhash(&v4, seed));
        }
    }

    #[test]
    fn scaling_stays_below_the_ceiling() {
        assert_eq!((reciprocal_scale(0, 7), reciprocal_scale(u32::MAX, 7), reciprocal_scale(1 << 31, 7)), (0, 6, 3));
    }
}
