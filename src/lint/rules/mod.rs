//! One file for one lint.

pub mod all_weights_zero;
pub mod any_destination;
pub mod backend_in_listener;
pub mod coarse_hash;
pub mod duplicate_backend;
pub mod hairpin_without_masquerade;
pub mod loopback_backend;
pub mod management_port;
pub mod missing_family;
pub mod mixed_weights;
pub mod partial_overlap;
pub mod reducible_weights;
pub mod redundant_option;
pub mod sticky_capacity;
pub mod udp_stale_flows;
pub mod unreachable_statement;
pub mod unused_name;
pub mod unusual_address;
