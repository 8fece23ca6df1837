//! What the language says and nft cannot: LB019, with the way out.

use crate::diagnostic::{Code, Diagnostic};
use crate::dispatch::owners::{Claim, Effect, claims};
use crate::ir::{Config, Family, Interface, Service};

use super::Format;
use super::text::forward;

pub fn errors(config: &Config, format: Format) -> Vec<Diagnostic> {
    let of = |service| {
        let all =
            [unwritable_interface(service), dollar(service), slow_bucket(service), part_of_a_second(service, format)];
        all.into_iter().flatten()
    };
    config.services().iter().flat_map(of).chain(accepts(config)).collect()
}

fn cannot(service: &Service, option: &str, message: String) -> Diagnostic {
    let place = service.options.place(option).unwrap_or(service.loc);
    Diagnostic::error(Code::UnsupportedOnTarget, place, message)
}

/// A prefix that nft would read as a whole name (`\*` is its way to write a star), and a name that its JSON would read as
/// a set's (`@name`).
fn unwritable_interface(service: &Service) -> Option<Diagnostic> {
    let on = service.on.as_ref()?;
    let set = on.interfaces.iter().find_map(|interface| match interface {
        Interface::Exact(name) | Interface::Prefix(name) => name.starts_with('@').then_some(name),
    });
    if let Some(name) = set {
        let message = format!("the nftables target cannot write the interface `{name}`: its JSON takes `@` for a set");
        let help = "rename the interface, or use the iptables target";
        return Some(
            Diagnostic::error(Code::UnsupportedOnTarget, service.loc, message).here("in this statement").help(help),
        );
    }
    let prefix = on.interfaces.iter().find_map(|interface| match interface {
        Interface::Prefix(prefix) if prefix.ends_with('\\') => Some(prefix),
        Interface::Prefix(_) | Interface::Exact(_) => None,
    })?;
    let message = format!("the nftables target cannot write `{prefix}*`: nft takes `\\*` for a star");
    Some(
        Diagnostic::error(Code::UnsupportedOnTarget, service.loc, message)
            .here("in this statement")
            .help("list the interfaces by their whole names"),
    )
}

/// nft has no escape for `$` in a log prefix; from JSON it takes one, and lists what it cannot load again.
fn dollar(service: &Service) -> Option<Diagnostic> {
    let prefix = service.options.log.as_ref().filter(|prefix| prefix.as_str().contains('$'))?;
    let message =
        format!("the nftables target cannot write the log prefix `{}`: nft takes `$` for a variable", prefix.as_str());
    Some(cannot(service, "log", message).here("this prefix").help("leave the `$` out, or use the iptables target"))
}

/// Seconds that a bucket may take to fill: 68 years. The kernel counts nanoseconds in 63 bits, and nft's JSON has 31 for
/// the seconds after which a client is forgotten.
const MAX_REFILL: u64 = i32::MAX as u64;

fn slow_bucket(service: &Service) -> Option<Diagnostic> {
    let limit = service.options.limit.filter(|limit| limit.refill_seconds() > MAX_REFILL)?;
    let message = format!(
        "the nftables target cannot hold a burst of {} at {}/{}: it would take longer than 68 years to fill",
        limit.burst,
        limit.rate,
        limit.unit.name()
    );
    Some(cannot(service, "limit", message).here("this limit").help("write a smaller burst"))
}

fn part_of_a_second(service: &Service, format: Format) -> Option<Diagnostic> {
    let millis = service.options.sticky.filter(|millis| format == Format::Json && millis % 1000 != 0)?;
    let message = format!("nft's JSON has whole seconds: it cannot say `sticky {millis}ms`");
    Some(cannot(service, "sticky", message).here("this time").help("write whole seconds, or use `--target nft`"))
}

/// `accept`: what an own table accepts, the drop of another table drops all the same.
fn accepts(config: &Config) -> Vec<Diagnostic> {
    let mut errors = Vec::new();
    let mut all: Vec<(Family, Claim<'_>)> = Vec::new();
    for family in Family::ALL {
        match claims(config, family, Effect::Accept, "nftables") {
            Ok(claims) => all.extend(claims.into_iter().map(|claim| (family, claim))),
            Err(more) => errors.extend(more),
        }
    }
    if !errors.is_empty() {
        return errors;
    }
    for (index, service) in (0..).zip(config.services()).filter(|(_, service)| service.options.accept) {
        let message = "nft cannot `accept` for other tables: what one of them drops is dropped";
        let error = cannot(service, "accept", message.to_owned()).here("this option");
        errors.push(match for_own_chain(config, &all, index) {
            Some(help) => error.help(help),
            None => error.help("leave it out: nothing of this service is forwarded"),
        });
    }
    errors
}

/// What to write into a chain of one's own; `None` where no connection of the service is forwarded.
fn for_own_chain(config: &Config, all: &[(Family, Claim<'_>)], service: u32) -> Option<String> {
    let last = all.iter().rposition(|(_, claim)| claim.service == service)?;
    let mut stops = false;
    let mut rules = Vec::new();
    let mut related = Vec::new();
    for (family, claim) in &all[..=last] {
        let verdict = match claim.service == service {
            true => {
                let errors = forward::errors(claim, *family);
                if !related.contains(&errors) {
                    related.push(errors);
                }
                "accept"
            }
            // A connection that looks the same and belongs to another service.
            false if !config.services()[claim.service as usize].options.accept => {
                stops = true;
                "return"
            }
            false => continue,
        };
        rules.extend(forward::rules(claim, *family, verdict));
    }
    rules.extend(related);
    let place = match stops {
        false => "in your own forward chain",
        true => "in a chain of your own that your forward chain jumps to",
    };
    Some(format!(
        "leave it out, and write {place} (each holds for both directions of a connection, the related ones for ICMP errors):\n{}",
        rules.join("\n")
    ))
}
