//! `lbc explain --rules`: the listeners of rules that lbc did not write.

mod filters;
mod gather;
mod json;
mod people;
mod service;
mod words;

use std::path::Path;

use ipnet::IpNet;

use crate::cli::rules;
use crate::cli::show::{Look, print_json, wants_json};
use crate::cli::{Exit, Failure, Global};

use gather::Told;
use service::Filter;

/// Explains a file of rules; `only` is a listener as `[PROTO/]ADDR:PORT`, and `local` are addresses of this machine.
pub fn explain(global: &Global, path: &Path, only: Option<&str>, local: &[IpNet]) -> Result<Exit, Failure> {
    let only = only.map(Filter::parse).transpose()?;
    let (families, target) = rules::search(path, |family, searched| Told::of(family, searched, local, only.as_ref()))?;
    let nothing = families.iter().all(|told| told.listeners.is_empty());
    if let (true, Some(only)) = (nothing && families.iter().all(|told| told.notes.is_empty()), &only) {
        return Err(Failure::new(format!("the rules do nothing to `{only}`")));
    }
    match wants_json(global) {
        true => print_json(global, &json::json(&families, target, local))?,
        false => people::print(&Look::new(global), &families, target)?,
    }
    Ok(Exit::Clean)
}
