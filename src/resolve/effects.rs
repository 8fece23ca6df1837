//! What the options of a service do beside picking a backend: [`crate::ir::options`].

use std::collections::BTreeMap;
use std::net::IpAddr;

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use ipnet::IpNet;

use crate::diagnostic::{Code, Diagnostic};
use crate::ir::options::{Limit, LogPrefix, MaxConnections, Near, Options, SourceNat};
use crate::ir::{Backend, Body, Family, PerFamily};
use crate::option::log::MAX_PREFIX_BYTES;
use crate::option::{Else, Kind};

use super::names::aggregate;
use super::{Chosen, Context};

/// Client prefixes of all `masquerade hairpin` of a program together: each becomes a test in the kernel.
const MAX_NEAR: usize = 65_536;

/// The options as they hold for a service with these bodies.
pub fn effects(
    context: &mut Context<'_>,
    name: &str,
    chosen: &[Chosen<'_>],
    bodies: &PerFamily<Option<Body>>,
) -> Options {
    let mut options = Options::default();
    for one in chosen {
        options.places.push((one.option.kind.keyword(), one.loc()));
        match &one.option.kind {
            Kind::Masquerade { hairpin: false } => options.source_nat = SourceNat::Masquerade,
            Kind::Masquerade { hairpin: true } => {
                let near = |context: &mut Context<'_>, family| match bodies.get(family) {
                    Some(body) => context.near(*one, family, body.backends()),
                    None => Vec::new(),
                };
                let v4 = near(context, Family::V4);
                options.source_nat = SourceNat::Hairpin(PerFamily { v4, v6: near(context, Family::V6) });
            }
            Kind::Snat(snat) => {
                let mut addresses = PerFamily::default();
                for address in &snat.addresses {
                    *addresses.get_mut(Family::of(address.value)) = Some(address.value);
                }
                options.source_nat = SourceNat::Address(addresses);
            }
            Kind::Sticky(sticky) => options.sticky = Some(at_most_32_bits(sticky.millis.value)),
            Kind::Limit(limit) => {
                let rate = at_most_32_bits(limit.rate.value);
                options.limit = Some(Limit {
                    rate,
                    unit: limit.unit,
                    burst: limit.burst.map_or(rate, |burst| at_most_32_bits(burst.value)),
                    per_source: limit.per_source,
                    otherwise: limit.otherwise.unwrap_or(Else::Drop),
                });
            }
            Kind::MaxConnections(most) => {
                options.max_connections = Some(MaxConnections {
                    count: at_most_32_bits(most.count.value),
                    per_source: most.per_source,
                    otherwise: most.otherwise.unwrap_or(Else::Drop),
                });
            }
            Kind::Counter => options.counter = true,
            Kind::Accept => options.accept = true,
            Kind::Log(prefix) => {
                let prefix = match prefix {
                    Some(span) => context.text(one.source, *span).to_owned(),
                    None => default_prefix(name),
                };
                options.log = LogPrefix::new(&prefix);
            }
            Kind::As(_) | Kind::By(_) | Kind::From(_) | Kind::On(_) | Kind::Output => {}
        }
    }
    options
}

/// `lbc NAME: `, with as much of the name as fits.
fn default_prefix(name: &str) -> String {
    let room = MAX_PREFIX_BYTES as usize - "lbc : ".len();
    let end = (0..=room.min(name.len())).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
    format!("lbc {}: ", &name[..end])
}

/// The parser bounds every number of an option.
fn at_most_32_bits(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Which nets hold an address: the prefixes of every `net` of the program.
#[derive(Default)]
pub struct Declared {
    /// Indices into `nets`, by prefix.
    holders: HashMap<IpNet, Vec<u32>>,
    nets: Vec<Vec<IpNet>>,
}

impl Declared {
    fn holding(&self, address: IpAddr) -> impl Iterator<Item = &Vec<IpNet>> {
        let host = IpNet::from(address);
        let mut seen = HashSet::new();
        let prefixes = (0..=host.max_prefix_len()).filter_map(move |length| {
            let net = IpNet::new(address, length).expect("the length is right for the family").trunc();
            self.holders.get(&net)
        });
        prefixes.flatten().filter(move |index| seen.insert(**index)).map(|index| &self.nets[*index as usize])
    }
}

impl Context<'_> {
    fn declared(&mut self) -> Declared {
        let mut declared = Declared { holders: HashMap::new(), nets: Vec::new() };
        for name in self.names.nets() {
            let nets = self.flatten(name);
            for net in &nets {
                declared.holders.entry(*net).or_default().push(declared.nets.len() as u32);
            }
            declared.nets.push(nets);
        }
        declared
    }

    /// The clients near each backend.
    fn near(&mut self, option: Chosen<'_>, family: Family, backends: &[Backend]) -> Vec<Near> {
        let declared = match self.declared.take() {
            Some(declared) => declared,
            None => self.declared(),
        };
        let mut list: BTreeMap<IpAddr, Vec<IpNet>> = BTreeMap::new();
        for backend in backends {
            let Backend::Server(address, _) = *backend else { continue };
            list.entry(address).or_insert_with(|| {
                let nets = declared.holding(address).flatten().copied();
                let clients = nets.filter(|net| Family::of_net(*net) == family).chain([IpNet::from(address)]);
                aggregate(clients.collect())
            });
        }
        self.declared = Some(declared);
        let before = self.near;
        self.near += list.values().map(Vec::len).sum::<usize>();
        if self.near > MAX_NEAR && before <= MAX_NEAR {
            self.error(
                Diagnostic::error(
                    Code::TargetLimit,
                    option.loc(),
                    format!("more than {MAX_NEAR} pairs of clients and backends that share a net"),
                )
                .here("with this `masquerade hairpin`")
                .help("write `masquerade`, or declare nets of fewer prefixes"),
            );
        }
        list.into_iter().map(|(backend, clients)| Near { backend, clients }).collect()
    }
}
