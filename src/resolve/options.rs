//! The options of a service: its own and those of `default`, the contradictions between them, and what they mean.

use crate::diagnostic::{Code, Diagnostic, at};
use crate::ir::hash::{Levels, SourceHash};
use crate::ir::{Algorithm, Family, From, Interface, On, PerFamily};
use crate::option::by::By;
use crate::option::{BalanceOption, Kind, from, on};
use crate::source::{Loc, SourceId};
use crate::statement::balance::Balance;
use crate::statement::default::Default;

use super::names::aggregate;
use super::nesting::Shape;
use super::{Chosen, Context};

impl<'a> Context<'a> {
    /// Checks the options of a `default`, whether or not a service starts from them.
    pub fn check_default(&mut self, source: SourceId, default: &'a Default) {
        let all = default.options.iter().map(|option| Chosen { option, source, default: true });
        let all: Vec<Chosen<'a>> = all.collect();
        for (index, one) in all.iter().enumerate() {
            self.check_option(source, one.option);
            for other in &all[index + 1..] {
                if let Some(error) = contradiction(one, other) {
                    self.error(error);
                }
            }
        }
    }

    /// Checks an option by itself.
    fn check_option(&mut self, source: SourceId, option: &BalanceOption) {
        match &option.kind {
            Kind::From(from) => from.nets.iter().for_each(|item| self.check_net_item(source, item)),
            Kind::On(on) => {
                let all = on.interfaces.iter().find(|interface| self.text(source, interface.name) == "*");
                if let (Some(all), true) = (all, on.not) {
                    self.error(
                        Diagnostic::error(
                            Code::ContradictoryOptions,
                            at(source, all.name),
                            "`on not *` lets no connection in",
                        )
                        .here("every interface")
                        .help("leave the statement out, or name the interfaces"),
                    );
                }
            }
            Kind::Snat(snat) => {
                for (index, address) in snat.addresses.iter().enumerate() {
                    let family = Family::of(address.value);
                    let first = snat.addresses[..index].iter().find(|earlier| Family::of(earlier.value) == family);
                    if let Some(first) = first {
                        self.error(
                            Diagnostic::error(
                                Code::InvalidAddress,
                                at(source, address.span),
                                format!("`snat` takes at most one {} address", family.name()),
                            )
                            .here("the second one")
                            .label(at(source, first.span), "the first one")
                            .help("backends see one address of each family; leave one of the two out"),
                        );
                    }
                }
            }
            Kind::As(_)
            | Kind::By(_)
            | Kind::Sticky(_)
            | Kind::Masquerade { .. }
            | Kind::Output
            | Kind::Accept
            | Kind::Limit(_)
            | Kind::MaxConnections(_)
            | Kind::Counter
            | Kind::Log(_) => {}
        }
    }
}

/// The options that hold: the statement's own, and the defaults that contradict none of them.
pub fn choose<'a>(
    context: &mut Context<'a>,
    source: SourceId,
    balance: &'a Balance,
    defaults: &[Chosen<'a>],
    shape: &Shape,
) -> Vec<Chosen<'a>> {
    let own = balance.options.iter().map(|option| Chosen { option, source, default: false });
    let mut chosen: Vec<Chosen<'a>> = own.collect();
    for one in &chosen {
        context.check_option(source, one.option);
    }
    let gives_way = |default: &Chosen<'a>| {
        chosen.iter().any(|own| {
            own.option.kind.keyword() == default.option.kind.keyword() || contradiction(own, default).is_some()
        })
    };
    let kept: Vec<Chosen<'a>> = defaults.iter().filter(|default| !gives_way(default)).copied().collect();
    chosen.extend(kept);
    for (index, one) in chosen.iter().enumerate() {
        chosen[index + 1..].iter().filter_map(|other| contradiction(one, other)).for_each(|error| context.error(error));
    }
    let Some(redirect) = shape.redirect else { return chosen };
    chosen.retain(|one| {
        let rewrites = matches!(one.option.kind, Kind::Masquerade { .. } | Kind::Snat(_));
        // A default that only other machines could need says nothing to a list of this machine's ports.
        let idle = one.default && shape.server.is_none();
        if rewrites && !idle {
            context.error(with_redirect(one, redirect));
        }
        !(rewrites && idle)
    });
    chosen
}

fn with_redirect(one: &Chosen<'_>, redirect: Loc) -> Diagnostic {
    let keyword = one.option.kind.keyword();
    let help = match one.default {
        false => "a redirected connection never leaves this machine; leave the option out",
        true => "make two services of it, or put the statement before the `default`",
    };
    Diagnostic::error(Code::ContradictoryOptions, one.loc(), format!("`{keyword}` with a `:port` backend"))
        .here("this option")
        .label(redirect, "a port of this machine itself")
        .help(help)
}

/// Why two options exclude each other, and what to do.
fn contradiction(one: &Chosen<'_>, other: &Chosen<'_>) -> Option<Diagnostic> {
    let pair = |a: fn(&Kind) -> bool, b: fn(&Kind) -> bool| {
        let (one, other) = (&one.option.kind, &other.option.kind);
        (a(one) && b(other)) || (a(other) && b(one))
    };
    let hash = |kind: &Kind| matches!(kind, Kind::By(By::SourceHash { .. }));
    let sticky = |kind: &Kind| matches!(kind, Kind::Sticky(_));
    let masquerade = |kind: &Kind| matches!(kind, Kind::Masquerade { .. });
    let snat = |kind: &Kind| matches!(kind, Kind::Snat(_));
    let (message, help) = if pair(hash, sticky) {
        (
            "`sticky` with `by source-hash`",
            "a source hash keeps every client on its backend already; leave `sticky` out",
        )
    } else if pair(masquerade, snat) {
        ("`masquerade` with `snat`", "both say which source backends see; keep one of them")
    } else {
        return None;
    };
    let error = Diagnostic::error(Code::ContradictoryOptions, other.loc(), message).here("this option");
    Some(error.label(one.loc(), "contradicts this one").help(help))
}

/// How a new connection picks its backend; at random where nothing is written.
pub fn algorithm(by: Option<Chosen<'_>>) -> Algorithm {
    match by.map(|chosen| &chosen.option.kind) {
        Some(Kind::By(By::RoundRobin)) => Algorithm::RoundRobin,
        Some(&Kind::By(By::SourceHash { seed, buckets })) => Algorithm::SourceHash(SourceHash {
            seed: seed.unwrap_or(0),
            levels: buckets.and_then(Levels::of_buckets).unwrap_or(Levels::Two),
        }),
        Some(_) | None => Algorithm::Random,
    }
}

/// The clients, flattened.
pub fn resolve_from(context: &mut Context<'_>, source: SourceId, from: &from::From) -> From {
    let all: Vec<_> = from.nets.iter().flat_map(|item| context.net_item(source, item)).collect();
    let (v4, v6) = all.into_iter().partition(|net| Family::of_net(*net) == Family::V4);
    let nets = PerFamily { v4: aggregate(v4), v6: aggregate(v6) };
    From { not: from.not, nets, otherwise: from.otherwise }
}

/// `None` where every interface passes anyway (`on *`).
pub fn resolve_on(context: &Context<'_>, source: SourceId, on: &on::On) -> Option<On> {
    let names = on.interfaces.iter().map(|interface| context.text(source, interface.name));
    let mut interfaces: Vec<Interface> = names
        .map(|name| match name.strip_suffix('*') {
            Some(prefix) => Interface::Prefix(prefix.to_owned()),
            None => Interface::Exact(name.to_owned()),
        })
        .collect();
    interfaces.sort_unstable();
    interfaces.dedup();
    let all = interfaces.contains(&Interface::Prefix(String::new()));
    (!all).then_some(On { not: on.not, interfaces })
}
