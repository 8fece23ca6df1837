//! What `explain` and `trace` look at: a program's rules, or those of a file.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use ipnet::IpNet;

use super::Failure;
use super::input::Declarations;
use super::rules::Target;

/// Arguments that `explain` and `trace` have in common.
#[derive(Debug, Args)]
pub struct Subject {
    /// The name that standard input goes by
    #[arg(long, value_name = "NAME", default_value = "<stdin>")]
    pub stdin_filename: String,
    #[command(flatten)]
    pub declarations: Declarations,
    /// Rules that lbc did not write, in the place of PATH: an iptables-save dump or an `nft -j list ruleset`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["define", "hosts", "set"])]
    pub rules: Option<PathBuf>,
    /// Whose rules and numbers [default: iptables]
    #[arg(long, value_enum, conflicts_with = "rules")]
    target: Option<Target>,
    /// An address or prefix of this machine; repeatable [default: the destination of a packet that arrives; for explain
    /// addresses that no rule names]
    #[arg(long, value_name = "ADDR|PREFIX")]
    local: Vec<String>,
}

impl Subject {
    pub fn target(&self) -> Target {
        self.target.unwrap_or(Target::Iptables)
    }

    /// The addresses that are said to be this machine's.
    pub fn local(&self) -> Result<Vec<IpNet>, Failure> {
        let net =
            |text: &String| match text.parse().map(|address: IpAddr| IpNet::from(address)).or_else(|_| text.parse()) {
                Ok(net) => Ok(net.trunc()),
                Err(_) => Err(Failure::new(format!("expected an address or a prefix behind --local, found `{text}`"))),
            };
        self.local.iter().map(net).collect()
    }
}
