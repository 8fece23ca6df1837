//! What nft would send to the kernel, so that its text and its JSON input can be compared.

use std::collections::BTreeMap;

use crate::available::tool;
use crate::namespace::Trouble;
use crate::net::{Host, Lab};
use crate::target::{Rules, Target, difference};

impl Lab {
    /// The kernel form of rules: sets, chains and rules, by name, in an order that is the same for text and
    /// JSON. Nothing is loaded.
    ///
    /// Call it on a cleared balancer: nft also prints what it finds there.
    pub fn bytecode(&self, rules: &Rules) -> Result<String, Trouble> {
        let mut command = tool("nft");
        match rules.target {
            Target::Nft => {}
            Target::NftJson => {
                command.arg("-j");
            }
            Target::IptablesNft | Target::IptablesLegacy => {
                panic!("nft does not read iptables' rules")
            }
        }
        command.args(["--debug=netlink", "--check", "--file", "-"]);
        Ok(in_order(&self.run_ok(Host::Balancer, &mut command, &rules.text)?))
    }

    /// Checks that a program's nft text and nft JSON are the same to the kernel.
    pub fn check_same_bytecode(&self, text: &Rules, json: &Rules) -> Result<(), Trouble> {
        let (from_text, from_json) = (self.bytecode(text)?, self.bytecode(json)?);
        if from_text == from_json {
            return Ok(());
        }
        Err(Trouble(format!(
            "nft's text (-) and JSON (+) differ in the kernel\n{}\n--- text\n{}\n--- JSON\n{}",
            difference(&from_text, &from_json),
            text.text,
            json.text
        )))
    }
}

/// Groups nft's debug output by object. The rules of one chain keep their order; elements are sorted.
fn in_order(output: &str) -> String {
    let mut objects: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut current = String::new();
    for line in output.lines() {
        if let Some(elements) = line.strip_prefix('\t') {
            let mut elements: Vec<&str> = elements.split('\t').map(str::trim).collect();
            elements.sort_unstable();
            let elements = elements.iter().map(|element| format!("    {element}\n")).collect();
            objects.entry(current.clone()).or_default().push(elements);
        } else if line.starts_with(' ') {
            let rule = objects.get_mut(&current).and_then(|parts| parts.last_mut());
            rule.expect("an expression follows a rule's head").push_str(&format!("  {line}\n"));
        } else if !line.is_empty() {
            // A rule's head is family, table, chain, then handles; a set's or a chain's line says it all.
            let words: Vec<&str> = line.split(' ').collect();
            let is_rule = is_family(words[0]) && words.get(1) != Some(&"(null)");
            current = if is_rule { words[..words.len().min(3)].join(" ") } else { line.to_owned() };
            objects.entry(current.clone()).or_default().push(String::new());
        }
    }
    let mut text = String::new();
    for (head, mut parts) in objects {
        if head.starts_with("__") {
            // Anonymous sets have no name to go by.
            parts.sort_unstable();
        } else if !is_family(head.split(' ').next().unwrap_or_default()) {
            // JSON input may spread the elements of one set over several messages.
            let mut elements: Vec<String> =
                parts.iter().flat_map(|part| part.lines()).map(|element| format!("{element}\n")).collect();
            elements.sort_unstable();
            parts = vec![elements.concat()];
        }
        text += &format!("{head}\n{}", parts.join("  -\n"));
    }
    text
}

fn is_family(word: &str) -> bool {
    matches!(word, "ip" | "ip6" | "inet" | "arp" | "bridge" | "netdev")
}

#[cfg(test)]
mod tests {
    use super::in_order;

    #[test]
    fn the_order_of_objects_and_elements_does_not_matter_but_that_of_rules_does() {
        let first = "m lb 8\nm lb 0\n\telement 01  : 0 [end]\telement 02  : 0 [end]\n\
                     inet lb a 5 4\n  [ immediate reg 0 accept ]\n\ninet lb a\n  [ immediate reg 0 drop ]\n\n";
        let second = "inet lb a\n  [ immediate reg 0 accept ]\n\ninet lb a\n  [ immediate reg 0 drop ]\n\n\
                      m lb 8\nm lb 0\n\telement 02  : 0 [end]\telement 01  : 0 [end]\n";
        let third = second.replace("accept", "drop").replacen("drop", "accept", 2).replacen("accept", "drop", 1);
        assert_eq!(in_order(first), in_order(second));
        assert_ne!(in_order(first), in_order(&third));
    }
}
