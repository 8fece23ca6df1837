//! What stands between a service's clients and the pick of a backend: counting, the log, limits, and who is known.
//!
//! The order is that of [`Front::rules`]: everyone is counted and logged, then the surplus is sent away, and only what
//! is left takes a slot or a place in a list.

use smallvec::smallvec;

use crate::diagnostic::{Code, Diagnostic};
use crate::ir::options::{Limit, Options};
use crate::ir::{Backend, Family, Service};
use crate::option::Else;
use crate::target::StickyStore;

use super::model::{
    ChainId, ClientSet, CommentId, MAX_BURST, MAX_RATE, MAX_SET_TIMEOUT, Match, Matches, RateAbove, Recent, Rule,
    SetName, Target,
};
use super::names;

/// Above this rate a token takes less than 100 of hashlimit's microseconds, and rounding would be off by over 1 %.
const MAX_ROUNDED_RATE: u64 = 10_000;

/// A bucket that takes longer to fill overflows the kernel's 64 bits of credits (`user2credits` in xt_hashlimit).
const MAX_REFILL_SECONDS: u64 = 86_400;

/// LB019 for options that iptables cannot do as they are written.
pub fn check(service: &Service, store: StickyStore) -> Vec<Diagnostic> {
    let options = &service.options;
    let mut errors = Vec::new();
    let mut refuse = |keyword: &str, message: String, help: &str| {
        let place = options.place(keyword).unwrap_or(service.loc);
        errors.push(
            Diagnostic::error(Code::UnsupportedOnTarget, place, message).here("not on the iptables target").help(help),
        );
    };
    if let Some(millis) = options.sticky {
        if millis % 1_000 != 0 {
            refuse(
                "sticky",
                format!("the iptables target remembers clients for whole seconds, not for {millis} ms"),
                "write a number of seconds, or use the nft target",
            );
        } else if store == StickyStore::Ipset && millis / 1_000 > MAX_SET_TIMEOUT {
            refuse(
                "sticky",
                format!("an ipset remembers for at most {MAX_SET_TIMEOUT} seconds (24 days)"),
                "write a shorter time, or use `--sticky-store recent`",
            );
        }
    }
    if let Some(limit) = &options.limit {
        let per_hour = u64::from(limit.rate) * 3_600 / limit.unit.seconds();
        let micros = limit.unit.seconds() * 1_000_000;
        if per_hour > MAX_RATE * 3_600 {
            refuse(
                "limit",
                format!("the iptables target counts at most {MAX_RATE} connections a second"),
                "write a lower rate, or use the nft target",
            );
        } else if per_hour > MAX_ROUNDED_RATE * 3_600 && !micros.is_multiple_of(u64::from(limit.rate)) {
            refuse(
                "limit",
                format!(
                    "the iptables target counts whole microseconds, which {}/{} is not",
                    limit.rate,
                    limit.unit.name()
                ),
                "above 10000 a second, write a rate that divides 1000000, or use the nft target",
            );
        }
        if limit.burst > MAX_BURST {
            refuse(
                "limit",
                format!("the iptables target allows a burst of at most {MAX_BURST}, not {}", limit.burst),
                "write `burst` with a lower number, or use the nft target",
            );
        } else if limit.refill_seconds() > MAX_REFILL_SECONDS {
            refuse(
                "limit",
                format!("a burst of {} takes longer than a day to come back at this rate", limit.burst),
                "write `burst` with a lower number: the iptables target keeps at most a day of it",
            );
        }
    }
    errors
}

/// The rules of one service in one family.
pub struct Front<'a> {
    pub service: &'a Service,
    pub family: Family,
    pub prefix: &'a str,
    pub store: StickyStore,
}

impl<'a> Front<'a> {
    fn options(&self) -> &'a Options {
        &self.service.options
    }

    /// Counting and the log, which are for drained services too.
    pub fn seen(&self, count: Option<CommentId>, comment: CommentId) -> Vec<Rule> {
        let mut rules = Vec::new();
        if let Some(count) = count {
            rules.push(Rule { comment: Some(count), target: Target::Count, ..Rule::EMPTY });
        }
        if let Some(prefix) = &self.options().log {
            let target = Target::Log(Box::new(prefix.clone()));
            rules.push(Rule { matches: smallvec![Match::LogRate], comment: Some(comment), target, ..Rule::EMPTY });
        }
        rules
    }

    /// The limits; `sink` says where the surplus goes.
    pub fn limits(&self, comment: CommentId, mut sink: impl FnMut(Else) -> ChainId) -> Vec<Rule> {
        let mut rules = Vec::new();
        let mut push = |one: Match, otherwise| {
            let target = Target::Goto(sink(otherwise));
            rules.push(Rule { matches: smallvec![one], comment: Some(comment), target, ..Rule::EMPTY });
        };
        if let Some(limit) = &self.options().limit {
            push(Match::RateAbove(Box::new(self.rate(limit))), limit.otherwise);
        }
        if let Some(most) = &self.options().max_connections {
            let client = most.per_source.then_some(self.family);
            push(Match::CountAbove { count: most.count, client }, most.otherwise);
        }
        rules
    }

    fn rate(&self, limit: &Limit) -> RateAbove {
        let Limit { rate, unit, burst, per_source, .. } = *limit;
        let expire = u32::try_from(limit.refill_seconds().max(1) * 1_000).unwrap_or(u32::MAX);
        let name =
            names::buckets(self.prefix, &self.service.name, &format!("{rate}/{} {burst} {per_source}", unit.name()));
        RateAbove { rate, unit, burst, per_source, expire, name }
    }

    /// Whether a client is known to a backend: a match, where the service is sticky.
    pub fn known(&self, backend: Backend) -> Option<Match> {
        let millis = self.options().sticky?;
        Some(match self.store {
            StickyStore::Recent => {
                let seconds = Some((millis / 1_000).max(1));
                Match::Recent(Box::new(Recent { seconds, name: self.list(backend), family: self.family }))
            }
            StickyStore::Ipset => Match::InSet(self.set(backend, millis)),
        })
    }

    /// The rule that remembers a client at a backend.
    pub fn remember(&self, backend: Backend) -> Option<(Matches, Target)> {
        let millis = self.options().sticky?;
        Some(match self.store {
            StickyStore::Recent => {
                let recent = Recent { seconds: None, name: self.list(backend), family: self.family };
                (smallvec![Match::Recent(Box::new(recent))], Target::Count)
            }
            StickyStore::Ipset => (Matches::new(), Target::Remember(Box::new(self.set(backend, millis)))),
        })
    }

    /// The set behind [`Front::known`], where there is one.
    pub fn client_set(&self, backend: Backend) -> Option<ClientSet> {
        let millis = self.options().sticky.filter(|_| self.store == StickyStore::Ipset)?;
        Some(ClientSet { name: self.set(backend, millis), family: self.family, timeout: (millis / 1_000).max(1) })
    }

    /// Lists are found by name alone, whatever the family.
    fn list(&self, backend: Backend) -> String {
        names::list(self.prefix, &self.service.name, &self.backend(backend))
    }

    /// A set keeps its timeout for life: another timeout is another set.
    fn set(&self, backend: Backend, millis: u32) -> SetName {
        names::set(self.prefix, &self.service.name, &format!("{} {millis}", self.backend(backend)))
    }

    fn backend(&self, backend: Backend) -> String {
        match (backend, self.family) {
            (Backend::Server(..), _) => backend.to_string(),
            (Backend::Local(_), Family::V4) => format!("ip4{backend}"),
            (Backend::Local(_), Family::V6) => format!("ip6{backend}"),
        }
    }
}
