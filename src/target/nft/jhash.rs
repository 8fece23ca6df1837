//! The kernel's hash of an address, written anew from include/linux/jhash.h and include/linux/kernel.h, so that the
//! evaluator can be held against what the compiler predicts.

/// `reciprocal_scale`: `value * ceiling / 2^32`.
pub fn reciprocal_scale(value: u32, ceiling: u32) -> u32 {
    ((u64::from(value) * u64::from(ceiling)) >> 32) as u32
}

/// `jhash` of a register's bytes, 4 or 16, read as a little-endian machine reads them.
pub fn jhash<const N: usize>(key: &[u8; N], initval: u32) -> u32 {
    const { assert!(N > 0 && N.is_multiple_of(4) && N <= 16) };
    let mut words = key.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    let mut next = || words.next().unwrap_or(0);
    let mut state = [0xdead_beef_u32.wrapping_add(N as u32).wrapping_add(initval); 3];
    if N > 12 {
        for word in &mut state {
            *word = word.wrapping_add(next());
        }
        jhash_mix(&mut state);
    }
    // At most three words are left.
    for word in &mut state {
        *word = word.wrapping_add(next());
    }
    jhash_final(&mut state);
    state[2]
}

/// `__jhash_mix`: six rounds over (a, b, c), each turned by one place.
fn jhash_mix(state: &mut [u32; 3]) {
    for (round, shift) in [4, 6, 8, 16, 19, 4].into_iter().enumerate() {
        let (a, b, c) = (round % 3, (round + 1) % 3, (round + 2) % 3);
        state[a] = state[a].wrapping_sub(state[c]) ^ state[c].rotate_left(shift);
        state[c] = state[c].wrapping_add(state[b]);
    }
}

/// `__jhash_final`: seven rounds, beginning with c.
fn jhash_final(state: &mut [u32; 3]) {
    for (round, shift) in [14, 11, 25, 16, 4, 14, 24].into_iter().enumerate() {
        let target = (round + 2) % 3;
        let other = (target + 2) % 3;
        state[target] = (state[target] ^ state[other]).wrapping_sub(state[other].rotate_left(shift));
    }
}

#[cfg(test)]
mod tests {
    use super::{jhash, reciprocal_scale};

    /// The kernel's own code (include/linux/jhash.h, the single steps spelled out) for comparison.
    fn spelled_out(words: [u32; 4], initval: u32) -> u32 {
        let start = 0xdead_beef_u32.wrapping_add(16).wrapping_add(initval);
        let (mut a, mut b, mut c) =
            (start.wrapping_add(words[0]), start.wrapping_add(words[1]), start.wrapping_add(words[2]));
        a = a.wrapping_sub(c);
        a ^= c.rotate_left(4);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a);
        b ^= a.rotate_left(6);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b);
        c ^= b.rotate_left(8);
        b = b.wrapping_add(a);
        a = a.wrapping_sub(c);
        a ^= c.rotate_left(16);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a);
        b ^= a.rotate_left(19);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b);
        c ^= b.rotate_left(4);
        b = b.wrapping_add(a);
        a = a.wrapping_add(words[3]);
        c ^= b;
        c = c.wrapping_sub(b.rotate_left(14));
        a ^= c;
        a = a.wrapping_sub(c.rotate_left(11));
        b ^= a;
        b = b.wrapping_sub(a.rotate_left(25));
        c ^= b;
        c = c.wrapping_sub(b.rotate_left(16));
        a ^= c;
        a = a.wrapping_sub(c.rotate_left(4));
        b ^= a;
        b = b.wrapping_sub(a.rotate_left(14));
        c ^= b;
        c.wrapping_sub(b.rotate_left(24))
    }

    #[test]
    fn rounds_are_the_steps_of_the_kernel() {
        for seed in [0_u32, 1, 0xdead_beef, 0x8000_0000] {
            let bytes: [u8; 16] = std::array::from_fn(|index| (index as u8).wrapping_mul(37) ^ seed.to_le_bytes()[1]);
            let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            assert_eq!(jhash(&bytes, seed), spelled_out([word(0), word(4), word(8), word(12)], seed));
        }
    }

    #[test]
    fn scaling_stays_below_the_ceiling() {
        assert_eq!((reciprocal_scale(0, 7), reciprocal_scale(u32::MAX, 7), reciprocal_scale(1 << 31, 7)), (0, 6, 3));
    }
}
