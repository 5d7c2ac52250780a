//! One namespace for everything that a rule can name as an endpoint.

use std::{collections::HashMap, sync::Arc};

use crate::{
    catalogue,
    diagnostic::{Diagnostic, Diagnostics},
    foreign,
    model::Endpoint,
    near::{did_you_mean, nearest},
    problem::Problem,
    source::Span,
    yaml::Key,
};

/// What each name means, and where that was said.
#[derive(Clone, Default)]
pub struct Names {
    /// Shared: it may be large, and is read more often than it is written.
    known: Arc<HashMap<String, (Endpoint, Span)>>,
}

impl Names {
    /// What a name means.
    pub fn find(&self, name: &str) -> Option<Endpoint> {
        match name {
            "any" => Some(Endpoint::Any),
            "host" => Some(Endpoint::Host),
            "world" => Some(Endpoint::World),
            _ => self.known.get(name).map(|&(endpoint, _)| endpoint),
        }
    }

    /// Gives a name its meaning, unless it has one or cannot be a name.
    pub fn declare(&mut self, key: &Key, endpoint: Endpoint, diags: &mut Diagnostics) {
        if !check_name(key, diags) {
            return;
        }
        if matches!(key.text.as_str(), "any" | "host" | "world" | "auto") {
            let problem = Problem::ReservedName { name: key.text.clone() };
            diags.push(Diagnostic::new(problem, key.span).help("call it something else"));
            return;
        }
        match self.known.get(&key.text) {
            Some(&(first, at)) => {
                let problem =
                    Problem::DuplicateName { name: key.text.clone(), first: describe(first) };
                diags.push(Diagnostic::new(problem, key.span).label(at, "first here"));
            }
            None => {
                let known = Arc::make_mut(&mut self.known);
                known.insert(key.text.clone(), (endpoint, key.span));
            }
        }
    }

    /// Moves the places where names were given their meaning.
    pub fn move_spans(&mut self, move_span: impl Fn(&mut Span)) {
        Arc::make_mut(&mut self.known).values_mut().for_each(|(_, span)| move_span(span));
    }

    /// A name that somebody may have meant.
    pub fn suggest(&self, name: &str) -> Option<String> {
        let words = ["any", "host", "world"].into_iter();
        did_you_mean(name, self.known.keys().map(String::as_str).chain(words))
    }

    /// Reports a name that means nothing. `wanted` filters the suggestions.
    pub fn unknown(
        &self,
        name: &str,
        span: Span,
        wanted: &'static str,
        fits: impl Fn(Endpoint) -> bool,
        diags: &mut Diagnostics,
    ) {
        let words = [("any", Endpoint::Any), ("host", Endpoint::Host), ("world", Endpoint::World)];
        let own = self.known.iter().map(|(name, &(endpoint, _))| (name.as_str(), endpoint));
        let candidates = own.chain(words).filter(|&(_, e)| fits(e)).map(|(name, _)| name);
        let problem = Problem::UnknownName { name: name.to_owned(), wanted };
        let diagnostic = Diagnostic::new(problem, span);
        let foreign = || foreign::endpoint(name).filter(|_| fits(Endpoint::World));
        let hint = hint(name).filter(|_| fits(Endpoint::World));
        diags.push(match (hint, nearest(name, candidates).or_else(foreign)) {
            (Some(hint), _) => diagnostic.help(hint),
            (None, Some(meant)) => diagnostic.meant(Some(meant)),
            (None, None) => diagnostic.maybe_help(is_domain(name).then_some(
                "domain names cannot be endpoints yet: list the addresses under `sets`",
            )),
        });
    }
}

/// What is wrong with something that is no name of an endpoint at all.
fn hint(name: &str) -> Option<String> {
    let negated = name.strip_prefix(['!', '-', '~']).or_else(|| name.strip_prefix("not "));
    if let Some(rest) = negated.map(str::trim).filter(|rest| !rest.is_empty()) {
        return Some(format!("write `{{ not: {rest} }}`"));
    }
    let separators = [',', ';', '|', '&', ' '];
    if name.contains(separators) {
        let parts: Vec<&str> = name.split(separators).filter(|p| !p.is_empty()).collect();
        return Some(format!("write a list: `[{}]`", parts.join(", ")));
    }
    let is_service = catalogue::find(name).is_some();
    is_service.then(|| format!("`{name}` is a service; services stand in `for`"))
}

fn is_domain(name: &str) -> bool {
    name.contains('.') && name.bytes().any(|b| b.is_ascii_alphabetic())
}

fn describe(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Guest(_) => "a guest",
        Endpoint::Label(_) => "a label",
        Endpoint::Network(_) => "a network",
        Endpoint::Set(_) => "a set",
        Endpoint::Any
        | Endpoint::Host
        | Endpoint::World
        | Endpoint::Selector(_)
        | Endpoint::Prefix(_) => "built in",
    }
}

/// Names begin with a letter and go on with letters, digits, `-`, `_` and `.`: so no name can be
/// mistaken for an address, a prefix or a service literal.
pub fn check_name(key: &Key, diags: &mut Diagnostics) -> bool {
    let mut bytes = key.text.bytes();
    let ok = bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && key.text.len() <= 63;
    if !ok {
        let problem = Problem::BadName { name: key.text.clone() };
        let slug = slug(&key.text);
        diags.push(Diagnostic::new(problem, key.span).meant(slug.as_deref()).help(
            "a name begins with a letter and has at most 63 letters, digits, `-`, `_` and `.`",
        ));
    }
    ok
}

/// A name that looks like this text, if only spaces and the like are wrong with it.
fn slug(text: &str) -> Option<String> {
    let between = |c: char| matches!(c, ' ' | '/' | '+' | '&' | '!' | ',');
    let parts: Vec<&str> = text.split(between).filter(|part| !part.is_empty()).collect();
    let slug = parts.join("-");
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let begins = slug.starts_with(|c: char| c.is_ascii_alphabetic());
    (begins && slug.bytes().all(fits) && slug.len() <= 63).then_some(slug)
}
