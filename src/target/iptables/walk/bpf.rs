//! Classic BPF over the first packet of a connection, of which not every bit is known.

use std::net::IpAddr;

use crate::statement::balance::Protocol;
use crate::target::iptables::model::BpfInstruction;

/// A number of which only the bits in `known` are; the others are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word {
    value: u32,
    known: u32,
}

impl Word {
    const UNKNOWN: Word = Word { value: 0, known: 0 };

    fn exact(value: u32) -> Word {
        Word { value, known: u32::MAX }
    }

    fn whole(self) -> Option<u32> {
        (self.known == u32::MAX).then_some(self.value)
    }
}

/// The headers of a packet, each byte with the bits of it that are known.
pub struct Header {
    bytes: [(u8, u8); 60],
}

/// What the headers show.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    pub protocol: Protocol,
    pub source: Option<IpAddr>,
    pub source_port: Option<u16>,
    pub destination: Option<IpAddr>,
    pub port: u16,
    /// Whether the addresses are IPv6.
    pub v6: bool,
}

impl Header {
    /// An IPv4 header without options, or an IPv6 header without extensions, and the start of the next one.
    pub fn new(shown: Shown) -> Header {
        let mut header = Header { bytes: [(0, 0); 60] };
        let number = match shown.protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        };
        let next = if shown.v6 {
            header.bytes[0] = (0x60, 0xf0);
            header.put(6, &[number]);
            header.address(8, shown.source);
            header.address(24, shown.destination);
            40
        } else {
            header.put(0, &[0x45]);
            // No fragment: all but the bit that forbids to make some.
            header.bytes[6] = (0, 0xbf);
            header.put(7, &[0]);
            header.put(9, &[number]);
            header.address(12, shown.source);
            header.address(16, shown.destination);
            20
        };
        if let Some(port) = shown.source_port {
            header.put(next, &port.to_be_bytes());
        }
        header.put(next + 2, &shown.port.to_be_bytes());
        if shown.protocol == Protocol::Tcp {
            // A SYN; the two bits above the flags negotiate congestion notification.
            header.bytes[next + 13] = (0x02, 0x3f);
        }
        header
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        for (place, byte) in self.bytes[at..].iter_mut().zip(bytes) {
            *place = (*byte, 0xff);
        }
    }

    fn address(&mut self, at: usize, address: Option<IpAddr>) {
        match address {
            Some(IpAddr::V4(address)) => self.put(at, &address.octets()),
            Some(IpAddr::V6(address)) => self.put(at, &address.octets()),
            None => {}
        }
    }

    /// `size` bytes in network order; what lies behind the headers is not known.
    fn load(&self, at: u32, size: usize) -> Word {
        let Some(bytes) = usize::try_from(at).ok().and_then(|at| self.bytes.get(at..at.checked_add(size)?)) else {
            return Word::UNKNOWN;
        };
        let above = if size == 4 { 0 } else { u32::MAX << (8 * size) };
        let start = Word { value: 0, known: above };
        bytes.iter().enumerate().fold(start, |word, (index, (byte, known))| {
            let shift = 8 * (size - 1 - index);
            Word {
                value: word.value | u32::from(byte & known) << shift,
                known: word.known | u32::from(*known) << shift,
            }
        })
    }
}

/// What a program may look at of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    pub source: bool,
    pub destination: bool,
    pub protocol: bool,
    /// The destination port.
    pub port: bool,
}

/// What a program may look at. Options and extension headers are none of what is known of a packet, so that all that lies
/// behind a header of the least length is taken for that of the transport.
pub fn reads(program: &[BpfInstruction], v6: bool) -> Reads {
    // RFC 791 and RFC 8200: where the fields stand, from the first byte to behind the last.
    let (protocol, source, destination) = if v6 { ((6, 7), (8, 24), (24, 40)) } else { ((9, 10), (12, 16), (16, 20)) };
    let (port, behind) = ((destination.1 + 2, destination.1 + 4), (destination.1, u32::MAX));
    // As tcpdump has it: the index is the length of the IPv4 header, and nothing else.
    let is_index = |i: &BpfInstruction| match i.code & 0x07 {
        0x01 => i.code & 0xe0 == 0xa0 && i.k == 0,
        0x07 => i.code & 0xf8 != 0x00,
        _ => true,
    };
    let index = Some(20).filter(|_| !v6 && program.iter().all(is_index));
    let mut reads = Reads::default();
    for i in program {
        let (first, end) = match (i.code & 0x07, i.code & 0xe0) {
            // Constants, memory, the length of the packet.
            (0x00 | 0x01, 0x00 | 0x60 | 0x80) => continue,
            (0x00, kind @ (0x20 | 0x40)) if kind == 0x20 || index.is_some() => {
                let size = match i.code & 0x18 {
                    0x00 => 4,
                    0x08 => 2,
                    _ => 1,
                };
                let first = if kind == 0x20 { i.k } else { i.k.saturating_add(index.unwrap_or(0)) };
                (first, first.saturating_add(size))
            }
            // Four times half of the byte at a place.
            (0x01, 0xa0) => (i.k, i.k.saturating_add(1)),
            // Somewhere.
            (0x00 | 0x01, _) => (0, u32::MAX),
            (_, _) => continue,
        };
        let meets = |field: (u32, u32)| first < field.1 && field.0 < end;
        reads.source |= meets(source);
        reads.destination |= meets(destination);
        // What is known of the header behind is a matter of the protocol.
        reads.protocol |= meets(protocol) || meets(behind);
        reads.port |= meets(port);
    }
    reads
}

/// Whether a program matches; `None` where that hangs on bits that are not known, or the program is not one.
pub fn matches(program: &[BpfInstruction], header: &Header) -> Option<bool> {
    let mut machine = Machine { a: Word::exact(0), x: Word::exact(0), memory: [Word::exact(0); 16] };
    let mut at = 0;
    loop {
        let i = program.get(at)?;
        at += 1;
        match i.code & 0x07 {
            0x00 => machine.a = machine.loaded(i, header)?,
            0x01 => machine.x = machine.loaded(i, header)?,
            0x02 => *machine.memory.get_mut(usize::try_from(i.k).ok()?)? = machine.a,
            0x03 => *machine.memory.get_mut(usize::try_from(i.k).ok()?)? = machine.x,
            0x04 => match machine.computed(i)? {
                Some(result) => machine.a = result,
                // A division by 0 ends the program with 0.
                None => return Some(false),
            },
            0x05 => {
                let over = match i.code & 0xf0 {
                    0x00 => usize::try_from(i.k).ok()?,
                    kind => usize::from(if machine.jumps(i, kind)? { i.jump_true } else { i.jump_false }),
                };
                at = at.checked_add(over)?;
            }
            0x06 => {
                let result = match i.code & 0x18 {
                    0x00 => i.k,
                    0x10 => {
                        // Any known bit that is set decides.
                        let a = machine.a;
                        if a.value & a.known != 0 { 1 } else { a.whole()? }
                    }
                    _ => return None,
                };
                return Some(result != 0);
            }
            _ => match i.code & 0xf8 {
                0x00 => machine.x = machine.a,
                0x80 => machine.a = machine.x,
                _ => return None,
            },
        }
    }
}

struct Machine {
    a: Word,
    x: Word,
    memory: [Word; 16],
}

impl Machine {
    fn loaded(&self, i: &BpfInstruction, header: &Header) -> Option<Word> {
        let size = match i.code & 0x18 {
            0x00 => 4,
            0x08 => 2,
            0x10 => 1,
            _ => return None,
        };
        match i.code & 0xe0 {
            0x00 => Some(Word::exact(i.k)),
            0x20 => Some(header.load(i.k, size)),
            0x40 => Some(header.load(self.x.whole()?.wrapping_add(i.k), size)),
            0x60 => self.memory.get(usize::try_from(i.k).ok()?).copied(),
            // The length of the packet.
            0x80 => Some(Word::UNKNOWN),
            // `4 * (byte & 15)`: the length of an IPv4 header.
            0xa0 => {
                let byte = header.load(i.k, 1);
                let known = byte.known & 0x0f;
                Some(if known == 0x0f { Word::exact(4 * (byte.value & 0x0f)) } else { Word::UNKNOWN })
            }
            _ => None,
        }
    }

    /// The outer `None` is no instruction, the inner one a division by 0.
    fn computed(&self, i: &BpfInstruction) -> Option<Option<Word>> {
        let a = self.a;
        let b = if i.code & 0x08 == 0 { Word::exact(i.k) } else { self.x };
        let both = |f: fn(u32, u32) -> u32| match (a.whole(), b.whole()) {
            (Some(a), Some(b)) => Word::exact(f(a, b)),
            (_, _) => Word::UNKNOWN,
        };
        let shifted = |f: fn(u32, u32) -> u32, fill: u32| match b.whole() {
            Some(by) if by < 32 => Word { value: f(a.value, by), known: f(a.known, by) | fill },
            Some(_) | None => Word::UNKNOWN,
        };
        let by = b.whole().map_or(0, |by| by.min(31));
        Some(Some(match i.code & 0xf0 {
            0x00 => both(u32::wrapping_add),
            0x10 => both(u32::wrapping_sub),
            0x20 => both(u32::wrapping_mul),
            0x30 | 0x90 if b.whole() == Some(0) => return Some(None),
            0x30 => both(|a, b| a.checked_div(b).unwrap_or(0)),
            0x90 => both(|a, b| a.checked_rem(b).unwrap_or(0)),
            0x40 => {
                let ones = (a.value & a.known) | (b.value & b.known);
                Word { value: ones, known: (a.known & b.known) | ones }
            }
            0x50 => {
                let zeros = (!a.value & a.known) | (!b.value & b.known);
                let known = (a.known & b.known) | zeros;
                Word { value: a.value & b.value & known, known }
            }
            0xa0 => {
                let known = a.known & b.known;
                Word { value: (a.value ^ b.value) & known, known }
            }
            0x60 => shifted(|a, by| a << by, (1u32 << by).wrapping_sub(1)),
            0x70 => shifted(|a, by| a >> by, !(u32::MAX >> by)),
            0x80 => a.whole().map_or(Word::UNKNOWN, |a| Word::exact(a.wrapping_neg())),
            _ => return None,
        }))
    }

    fn jumps(&self, i: &BpfInstruction, kind: u16) -> Option<bool> {
        let b = if i.code & 0x08 == 0 { Word::exact(i.k) } else { self.x };
        let a = self.a;
        let known = a.known & b.known;
        match kind {
            // Equal: one known bit that differs decides.
            0x10 if (a.value ^ b.value) & known != 0 => Some(false),
            0x10 => Some(a.whole()? == b.whole()?),
            0x20 => Some(a.whole()? > b.whole()?),
            0x30 => Some(a.whole()? >= b.whole()?),
            0x40 if a.value & b.value & known != 0 => Some(true),
            0x40 => {
                let zeros = (!a.value & a.known) | (!b.value & b.known);
                (zeros == u32::MAX).then_some(false)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(source_port: Option<u16>) -> Header {
        Header::new(Shown {
            protocol: Protocol::Tcp,
            source: Some(IpAddr::from([10, 0, 0, 1])),
            source_port,
            destination: Some(IpAddr::from([192, 0, 2, 1])),
            port: 443,
            v6: false,
        })
    }

    fn run(text: &[(u16, u8, u8, u32)], header: &Header) -> Option<bool> {
        let program: Vec<BpfInstruction> = text
            .iter()
            .map(|&(code, jump_true, jump_false, k)| BpfInstruction { code, jump_true, jump_false, k })
            .collect();
        matches(&program, header)
    }

    #[test]
    fn what_a_program_reads_is_what_it_loads() {
        let reads = |text: &[(u16, u32)], v6| {
            let program: Vec<BpfInstruction> =
                text.iter().map(|&(code, k)| BpfInstruction { code, jump_true: 0, jump_false: 0, k }).collect();
            super::reads(&program, v6)
        };
        let none = Reads::default();
        assert_eq!(reads(&[(0x30, 9), (0x15, 17), (0x06, 1)], false), Reads { protocol: true, ..none });
        assert_eq!(reads(&[(0x20, 12)], false), Reads { source: true, ..none });
        assert_eq!(reads(&[(0x28, 14)], false), Reads { source: true, ..none });
        assert_eq!(reads(&[(0x30, 16)], false), Reads { destination: true, ..none });
        assert_eq!(reads(&[(0x20, 16)], true), Reads { source: true, ..none });
        assert_eq!(reads(&[(0x20, 22)], true), Reads { source: true, destination: true, ..none });
        assert_eq!(reads(&[(0x28, 42)], true), Reads { protocol: true, port: true, ..none });
        assert_eq!(reads(&[(0x28, 6), (0x00, 5), (0x60, 1)], false), none);
        let ports = Reads { protocol: true, port: true, ..none };
        assert_eq!(reads(&[(0xb1, 0), (0x48, 2)], false), ports);
        assert_eq!(reads(&[(0xb1, 0), (0x48, 0)], false), Reads { port: false, ..ports });
        // An index of its own may lead anywhere.
        let all = Reads { source: true, destination: true, protocol: true, port: true };
        assert_eq!(reads(&[(0xb1, 0), (0x07, 0), (0x48, 2)], false), all);
        assert_eq!(reads(&[(0x48, 2)], true), all);
    }

    #[test]
    fn a_port_filter_of_tcpdump_is_understood() {
        // ip proto tcp, no fragment, dst port 443: `ldb [9]`, `ldh [6]; jset 0x1fff`, `ldxb 4*([0]&0xf)`, `ldh [x+2]`.
        let program = |port| {
            [
                (0x30, 0, 0, 9),
                (0x15, 0, 6, 6),
                (0x28, 0, 0, 6),
                (0x45, 4, 0, 0x1fff),
                (0xb1, 0, 0, 0),
                (0x48, 0, 0, 2),
                (0x15, 0, 1, port),
                (0x06, 0, 0, 65535),
                (0x06, 0, 0, 0),
            ]
        };
        assert_eq!(run(&program(443), &header(None)), Some(true));
        assert_eq!(run(&program(80), &header(None)), Some(false));
    }

    #[test]
    fn bits_that_nobody_knows_decide_nothing() {
        let id = [(0x28, 0, 0, 4), (0x15, 0, 1, 7), (0x06, 0, 0, 1), (0x06, 0, 0, 0)];
        assert_eq!(run(&id, &header(None)), None);
        let source_port = [(0x28, 0, 0, 20), (0x15, 0, 1, 7), (0x06, 0, 0, 1), (0x06, 0, 0, 0)];
        assert_eq!(run(&source_port, &header(None)), None);
        assert_eq!(run(&source_port, &header(Some(7))), Some(true));
        assert_eq!(run(&[(0x20, 0, 0, 4000), (0x16, 0, 0, 0)], &header(None)), None);
        assert_eq!(run(&[(0x05, 0, 0, u32::MAX)], &header(None)), None);
        assert_eq!(run(&[(0x34, 0, 0, 0), (0x06, 0, 0, 1)], &header(None)), Some(false));
    }
}
