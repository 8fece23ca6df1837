//! What rules keep of connections: counters, sets and maps of clients, limits.

use std::fmt::{self, Write as _};

use crate::ir::Family;

use super::{address_type, ip};
use crate::target::nft::model::{MEMORY_SIZE, Memory, Name, Rate, Remember, Remembered};

pub fn counter(f: &mut String, name: &Name) -> fmt::Result {
    writeln!(f, "\tcounter {name} {{ }}")
}

/// The declaration of a set or map, as nft lists it.
pub fn declaration(f: &mut String, memory: &Memory) -> fmt::Result {
    let kind = address_type(memory.family);
    let name = &memory.name;
    match memory.data {
        Remembered::Nothing => writeln!(f, "\tset {name} {{\n\t\ttype {kind}")?,
        Remembered::Address => writeln!(f, "\tmap {name} {{\n\t\ttype {kind} : {kind}")?,
        Remembered::Endpoint => writeln!(f, "\tmap {name} {{\n\t\ttype {kind} : {kind} . inet_service")?,
    }
    writeln!(f, "\t\tsize {MEMORY_SIZE}")?;
    match memory.timeout {
        None => f.write_str("\t\tflags dynamic\n")?,
        Some(timeout) => {
            f.write_str("\t\tflags dynamic,timeout\n\t\ttimeout ")?;
            duration(f, timeout)?;
            f.write_char('\n')?;
        }
    }
    f.write_str("\t}\n")
}

/// Units of nft's durations, in milliseconds. Each number has at most 8 digits: nft takes no more.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// `1h30m`
fn duration(f: &mut String, mut millis: u64) -> fmt::Result {
    for (unit, length) in UNITS {
        if millis >= length {
            write!(f, "{}{unit}", millis / length)?;
            millis %= length;
        }
    }
    Ok(())
}

pub fn remember(f: &mut String, family: Family, memory: &Name, what: Remember) -> fmt::Result {
    let verb = match what {
        Remember::Client | Remember::Address(_) | Remember::Endpoint(..) | Remember::Limit(_) => "update",
        Remember::CountOver(_) => "add",
    };
    write!(f, "{verb} @{memory} {{ {} saddr", ip(family))?;
    match what {
        Remember::Client => {}
        Remember::Address(address) => write!(f, " : {address}")?,
        Remember::Endpoint(address, port) => write!(f, " : {address} . {port}")?,
        Remember::Limit(one) => {
            f.write_char(' ')?;
            rate(f, one)?;
        }
        Remember::CountOver(count) => {
            f.write_char(' ')?;
            count_over(f, count)?;
        }
    }
    f.write_str(" }")
}

pub fn rate(f: &mut String, rate: Rate) -> fmt::Result {
    let Rate { over, rate, unit, burst } = rate;
    write!(f, "limit rate {}{rate}/{} burst {burst} packets", if over { "over " } else { "" }, unit.name())
}

pub fn count_over(f: &mut String, count: u32) -> fmt::Result {
    write!(f, "ct count over {count}")
}
