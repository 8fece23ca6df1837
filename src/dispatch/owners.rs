//! Whose a translated connection is: what rules behind the translation can still ask of it.
//!
//! There, a connection shows its original destination and port, its client and its backend. It shows neither the
//! interface that it came in by, nor whether its destination was one of this machine's addresses, nor the hook that
//! translated it. [`claims`] is the program in those terms: in source order, the first claim that holds says whose the
//! connection is. Where that would not be true, the error says so.

use std::net::IpAddr;
use std::ops::ControlFlow;

use ipnet::IpNet;

use crate::diagnostic::{Code, Diagnostic};
use crate::endpoint::PortRange;
use crate::ir::options::{Near, SourceNat};
use crate::ir::{Backend, BackendPort, Body, Config, Destination, Family, From, Service};
use crate::statement::balance::Protocol;

use super::covers::{Shadows, holder, holds, on_holds};
use super::rivals::rivals;
use super::{Hook, takes_part};

/// What is to be done to connections behind the translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// `masquerade`, `masquerade hairpin`, `snat`: to new connections on their way out.
    SourceNat,
    /// `accept`: to every packet that is forwarded, those of drained backends too.
    Accept,
}

/// A description of connections of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim<'c> {
    /// Index into the config's services. One without the effect stands here to keep its connections from others.
    pub service: u32,
    pub protocol: Protocol,
    /// Of the connection as the client opened it; `None` is any.
    pub destination: Option<IpNet>,
    /// As the client opened it.
    pub ports: PortRange,
    pub clients: Clients<'c>,
    /// One of these; `None` where any will do.
    pub backends: Option<Vec<Endpoint>>,
}

/// The clients of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients<'c> {
    All,
    /// At least one.
    In(&'c [IpNet]),
    /// At least one.
    NotIn(&'c [IpNet]),
}

/// A server, and its ports that connections of the claim go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    pub address: IpAddr,
    pub ports: PortRange,
}

/// The claims of a family, in source order; empty where no service has the effect.
///
/// The error is LB019 for services that cannot be told apart, naming the target.
pub fn claims<'c>(
    config: &'c Config,
    family: Family,
    effect: Effect,
    target: &str,
) -> Result<Vec<Claim<'c>>, Vec<Diagnostic>> {
    let parties: Vec<Party<'c>> = (0u32..)
        .zip(config.services())
        .filter_map(|(index, service)| Party::of(index, service, family, effect))
        .collect();
    let Some(first) = parties.first() else { return Ok(Vec::new()) };
    let alike = parties.iter().all(|party| party.done == first.done);
    if alike && first.done == Done::Nothing {
        return Ok(Vec::new());
    }
    // An interface cannot be asked, and other tools may translate what comes by another one.
    let mut by_backend: Vec<bool> = parties.iter().map(|party| party.service.on.is_some()).collect();
    let mut wanted: Vec<bool> = parties.iter().map(|party| party.done != Done::Nothing).collect();
    let mut errors = Vec::new();
    let mut shadows = Shadows::new(config.services(), family);
    if !alike {
        let mut blamed = None;
        let services: Vec<&Service> = parties.iter().map(|party| party.service).collect();
        rivals(&services, family, |earlier, later| {
            let (one, other) = (&parties[earlier as usize], &parties[later as usize]);
            if one.done == other.done || !one.meets(other, family) {
                return ControlFlow::Continue(());
            }
            wanted[earlier as usize] = true;
            if one.is_sure(other, family) || shadows.hide(other.index) || shadows.hide(one.index) {
                return ControlFlow::Continue(());
            }
            match one.common(other) {
                // One for each service is enough to mend it by.
                Some(_) if blamed == Some(later) => {}
                Some(address) => {
                    blamed = Some(later);
                    errors.push(one.cannot_tell(other, address, effect, family, target));
                    if errors.len() == MAX_ERRORS {
                        return ControlFlow::Break(());
                    }
                }
                None => {
                    by_backend[earlier as usize] = true;
                    by_backend[later as usize] = true;
                }
            }
            ControlFlow::Continue(())
        });
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut list = Vec::new();
    let mut needed = 0;
    for (index, party) in parties.iter().enumerate().filter(|(index, _)| wanted[*index]) {
        if shadows.is_hidden(party.index) {
            continue;
        }
        party.claims(family, by_backend[index], &mut list);
        if party.done != Done::Nothing {
            needed = list.len();
        }
    }
    // What has no effect and stands before nobody keeps nothing from anyone.
    list.truncate(needed);
    Ok(list)
}

/// Errors about services that cannot be told apart: more say no more.
const MAX_ERRORS: usize = 100;

impl Effect {
    fn keywords(self) -> &'static [&'static str] {
        match self {
            Effect::SourceNat => &["masquerade", "snat"],
            Effect::Accept => &["accept"],
        }
    }
}

/// The option of a service that has the effect, as it is written.
fn keyword(service: &Service, effect: Effect) -> Option<&'static str> {
    match (effect, &service.options.source_nat) {
        (Effect::Accept, _) => service.options.accept.then_some("accept"),
        (Effect::SourceNat, SourceNat::Kept) => None,
        (Effect::SourceNat, SourceNat::Masquerade) => Some("masquerade"),
        (Effect::SourceNat, SourceNat::Hairpin(_)) => Some("masquerade hairpin"),
        (Effect::SourceNat, SourceNat::Address(_)) => Some("snat"),
    }
}

/// What cannot be asked of a connection behind the translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    /// Whether its destination was one of this machine's addresses.
    Place,
    On,
    Output,
}

/// What an effect does to the connections of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done<'c> {
    Nothing,
    /// To each the same, with this address where there is one.
    All(Option<IpAddr>),
    Near(&'c [Near]),
}

impl Done<'_> {
    /// To connections that go to one backend.
    fn at(&self, backend: IpAddr) -> (Option<IpAddr>, &[IpNet]) {
        const ALL: &[IpNet] = &[];
        match self {
            Done::Nothing => (Some(backend), ALL),
            Done::All(address) => (*address, ALL),
            Done::Near(near) => match near.binary_search_by_key(&backend, |near| near.backend) {
                Ok(place) => (None, &near[place].clients),
                Err(_) => (Some(backend), ALL),
            },
        }
    }
}

/// A service whose connections get behind the translation.
struct Party<'c> {
    index: u32,
    service: &'c Service,
    done: Done<'c>,
    body: &'c Body,
    /// Of its servers; ascending, without repetition.
    addresses: Vec<IpAddr>,
}

impl<'c> Party<'c> {
    fn of(index: u32, service: &'c Service, family: Family, effect: Effect) -> Option<Party<'c>> {
        let body = service.body(family)?;
        let servers = body.backends().iter().filter_map(|backend| match backend {
            Backend::Server(address, _) => Some(*address),
            Backend::Local(_) => None,
        });
        let mut addresses: Vec<IpAddr> = servers.collect();
        addresses.sort_unstable();
        addresses.dedup();
        let goes_out = !addresses.is_empty();
        let done = match effect {
            Effect::Accept if service.options.accept => Done::All(None),
            Effect::Accept => Done::Nothing,
            Effect::SourceNat if !matches!(body, Body::Balance(_)) => return None,
            Effect::SourceNat => match &service.options.source_nat {
                SourceNat::Kept => Done::Nothing,
                SourceNat::Masquerade => Done::All(None),
                SourceNat::Hairpin(near) => Done::Near(near.get(family)),
                SourceNat::Address(address) => match *address.get(family) {
                    Some(address) => Done::All(Some(address)),
                    None => Done::Nothing,
                },
            },
        };
        (goes_out && takes_part(service, family, Hook::Prerouting)).then_some(Party {
            index,
            service,
            done,
            body,
            addresses,
        })
    }

    fn from(&self, family: Family) -> Option<&'c From> {
        // Those that `else` keeps out never get here.
        self.service.from.as_ref().filter(|from| from.otherwise.is_none() && !from.allows_all(family))
    }

    /// Whether no connection of a later service looks like one of this one.
    fn is_sure(&self, later: &Party<'_>, family: Family) -> bool {
        self.doubts(later.service, family).is_none()
    }

    /// What cannot be asked behind the translation, and may have given a connection of these to the later service.
    fn doubts(&self, later: &Service, family: Family) -> Option<Doubt> {
        let held = |place: Destination| self.service.destinations(family).any(|own| holds(own, place));
        let broad = self.service.destinations(family).any(|one| !matches!(one, Destination::Prefix(_)));
        // A claim to a prefix asks for it; one without a destination is true where the first match would be the same.
        if broad && !later.destinations(family).all(held) {
            return Some(Doubt::Place);
        }
        if !on_holds(self.service.on.as_ref(), later.on.as_ref()) {
            return Some(Doubt::On);
        }
        (later.output && !self.service.output).then_some(Doubt::Output)
    }

    /// A backend of both to which they do different things.
    fn common(&self, other: &Party<'_>) -> Option<IpAddr> {
        let differs = |address: &&IpAddr| self.done.at(**address) != other.done.at(**address);
        let is_own = |address: &&IpAddr| self.addresses.binary_search(address).is_ok();
        other.addresses.iter().filter(is_own).find(differs).copied()
    }

    fn cannot_tell(
        &self,
        other: &Party<'_>,
        address: IpAddr,
        effect: Effect,
        family: Family,
        target: &str,
    ) -> Diagnostic {
        let place = |service: &Service| effect.keywords().iter().find_map(|keyword| service.options.place(keyword));
        let (place, label, text) = match (place(other.service), place(self.service)) {
            (Some(place), _) => (place, self.service.loc, "connections of this service look the same"),
            (None, place) => (
                place.unwrap_or(self.service.loc),
                other.service.loc,
                "connections of this service look the same, and it says otherwise",
            ),
        };
        let (one, two) = (&self.service.name, &other.service.name);
        Diagnostic::error(
            Code::UnsupportedOnTarget,
            place,
            format!(
                "the {target} target cannot tell connections of `{one}` and `{two}` to {address} apart once they are translated"
            ),
        )
        .here("for connections of one of the two alone")
        .label(label, text)
        .help(self.way_out(other, address, effect, family))
    }

    /// What to write instead.
    fn way_out(&self, other: &Party<'_>, address: IpAddr, effect: Effect, family: Family) -> String {
        let (one, two) = (&self.service.name, &other.service.name);
        let first = match self.doubts(other.service, family) {
            Some(Doubt::On) => {
                format!("behind the translation `on` cannot be asked: write the same `on` for `{one}` and `{two}`")
            }
            Some(Doubt::Output) => {
                format!("behind the translation nobody can ask who opened a connection: write `output` for `{one}` too")
            }
            Some(Doubt::Place) | None => {
                let wide = if self.service.destinations(family).any(|place| place == Destination::Any) {
                    "*"
                } else {
                    "local"
                };
                format!(
                    "behind the translation `{wide}` cannot be asked: write its addresses for `{one}` \
                     (`{{203.0.113.10, 203.0.113.11}}:PORT`), or a listener for `{two}` that does not overlap it"
                )
            }
        };
        let same = match (keyword(self.service, effect), keyword(other.service, effect)) {
            (Some(own), None) => format!("`{own}` for both or for neither"),
            (None, Some(own)) => format!("`{own}` for both or for neither"),
            (Some(_) | None, _) => "the same for both".to_owned(),
        };
        format!("{first}; or write {same}; or give `{two}` another backend than {address}")
    }

    fn claims(&self, family: Family, by_backend: bool, list: &mut Vec<Claim<'c>>) {
        let clients = match self.from(family) {
            None => Clients::All,
            Some(from) if from.not => Clients::NotIn(from.nets.get(family)),
            Some(from) => Clients::In(from.nets.get(family)),
        };
        for &protocol in &self.service.protocols {
            for destination in self.service.destinations(family) {
                let destination = match destination {
                    Destination::Prefix(net) if net.prefix_len() > 0 => Some(net),
                    Destination::Prefix(_) | Destination::Local | Destination::Any => None,
                };
                for &ports in &self.service.ports {
                    let backends = (by_backend || destination.is_none()).then(|| self.endpoints(ports));
                    list.push(Claim { service: self.index, protocol, destination, ports, clients, backends });
                }
            }
        }
    }

    /// The backends as connections to these ports reach them; ascending, without repetition.
    fn endpoints(&self, ports: PortRange) -> Vec<Endpoint> {
        let all = self.body.backends().iter().filter_map(|backend| match backend {
            Backend::Server(address, to) => Some(Endpoint { address: *address, ports: reached(*to, ports) }),
            Backend::Local(_) => None,
        });
        let mut all: Vec<Endpoint> = all.collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// The ports of a backend that connections to `ports` reach.
fn reached(to: BackendPort, ports: PortRange) -> PortRange {
    PortRange::new(to.apply(ports.first()), to.apply(ports.last())).expect("a backend's ports ascend as the listener's")
}

impl Party<'_> {
    /// Whether a connection could be one of either, as far as can be asked behind the translation.
    fn meets(&self, other: &Party<'_>, family: Family) -> bool {
        if self.index == other.index {
            return false;
        }
        let (one, two) = (self.service, other.service);
        let overlap = |one: &PortRange, two: &PortRange| one.first() <= two.last() && two.first() <= one.last();
        let touch = |one: &IpNet, two: &IpNet| one.contains(two) || two.contains(one);
        let same_place = |one: Destination, two: Destination| match (one, two) {
            (Destination::Prefix(one), Destination::Prefix(two)) => touch(&one, &two),
            _ => true,
        };
        let apart = |one: &From, two: &From| {
            let (one_nets, two_nets) = (one.nets.get(family), two.nets.get(family));
            match (one.not, two.not) {
                (false, false) => {
                    !one_nets.iter().any(|net| holder(two_nets, net).is_some_and(|other| touch(net, other)))
                }
                (true, false) => {
                    two_nets.iter().all(|net| holder(one_nets, net).is_some_and(|kept| kept.contains(net)))
                }
                (false, true) => {
                    one_nets.iter().all(|net| holder(two_nets, net).is_some_and(|kept| kept.contains(net)))
                }
                (true, true) => false,
            }
        };
        one.protocols.iter().any(|protocol| two.protocols.contains(protocol))
            && one.ports.iter().any(|ports| two.ports.iter().any(|other| overlap(ports, other)))
            && one.destinations(family).any(|place| two.destinations(family).any(|other| same_place(place, other)))
            && !matches!((self.from(family), other.from(family)), (Some(one), Some(two)) if apart(one, two))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::config;

    /// A claim a line, or the errors' messages.
    fn show(text: &str, effect: Effect) -> Vec<String> {
        let config = config(text);
        match claims(&config, Family::V4, effect, "test") {
            Err(errors) => errors.iter().map(|error| error.message.clone()).collect(),
            Ok(claims) => {
                let line = |claim: &Claim<'_>| {
                    let mut line =
                        format!("{} {}", config.services()[claim.service as usize].name, claim.protocol.name());
                    line.push_str(&claim.destination.map_or(" any".to_owned(), |net| format!(" {net}")));
                    line.push_str(&format!(":{}", claim.ports));
                    match claim.clients {
                        Clients::All => {}
                        Clients::In(nets) => line.push_str(&format!(" in {nets:?}")),
                        Clients::NotIn(nets) => line.push_str(&format!(" not in {nets:?}")),
                    }
                    for backend in claim.backends.iter().flatten() {
                        line.push_str(&format!(" {}:{}", backend.address, backend.ports));
                    }
                    line
                };
                claims.iter().map(line).collect()
            }
        }
    }

    #[test]
    fn an_address_says_whose_a_connection_is_and_other_listeners_need_their_backends() {
        let text = "balance tcp 192.0.2.1:80 as a masquerade -> 10.0.0.1:8080\n\
                    balance tcp,udp 53,8000-8002 as b snat 192.0.2.9 -> 10.0.0.1, 10.0.0.2\n\
                    balance tcp 192.0.2.2:80 as c -> 10.0.0.1:8080";
        assert_eq!(
            show(text, Effect::SourceNat),
            [
                "a tcp 192.0.2.1/32:80",
                "b tcp any:53 10.0.0.1:53 10.0.0.2:53",
                "b tcp any:8000-8002 10.0.0.1:8000-8002 10.0.0.2:8000-8002",
                "b udp any:53 10.0.0.1:53 10.0.0.2:53",
                "b udp any:8000-8002 10.0.0.1:8000-8002 10.0.0.2:8000-8002",
            ]
        );
        assert_eq!(show(text, Effect::Accept), [] as [&str; 0]);
    }

    #[test]
    fn who_comes_first_keeps_its_connections() {
        let text = "balance tcp 192.0.2.1:80 as one from 10.9.0.0/16 -> 10.0.0.1:8080\n\
                    balance tcp 192.0.2.0/24:80 as two masquerade -> 10.0.0.1:8080";
        assert_eq!(
            show(text, Effect::SourceNat),
            ["one tcp 192.0.2.1/32:80 in [10.9.0.0/16]", "two tcp 192.0.2.0/24:80"]
        );
    }

    #[test]
    fn what_only_the_interface_tells_apart_needs_other_backends() {
        let text = "balance tcp 192.0.2.1:80 as a on eth0 masquerade -> 10.0.0.1:8080\n\
                    balance tcp 192.0.2.1:80 as b -> BACKEND";
        let told = show(&text.replace("BACKEND", "10.0.0.2:8080"), Effect::SourceNat);
        assert_eq!(told, ["a tcp 192.0.2.1/32:80 10.0.0.1:8080"]);
        let same = show(&text.replace("BACKEND", "10.0.0.1:8080, 10.0.0.2:8080"), Effect::SourceNat);
        assert_eq!(same.len(), 1);
        assert!(same[0].contains("cannot tell connections of `a` and `b` to 10.0.0.1 apart"), "{same:?}");
    }

    #[test]
    fn an_earlier_service_that_holds_all_of_a_later_one_is_told_from_it_by_its_clients() {
        for listen in
            ["tcp 80 as a", "tcp *:80 as a", "tcp 80 as a on eth*", "tcp *:80 as a output", "tcp 80 as a on not wg0"]
        {
            for later in ["tcp 80 as b on eth0", "tcp 80 as b on eth0, eth1"] {
                let text =
                    format!("balance {listen} from 10.9.0.0/16 masquerade -> 10.0.0.1\nbalance {later} -> 10.0.0.1");
                assert_eq!(show(&text, Effect::SourceNat).len(), 1, "{text}");
                assert!(show(&text, Effect::SourceNat)[0].starts_with("a tcp any:80"), "{text}");
            }
        }
        for (listen, later) in [
            ("tcp 80 as a", "tcp *:80 as b"),
            ("tcp 80 as a", "tcp 192.0.2.1:80 as b"),
            ("tcp *:80 as a", "tcp 0.0.0.0/1:80 as b"),
            ("tcp 80 as a", "tcp 80 as b output"),
            ("tcp 80 as a on eth0", "tcp 80 as b on eth*"),
            ("tcp 80 as a on not eth0", "tcp 80 as b on eth*"),
            ("tcp 80 as a on not eth*", "tcp 80 as b on not eth0"),
        ] {
            let text = format!("balance {listen} from 10.9.0.0/16 masquerade -> 10.0.0.1\nbalance {later} -> 10.0.0.1");
            assert!(show(&text, Effect::SourceNat)[0].contains("cannot tell"), "{text}");
        }
        let text =
            "balance tcp *:80 as a on wg0 masquerade -> 10.0.0.1\nbalance tcp 192.0.2.1:80 as b on wg0 -> 10.0.0.1";
        assert_eq!(show(text, Effect::SourceNat), ["a tcp any:80 10.0.0.1:80"]);
    }

    #[test]
    fn who_never_gets_a_connection_has_no_claim() {
        let hidden = "balance tcp 80-90 as first -> 10.0.0.9\nbalance tcp *:443 as other on eth* -> 10.0.0.9\n\
                      balance tcp 80,443 as a on eth0 masquerade -> 10.0.0.1\nbalance tcp 80,443 as b -> 10.0.0.1";
        assert_eq!(show(hidden, Effect::SourceNat), [] as [&str; 0]);
        let seen = hidden.replace("on eth*", "on eth* from 10.0.0.0/8");
        assert!(show(&seen, Effect::SourceNat)[0].contains("cannot tell"), "{seen}");
    }

    #[test]
    fn the_help_says_what_to_write() {
        let help = |text: &str| {
            let config = config(text);
            let errors = claims(&config, Family::V4, Effect::SourceNat, "test").expect_err("they look the same");
            errors[0].help.clone().expect("a way out").into_string()
        };
        let on = help("balance tcp 80 as a on eth0 masquerade -> 10.0.0.1\nbalance tcp 80 as b -> 10.0.0.1");
        assert_eq!(
            on,
            "behind the translation `on` cannot be asked: write the same `on` for `a` and `b`; or write `masquerade` \
             for both or for neither; or give `b` another backend than 10.0.0.1"
        );
        let place = help("balance tcp 80 as a -> 10.0.0.1\nbalance tcp *:80 as b snat 192.0.2.1 -> 10.0.0.1");
        assert!(place.contains("write its addresses for `a`") && place.contains("`snat` for both"), "{place}");
        let output = help("balance tcp *:80 as a masquerade -> 10.0.0.1\nbalance tcp 80 as b output -> 10.0.0.1");
        assert!(output.contains("write `output` for `a` too"), "{output}");
    }

    #[test]
    fn a_drained_service_still_accepts_what_it_has() {
        let text = "balance tcp 80 as a accept -> 10.0.0.1:8080 weight 0";
        assert_eq!(show(text, Effect::Accept), ["a tcp any:80 10.0.0.1:8080"]);
        assert_eq!(show(&text.replace("accept", "masquerade"), Effect::SourceNat), [] as [&str; 0]);
    }

    #[test]
    fn hairpins_that_agree_on_a_shared_backend_can_share_it() {
        let text = "balance tcp 80 as a on eth0 masquerade hairpin -> 10.0.0.1:8080, 10.0.0.2:8080\n\
                    balance tcp 80 as b masquerade hairpin -> 10.0.0.1:8080, 10.0.0.3:8080";
        assert_eq!(
            show(text, Effect::SourceNat),
            ["a tcp any:80 10.0.0.1:8080 10.0.0.2:8080", "b tcp any:80 10.0.0.1:8080 10.0.0.3:8080"]
        );
    }

    #[test]
    fn many_that_cannot_be_told_apart_are_few_errors() {
        let one = |nth: u32| {
            let option = if nth.is_multiple_of(2) { " masquerade" } else { "" };
            format!("balance tcp 80 on e{nth} as s{nth}{option} -> 10.9.1.1:80\n")
        };
        let text: String = (0..1_000).map(one).collect();
        assert_eq!(show(&text, Effect::SourceNat).len(), MAX_ERRORS);
        let few: String = (0..6).map(one).collect();
        assert_eq!(show(&few, Effect::SourceNat).len(), 5);
    }
}
