//! Dealing the buckets of a source hash to backends: exact quotas, placed by weighted rendezvous hashing.
//!
//! Every pair of bucket and backend has a score that depends on nothing but the bucket's number, the backend's address
//! (and the rank of its port among those of one address) and its share. Pairs are taken from the best score on; a
//! pair counts where the bucket is free and the backend is below its quota. That is a stable matching, so an edit
//! moves little more than the buckets that have to move. Integers only: the same on every machine. Frozen by vectors.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use num_bigint::BigUint;
use num_traits::Zero;

use super::share::{Share, largest_remainder};
use super::{Backend, BackendPort};

/// For each bucket the index of its backend. A positive share too small for a bucket gets none.
pub fn deal(backends: &[Backend], shares: &[Share], buckets: u32) -> Vec<u32> {
    let mut quotas = largest_remainder(shares, buckets);
    let keys = identities(backends);
    let mut pairs = Vec::with_capacity(backends.len() * buckets as usize);
    for (index, share) in shares.iter().enumerate().filter(|(index, _)| quotas[*index] > 0) {
        let inverse = inverse_share(share);
        for bucket in 0..buckets {
            pairs.push((score(keys[index], bucket, inverse), bucket, keys[index], index as u32));
        }
    }
    pairs.sort_unstable();
    let mut owners: Vec<Option<u32>> = vec![None; buckets as usize];
    for (_, bucket, _, index) in pairs {
        let (owner, quota) = (&mut owners[bucket as usize], &mut quotas[index as usize]);
        if owner.is_none() && *quota > 0 {
            *owner = Some(index);
            *quota -= 1;
        }
    }
    owners.into_iter().map(|owner| owner.expect("quotas sum to the number of buckets")).collect()
}

/// What a backend is hashed as: its address (zero for `:port`) and the rank of its port among those of the address.
fn identities(backends: &[Backend]) -> Vec<u64> {
    let address = |backend: &Backend| match backend {
        Backend::Server(IpAddr::V4(address), _) => address.to_ipv6_mapped(),
        Backend::Server(IpAddr::V6(address), _) => *address,
        Backend::Local(_) => Ipv6Addr::UNSPECIFIED,
    };
    let port = |backend: &Backend| match backend {
        Backend::Server(_, port) | Backend::Local(port) => match *port {
            BackendPort::Kept => 0,
            BackendPort::Fixed(port) => u32::from(port),
            BackendPort::Shifted { first, .. } => u32::from(first),
        },
    };
    let mut ports: BTreeMap<Ipv6Addr, Vec<(u32, usize)>> = BTreeMap::new();
    for (index, backend) in backends.iter().enumerate() {
        ports.entry(address(backend)).or_default().push((port(backend), index));
    }
    let mut keys = vec![0; backends.len()];
    for (address, mut list) in ports {
        list.sort_unstable();
        for (rank, (_, index)) in list.into_iter().enumerate() {
            let bytes = address.octets().into_iter().chain((rank as u32).to_le_bytes());
            keys[index] = mix(fnv1a_64(bytes));
        }
    }
    keys
}

/// 1 / share as a 32.32 fixed-point number, saturated: enough to rank, the quotas hold the exact shares.
fn inverse_share(share: &Share) -> u64 {
    if share.is_zero() {
        return u64::MAX;
    }
    let scaled = (BigUint::from(1u64 << 32) * share.denom()) / share.numer();
    u64::try_from(&scaled).unwrap_or(u64::MAX)
}

/// -log2(u) / share for a hash u in (0, 1]: the smaller, the better (Schindelhauer and Schomaker's weighted method).
fn score(key: u64, bucket: u32, inverse: u64) -> u128 {
    let hash = mix(key ^ mix(u64::from(bucket).wrapping_add(0x9e37_79b9_7f4a_7c15)));
    u128::from(minus_log2(hash)) * u128::from(inverse)
}

/// -log2((hash + 1) / 2^64) as an 8.32 fixed-point number, by repeated squaring.
fn minus_log2(hash: u64) -> u64 {
    let value = u128::from(hash) + 1;
    let whole = 127 - value.leading_zeros();
    // The mantissa, in [1, 2) with 63 fractional bits.
    let mut mantissa = (value << (127 - whole)) >> 64;
    let mut fraction = 0u64;
    for _ in 0..32 {
        mantissa = (mantissa * mantissa) >> 63;
        fraction <<= 1;
        if mantissa >> 64 != 0 {
            fraction |= 1;
            mantissa >>= 1;
        }
    }
    (64u64 << 32) - ((u64::from(whole) << 32) | fraction)
}

fn fnv1a_64(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes
        .into_iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The finaliser of SplitMix64.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backends(count: u8) -> Vec<Backend> {
        (1..=count).map(|n| Backend::Server(IpAddr::from([10, 0, 0, n]), BackendPort::Fixed(80))).collect()
    }

    fn equal(count: u32) -> Vec<Share> {
        (0..count).map(|_| Share::new(1u32.into(), count.into())).collect()
    }

    #[test]
    fn every_backend_gets_its_exact_share() {
        let owners = deal(&backends(3), &equal(3), 49);
        let count = |index| owners.iter().filter(|&&owner| owner == index).count();
        assert_eq!([count(0), count(1), count(2)], [17, 16, 16]);
    }

    #[test]
    fn taking_a_backend_out_moves_almost_only_its_buckets() {
        let (before, after) = (deal(&backends(10), &equal(10), 343), deal(&backends(9), &equal(9), 343));
        let moved = before.iter().zip(&after).filter(|(b, a)| **b != 9 && b != a).count();
        let own = before.iter().filter(|&&owner| owner == 9).count();
        assert!(moved <= own / 3, "{moved} of other backends' buckets moved, {own} had to");
    }

    #[test]
    fn the_order_in_the_source_does_not_matter_where_shares_are_exact() {
        let reversed: Vec<Backend> = backends(7).into_iter().rev().collect();
        let (a, b) = (deal(&backends(7), &equal(7), 49), deal(&reversed, &equal(7), 49));
        assert!(a.iter().zip(&b).all(|(a, b)| *a == 6 - *b));
    }

    #[test]
    fn logarithms_are_right_at_the_ends() {
        assert_eq!(minus_log2(u64::MAX), 0);
        assert_eq!(minus_log2(0), 64 << 32);
        assert_eq!(minus_log2((1 << 63) - 1), 1 << 32);
    }
}
