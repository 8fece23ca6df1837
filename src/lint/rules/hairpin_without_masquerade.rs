//! LB103

use std::net::IpAddr;

use ipnet::IpNet;

use crate::diagnostic::{Applicability, Code, Diagnostic, Fix};
use crate::ir::options::SourceNat;
use crate::ir::{Backend, Family, Service};
use crate::lint::context::{Balanced, Context, Named};
use crate::lint::edit::add_option;
use crate::lint::{Doc, Lint};
use crate::option::Kind;
use crate::statement::net::NetItem;

pub const LINT: Lint = Lint {
    code: Code::HairpinWithoutMasquerade,
    doc: Doc {
        what: "Finds services whose `from` lists a net that holds one of their backends, and that do not masquerade.",
        why: "A client in the backend's own net gets the reply straight from the backend, from an address that it never \
              spoke to, and drops it: such connections hang. With `masquerade hairpin` the backend sees this machine as the \
              client, for clients of its own net alone.",
        example: "net lan = 10.20.0.0/16\nbalance tcp 80 from lan -> 10.20.0.5:8080\n",
        instead: "net lan = 10.20.0.0/16\nbalance tcp 80 from lan masquerade hairpin -> 10.20.0.5:8080\n",
        fix: "Unsafe: backends see another source. It adds `masquerade hairpin`; where the net is no declared one, `masquerade`.",
    },
    check,
};

fn check(context: &Context<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for one in context.balances() {
        let Some(near) = near(one.service) else { continue };
        let place = one.service.options.place("from").unwrap_or(one.listen());
        let option = if is_declared(context, &one, near) { "masquerade hairpin" } else { "masquerade" };
        let own = |keyword: &str| one.balance.options.iter().any(|option| option.kind.keyword() == keyword);
        // What contradicts the option, or cannot be masqueraded, has to be decided by hand.
        let mut backends = Family::ALL.into_iter().filter_map(|family| one.service.body(family));
        let is_local = backends.any(|body| body.backends().iter().any(|backend| matches!(backend, Backend::Local(_))));
        let fixable = !is_local && !own("snat") && !own("masquerade");
        let fix = fixable.then(|| {
            let edits = vec![add_option(one.source, one.balance, option)];
            Fix::new(Applicability::Unsafe, format!("add `{option}`"), edits)
        });
        let message = format!("the backend `{near}` shares a net with its clients, and answers them directly");
        found.push(
            Diagnostic::warning(Code::HairpinWithoutMasquerade, place, message)
                .here("clients of the backend's own net")
                .label(one.backends(), "replies from here do not pass this machine")
                .help(format!("write `{option}` before the arrow"))
                .fix(fix),
        );
    }
    found
}

/// The first backend that a client may share a net with, where nothing is done about it.
fn near(service: &Service) -> Option<IpAddr> {
    let from = service.from.as_ref().filter(|from| !from.not)?;
    let kept = |family| match &service.options.source_nat {
        SourceNat::Kept => true,
        SourceNat::Masquerade | SourceNat::Hairpin(_) => false,
        SourceNat::Address(addresses) => addresses.get(family).is_none(),
    };
    Family::ALL.into_iter().filter(|family| kept(*family)).find_map(|family| {
        let nets = from.nets.get(family);
        let holds = |address: IpAddr| {
            let at = nets.partition_point(|net| net.network() <= address);
            at > 0 && nets[at - 1].contains(&address) && nets[at - 1].prefix_len() > 0
        };
        service.body(family)?.backends().iter().find_map(|backend| match backend {
            Backend::Server(address, _) => holds(*address).then_some(*address),
            Backend::Local(_) => None,
        })
    })
}

/// Whether a `net` that the statement itself lists holds the backend: that is what `masquerade hairpin` goes by.
fn is_declared(context: &Context<'_>, one: &Balanced<'_>, address: IpAddr) -> bool {
    let from = one.balance.options.iter().find_map(|option| match &option.kind {
        Kind::From(from) => Some(from),
        _ => None,
    });
    let Some(from) = from else { return false };
    let mut open: Vec<_> = from.nets.iter().map(|item| (one.source, *item)).collect();
    let mut seen = foldhash::HashSet::default();
    while let Some((source, item)) = open.pop() {
        let NetItem::Name(span) = item else { continue };
        let name = context.text(source, span);
        let Some(&Named::Net(source, net)) = context.named(name) else { continue };
        if !seen.insert(name) {
            continue;
        }
        let holds = |item: &NetItem| matches!(item, NetItem::Prefix(net) if net.value.contains(&IpNet::from(address)));
        if net.items.iter().any(holds) {
            return true;
        }
        open.extend(net.items.iter().map(|item| (source, *item)));
    }
    false
}
