//! `by source-hash`: which of a fixed number of buckets a client falls into. Frozen: see the vectors below.
//!
//! A bucket is a number of one, two or three digits base 7, because xt_cluster can tell at most seven nodes apart in a
//! rule that survives a save and restore. Level `i` gives digit `i`, the most significant first.

use std::net::{IpAddr, Ipv6Addr};

/// The parameters of a source hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceHash {
    /// As written; 0 where none is.
    pub seed: u32,
    pub levels: Levels,
}

/// The number of digits base 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Levels {
    One,
    Two,
    Three,
}

/// The base of the digits.
pub const DIGITS: u32 = 7;

impl Levels {
    /// 7, 49 or 343.
    pub fn buckets(self) -> u32 {
        DIGITS.pow(self.count())
    }

    /// 1, 2 or 3.
    pub fn count(self) -> u32 {
        match self {
            Levels::One => 1,
            Levels::Two => 2,
            Levels::Three => 3,
        }
    }

    /// The levels for a written number of buckets.
    pub fn of_buckets(buckets: u16) -> Option<Levels> {
        [Levels::One, Levels::Two, Levels::Three].into_iter().find(|levels| levels.buckets() == u32::from(buckets))
    }
}

/// How IPv6 clients are hashed; IPv4 clients are hashed alike everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash6 {
    /// nftables: jhash over the 16 bytes, a level for each digit.
    Jhash,
    /// iptables: [`mix6`] in an xt_bpf program, modulo the number of buckets.
    Bpf,
}

impl SourceHash {
    /// The seed of a level: fnv1a-32 of `"lbc"`, the written seed (4 bytes little-endian) and the level's number.
    pub fn level_seed(self, level: u32) -> u32 {
        let seed = self.seed.to_le_bytes();
        fnv1a_32(b"lbc".iter().chain(&seed).chain(&[level as u8]).copied())
    }

    /// The bucket of a client.
    pub fn bucket(self, client: IpAddr, hash6: Hash6) -> u32 {
        match (client, hash6) {
            (IpAddr::V4(client), _) => self.digits(&client.octets()),
            (IpAddr::V6(client), Hash6::Jhash) => self.digits(&client.octets()),
            (IpAddr::V6(client), Hash6::Bpf) => mix6(client, self.level_seed(0)) % self.levels.buckets(),
        }
    }

    fn digits(self, bytes: &[u8]) -> u32 {
        (0..self.levels.count())
            .fold(0, |bucket, level| bucket * DIGITS + reciprocal_scale(jhash(bytes, self.level_seed(level)), DIGITS))
    }
}

/// FNV-1a, 32 bits.
pub fn fnv1a_32(bytes: impl IntoIterator<Item = u8>) -> u32 {
    bytes.into_iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The kernel's `reciprocal_scale`: a 32-bit number scaled to `0..ceiling` by multiplication.
fn reciprocal_scale(value: u32, ceiling: u32) -> u32 {
    ((u64::from(value) * u64::from(ceiling)) >> 32) as u32
}

/// The kernel's `jhash` (include/linux/jhash.h, lookup3) of up to 16 bytes in a register, on a little-endian machine.
fn jhash(bytes: &[u8], seed: u32) -> u32 {
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let start = 0xdead_beefu32.wrapping_add(bytes.len() as u32).wrapping_add(seed);
    let (mut a, mut b, mut c) = (start, start, start);
    let tail = if bytes.len() > 12 {
        a = a.wrapping_add(word(0));
        b = b.wrapping_add(word(4));
        c = c.wrapping_add(word(8));
        (a, b, c) = mix(a, b, c);
        12
    } else {
        0
    };
    a = a.wrapping_add(word(tail));
    last_mix(a, b, c)
}

fn mix(mut a: u32, mut b: u32, mut c: u32) -> (u32, u32, u32) {
    a = a.wrapping_sub(c) ^ c.rotate_left(4);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(6);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(8);
    b = b.wrapping_add(a);
    a = a.wrapping_sub(c) ^ c.rotate_left(16);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(19);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(4);
    b = b.wrapping_add(a);
    (a, b, c)
}

fn last_mix(mut a: u32, mut b: u32, mut c: u32) -> u32 {
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

/// The odd factor of [`mix6`] (from MurmurHash3's finaliser).
pub const MIX6_FACTOR: u32 = 0x85eb_ca6b;
/// The last factor of [`mix6`].
pub const MIX6_LAST_FACTOR: u32 = 0xc2b2_ae35;
/// The shift of [`mix6`].
pub const MIX6_SHIFT: u32 = 15;

/// The hash of an IPv6 address that fits into a classic BPF program: multiply and xor-shift, word by word.
pub fn mix6(client: Ipv6Addr, seed: u32) -> u32 {
    let octets = client.octets();
    let words = octets.chunks_exact(4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    let mixed = words.fold(seed, |hash, word| {
        let hash = (hash ^ word).wrapping_mul(MIX6_FACTOR);
        hash ^ (hash >> MIX6_SHIFT)
    });
    let last = mixed.wrapping_mul(MIX6_LAST_FACTOR);
    last ^ (last >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_seeds_are_frozen() {
        let hash = SourceHash { seed: 0, levels: Levels::Three };
        assert_eq!(fnv1a_32(*b""), 0x811c_9dc5);
        assert_eq!(fnv1a_32(*b"a"), 0xe40c_292c);
        let seeds: Vec<u32> = (0..3).map(|level| hash.level_seed(level)).collect();
        assert_eq!(seeds.len(), 3);
        assert!(seeds[0] != seeds[1] && seeds[1] != seeds[2]);
    }
}
