//! What targets do to the packets that their rules take.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::ir::Family;
use crate::meaning::{Action, Direction};
use crate::target::iptables::dump::{Rule, Target};
use crate::target::iptables::model::DnatPort;
use crate::trace::Source;

use super::flow::{Flow, Flows, keep, marked, merge};
use super::report::About;
use super::{Frame, Run};

impl<'d> Run<'_, 'd, '_> {
    /// What a target does to everything that its rule takes.
    pub(super) fn apply(
        &mut self,
        rule: &'d Rule<'d>,
        mut taken: Flows<'d>,
        frame: &mut Frame<'d>,
        accepted: &mut Flows<'d>,
    ) -> Option<Frame<'d>> {
        let comment = rule.comment.as_deref();
        let inner =
            |chain, goto, live| Some(Frame { chain, next: 0, live, returned: Flows::new(), goto, waiting: None });
        match &rule.target {
            Target::Accept => keep(accepted, taken),
            Target::Return => frame.returned.extend(taken),
            Target::Jump(chain) => return inner(*chain, false, taken),
            Target::Goto(chain) => return inner(*chain, true, taken),
            Target::Drop | Target::Reject => {
                let action = if rule.target == Target::Drop { Action::Drop } else { Action::Reject };
                for (flow, part) in taken {
                    self.end(flow, Some((action.clone(), comment)), part);
                }
            }
            Target::Dnat { address, port } => {
                for (flow, _) in &mut taken {
                    let address = address.or(flow.destination).unwrap_or(self.packet.destination);
                    self.change_port(*port, flow);
                    flow.destination = Some(address);
                    flow.action = Action::Dnat(address, flow.port);
                    flow.comment = comment;
                }
                keep(accepted, taken);
            }
            Target::Redirect(port) => {
                let here = self.redirected();
                if let Some(asked) = self.asked {
                    asked.interface();
                }
                for (flow, _) in &mut taken {
                    self.change_port(*port, flow);
                    flow.destination = here;
                    flow.action = Action::Redirect(flow.port);
                    flow.comment = comment;
                }
                accepted.extend(taken);
            }
            Target::Masquerade => {
                for (flow, _) in &mut taken {
                    flow.source = None;
                    flow.translated = Source::Masquerade;
                }
                accepted.extend(taken);
            }
            Target::Snat(address) => {
                for (flow, _) in &mut taken {
                    if let Some(address) = address {
                        flow.source = Some(*address);
                        flow.translated = Source::Address(*address);
                    }
                }
                accepted.extend(taken);
            }
            Target::Next
            | Target::Aside(_)
            | Target::Remember(_)
            | Target::Unknown(_)
            | Target::NoTrack
            | Target::Mark { .. }
            | Target::SaveMark { .. }
            | Target::RestoreMark { .. }
            | Target::Hmark { .. } => {
                let is_full = matches!(rule.target, Target::Remember(_)) && self.machine.memory.full;
                for (flow, _) in taken.iter_mut().filter(|_| !is_full) {
                    if !marked(rule, flow) {
                        self.report(rule, About::Target, "an address that is not known");
                    }
                }
                merge(&mut frame.live, taken);
            }
        }
        None
    }

    /// The port that a translation makes of one.
    fn change_port(&self, port: DnatPort, flow: &mut Flow<'_>) {
        match port {
            DnatPort::Kept => {}
            DnatPort::Fixed(port) => (flow.port, flow.port_follows) = (port, false),
            // NF_NAT_RANGE_PROTO_OFFSET: min + (port - base) % size
            DnatPort::Shifted { first, last, base } => {
                let size = u32::from(last.saturating_sub(first)) + 1;
                let offset = (u32::from(flow.port.wrapping_sub(base)) % size) as u16;
                if let Some(asked) = self.asked.filter(|_| flow.port_follows) {
                    // Where the remainder starts again.
                    let rest = (size - 1) as u16 - offset;
                    asked.port(flow.port, flow.port.saturating_sub(offset), flow.port.saturating_add(rest));
                }
                flow.port = first.wrapping_add(offset);
            }
        }
    }

    /// Where REDIRECT sends a packet: to loopback where it comes from this machine, else to an address of the interface.
    pub(super) fn redirected(&self) -> Option<IpAddr> {
        let loopback = match &self.packet.direction {
            Direction::Out => true,
            Direction::In(name) => name == "lo",
        };
        loopback.then(|| match self.rules.family {
            Family::V4 => Ipv4Addr::LOCALHOST.into(),
            Family::V6 => Ipv6Addr::LOCALHOST.into(),
        })
    }
}
