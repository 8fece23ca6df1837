//! Pearson's chi-square test of observed shares.

use std::collections::BTreeMap;

/// A correct program fails a test with this probability at most.
const REJECTED_BELOW: f64 = 1e-6;

/// Counts equal servers: `{"b1:8080": 3, "b2:8080": 1}`.
pub fn tally<S: AsRef<str>>(servers: &[S]) -> BTreeMap<&str, u64> {
    let mut counts = BTreeMap::new();
    for server in servers {
        *counts.entry(server.as_ref()).or_default() += 1;
    }
    counts
}

/// Asserts that the servers were reached with the given weights, and nothing else happened.
///
/// A weight of zero asserts that the server was not reached at all.
#[track_caller]
pub fn assert_shares<S: AsRef<str>>(context: &str, servers: &[S], weights: &[(&str, u64)]) {
    if let Err(difference) = check_shares(servers, weights) {
        panic!("{context}: {difference}");
    }
}

/// As [`assert_shares`]; the error says how they differ.
pub fn check_shares<S: AsRef<str>>(servers: &[S], weights: &[(&str, u64)]) -> Result<(), String> {
    let counts = tally(servers);
    for server in counts.keys() {
        let expected = weights.iter().any(|(name, weight)| name == server && *weight > 0);
        if !expected {
            return Err(format!("`{server}` should get nothing\n  {counts:?}\n  weights {weights:?}"));
        }
    }
    let weighty: Vec<(&str, u64)> = weights.iter().copied().filter(|(_, weight)| *weight > 0).collect();
    let observed: Vec<u64> = weighty.iter().map(|(name, _)| counts.get(name).copied().unwrap_or(0)).collect();
    let expected: Vec<u64> = weighty.iter().map(|(_, weight)| *weight).collect();
    let p = p_value(&observed, &expected);
    if p < REJECTED_BELOW {
        return Err(format!("p = {p:e}\n  {counts:?}\n  weights {weights:?}"));
    }
    Ok(())
}

/// The probability that shares deviate from the weights at least as much as the observed counts do.
pub fn p_value(observed: &[u64], weights: &[u64]) -> f64 {
    assert_eq!(observed.len(), weights.len(), "a count for each weight");
    let total: u64 = observed.iter().sum();
    let weight_sum: u64 = weights.iter().sum();
    let chi_square: f64 = observed
        .iter()
        .zip(weights)
        .map(|(&count, &weight)| {
            let expected = total as f64 * weight as f64 / weight_sum as f64;
            (count as f64 - expected).powi(2) / expected
        })
        .sum();
    match weights.len() {
        0 | 1 => 1.0,
        categories => upper_gamma((categories - 1) as f64 / 2.0, chi_square / 2.0),
    }
}

/// The regularised upper incomplete gamma function Q(a, x).
///
/// Series below `a + 1`, Lentz's continued fraction above (Numerical Recipes, 6.2).
fn upper_gamma(a: f64, x: f64) -> f64 {
    const STEPS: u32 = 10_000;
    const ENOUGH: f64 = 1e-15;
    const TINY: f64 = 1e-300;
    if x <= 0.0 {
        return 1.0;
    }
    let scale = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let mut term = 1.0 / a;
        let mut sum = term;
        for step in 1..STEPS {
            term *= x / (a + f64::from(step));
            sum += term;
            if term < sum * ENOUGH {
                break;
            }
        }
        return 1.0 - scale * sum;
    }
    let mut b = x + 1.0 - a;
    let mut c = 1.0 / TINY;
    let mut d = 1.0 / b;
    let mut fraction = d;
    for step in 1..STEPS {
        let step = f64::from(step);
        let factor = -step * (step - a);
        b += 2.0;
        d = 1.0 / not_zero(factor.mul_add(d, b), TINY);
        c = not_zero(b + factor / c, TINY);
        fraction *= d * c;
        if (d * c - 1.0).abs() < ENOUGH {
            break;
        }
    }
    scale * fraction
}

fn not_zero(value: f64, tiny: f64) -> f64 {
    if value.abs() < tiny { tiny } else { value }
}

/// ln Γ(a) for a = 1/2, 1, 3/2, …, which are all that a chi-square test needs: exact recurrence.
fn ln_gamma(a: f64) -> f64 {
    let halves = (a * 2.0).round() as u64;
    let (start, mut value) = if halves.is_multiple_of(2) { (1.0, 0.0) } else { (0.5, std::f64::consts::PI.ln() / 2.0) };
    let mut at: f64 = start;
    while at < a - 0.25 {
        value += at.ln();
        at += 1.0;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::{assert_shares, p_value, upper_gamma};

    /// The usual table of critical values: (degrees of freedom, chi-square, p).
    const TABLE: [(f64, f64, f64); 8] = [
        (1.0, 3.841_458_820_694_124, 0.05),
        (1.0, 6.634_896_601_021_214, 0.01),
        (2.0, 5.991_464_547_107_979, 0.05),
        (2.0, 27.631_021_115_928_547, 1e-6),
        (5.0, 11.070_497_693_516_351, 0.05),
        (10.0, 3.940_299_136_119_066, 0.95),
        (36.0, 50.998_460_165_710_65, 0.05),
        (100.0, 124.342_113_404_004_08, 0.05),
    ];

    #[test]
    fn upper_gamma_agrees_with_the_table() {
        for (degrees, chi_square, expected) in TABLE {
            let p = upper_gamma(degrees / 2.0, chi_square / 2.0);
            assert!((p / expected - 1.0).abs() < 1e-9, "df {degrees}: {p} instead of {expected}");
        }
    }

    #[test]
    fn exact_shares_have_the_greatest_p() {
        assert_eq!(p_value(&[300, 200, 100], &[3, 2, 1]), 1.0);
        assert_eq!(p_value(&[17], &[5]), 1.0);
    }

    #[test]
    fn equal_shares_are_not_three_to_one() {
        assert!(p_value(&[500, 500], &[3, 1]) < 1e-6);
    }

    #[test]
    #[should_panic(expected = "`b2:80` should get nothing")]
    fn a_drained_backend_that_is_reached_fails() {
        let mut servers = vec!["b1:80"; 1000];
        servers.push("b2:80");
        assert_shares("drained", &servers, &[("b1:80", 1), ("b2:80", 0)]);
    }

    #[test]
    #[should_panic(expected = "`(refused)` should get nothing")]
    fn an_unexpected_refusal_fails() {
        assert_shares("refused", &["b1:80", "(refused)"], &[("b1:80", 1)]);
    }
}
