//! LB108

use crate::diagnostic::{Applicability, Code, Diagnostic, Edit, Fix};
use crate::ir::hash::Levels;
use crate::ir::{Algorithm, Body, Family, Group, Member, Node, Service};
use crate::lint::context::Context;
use crate::lint::{Doc, Lint};

pub const LINT: Lint = Lint {
    code: Code::CoarseHash,
    doc: Doc {
        what: "Finds services by source hash whose buckets cannot be dealt so that every share is right to one percentage point.",
        why: "A bucket is dealt whole. With 7 of them no backend can have a share of 10 %: it gets 14 %. The default of 49 is \
              off by up to 2 points; 343 are never off by more than 0.3.",
        example: "balance tcp 80 by source-hash buckets 7 -> 10.0.0.1 weight 9, 10.0.0.2 weight 1\n",
        instead: "balance tcp 80 by source-hash buckets 49 -> 10.0.0.1 weight 9, 10.0.0.2 weight 1\n",
        fix: "Unsafe: clients move to other backends. It writes the smallest number of buckets that is fine enough.",
    },
    check,
};

/// How far a share may be off: one point, to a tenth. So two halves of 49 buckets, 51.0 and 49.0 %, are fine.
const POINT: f64 = 0.0105;

fn check(context: &Context<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (service, hash) in context.config.services().iter().filter_map(|service| match service.algorithm {
        Algorithm::SourceHash(hash) => Some((service, hash)),
        Algorithm::Random | Algorithm::RoundRobin => None,
    }) {
        let Some((backend, wanted, dealt)) = worst(service, hash.levels.buckets()) else { continue };
        let place = service.options.place("by").unwrap_or(service.loc);
        let finer = [Levels::Two, Levels::Three].into_iter().find(|levels| {
            levels.buckets() > hash.levels.buckets() && groups(service).all(|group| is_fine(group, levels.buckets()))
        });
        let Some(finer) = finer else { continue };
        let message = format!(
            "`{backend}` is to have {:.1} % of the clients, and gets {:.1} % of the {} buckets",
            wanted * 100.0,
            dealt * 100.0,
            hash.levels.buckets(),
        );
        found.push(
            Diagnostic::warning(Code::CoarseHash, place, message)
                .here("too few buckets for these weights")
                .label(service.backends_loc, "dealt to these")
                .help(format!("write `buckets {}`", finer.buckets()))
                .fix(Some(rewrite(context, place, finer.buckets()))),
        );
    }
    found
}

/// Writes the number of buckets into `by source-hash …`.
fn rewrite(context: &Context<'_>, place: crate::source::Loc, buckets: u32) -> Fix {
    let text = context.program.sources.text(place);
    let edit = match text.find("buckets") {
        // The number is the only thing behind the word, or `seed` follows it.
        Some(at) => {
            let behind = &text[at + "buckets".len()..];
            let number = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(0);
            let len = behind[number..].find(|c: char| !c.is_ascii_digit()).unwrap_or(behind.len() - number);
            let start = place.span.start + (at + "buckets".len() + number) as u32;
            Edit::replace(place.source, crate::source::Span::new(start, start + len as u32), buckets.to_string())
        }
        None => Edit::insert(place.source, place.span.end, format!(" buckets {buckets}")),
    };
    Fix::new(Applicability::Unsafe, format!("write `buckets {buckets}`"), vec![edit])
}

fn groups(service: &Service) -> impl Iterator<Item = &Group> {
    Family::ALL.into_iter().filter_map(|family| match service.body(family) {
        Some(Body::Balance(group)) => Some(group),
        Some(Body::Drained(_) | Body::Closed) | None => None,
    })
}

/// The backend whose share is furthest off, where that is too far: what it is to have, and what it gets.
fn worst(service: &Service, buckets: u32) -> Option<(String, f64, f64)> {
    let mut worst: Option<(String, f64, f64)> = None;
    for group in groups(service) {
        let mut dealt = vec![0u32; group.backends.len()];
        group.buckets.iter().for_each(|owner| dealt[*owner as usize] += 1);
        for (index, wanted) in shares(group).into_iter().enumerate() {
            let got = f64::from(dealt[index]) / f64::from(buckets);
            let off = (got - wanted).abs();
            if off > POINT && worst.as_ref().is_none_or(|(_, wanted, got)| off > (got - wanted).abs()) {
                worst = Some((group.backends[index].to_string(), wanted, got));
            }
        }
    }
    worst
}

/// Whether no share can be off by more than a point: each is dealt its whole buckets, and at most one more.
fn is_fine(group: &Group, buckets: u32) -> bool {
    let mut shares: Vec<(f64, f64)> =
        shares(group).into_iter().map(|share| share * f64::from(buckets)).map(|exact| (exact.floor(), exact)).collect();
    let missing = f64::from(buckets) - shares.iter().map(|(floor, _)| floor).sum::<f64>();
    shares.sort_by(|(a, x), (b, y)| (y - b).total_cmp(&(x - a)));
    shares.iter().enumerate().all(|(index, (floor, exact))| {
        let dealt = if (index as f64) < missing { floor + 1.0 } else { *floor };
        (dealt - exact).abs() / f64::from(buckets) <= POINT && (dealt > 0.0 || *exact == 0.0)
    })
}

/// The shares, near enough to be compared with a point.
fn shares(group: &Group) -> Vec<f64> {
    fn add(members: &[Member], of: f64, shares: &mut [f64]) {
        let sum: f64 = members.iter().map(|member| f64::from(member.weight)).sum();
        for member in members.iter().filter(|member| member.weight > 0) {
            let share = of * f64::from(member.weight) / sum;
            match &member.node {
                Node::Backend(index) => shares[*index as usize] = share,
                Node::Pool(members) => add(members, share, shares),
            }
        }
    }
    let mut shares = vec![0.0; group.backends.len()];
    add(&group.members, 1.0, &mut shares);
    shares
}
