//! What an algorithm needs beside the weights: the slots of a round robin are counted, the buckets of a hash are dealt.

use num_bigint::BigUint;
use num_traits::{ToPrimitive, Zero};

use crate::diagnostic::{Code, Diagnostic};
use crate::ir::hash::{Levels, SourceHash};
use crate::ir::share::{Share, largest_remainder, shares};
use crate::ir::{Algorithm, Body, Family, Group, Node, PerFamily, deal};
use crate::source::Loc;

use super::Context;

/// The most slots of a round robin (language section 5.2).
const MAX_SLOTS: u32 = 4_096;

/// Completes a service's groups for its algorithm, or reports why their shares cannot be had (LB016).
///
/// `list` is the place of the backends, `by` that of the algorithm where it is written.
pub fn finish(
    context: &mut Context<'_>,
    bodies: &mut PerFamily<Option<Body>>,
    algorithm: Algorithm,
    list: Loc,
    by: Option<Loc>,
) {
    let mut problems: Vec<(Family, Problem)> = Vec::new();
    for family in Family::ALL {
        let group = match bodies.get_mut(family) {
            Some(Body::Balance(group)) => group,
            Some(Body::Drained(_) | Body::Closed) | None => continue,
        };
        let problem = match algorithm {
            Algorithm::Random => check_shares(group),
            Algorithm::RoundRobin => check_slots(group),
            Algorithm::SourceHash(hash) => deal_buckets(group, hash),
        };
        problems.extend(problem.map(|problem| (family, problem)));
    }
    let both = matches!(problems.as_slice(), [(_, one), (_, other)] if one == other);
    for (family, problem) in problems.into_iter().take(if both { 1 } else { 2 }) {
        let over = if both { String::new() } else { format!(" over {}", family.name()) };
        let message = format!("{}{over}; {}", problem.needs, problem.limit);
        let error = Diagnostic::error(Code::UnrepresentableWeight, list, message).here("these weights");
        let error = match by {
            Some(by) => error.label(by, problem.why),
            None => error,
        };
        context.error(error.help(problem.help));
    }
}

/// Why the shares cannot be had.
#[derive(PartialEq, Eq)]
struct Problem {
    /// What the weights would need.
    needs: String,
    /// What there is.
    limit: String,
    /// What the algorithm has to do with it.
    why: &'static str,
    help: String,
}

/// The bits in which the targets draw; a share that is less than half of the last rounds to nothing in all of them.
const DRAWN_BITS: u32 = 32;

/// Weights of one list are never so far apart: only pools in pools can be.
fn check_shares(group: &Group) -> Option<Problem> {
    if group.members.iter().all(|member| matches!(member.node, Node::Backend(_))) {
        return None;
    }
    let vanishes = |share: &Share| !share.is_zero() && (share.numer() << (DRAWN_BITS + 1)) < *share.denom();
    let shares = shares(&group.members, group.backends.len());
    let place = shares.iter().position(vanishes)?;
    Some(Problem {
        needs: format!("the share of `{}` is less than half of 2^-{DRAWN_BITS}", group.backends[place]),
        limit: "it rounds to nothing".to_owned(),
        why: "picks with so many bits",
        help: "use weights that differ less".to_owned(),
    })
}

fn check_slots(group: &Group) -> Option<Problem> {
    let flat = group.members.iter().all(|member| matches!(member.node, Node::Backend(_)));
    let sum: u64 = group.members.iter().map(|member| u64::from(member.weight)).sum();
    if flat && sum <= u64::from(MAX_SLOTS) {
        return None;
    }
    let shares = shares(&group.members, group.backends.len());
    let needed = match slots(&shares) {
        Some(slots) if slots <= u64::from(MAX_SLOTS) => return None,
        Some(slots) => slots.to_string(),
        None => format!("more than {MAX_SLOTS}"),
    };
    Some(Problem {
        needs: format!("a round robin with these weights has {needed} slots"),
        limit: format!("{MAX_SLOTS} are the most"),
        why: "takes the backends in turn",
        help: smaller_ratio(&shares),
    })
}

/// The sum of the shares' smallest whole ratio: their common denominator. `None` where it outgrows 64 bits.
fn slots(shares: &[Share]) -> Option<u64> {
    shares.iter().filter(|share| !share.is_zero()).try_fold(1u64, |common, share| {
        let denominator = share.denom().to_u64()?;
        (common / num_integer::gcd(common, denominator)).checked_mul(denominator)
    })
}

/// The ratio with at most [`MAX_SLOTS`] slots that is nearest to the shares, as help.
fn smaller_ratio(shares: &[Share]) -> String {
    let positive: Vec<f64> =
        shares.iter().filter(|share| !share.is_zero()).map(|share| share.to_f64().unwrap_or(0.0)).collect();
    if positive.len() > MAX_SLOTS as usize {
        return "there are more backends than slots; use `by random`".to_owned();
    }
    let fewest = positive.len() as u32;
    // Every number of slots is tried, for lists of a size at which that takes no time.
    let totals = if fewest > 64 { MAX_SLOTS..=MAX_SLOTS } else { fewest..=MAX_SLOTS };
    let mut best = (f64::INFINITY, Vec::new());
    for total in totals {
        let parts = nearest_parts(&positive, total);
        let error = largest_error(&positive, &parts);
        if error < best.0 {
            best = (error, parts);
        }
    }
    let (error, parts) = best;
    let divisor = parts.iter().copied().fold(0, num_integer::gcd).max(1);
    let mut written: Vec<String> = parts.iter().take(8).map(|part| (part / divisor).to_string()).collect();
    if parts.len() > 8 {
        written.push("…".to_owned());
    }
    let error = match error * 100.0 {
        error if error < 0.000_1 => "less than 0.0001 %".to_owned(),
        error => format!("{error:.4} %"),
    };
    format!(
        "the nearest smaller ratio is `{}`, where no share is off by more than {error} of all connections; \
         or use `by random`",
        written.join(":")
    )
}

/// `total` slots dealt by largest remainder, at least one to each.
fn nearest_parts(shares: &[f64], total: u32) -> Vec<u32> {
    let exact: Vec<f64> = shares.iter().map(|share| share * f64::from(total)).collect();
    let mut parts: Vec<u32> = exact.iter().map(|exact| (*exact as u32).max(1)).collect();
    let sum: u32 = parts.iter().sum();
    // Who is furthest below its exact part gets one more; who is furthest above, one less.
    let wants = |index: usize, parts: &[u32]| exact[index] - f64::from(parts[index]);
    let mut order: Vec<usize> = (0..parts.len()).collect();
    if sum < total {
        order.sort_by(|&a, &b| wants(b, &parts).total_cmp(&wants(a, &parts)).then(a.cmp(&b)));
        for &index in order.iter().cycle().take((total - sum) as usize) {
            parts[index] += 1;
        }
    }
    for _ in total..sum {
        let above = order.iter().copied().filter(|&index| parts[index] > 1);
        if let Some(index) = above.min_by(|&a, &b| wants(a, &parts).total_cmp(&wants(b, &parts)).then(a.cmp(&b))) {
            parts[index] -= 1;
        }
    }
    parts
}

fn largest_error(shares: &[f64], parts: &[u32]) -> f64 {
    let total = f64::from(parts.iter().sum::<u32>());
    shares.iter().zip(parts).map(|(share, part)| (share - f64::from(*part) / total).abs()).fold(0.0, f64::max)
}

fn deal_buckets(group: &mut Group, hash: SourceHash) -> Option<Problem> {
    let shares = shares(&group.members, group.backends.len());
    let buckets = hash.levels.buckets();
    if let Some(index) = without_bucket(&shares, buckets) {
        let more = [Levels::One, Levels::Two, Levels::Three].map(Levels::buckets);
        let enough =
            more.into_iter().filter(|&more| more > buckets).find(|&more| without_bucket(&shares, more).is_none());
        let help = match enough {
            Some(enough) => format!("write `by source-hash buckets {enough}`, or weights that differ less"),
            None => "use `by random`, or weights that differ less".to_owned(),
        };
        return Some(Problem {
            needs: format!(
                "the share of `{}` ({}) is too small for a bucket",
                group.backends[index],
                printed(&shares[index]),
            ),
            limit: format!("there are {buckets}"),
            why: "deals its buckets to the backends",
            help,
        });
    }
    group.buckets = deal::deal(&group.backends, &shares, buckets);
    None
}

/// The first backend with a share that gets no bucket.
fn without_bucket(shares: &[Share], buckets: u32) -> Option<usize> {
    let mut positive = (0..shares.len()).filter(|&index| !shares[index].is_zero());
    // Counted before anything is dealt: there may be tens of thousands.
    if positive.clone().nth(buckets as usize).is_some() {
        let smallest = positive.clone().min_by(|&a, &b| shares[a].cmp(&shares[b]));
        return smallest;
    }
    let parts = largest_remainder(shares, buckets);
    positive.find(|&index| parts[index] == 0)
}

/// A share as a fraction, or in percent where the fraction is too long to read.
fn printed(share: &Share) -> String {
    let readable = BigUint::from(1_000_000_000u32);
    match *share.denom() <= readable {
        true => share.to_string(),
        false => format!("{:.2e} %", share.to_f64().unwrap_or(0.0) * 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(weights: &[u32]) -> Vec<Share> {
        let sum: u32 = weights.iter().sum();
        weights.iter().map(|&weight| Share::new(weight.into(), sum.into())).collect()
    }

    #[test]
    fn slots_are_the_common_denominator() {
        assert_eq!(slots(&of(&[2, 1])), Some(3));
        assert_eq!(slots(&of(&[50, 50])), Some(2));
        assert_eq!(slots(&of(&[5000, 1])), Some(5001));
        let huge: Vec<Share> = [4_294_967_291u64, 4_294_967_279, 4_294_967_231]
            .iter()
            .map(|&prime| Share::new(1u32.into(), prime.into()))
            .collect();
        assert_eq!(slots(&huge), None);
    }

    #[test]
    fn the_nearest_smaller_ratio_need_not_use_every_slot() {
        assert!(smaller_ratio(&of(&[33_333, 66_667])).contains("`1:2`"), "{}", smaller_ratio(&of(&[33_333, 66_667])));
        assert!(smaller_ratio(&of(&[5000, 1])).contains("`4095:1`"), "{}", smaller_ratio(&of(&[5000, 1])));
        assert!(smaller_ratio(&of(&[65_535, 1, 1])).contains("`4094:1:1`"));
    }

    #[test]
    fn every_backend_keeps_a_slot() {
        for total in [3, 7, 4096] {
            let parts = nearest_parts(&[0.999_998, 0.000_001, 0.000_001], total);
            assert_eq!(parts.iter().sum::<u32>(), total);
            assert!(parts.iter().all(|&part| part > 0), "{parts:?}");
        }
    }

    #[test]
    fn a_share_without_a_bucket_is_found() {
        assert_eq!(without_bucket(&of(&[1; 49]), 49), None);
        assert_eq!(without_bucket(&of(&[1; 50]), 49), Some(0));
        assert_eq!(without_bucket(&of(&[200, 1]), 49), Some(1));
        assert_eq!(without_bucket(&of(&[200, 1]), 343), None);
    }
}
