//! What a policy means: YAML with positions to a checked model, to a compiled image, proved.
//!
//! The crate is pure: it takes file names and texts and gives back values. [`compile`] is the
//! whole way; [`oracle`] answers the same questions straight from the rules, sharing nothing
//! with the compiler, and [`explain`] says why.
//!
//! # The language
//!
//! ```yaml
//! include: [common.yaml, rules/]  # files, folders and globs, from here; one namespace
//! networks:                       # NAME: isolated broadcast domains
//!   lan:
//!     vlan: 10                    # 1..4094, each once
//!     subnets: [10.10.0.0/24, "fd00:10::/64"]
//!     gateway: true               # false (default), true, an address, or one for each subnet
//!     kind: lan                   # lan, dmz, isolated, external; see `kinds`
//!     mtu: 1500                   # bytes
//!     dns: [10.10.0.53]           # what guests are told by DHCP, DHCPv6, router advertisements
//!     domain: lan.example
//!     lease: 12h
//!     ethertypes: [0x88b5]        # what guests may use among themselves besides ARP and IP
//!     mac: auto                   # of the gateway
//!     limits: { broadcast: 50/s } # for its guests, see below
//!     outside: masquerade         # or routed, or none; without it as the host routes anyway
//! labels: { quarantine: "cut off" } # declared: nobody has to wear them
//! guests:
//!   pc1: { network: lan, ip: 10.10.0.11, mac: auto, labels: [admin] }
//!   fw: { nics: [{ network: lan }, { network: dmz, ip: [10.20.0.2, auto] }], forwards: false }
//!   core:                         # one interface: lan untagged, the others with their VLAN tags
//!     network: lan                # may be left out: then no untagged frame passes
//!     trunk: [dmz, { network: guests, ip: 10.30.0.2 }]
//!   spool:                        # what its port may take
//!     network: lan
//!     limits: { flows: 20000, half-open: 2000, new: 2000/s, broadcast: none, in: 1Gbit/s, out: 100Mbit/s }
//! host: { addresses: [192.0.2.1] }
//! sets:                           # lists of endpoints, or members without exceptions
//!   office: { members: [198.51.100.0/24, pc1], except: [198.51.100.66] }
//! denied:                         # nobody outside with these is heard or reached, before any rule
//!   bogons: { file: bogons.txt }  # a prefix a line, # or ; and a comment; millions of them
//!   scanners: { addresses: [198.51.100.7, 203.0.113.0/24] }
//! services:
//!   game: [udp/27015-27030, http] # literals and built-in services
//! rules:
//!   - name: web
//!     allow: { from: world, to: web, for: [http, https] }  # or deny, or pass
//!     tier: tenant                # or platform
//!     mode: enforce               # or observe: only counts and logs what it would do
//!     until: 2026-12-01           # or 2026-12-01T18:00Z, or 8h after it was first applied
//!     log: { rate: 50/s }         # or true: 10 a second on each CPU; or false
//!     owner: ops
//!     ticket: OPS-1
//! never:
//!   - { name: out, from: dmz, to: [lan, host], for: any }
//! always:
//!   - { from: host, to: files, for: smb }
//! log-denied: 10/s                # on each CPU: what no rule speaks about; none (default)
//! publish:                        # IPv4 ports of the host that lead to a guest; rules still decide
//!   - { name: site, at: 192.0.2.1, for: tcp/443, to: web1, port: 8443 }  # or at: host
//! ```
//!
//! `limits` hold for the port of each NIC: connections opened by the guest at a time (`flows`,
//! 16384), of these TCP connections not established (`half-open`, 1024), packets that want to open
//! one (`new`, 2000/s), broadcasts and multicasts (`broadcast`, 200/s), ARP and neighbour
//! discovery (`neighbours`, 200/s), and the bandwidth of what it receives (`in`) and sends
//! (`out`), which nobody limits by default. A guest's word goes before its network's, key by key;
//! `none` is no limit, `limits: none` none at all. One second's worth may come at once, of bytes
//! 0.3 seconds' worth.
//!
//! An endpoint is a guest, a label, a network, a set, `host`, `world`, `any`, an address or a
//! prefix, or a selector: `{ all of: [web, lan] }`, `{ any of: [web, db] }`, `{ not: web }`, one
//! inside the other as you like. A service is a name of [`CATALOGUE`], one of the policy, or
//! `tcp/80`, `udp/5000-5010`, `sctp/2905`, `icmp/8`, `icmp/3/4`, `icmpv6/128`, `proto/47`, `any`;
//! what has ports can say from which: `tcp/2049 from 600-1023`. A date is the beginning of that
//! day, UTC; a duration is `s`, `m`, `h`, `d` or `w` and counts from the moment in which the rule
//! was first in force on the host ([`Moment`]).
//!
//! Who wins: platform deny, platform pass (the tenants decide), platform allow, tenant deny,
//! tenant allow, default deny. Of equals the one that lasts longest is named, of these the first
//! in the text.

mod catalogue;
mod compile;
mod diagnostic;
mod diff;
mod explain;
mod foreign;
pub mod generate;
mod hash;
mod hygiene;
pub mod include;
mod incremental;
mod kinds;
pub mod lookup;
pub mod matrix;
pub mod model;
mod moment;
mod near;
pub mod oracle;
pub mod outside;
mod parse;
mod problem;
mod prove;
mod render;
mod schema;
mod service;
mod source;
mod syntax;
pub mod until;
mod yaml;

use portcullis_image::Image;

pub use crate::{
    catalogue::CATALOGUE,
    diagnostic::{
        Diagnostic, Diagnostics, Edit, JsonDiagnostic, JsonEdit, JsonLabel, Label, Severity,
    },
    diff::{
        Change, ChangeKind, Difference, Group, GroupKind, Line, Responsible, Services, Side, Sign,
        Subject, Why, Witness, diff,
    },
    explain::{
        Answer, DeniedView, Ends, Example, ExplainError, Explanation, RuleView, Verdict, explain,
        explain_flow,
    },
    incremental::Compiler,
    lookup::lookup,
    model::Model,
    moment::Moment,
    near::did_you_mean,
    problem::Problem,
    prove::{Cause, End, Hop, Violation, violations},
    schema::{schema, schema_text},
    source::{File, Position, Sources, Span},
};

/// A policy that holds together: every name resolved, every rule compiled.
#[derive(Clone)]
pub struct Compiled {
    /// What the files say.
    pub model: Model,
    /// What the data plane needs.
    pub image: Image,
    /// What somebody should look at.
    pub warnings: Diagnostics,
    names: parse::Names,
    build: compile::Build,
}

impl Compiled {
    /// How many invariants there are to prove, those of networks' kinds among them.
    pub fn invariants(&self) -> usize {
        self.build.expanded.invariants.len()
    }
}

/// Reads, checks, compiles and proves a policy as it is while nothing has expired. The error
/// holds everything that is wrong.
pub fn compile(sources: &Sources) -> Result<Compiled, Diagnostics> {
    compile_at(sources, &Moment::default())
}

/// As [`compile`], at some moment: rules that have expired by then do not count.
pub fn compile_at(sources: &Sources, moment: &Moment) -> Result<Compiled, Diagnostics> {
    let compiled = compile_unproved_at(sources, moment)?;
    let warnings = proved(&compiled)?;
    Ok(Compiled { warnings, ..compiled })
}

/// Proves a policy, and gives back all warnings about it.
fn proved(compiled: &Compiled) -> Result<Diagnostics, Diagnostics> {
    let mut diags = compiled.warnings.clone();
    prove::prove(compiled, &mut diags);
    hygiene::check(compiled, &mut diags);
    finish(diags)
}

/// Reads and checks a policy and compiles nothing.
pub fn read(sources: &Sources) -> Result<Model, Diagnostics> {
    let mut diags = Diagnostics::new(sources);
    let (model, _) = parse::model(sources, &Moment::default(), &mut diags);
    finish(diags).map(|_| model)
}

/// As [`compile`], without the proof of the invariants: for tests, and to explain a policy that
/// is refused. Never for enforcement.
pub fn compile_unproved(sources: &Sources) -> Result<Compiled, Diagnostics> {
    compile_unproved_at(sources, &Moment::default())
}

/// As [`compile_unproved`], at some moment.
pub fn compile_unproved_at(sources: &Sources, moment: &Moment) -> Result<Compiled, Diagnostics> {
    let mut diags = Diagnostics::new(sources);
    let (model, names) = parse::model(sources, moment, &mut diags);
    let mut diags = finish(diags)?;
    match compile::build(&model, &mut diags) {
        Some((build, image)) => {
            Ok(Compiled { model, image, warnings: finish(diags)?, names, build })
        }
        None => Err(diags.sorted()),
    }
}

/// The diagnostics as an error if they refuse the policy, as warnings if not.
fn finish(diags: Diagnostics) -> Result<Diagnostics, Diagnostics> {
    let diags = diags.sorted();
    if diags.has_errors() { Err(diags) } else { Ok(diags) }
}
