//! What filters keep from the goal that translation gave it.

use num_traits::Zero;

use crate::address::{address, last, number};
use crate::cli::rules::Rules;
use crate::ir::Family;
use crate::ir::share::Share;
use crate::listeners::{Case, Fate};
use crate::meaning::Action;
use crate::trace::{Packet, Trace, Unknown};

/// What filters do to a case.
#[derive(Default)]
pub struct Filtered {
    pub refused: Vec<Refused>,
    /// What is not known of the rules that refuse.
    pub unknown: Vec<Unknown>,
    /// Why it cannot be told.
    pub untold: Option<String>,
    /// As [`Trace::loose`], of what is refused.
    pub loose: bool,
}

/// What rules that only filter keep from a translated connection's goal.
#[derive(PartialEq, Eq)]
pub struct Refused {
    pub share: Share,
    pub action: Action,
    /// The first of the matches that are not known, where it hangs on any.
    pub unless: Option<String>,
    /// First and last, ascending; `None` for all clients of the case.
    pub clients: Option<Vec<(u128, u128)>>,
}

/// Clients that are told apart for one case.
const MAX_STRETCHES: usize = 64;

/// What filters take of a case, beyond what those rules take that translate. Said of the first way in which the case's
/// connections begin.
pub fn filtered(case: &Case, translating: &Trace, all: &dyn Rules) -> Filtered {
    let mut found = Filtered::default();
    let mut told: Vec<Refused> = Vec::new();
    let mut passes = false;
    let whole = stretches(case, all);
    // Where they are too many one client speaks, for itself alone.
    passes |= whole.is_none() && !matches!(case.fate, Fate::Hashed(_));
    let one = number(case.packet.source);
    for (first, end) in whole.unwrap_or_else(|| vec![(one, one)]) {
        // An ordinary client, where that is one of them.
        let usual = number(case.packet.source);
        let client = if (first..=end).contains(&usual) { usual } else { first };
        let packet = Packet { source: address(Family::of(case.packet.source), client), ..case.packet.clone() };
        let mut answer = all.answer(&packet, &case.machine);
        if answer.cut {
            found.untold = Some(format!("what filters then do cannot be told: {}", cut_at(&mut answer.unknown)));
            continue;
        }
        let mut loose = false;
        if answer.in_step.is_some() {
            // Its shares are not those of the case.
            let trace = all.walk(&packet, &case.machine, false);
            (answer.actions, answer.unknown, loose) = (trace.actions(), trace.unknown, trace.loose);
        }
        let Some(mut refused) = refused(&answer.actions, translating, &answer.unknown) else {
            passes = true;
            continue;
        };
        found.loose |= loose;
        found.unknown.extend(answer.unknown);
        match told
            .iter_mut()
            .find(|own| (&own.share, &own.action, &own.unless) == (&refused.share, &refused.action, &refused.unless))
        {
            Some(own) => own.clients.get_or_insert_default().push((first, end)),
            None => {
                refused.clients = Some(vec![(first, end)]);
                told.push(refused);
            }
        }
    }
    if let ([only], false) = (&mut told[..], passes || found.untold.is_some()) {
        only.clients = None;
    }
    told.iter_mut().filter_map(|one| one.clients.as_mut()).for_each(join);
    found.refused = told;
    found
}

/// The clients of a case, cut where filters ask about them; `None` where they are too many, or a hash tells each apart.
fn stretches(case: &Case, all: &dyn Rules) -> Option<Vec<(u128, u128)>> {
    let family = Family::of(case.packet.source);
    if let Fate::Hashed(_) = case.fate {
        return None;
    }
    let mut list = Vec::new();
    for (first, end) in case.sources.clone().unwrap_or_else(|| vec![(0, last(family))]) {
        let mut at = Some(first);
        while let Some(source) = at.filter(|at| *at <= end) {
            if list.len() == MAX_STRETCHES {
                return None;
            }
            let packet = Packet { source: address(family, source), ..case.packet.clone() };
            let next = all.answer(&packet, &case.machine).horizon.source;
            let last = next.map_or(end, |next| end.min(next - 1));
            list.push((source, last));
            at = last.checked_add(1);
        }
    }
    Some(list)
}

fn refused(actions: &[(Action, Share)], translating: &Trace, unknown: &[Unknown]) -> Option<Refused> {
    let unless = unknown.iter().find(|one| !translating.unknown.contains(one)).map(|one| one.what.clone());
    [Action::Drop, Action::Reject].into_iter().find_map(|action| {
        let after: Share = actions.iter().filter(|(own, _)| *own == action).map(|(_, share)| share.clone()).sum();
        let own = translating.outcomes.iter().filter(|one| one.action == action);
        let before: Share = own.map(|one| one.share.clone()).sum();
        let share = if after > before { after - before } else { Share::zero() };
        (!share.is_zero()).then(|| Refused { share, action, unless: unless.clone(), clients: None })
    })
}

/// Stretches next to each other become one.
fn join(list: &mut Vec<(u128, u128)>) {
    list.dedup_by(|next, own| {
        let meets = own.1.checked_add(1) == Some(next.0);
        if meets {
            own.1 = next.1;
        }
        meets
    });
}

/// Why a walk was left, and at which rule: takes that from what is not known.
pub fn cut_at(unknown: &mut Vec<Unknown>) -> String {
    match unknown.pop() {
        Some(Unknown { what, rule }) => format!("{what}, as at {rule}"),
        None => "too many rules".to_owned(),
    }
}
