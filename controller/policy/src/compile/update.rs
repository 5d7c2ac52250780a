//! A build and its image after a small change of the model.

use super::{
    Build, identities, image,
    limits::{LIMITS, PLACES},
    lists::{Keys, Lists},
    literals,
    order::RuleKey,
    refuse_empty,
    reuse::{Before, Replaced, Touched, rebuild},
    rows::Input,
    rules_fit, service_classes,
    space::Space,
};
use crate::{diagnostic::Diagnostics, model::Model};
use portcullis_image::Image;

/// Brings a build and its image up to date after rules or invariants of the model changed and
/// nothing else did; `build.expanded` and `image.rules` are up to date already. Gives back what
/// is judged otherwise now. `None`: it does not fit any more; then both are good for nothing, and
/// [`super::build`] says why.
pub fn update(
    model: &Model,
    change: &Replaced,
    build: &mut Build,
    image: &mut Image,
) -> Option<Touched> {
    rules_fit(&build.expanded).ok()?;
    let old_rules = build.rules.clone();
    let literals = literals(model);
    let same_lists = literals == build.literals && keep_lists(change, build);
    if same_lists {
        let input = Input {
            rules: &build.rules,
            classes: &build.classes,
            services: &build.services,
            limits: LIMITS,
        };
        let before = Before {
            rules: &old_rules,
            classes: &build.classes,
            services: &build.services,
            image,
            atoms: None,
        };
        let (rows, touched) = rebuild(&input, &before, change)?;
        image::set_rows(image, rows);
        return Some(touched);
    }
    divide_anew(model, change, &old_rules, literals, build, image)
}

/// Are the same lists in use as before?
fn keep_lists(change: &Replaced, build: &mut Build) -> bool {
    let Build { lists, rules, expanded, .. } = build;
    change.keeps_lists && lists.replace(rules, change, &expanded.rules).is_some()
}

/// Divides addresses and services again.
fn divide_anew(
    model: &Model,
    change: &Replaced,
    old_rules: &[RuleKey],
    literals: Vec<ipnet::IpNet>,
    build: &mut Build,
    image: &mut Image,
) -> Option<Touched> {
    let space = Space::new(model, literals.iter().copied(), PLACES).ok()?;
    if refuse_empty(model, &space, &mut Diagnostics::default()) {
        return None;
    }
    let (lists, Keys { rules, invariants }) = Lists::of(model, &build.expanded, &space);
    let classes = identities(&space, &lists).ok()?;
    let services = service_classes(&lists).ok()?;
    let input = Input { rules: &rules, classes: &classes, services: &services, limits: LIMITS };
    let atoms = space.in_terms_of(&build.space);
    let before = Before {
        rules: old_rules,
        classes: &build.classes,
        services: &build.services,
        image,
        atoms: Some(&atoms),
    };
    let (rows, touched) = rebuild(&input, &before, change)?;
    image::set_classes(image, model, &space, &classes);
    image::set_services(image, &services);
    image::set_rows(image, rows);
    let expanded = std::mem::take(&mut build.expanded);
    *build = Build { space, classes, services, expanded, rules, invariants, lists, literals };
    Some(touched)
}
