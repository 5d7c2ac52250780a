//! A whole run: the program alone, then everybody side by side.

use crate::{
    aims, command, conntrack,
    error::Error,
    forwarding::Run,
    interrupt::Interrupt,
    machine::{Machine, Others},
    netns::Namespace,
    options::Options,
    peers::{
        BareRedirect, Bridge, FilteredBridge, Peer, Policy, Portcullis, Router, Running, Shape,
    },
    progress::Progress,
    report::{Report, Settings},
    testrun::{self, CaseResult, FlowTable},
    world::Topology,
    yardstick::Hook,
};

/// Rules of our routed row, which stands beside the router's.
const ROUTED_RULES: u32 = 1_000;
/// What `--only` calls the program alone.
const TESTRUN: &str = "testrun";

/// Measures all that is asked for.
pub fn everything(options: &Options) -> Result<Report, Error> {
    command::require_all()?;
    let machine = Machine::this()?;
    let interrupt = Interrupt::listen()?;
    let _limit = conntrack::Limit::raise()?;
    let policies = policies(options)?;
    let peers = peers(options, &policies);
    let run = Run {
        rounds: options.rounds(),
        times: options.times(),
        peers: &peers,
        interrupt: &interrupt,
    };
    let alone = options.wants(TESTRUN);
    let sizes: Vec<&Policy> =
        policies.iter().filter(|p| p.topology == Topology::Switched).collect();
    let steps = if alone { options.rounds() as usize * sizes.len().saturating_sub(1) } else { 0 };
    let mut progress = Progress::new(steps + run.steps());
    let mut others = Others::watch()?;
    let (testrun, flow_table) = match alone {
        true => by_testrun(options, &sizes, &interrupt, &mut progress, &mut others)?,
        false => (Vec::new(), None),
    };
    let forwarding = run.measure(&mut progress, &mut others)?;
    Ok(Report {
        machine,
        settings: Settings {
            rounds: options.rounds(),
            quick: options.is_quick(),
            times: options.times(),
            testrun: options.counts(),
        },
        seconds: progress.seconds(),
        cores_taken_by_others: others.cores(),
        aims: aims::check(&forwarding, &testrun),
        testrun,
        flow_table,
        forwarding,
    })
}

/// Compiles the policies that a run needs.
fn policies(options: &Options) -> Result<Vec<Policy>, Error> {
    let switched = options.policy_sizes().iter().map(|&rules| (rules, Topology::Switched));
    let mut policies = Vec::new();
    for (rules, topology) in switched.chain([(ROUTED_RULES, Topology::Routed)]) {
        let policy = Policy::compile(rules, topology)?;
        eprintln!("compiled {rules} rules in {:.0} ms", policy.compile_ms);
        policies.push(policy);
    }
    Ok(policies)
}

/// Everybody who takes part.
fn peers(options: &Options, policies: &[Policy]) -> Vec<Box<dyn Peer>> {
    let mut peers: Vec<Box<dyn Peer>> = vec![Box::new(Bridge)];
    for hook in [Hook::Tcx, Hook::Xdp] {
        peers.push(Box::new(BareRedirect { hook }));
    }
    for &rules in options.ruleset_sizes() {
        for shape in [Shape::Set, Shape::Linear] {
            peers.push(Box::new(FilteredBridge { rules, shape }));
        }
    }
    for &rules in options.router_sizes() {
        peers.push(Box::new(Router { rules }));
    }
    for policy in policies {
        peers.push(Box::new(Portcullis { policy: policy.clone(), lane: false }));
    }
    for policy in policies.iter().filter(|p| p.topology == Topology::Switched) {
        peers.push(Box::new(Portcullis { policy: policy.clone(), lane: true }));
    }
    peers.retain(|peer| options.wants(peer.name()));
    peers
}

/// The program alone: one switch carries the smallest policy and each of the others in turn.
fn by_testrun(
    options: &Options,
    policies: &[&Policy],
    interrupt: &Interrupt,
    progress: &mut Progress,
    others: &mut Others,
) -> Result<(Vec<CaseResult>, Option<FlowTable>), Error> {
    let mut results = Vec::new();
    let namespace = Namespace::new()?;
    let [few, larger @ ..] = policies else { return Ok((results, None)) };
    // The taps must stay open: a port without carrier is no port.
    let (mut running, _taps) = Running::for_testrun(&namespace, few)?;
    for round in 0..options.rounds() {
        for many in larger {
            progress.step(format_args!(
                "round {}/{}: TEST_RUN with {} and {} rules",
                round + 1,
                options.rounds(),
                few.rules,
                many.rules
            ));
            running.install(few)?;
            let loaded = running.subject(&namespace)?.newest(few.rules)?;
            running.install(many)?;
            let subject = running.subject(&namespace)?;
            let loaded = [loaded, subject.newest(many.rules)?];
            let (flows, counts) = (options.flows(), options.counts());
            testrun::measure(&subject, loaded, flows, counts, interrupt, &mut results)?;
            others.mark()?;
        }
    }
    results.sort_by_key(|r| (r.case, r.flows, r.rules));
    let table = running.subject(&namespace)?.flow_table()?;
    Ok((results, table))
}
