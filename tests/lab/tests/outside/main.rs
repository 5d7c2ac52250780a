//! The way to the outside through the host's own stack: masqueraded networks, published services,
//! and what becomes of them when rules, uplinks, daemons and other people's tables change.

mod faults;
mod foreign;
mod masquerade;
mod publish;
mod site;
