//! Hashes as the kernel computes them, on a little-endian machine. They are written down anew here, so that the
//! evaluator can find a mistake in what the compiler computes.

use std::net::IpAddr;

/// JHASH_INITVAL, include/linux/jhash.h
const JHASH_INITVAL: u32 = 0xdead_beef;

/// `reciprocal_scale`, include/linux/kernel.h
pub fn reciprocal_scale(value: u32, end: u32) -> u32 {
    ((u64::from(value) * u64::from(end)) >> 32) as u32
}

/// `__jhash_nwords` of up to three words, `words` of them counted.
fn jhash_words(mut a: u32, mut b: u32, mut c: u32, words: u32, seed: u32) -> u32 {
    let start = JHASH_INITVAL.wrapping_add(words << 2).wrapping_add(seed);
    a = a.wrapping_add(start);
    b = b.wrapping_add(start);
    c = c.wrapping_add(start);
    // __jhash_final
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

/// Which of `total` nodes xt_cluster gives a client to, from 0.
///
/// Of an IPv6 address it hashes the first 32 bits alone: NF_CT_TUPLE_L3SIZE / sizeof(__u32) is one word.
pub fn cluster_node(source: IpAddr, total: u32, seed: u32) -> u32 {
    let word = match source {
        IpAddr::V4(address) => u32::from_le_bytes(address.octets()),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.octets();
            u32::from_le_bytes([a, b, c, d])
        }
    };
    reciprocal_scale(jhash_words(word, 0, 0, 1, seed), total)
}

/// What xt_HMARK makes of addresses, before the offset. A missing one is 0; ports are masked out.
pub fn hmark(source: Option<IpAddr>, destination: Option<IpAddr>, modulus: u32, seed: u32) -> u32 {
    let word = |address: Option<IpAddr>| match address {
        None => 0,
        Some(IpAddr::V4(address)) => u32::from(address),
        Some(IpAddr::V6(address)) => {
            let bits = u128::from(address);
            (bits >> 96) as u32 ^ (bits >> 64) as u32 ^ (bits >> 32) as u32 ^ bits as u32
        }
    };
    let (source, destination) = (word(source), word(destination));
    let (low, high) = (source.min(destination), source.max(destination));
    reciprocal_scale(jhash_words(low, high, 0, 3, seed), modulus)
}
