//! Names of chains: `LBC-PREROUTING`, `LBC-SVC-tcp-80`, `LBC-SVC-tcp-80/b1`. Stable, readable, at most 28 bytes.

use std::borrow::Cow;

use foldhash::{HashSet, HashSetExt};

use crate::ir::hash::fnv1a_32;
use crate::target::Instance;

use super::model::{ChainName, MAX_CHAIN_NAME, SetName};

/// Gives out names; no name twice.
pub struct Names {
    prefix: String,
    /// `LBC-SVC-` or `LBC-INSTANCE-SVC-`.
    service_prefix: String,
    used: HashSet<String>,
}

impl Names {
    pub fn new(instance: Option<&Instance>) -> Names {
        let prefix = instance.map_or_else(|| "LBC".to_owned(), |instance| format!("LBC-{}", instance.as_str()));
        Names { service_prefix: format!("{prefix}-SVC-"), prefix, used: HashSet::new() }
    }

    /// `LBC` or `LBC-INSTANCE`.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A chain that every program has: `LBC-PREROUTING`.
    pub fn fixed(&mut self, name: &str) -> ChainName {
        let full = format!("{}-{name}", self.prefix);
        self.used.insert(full.clone());
        ChainName::new(full).expect("instances are short enough for every fixed name")
    }

    /// A service's chain, or with a suffix one of those behind it.
    ///
    /// A name that is too long is cut and gets a hash of the whole, before the suffix.
    pub fn service(&mut self, service: &str, suffix: &str) -> ChainName {
        let fits = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\'';
        let service: Cow<'_, str> = match service.bytes().all(fits) {
            true => service.into(),
            false => service.chars().map(|c| if u8::try_from(c).is_ok_and(fits) { c } else { '_' }).collect(),
        };
        Self::fit(&mut self.used, &self.service_prefix, &service, suffix)
    }

    /// A chain that looks for what lies at a place: `LBC-AT-10.0.0.0/8`.
    pub fn place(&mut self, place: &str) -> ChainName {
        Self::fit(&mut self.used, &format!("{}-AT-", self.prefix), place, "")
    }

    fn fit(used: &mut HashSet<String>, start: &str, service: &str, suffix: &str) -> ChainName {
        if start.len() + service.len() + suffix.len() <= MAX_CHAIN_NAME {
            let plain = [start, service, suffix].concat();
            if used.insert(plain.clone()) {
                return ChainName::new(plain).expect("checked above");
            }
        }
        // A suffix that leaves no room is part of the hash, and of nothing else.
        let shown = if start.len() + HASH + suffix.len() <= MAX_CHAIN_NAME { suffix } else { "" };
        let hidden = if shown.is_empty() { suffix } else { "" };
        let mut salt = 0u32;
        loop {
            let salted = salt.to_le_bytes().into_iter().take(4 * usize::from(salt > 0));
            let hash = fnv1a_32(service.bytes().chain(hidden.bytes()).chain(salted));
            let room = MAX_CHAIN_NAME.saturating_sub(start.len() + HASH + shown.len());
            let name = format!("{start}{}~{:06x}{shown}", &service[..room.min(service.len())], hash & 0xff_ffff);
            if used.insert(name.clone()) {
                return ChainName::new(name).expect("cut to fit");
            }
            salt += 1;
        }
    }
}

/// The bytes of a hash in a name, `~` and all.
const HASH: usize = 7;

/// The longest name of a list that is kept as it is: it becomes a file's name (`/proc/net/xt_recent/NAME`).
const MAX_LIST_NAME: usize = 120;

/// The list of a backend's clients, as `LBC:web:10.0.0.1:8080`. No prefix holds a colon, so instances stay apart.
pub fn list(prefix: &str, service: &str, backend: &str) -> String {
    file_name(format!("{prefix}:{service}:{backend}"))
}

/// The buckets of a service with these figures, as `LBC:web:1f2e3d4c`: the kernel keeps the figures of a name in use.
pub fn buckets(prefix: &str, service: &str, figures: &str) -> String {
    file_name(format!("{prefix}:{service}:{:08x}", fnv1a_32(figures.bytes())))
}

/// The set of a backend's clients, as `LBC:web~0123456789abcdef`.
pub fn set(prefix: &str, service: &str, rest: &str) -> SetName {
    const MAX: usize = 31;
    let text = format!("{service} {rest}");
    let hashes = [fnv1a_32(text.bytes()), fnv1a_32(text.bytes().rev())];
    let tail = format!("~{:08x}{:08x}", hashes[0], hashes[1]);
    let clean: String = service.chars().map(|c| if in_a_file_name(c) { c } else { '_' }).collect();
    let room = MAX - (prefix.len() + ":".len() + tail.len()).min(MAX);
    let name = format!("{prefix}:{}{tail}", &clean[..room.min(clean.len())]);
    SetName::new(name).expect("cut to fit, and of harmless characters")
}

fn in_a_file_name(c: char) -> bool {
    c.is_ascii_graphic() && !matches!(c, '/' | '"' | '\'' | '\\')
}

fn file_name(name: String) -> String {
    if name.len() <= MAX_LIST_NAME && name.chars().all(in_a_file_name) {
        return name;
    }
    let tail = format!("~{:08x}{:08x}", fnv1a_32(name.bytes()), fnv1a_32(name.bytes().rev()));
    let clean: String = name.chars().map(|c| if in_a_file_name(c) { c } else { '_' }).collect();
    format!("{}{tail}", &clean[..clean.len().min(MAX_LIST_NAME - tail.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_kept_and_long_ones_are_cut_with_a_hash() {
        let mut names = Names::new(None);
        assert_eq!(names.service("tcp-203.0.113.10-443", "").as_str(), "LBC-SVC-tcp-203.0.113.10-443");
        let long = names.service("tcp-203.0.113.10-443", "/b1");
        assert!(long.as_str().ends_with("/b1") && long.as_str().len() == 28, "{long:?}");
        let other = names.service("tcp-203.0.113.10-444", "/b1");
        assert_ne!(long, other);
    }

    #[test]
    fn suffixes_that_leave_no_room_stand_in_the_hash() {
        let mut names = Names::new(Some(&Instance::new("12345678").expect("a name")));
        let given: Vec<ChainName> = ["/from", "/b65536", "/t7.7.7.7", "/p21.21.21"]
            .into_iter()
            .flat_map(|suffix| [names.service("a-long-service-name", suffix), names.service("b", suffix)])
            .collect();
        assert!(given.iter().all(|name| name.as_str().len() <= 28), "{given:?}");
        let different: HashSet<&str> = given.iter().map(ChainName::as_str).collect();
        assert_eq!(different.len(), given.len());
    }

    #[test]
    fn no_name_is_given_out_twice() {
        let mut names = Names::new(None);
        assert_ne!(names.service("a", ""), names.service("a", ""));
    }

    #[test]
    fn lists_and_sets_are_named_by_service_and_backend() {
        assert_eq!(list("LBC", "web", "10.0.0.1:8080"), "LBC:web:10.0.0.1:8080");
        assert_ne!(list("LBC-a", "b", "10.0.0.1"), list("LBC", "a-b", "10.0.0.1"));
        let slash = list("LBC", "tcp-10.0.0.0/8-80", "10.0.0.1");
        assert!(slash.starts_with("LBC:tcp-10.0.0.0_8-80:10.0.0.1~"), "{slash}");
        let long = "x".repeat(63);
        for name in [set("LBC-12345678", &long, "10.0.0.1 1000"), set("LBC", "a", "10.0.0.1 1000")] {
            assert!(name.as_str().len() <= 31, "{name:?}");
        }
        assert_ne!(set("LBC", "a", "10.0.0.1 1000"), set("LBC", "a", "10.0.0.1 2000"));
        assert_ne!(buckets("LBC", "a", "1/second 1"), buckets("LBC", "a", "1/second 2"));
    }
}
