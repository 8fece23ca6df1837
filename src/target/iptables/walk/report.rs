//! Says what of a rule is not known, once.

use crate::target::iptables::dump::{Match, Rule};
use crate::trace::Unknown;

use super::Run;
use super::test::{At, Place};

/// What of a rule is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum About {
    Matches,
    Target,
    /// There are too many rules.
    Tests,
}

impl Run<'_, '_, '_> {
    /// Says which matches of a rule are not known.
    pub(super) fn report_matches(&mut self, rule: &Rule<'_>, at: At<'_>, crowded: bool) {
        if !self.reported.insert((std::ptr::from_ref(rule).addr(), About::Matches)) {
            return;
        }
        let mut parts: Vec<String> = Vec::new();
        for (letter, interface, place) in [("-i", &rule.input, at.input), ("-o", &rule.output, at.output)] {
            if let (Some(interface), Place::Unknown) = (interface, place) {
                let (not, plus) =
                    (if interface.not { "! " } else { "" }, if interface.value.prefix { "+" } else { "" });
                parts.push(format!("{not}{letter} {}{plus}", interface.value.name));
            }
        }
        for one in &rule.matches {
            if let Match::Unknown(text) = one {
                parts.push((*text).to_owned());
            } else if crowded && matches!(one, Match::Random { .. } | Match::Nth { .. }) {
                parts.push("more branches than are followed".to_owned());
            }
        }
        if parts.is_empty() {
            let any = |is: fn(&Match<'_>) -> bool| rule.matches.iter().any(is);
            parts.push(match () {
                () if any(|one| matches!(one, Match::Mark { .. })) => "a mark that is not known".to_owned(),
                () if any(|one| matches!(one, Match::Recent { .. })) => {
                    "a list of addresses that is not known".to_owned()
                }
                () => "a value of the packet that is not known".to_owned(),
            });
        }
        for what in parts {
            self.note(rule, what);
        }
    }

    /// Once for each rule and what it is about.
    pub(super) fn report(&mut self, rule: &Rule<'_>, about: About, what: &str) {
        if self.reported.insert((std::ptr::from_ref(rule).addr(), about)) {
            self.note(rule, what.to_owned());
        }
    }

    fn note(&mut self, rule: &Rule<'_>, what: String) {
        if self.noted.insert((what.clone(), rule.text.to_owned())) {
            self.unknown.push(Unknown { what, rule: rule.text.to_owned() });
        }
    }
}
