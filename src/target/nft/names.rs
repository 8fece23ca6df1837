//! Names of chains and comments: readable, stable, unique.

use std::collections::{HashMap, HashSet};

use crate::ir::hash::fnv1a_32;
use crate::ir::{Backend, BackendPort, Config, Family, PerFamily, Service};
use crate::target::Instance;

use super::model::{Comment, Name, short};
use super::words::fits_name;

/// The names that a program's chains go by.
///
/// A service's chain is `svc-NAME-ip4`, parts of it have more behind that; `cell-…`, `dispatch-…`, `refuse` and the
/// base chains start otherwise. So nothing collides once the services' own parts differ. Counters are called
/// `NAME-ip4` and `NAME-ip4/BACKEND`; sets that rules fill have one of a few words behind that, which no map has.
pub struct Names {
    services: Vec<PerFamily<Option<Name>>>,
    comments: Vec<Comment>,
    pub refuse: Name,
}

impl Names {
    pub fn of(config: &Config) -> Names {
        let services = unique(config.services().iter().map(|service| service.name.as_str()));
        let named = |part: &String, service: &Service, family: Family| {
            service.body(family).map(|_| fixed(&format!("{SERVICE}{part}-{}", short(family))))
        };
        let comment = |service| Comment::fitted(&format!("{} {}", config.origin(service), service.name));
        let both = |(part, service): (&String, &Service)| PerFamily {
            v4: named(part, service, Family::V4),
            v6: named(part, service, Family::V6),
        };
        Names {
            services: services.iter().zip(config.services()).map(both).collect(),
            comments: config.services().iter().map(comment).collect(),
            refuse: fixed("refuse"),
        }
    }

    /// The chain of a service in a family that it has a body in.
    pub fn service(&self, service: u32, family: Family) -> &Name {
        self.services[service as usize].get(family).as_ref().expect("a service with a body in the family")
    }

    /// `file:line name` of a service.
    pub fn comment(&self, service: u32) -> &Comment {
        &self.comments[service as usize]
    }

    /// The table: `lbc`, or `lbc-NAME` for an instance.
    pub fn table(&self, instance: Option<&Instance>) -> Name {
        match instance {
            Some(instance) => fixed(&format!("lbc-{}", instance.as_str())),
            None => fixed("lbc"),
        }
    }
}

/// What the names of services' chains start with.
pub const SERVICE: &str = "svc-";

/// A backend in names: `10.0.0.1-8080`, `2001-db8--1`, `local-9050`; with a number behind it where that is not `free`.
pub fn label(backend: Backend, free: impl Fn(&str) -> bool) -> String {
    let (address, port) = match backend {
        Backend::Server(address, port) => (address.to_string().replace(':', "-"), port),
        Backend::Local(port) => ("local".to_owned(), port),
    };
    let label = match port {
        BackendPort::Kept => address,
        BackendPort::Fixed(port) => format!("{address}-{port}"),
        BackendPort::Shifted { first, count, .. } => format!("{address}-{first}-{}", first + (count - 1)),
    };
    // `[2001:db8::1]:80` and `2001:db8::1:80`, and ranges that start at different ports of the listener.
    let numbered = (2..).map(|number: u32| format!("{label}_{number}"));
    let mut all = std::iter::once(label.clone()).chain(numbered);
    all.find(|label| free(label)).expect("some number is free")
}

/// A name that is right by the way it is made: service names are at most 63 bytes long.
pub fn fixed(text: &str) -> Name {
    Name::new(text).expect("made of characters that fit, short, and no keyword")
}

/// A part of a name for each service: `-` for what nft does not take, and a hash where that makes two alike.
fn unique<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let names: Vec<&str> = names.collect();
    let clean: Vec<String> = names.iter().map(|name| name.replace(|c| !fits_name(c), "-")).collect();
    let mut count: HashMap<&str, u32> = HashMap::with_capacity(clean.len());
    for part in &clean {
        *count.entry(part).or_default() += 1;
    }
    let mut taken: HashSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let parts = names.iter().zip(&clean).map(|(name, part)| {
        if name == part {
            return part.clone();
        }
        if count[part.as_str()] == 1 && taken.insert(part.clone()) {
            return part.clone();
        }
        let hashed = (0u32..).map(|salt| {
            let bytes = name.bytes().chain((salt > 0).then(|| salt.to_le_bytes()).into_iter().flatten());
            format!("{part}-{:08x}", fnv1a_32(bytes))
        });
        let mut free = hashed.filter(|part| taken.insert(part.clone()));
        free.next().expect("some salt gives a free name")
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_readable_and_hashed_only_where_they_collide() {
        let parts = unique(["tcp-80", "tcp-2001:db8::1-80", "tcp-80-on-wg*", "tcp-80-on-wg?"].into_iter());
        assert_eq!(parts[..2], ["tcp-80", "tcp-2001-db8--1-80"]);
        assert!(parts[2].starts_with("tcp-80-on-wg--") && parts[3].starts_with("tcp-80-on-wg--"));
        assert_ne!(parts[2], parts[3]);
        assert_eq!(unique(["a-b", "a:b"].into_iter())[0], "a-b");
        assert!(unique(["a-b", "a:b"].into_iter())[1].starts_with("a-b-"));
    }
}
