//! `by source-hash`: nested xt_cluster for IPv4, generated xt_bpf programs for IPv6.
//!
//! xt_cluster hashes an IPv4 address as nft's jhash does, but only 32 of the 128 bits of an IPv6 address, and rules with
//! node 7 or above do not survive a save and restore: so seven nodes a level, the seventh by falling through.

use std::collections::BTreeMap;

use crate::ir::hash::{DIGITS, MIX6_FACTOR, MIX6_LAST_FACTOR, MIX6_SHIFT, SourceHash};

use super::model::{BpfInstruction, BpfProgram, ClusterMask, MAX_BPF_INSTRUCTIONS};

/// Which of seven digits of a level lead where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    pub seed: u32,
    /// Tried in this order; every mask is a subset of what the ones before left.
    pub steps: Vec<(ClusterMask, Next)>,
    /// Where the rest goes.
    pub rest: Next,
}

/// What a digit leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The index of a backend.
    Backend(u32),
    /// The next digit; the number is this digit's value, for the chain's name.
    Level(u8, Box<Level>),
}

/// The tree of digits over the owners of the buckets. A single backend for all buckets needs no level.
pub fn levels(hash: SourceHash, owners: &[u32]) -> Next {
    next(hash, 0, 0, owners)
}

fn next(hash: SourceHash, number: u8, level: u32, owners: &[u32]) -> Next {
    if owners.iter().all(|owner| *owner == owners[0]) {
        return Next::Backend(owners[0]);
    }
    let width = owners.len() / DIGITS as usize;
    let children: Vec<Next> = owners
        .chunks_exact(width)
        .enumerate()
        .map(|(digit, owners)| next(hash, digit as u8, level + 1, owners))
        .collect();
    let rest = children[DIGITS as usize - 1].clone();
    let mut masks: BTreeMap<(u8, Key), (u8, Next)> = BTreeMap::new();
    for (digit, child) in children.into_iter().enumerate().take(DIGITS as usize - 1) {
        if child == rest && matches!(child, Next::Backend(_)) {
            continue;
        }
        // The sixth node cannot share a mask with the others.
        let group = u8::from(digit == 5);
        let key = match &child {
            Next::Backend(index) => Key::Backend(*index),
            Next::Level(number, _) => Key::Level(*number),
        };
        masks.entry((group, key)).or_insert((0, child)).0 |= 1 << digit;
    }
    let mut steps: Vec<(ClusterMask, Next)> = masks
        .into_values()
        .map(|(mask, next)| (ClusterMask::new(mask).expect("a subset of five nodes, or the sixth"), next))
        .collect();
    steps.sort_by_key(|(mask, _)| mask.bits().trailing_zeros());
    Next::Level(number, Box::new(Level { seed: hash.level_seed(level), steps, rest }))
}

/// Digits that lead to one place share a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Backend(u32),
    Level(u8),
}

/// The programs that match clients whose bucket is one of `buckets`: as many as the 64 instructions ask for.
pub fn programs(hash: SourceHash, buckets: &[u32]) -> Vec<BpfProgram> {
    let prologue = prologue(hash);
    let room = MAX_BPF_INSTRUCTIONS - prologue.len() - 2;
    let program = |chunk: &[u32]| {
        let mut code = prologue.clone();
        let count = chunk.len();
        for (index, &bucket) in chunk.iter().enumerate() {
            let to_match = (count - index) as u8;
            code.push(BpfInstruction { code: JEQ_K, jump_true: to_match, jump_false: 0, k: bucket });
        }
        code.push(plain(RET_K, 0));
        code.push(plain(RET_K, 65_535));
        BpfProgram::new(code).expect("the chunk leaves room for two returns")
    };
    buckets.chunks(room).map(program).collect()
}

// Opcodes of classic BPF, linux/bpf_common.h and linux/filter.h.
const LDX_IMM: u16 = 0x01;
const LD_ABS: u16 = 0x20;
const XOR_X: u16 = 0xac;
const MUL_K: u16 = 0x24;
const RSH_K: u16 = 0x74;
const MOD_K: u16 = 0x94;
const TAX: u16 = 0x07;
const JEQ_K: u16 = 0x15;
const RET_K: u16 = 0x06;

/// The source address starts at byte 8 of an IPv6 header.
const SOURCE_OFFSET: u32 = 8;

fn plain(code: u16, k: u32) -> BpfInstruction {
    BpfInstruction { code, jump_true: 0, jump_false: 0, k }
}

/// [`crate::ir::hash::mix6`] of the source address modulo the number of buckets, in the accumulator.
fn prologue(hash: SourceHash) -> Vec<BpfInstruction> {
    let mut code = vec![plain(LDX_IMM, hash.level_seed(0))];
    for word in 0..4 {
        code.push(plain(LD_ABS, SOURCE_OFFSET + 4 * word));
        code.push(plain(XOR_X, 0));
        code.push(plain(MUL_K, MIX6_FACTOR));
        code.push(plain(TAX, 0));
        code.push(plain(RSH_K, MIX6_SHIFT));
        code.push(plain(XOR_X, 0));
        if word < 3 {
            code.push(plain(TAX, 0));
        }
    }
    code.push(plain(MUL_K, MIX6_LAST_FACTOR));
    code.push(plain(TAX, 0));
    code.push(plain(RSH_K, 16));
    code.push(plain(XOR_X, 0));
    code.push(plain(MOD_K, hash.levels.buckets()));
    code
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use super::*;
    use crate::ir::hash::{Hash6, Levels};

    /// Runs a program over an IPv6 header, as the kernel does.
    fn run(program: &BpfProgram, header: &[u8; 40]) -> u32 {
        let (mut a, mut x, mut pc) = (0u32, 0u32, 0usize);
        loop {
            let i = program.instructions()[pc];
            pc += 1;
            match i.code {
                LDX_IMM => x = i.k,
                LD_ABS => {
                    let at = i.k as usize;
                    a = u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
                }
                XOR_X => a ^= x,
                MUL_K => a = a.wrapping_mul(i.k),
                RSH_K => a >>= i.k,
                MOD_K => a %= i.k,
                TAX => x = a,
                JEQ_K => pc += usize::from(if a == i.k { i.jump_true } else { i.jump_false }),
                RET_K => return i.k,
                other => panic!("opcode {other:#x}"),
            }
        }
    }

    #[test]
    fn programs_match_exactly_the_clients_of_their_buckets() {
        let hash = SourceHash { seed: 7, levels: Levels::Three };
        let buckets: Vec<u32> = (0..343).filter(|bucket| bucket % 3 == 0).collect();
        let programs = programs(hash, &buckets);
        assert!(programs.len() > 1);
        for client in 0..500u128 {
            let client = Ipv6Addr::from((0xfd20u128 << 112) | (client * 0x1234_5678_9abc));
            let mut header = [0u8; 40];
            header[8..24].copy_from_slice(&client.octets());
            let matched = programs.iter().any(|program| run(program, &header) != 0);
            assert_eq!(matched, hash.bucket(IpAddr::V6(client), Hash6::Bpf).is_multiple_of(3), "{client}");
        }
    }

    #[test]
    fn levels_lead_every_bucket_to_its_owner() {
        let hash = SourceHash { seed: 0, levels: Levels::Two };
        let owners: Vec<u32> = (0..49).map(|bucket| (bucket * 5 % 11) % 3).collect();
        let tree = levels(hash, &owners);
        for bucket in 0..49u32 {
            let mut node = &tree;
            for digit in [bucket / 7, bucket % 7] {
                let Next::Level(_, level) = node else { break };
                let step = level.steps.iter().find(|(mask, _)| mask.bits() & (1 << digit) != 0);
                node = step.map_or(&level.rest, |(_, next)| next);
            }
            assert_eq!(*node, Next::Backend(owners[bucket as usize]), "bucket {bucket}");
        }
    }
}
