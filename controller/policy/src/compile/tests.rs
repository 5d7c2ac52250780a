//! The compiler against the oracle, on models that are changed by hand in all the ways that a
//! policy can say.

use proptest::prelude::*;

use super::*;
use crate::{
    generate::{self, Connections, Random, Size},
    lookup::{lookup, lookup_observed},
    model::{Combine, Purpose, Selector, Sources16, Until},
    moment::Moment,
    oracle, parse,
    source::Sources,
};

/// Selectors in the place of terms, source ports, ends and observers, at random.
fn enrich(model: &mut Model, r: &mut Random) {
    for i in 0..model.rules.len() {
        let mut rule = model.rules[i].clone();
        for term in rule.from.iter_mut().chain(&mut rule.to) {
            if r.once_in(6) {
                term.endpoint = selector(model, *term, r);
            }
        }
        for ports in rule.services.iter_mut().flat_map(|s| &mut s.ports) {
            if ports.protocol.has_ports() && r.once_in(3) {
                let first = *r.pick(&[0, 1, 600, 1023, 1024, 65_535]);
                let last = *r.pick(&[first, 1023.max(first), 65_535]);
                ports.source = Sources16 { first, last };
            }
        }
        rule.observe = r.once_in(4);
        let at_unix_s = 50 + r.below(4) as u64 * 50;
        rule.until = r.once_in(2).then_some(Until { at_unix_s, span: rule.span, anchor: None });
        model.rules[i] = rule;
    }
    model.now_unix_s = 100;
}

fn selector(model: &mut Model, term: Term, r: &mut Random) -> Endpoint {
    let combine = *r.pick(&[Combine::All, Combine::Any, Combine::Any, Combine::Not, Combine::Not]);
    let other = match r.below(4) {
        0 if !model.selectors.is_empty() => Endpoint::Selector(r.below(model.selectors.len())),
        1 => Endpoint::Network(r.below(model.networks.len())),
        2 => Endpoint::World,
        _ => term.endpoint,
    };
    let terms = vec![term, Term { endpoint: other, ..term }];
    model.selectors.push(Selector { span: term.span, combine, terms });
    Endpoint::Selector(model.selectors.len() - 1)
}

proptest! {
    #[test]
    fn the_tables_say_what_the_model_says(seed: u64, guests in 0usize..10, rules in 0usize..20) {
        let text = generate::policy(seed, Size { networks: 4, guests, rules });
        let sources = Sources::new([("random.yaml", text)]);
        let mut diags = Diagnostics::new(&sources);
        let (mut model, _) = parse::model(&sources, &Moment::default(), &mut diags);
        prop_assert!(!diags.has_errors(), "{diags}");
        enrich(&mut model, &mut Random::new(seed ^ 5));
        // What selects nothing is refused, which is tested elsewhere.
        let Some((_, image)) = build(&model, &mut diags) else { return Ok(()) };
        let mut ask = Connections::new(&model, seed);
        let mut r = Random::new(seed);
        for _ in 0..300 {
            let c = ask.next_connection();
            let mut purpose = Purpose::from(c.service);
            if purpose.protocol.has_ports() {
                purpose.source = *r.pick(&[0, 1, 599, 600, 1023, 1024, 50_000, 65_535]);
            }
            let at = |a: std::net::IpAddr| a.into();
            let cell = lookup(&image, c.network, at(c.src), at(c.dst), purpose);
            let told = oracle::evaluate_in(&model, c.network, c.src, c.dst, purpose);
            prop_assert_eq!((cell.allows(), cell.rule()), (told.allowed, told.rule), "{:?}", c);
            let cell = lookup_observed(&image, c.network, at(c.src), at(c.dst), purpose);
            let told = oracle::evaluate_observed(&model, c.network, c.src, c.dst, purpose);
            prop_assert_eq!((cell.allows(), cell.rule()), (told.allowed, told.rule), "{:?}", c);
        }
    }
}
