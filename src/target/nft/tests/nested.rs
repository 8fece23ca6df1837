//! The proof of many services whose prefixes and ports overlap.

use super::{config, lower};
use crate::generated::nested;
use crate::ir::Config;
use crate::target::nft::{Format, prove_json, prove_text};
use crate::target::{Layout, Options};
use crate::validate::{Coverage, Flaw};

fn printed(config: &Config, format: Format) -> String {
    let options = Options { layout: Layout::Tree, ..Options::default() };
    let ruleset = lower(config, &options, format).expect("a correct program");
    let mut text = Vec::new();
    match format {
        Format::Text => ruleset.print_text(&mut text),
        Format::Json => ruleset.print_json(&mut text),
    }
    .expect("a vector takes everything");
    String::from_utf8(text).expect("text")
}

fn proven(config: &Config, format: Format) -> Coverage {
    let text = printed(config, format);
    let found = match format {
        Format::Text => prove_text(config, &text),
        Format::Json => prove_json(config, &text),
    };
    found.unwrap_or_else(|flaw| panic!("{format:?} {flaw:#?}"))
}

#[test]
fn many_that_overlap_are_proven() {
    for format in [Format::Text, Format::Json] {
        let cost = |services: u32| proven(&config(&nested(services, 1000)), format).cost / u64::from(services);
        let (few, many) = (cost(50), cost(200));
        assert!(many < 6 * few, "{format:?} {few} {many}");
    }
}

#[test]
fn a_wrong_listener_is_seen() {
    let config = config(&nested(60, 8000));
    let right = printed(&config, Format::Text);
    prove_text(&config, &right).expect("the text itself is right");
    let lines: Vec<&str> = right.lines().collect();
    let leaves = lines.iter().enumerate().filter(|(_, line)| line.contains("dport ") && line.contains(" goto svc-"));
    let mut changed = 0;
    for (at, line) in leaves.filter(|(at, _)| at % 3 == 0) {
        let ports = line.split("dport ").nth(1).and_then(|rest| rest.split(' ').next()).expect("ports");
        let first = ports.split('-').next().expect("a port");
        let below: u32 = first.parse::<u32>().expect("a number") - 1;
        for other in [None, Some(line.replacen(&format!("dport {ports} "), &format!("dport {below} "), 1))] {
            let mut wrong: Vec<&str> = lines.clone();
            match &other {
                Some(other) => wrong[at] = other,
                None => drop(wrong.remove(at)),
            }
            let found = prove_text(&config, &(wrong.join("\n") + "\n"));
            assert!(matches!(found, Err(Flaw::Differs(_))), "{line}\n{other:?}\n{found:?}");
            changed += 1;
        }
    }
    assert!(changed > 3, "{changed}");
}
