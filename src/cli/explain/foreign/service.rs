//! One listener out of all: `--service [PROTO/]ADDR:PORT`.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

use crate::address::number;
use crate::cli::Failure;
use crate::ir::Family;
use crate::listeners::{Listener, Place, Places};
use crate::statement::balance::Protocol;

/// What `--service` keeps.
pub struct Filter {
    text: String,
    protocol: Option<Protocol>,
    place: Wanted,
    port: u16,
}

enum Wanted {
    Address(IpAddr),
    /// `local`
    Local,
    /// `*`
    Any,
}

impl Filter {
    /// Reads `[PROTO/]ADDR:PORT`.
    pub fn parse(text: &str) -> Result<Filter, Failure> {
        let wrong = || {
            Failure {
            messages: vec![
                format!("expected `[PROTO/]ADDR:PORT` behind --service, found `{text}`"),
                "with --rules a service has no name: write `tcp/203.0.113.10:80`, `[2001:db8::10]:80`, `local:80` or `*:80`"
                    .to_owned(),
            ],
        }
        };
        let (protocol, rest) = match text.split_once('/') {
            Some((name, rest)) => {
                let protocol = Protocol::ALL.into_iter().find(|protocol| protocol.name() == name);
                (Some(protocol.ok_or_else(wrong)?), rest)
            }
            None => (None, text),
        };
        let (place, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
        let place = match place {
            "local" => Wanted::Local,
            "*" => Wanted::Any,
            _ => {
                let inner = place.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
                let address: IpAddr = inner.unwrap_or(place).parse().map_err(|_| wrong())?;
                if address.is_ipv6() != inner.is_some() {
                    return Err(wrong());
                }
                Wanted::Address(address)
            }
        };
        let port = port.parse().ok().filter(|number| *number > 0 && port.bytes().all(|byte| byte.is_ascii_digit()));
        Ok(Filter { text: text.to_owned(), protocol, place, port: port.ok_or_else(wrong)? })
    }

    /// Whether a listener is for what is asked about, at any of its places; `is_said` as in [`Told`](super::gather::Told).
    pub fn takes(&self, family: Family, listener: &Listener, is_said: bool) -> bool {
        let is_in = |places: &[Place]| {
            places.iter().any(|place| match (&self.place, place) {
                (Wanted::Address(wanted), Place::Range(first, last) | Place::OwnRange(first, last)) => {
                    Family::of(*wanted) == family && (*first..=*last).contains(&number(*wanted))
                }
                (Wanted::Local, Place::Local) => true,
                (Wanted::Local, Place::OwnRange(..)) => is_said,
                (Wanted::Local | Wanted::Any, _) | (Wanted::Address(_), Place::Local) => false,
            })
        };
        let place = match &listener.places {
            Places::These(places) => is_in(places),
            Places::AllBut(places) => {
                !is_in(places) && !matches!(self.place, Wanted::Address(wanted) if Family::of(wanted) != family)
            }
        };
        place
            && self.protocol.is_none_or(|protocol| listener.protocols.contains(&protocol))
            && listener.ports.iter().any(|(first, last)| (*first..=*last).contains(&self.port))
    }
}

impl Display for Filter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
