//! What we compile to. Each target builds a typed rule model from a validated config; its printers only read it.

pub mod cost;
pub mod iptables;
pub mod nft;
mod plane;
pub mod split;

use clap::ValueEnum;
use serde::Serialize;

use crate::diagnostic::{Code, Diagnostic};
use crate::ir::Service;

/// What the kernel has to hold of an output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Objects {
    pub chains: usize,
    pub rules: usize,
    /// Sets and maps with names.
    pub named_sets: usize,
    /// Sets and maps that stand inside rules.
    pub written_out: usize,
    /// Of all sets and maps, before any client is remembered.
    pub elements: usize,
    /// With names; those of iptables are part of its rules.
    pub counters: usize,
}

/// What the command line says about the output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The name that keeps a second program on one machine apart.
    pub instance: Option<Instance>,
    /// Where the iptables target keeps the clients of `sticky` services.
    pub sticky_store: StickyStore,
    /// How rules are arranged.
    pub layout: Layout,
}

/// The shape of the output: what is as well said in one way or the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// By size
    #[default]
    Auto,
    /// The shape for a few services: one rule after the other
    Linear,
    /// The shape for thousands of services
    Tree,
}

/// What remembers clients on the iptables target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StickyStore {
    /// The `recent` match: nothing to set up, 100 clients per backend unless xt_recent was told otherwise.
    #[default]
    Recent,
    /// An ipset per backend, which the script format makes: 65,536 clients each.
    Ipset,
}

/// The name of an instance: 1 to 8 letters, digits and `_`, so that chain names stay readable and apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance(String);

/// Words that follow `LBC-` in the names of the default instance's own chains.
const RESERVED_INSTANCES: [&str; 9] =
    ["PREROUTING", "OUTPUT", "INPUT", "FORWARD", "POSTROUTING", "SVC", "AT", "REJECT", "DROP"];

impl Instance {
    /// Checks a name; the error says what is wrong with it.
    pub fn new(name: &str) -> Result<Instance, String> {
        let fits = (1..=8).contains(&name.len());
        if !fits || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err("an instance is named with 1 to 8 letters, digits and `_`".to_owned());
        }
        match RESERVED_INSTANCES.contains(&name.to_ascii_uppercase().as_str()) {
            true => Err(format!("`{name}` is part of the names of the default instance's own chains")),
            false => Ok(Instance(name.to_owned())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// LB016 for a share that the target's arithmetic rounds to nothing.
fn vanishes(service: &Service, backend: impl std::fmt::Display, target: &str) -> Diagnostic {
    Diagnostic::error(
        Code::UnrepresentableWeight,
        service.backends_loc,
        format!("the share of `{backend}` rounds to nothing on the {target} target"),
    )
    .here("in this list")
    .help("use weights that differ less")
}

/// Cuts a text in front to at most `max` bytes, with `…` where something is left out.
fn cut_front(text: &str, max: usize) -> std::borrow::Cow<'_, str> {
    const ELLIPSIS: &str = "…";
    if text.len() <= max {
        return text.into();
    }
    let from = text.len() - (max - ELLIPSIS.len());
    let start = (from..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
    format!("{ELLIPSIS}{}", &text[start..]).into()
}
