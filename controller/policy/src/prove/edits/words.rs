//! Endpoints and services as a rule would write them.

use super::text::Text;
use crate::{
    Compiled,
    model::{Endpoint, Ports, Service, Sources16, Term},
    service,
};

/// Writes endpoints of a policy.
pub struct Words<'a> {
    compiled: &'a Compiled,
}

impl<'a> Words<'a> {
    pub fn new(compiled: &'a Compiled) -> Self {
        Self { compiled }
    }

    /// One endpoint; `None` where it is a selector of several lines.
    pub fn endpoint(&self, text: &Text, endpoint: Endpoint) -> Option<String> {
        let model = &self.compiled.model;
        Some(match endpoint {
            Endpoint::Any => "any".to_owned(),
            Endpoint::Host => "host".to_owned(),
            Endpoint::World => "world".to_owned(),
            Endpoint::Guest(g) => model.guests[g].name.clone(),
            Endpoint::Label(l) => model.labels[l].name.clone(),
            Endpoint::Network(n) => model.networks[n].name.clone(),
            Endpoint::Set(s) => model.sets[s].name.clone(),
            Endpoint::Prefix(net) => {
                let whole = net.prefix_len() == net.max_prefix_len();
                let plain = if whole { net.addr().to_string() } else { net.to_string() };
                if plain.contains(':') { format!("\"{plain}\"") } else { plain }
            }
            Endpoint::Selector(s) => {
                let written = text.slice(model.selectors[s].span);
                match written {
                    _ if written.contains(['\n', '#']) => return None,
                    _ if written.starts_with('{') => written.to_owned(),
                    _ => format!("{{ {written} }}"),
                }
            }
        })
    }

    /// Several endpoints, as a list unless there is one.
    pub fn endpoints(&self, text: &Text, endpoints: &[Endpoint]) -> Option<String> {
        let each = endpoints.iter().map(|e| self.endpoint(text, *e));
        Some(list(&each.collect::<Option<Vec<_>>>()?))
    }

    /// The endpoints of some terms.
    pub fn terms(&self, text: &Text, terms: &[Term]) -> Option<String> {
        self.endpoints(text, &terms.iter().map(|t| t.endpoint).collect::<Vec<_>>())
    }

    /// The atoms of an endpoint, ascending.
    pub fn atoms(&self, endpoint: Endpoint) -> Vec<u32> {
        self.compiled.build.space.members(endpoint)
    }
}

/// One element as it is, several as a list.
pub fn list(elements: &[String]) -> String {
    match elements {
        [one] => one.clone(),
        all => format!("[{}]", all.join(", ")),
    }
}

/// Services by the names that the policy uses for them.
pub fn services(services: &[Service]) -> String {
    list(&services.iter().map(|s| s.name.clone()).collect::<Vec<_>>())
}

/// What is left of a service when others are taken out, as it would be written: `None` if it
/// cannot be, or not briefly.
pub fn service_without(service: &Service, out: &[Ports]) -> Option<Vec<String>> {
    let mut left = service.ports.clone();
    for o in out {
        left = left.iter().flat_map(|p| without(*p, o)).collect();
    }
    if left == service.ports {
        return Some(vec![service.name.clone()]);
    }
    // A bare number of a protocol with a table of its own says the same again.
    let written: Vec<String> = left.iter().map(Ports::to_string).collect();
    let readable = |(p, text): (&Ports, &String)| {
        let read = service::parse(text, |_| None, std::iter::empty()).ok();
        read.is_some_and(|ports| ports == [*p])
    };
    let brief = left.len() <= 4 && left.iter().zip(&written).all(readable);
    brief.then_some(written)
}

/// One range without another: up to four pieces.
fn without(p: Ports, out: &Ports) -> Vec<Ports> {
    let apart = p.protocol != out.protocol
        || p.last < out.first
        || out.last < p.first
        || p.protocol.has_ports()
            && (p.source.last < out.source.first || out.source.last < p.source.first);
    if apart {
        return vec![p];
    }
    let mut pieces = Vec::new();
    if p.first < out.first {
        pieces.push(Ports { last: out.first - 1, ..p });
    }
    let common = Ports { first: p.first.max(out.first), last: p.last.min(out.last), ..p };
    if p.protocol.has_ports() {
        let Sources16 { first, last } = p.source;
        if first < out.source.first {
            pieces
                .push(Ports { source: Sources16 { first, last: out.source.first - 1 }, ..common });
        }
        if out.source.last < last {
            pieces.push(Ports { source: Sources16 { first: out.source.last + 1, last }, ..common });
        }
    }
    if out.last < p.last {
        pieces.push(Ports { first: out.last + 1, ..p });
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Span;

    fn left(service: &str, out: &str) -> Option<String> {
        let read = |t: &str| service::parse(t, |_| None, std::iter::empty()).expect("a service");
        let from = Service { name: service.into(), span: Span::default(), ports: read(service) };
        service_without(&from, &read(out)).map(|pieces| pieces.join(" + "))
    }

    #[test]
    fn services_lose_what_is_taken_out() {
        assert_eq!(left("tcp/1-1024", "ssh").as_deref(), Some("tcp/1-21 + tcp/23-1024"));
        assert_eq!(left("ssh", "tcp/22").as_deref(), Some(""));
        assert_eq!(left("dns", "ssh").as_deref(), Some("dns"));
        assert_eq!(left("ping", "icmp/8").as_deref(), Some("icmpv6/128"));
        assert_eq!(left("any", "ssh"), None);
        assert_eq!(
            left("tcp/2049", "tcp/2049 from 600-1023").as_deref(),
            Some("tcp/2049 from 0-599 + tcp/2049 from 1024-65535")
        );
    }
}
