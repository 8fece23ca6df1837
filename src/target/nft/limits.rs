//! What a service does with its connections before one of them picks a backend: counts, logs, and keeps out the surplus.

use crate::ir::options::{Limit, MaxConnections};
use crate::option::limit::Unit;

use super::model::{Memory, Rate, Remember, Remembered, Rule, Statement};
use super::service::Maker;

/// So that a flood of connections is no flood of lines.
const LOGGED: Rate = Rate { over: false, rate: 1, unit: Unit::Second, burst: 10 };

impl Maker<'_> {
    /// The rules that see every connection that the service is for.
    pub fn watching(&mut self) -> Vec<Rule> {
        let mut rules = Vec::new();
        if self.service.options.counter {
            let name = self.named("");
            self.made.counters.push(name.clone());
            rules.push(self.rule(vec![Statement::Counter(name)]));
        }
        if let Some(prefix) = &self.service.options.log {
            rules.push(self.rule(vec![Statement::Limit(LOGGED), Statement::Log(prefix.clone())]));
        }
        rules
    }

    /// The rules for the surplus. One of a client that cannot be remembered, because too many others are, passes.
    pub fn limiting(&mut self) -> Vec<Rule> {
        let limit = self.service.options.limit.map(|limit| self.limit(limit));
        let most = self.service.options.max_connections.map(|most| self.max_connections(most));
        limit.into_iter().chain(most).collect()
    }

    fn limit(&mut self, limit: Limit) -> Rule {
        let Limit { rate, unit, burst, per_source, otherwise } = limit;
        let rate = Rate { over: true, rate, unit, burst };
        let asked = match per_source {
            // A client that is forgotten starts with a full bucket: by then its own would be full too.
            true => self.per_source("-limit", Some(limit.refill_seconds().max(1) * 1000), Remember::Limit(rate)),
            false => Statement::Limit(rate),
        };
        let end = self.end(otherwise);
        self.rule(vec![asked, end])
    }

    fn max_connections(&mut self, most: MaxConnections) -> Rule {
        let asked = match most.per_source {
            // The kernel drops clients without connections by itself.
            true => self.per_source("-connections", None, Remember::CountOver(most.count)),
            false => Statement::CountOver(most.count),
        };
        let end = self.end(most.otherwise);
        self.rule(vec![asked, end])
    }

    fn per_source(&mut self, suffix: &str, timeout: Option<u64>, what: Remember) -> Statement {
        let memory = self.named(suffix);
        let family = self.family;
        self.made.memories.push(Memory { name: memory.clone(), family, data: Remembered::Nothing, timeout });
        Statement::Remember { family, memory, what }
    }
}
