//! Questions as text: flows, source ports, selectors; and a question as an invariant.

use std::net::{IpAddr, SocketAddr};

use super::ExplainError;
use crate::{
    Compiled, Moment, Problem, Sources, compile_at, compile_unproved_at,
    diagnostic::{Diagnostics, Edit},
    model::Protocol,
};

/// Who, to whom, for what, as rules say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Who opens the connection.
    pub from: String,
    /// To whom.
    pub to: String,
    /// For what.
    pub service: String,
}

impl Question {
    /// From its three parts; an address with a port as source asks about that source port.
    pub fn new(from: &str, to: &str, service: &str) -> Self {
        let (from, service) = match with_port(from) {
            Some((addr, port)) => (addr.to_string(), format!("{service} from {port}")),
            None => (from.to_owned(), service.to_owned()),
        };
        Self { from, to: to.to_owned(), service }
    }

    /// From `PROTOCOL FROM -> TO`: `tcp 10.10.0.11:40000 -> 10.20.0.5:443`, `icmp/8 pc1 -> web1`.
    pub fn flow(text: &str) -> Result<Self, ExplainError> {
        let bad = |why: &'static str| ExplainError::BadFlow { flow: text.to_owned(), why };
        let (protocol, ends) = text
            .trim()
            .split_once(char::is_whitespace)
            .ok_or_else(|| bad("something is missing"))?;
        let (from, to) = ends.split_once("->").ok_or_else(|| bad("there is no `->`"))?;
        let (from, to) = (from.trim(), to.trim());
        if from.is_empty() || to.is_empty() {
            return Err(bad("an end is missing"));
        }
        let has_ports = Protocol::ALL.iter().any(|p| p.has_ports() && p.name() == protocol);
        if !has_ports {
            if with_port(from).or(with_port(to)).is_some() {
                return Err(bad("only tcp, udp and sctp have ports"));
            }
            return Ok(Self::new(from, to, protocol));
        }
        let (to, port) = match with_port(to) {
            Some((addr, port)) => (addr.to_string(), port),
            None => named_with_port(to).ok_or_else(|| bad("the destination has no port"))?,
        };
        Ok(Self::new(from, &to, &format!("{protocol}/{port}")))
    }
}

/// `10.10.0.11:700`, `[fd00::1]:700`.
fn with_port(text: &str) -> Option<(IpAddr, u16)> {
    text.parse::<SocketAddr>().ok().map(|s| (s.ip(), s.port()))
}

/// `web1:443`; an IPv6 address without brackets is no name.
fn named_with_port(text: &str) -> Option<(String, u16)> {
    let (name, port) = text.rsplit_once(':')?;
    let plain = !name.contains(':') && !name.is_empty();
    plain.then(|| port.parse().ok()).flatten().map(|port| (name.to_owned(), port))
}

/// The name of the file that stands for the question in messages.
const ASKED: &str = "(question)";

/// The policy with one more file, as it was compiled.
fn with(compiled: &Compiled, text: String) -> (Sources, Moment) {
    let files = compiled.model.sources.files().iter();
    let files = files.map(|f| (f.name().to_owned(), f.text().to_owned()));
    let sources = Sources::new(files.chain([(ASKED.to_owned(), text)]));
    let (now_unix_s, since_unix_s) = (compiled.model.now_unix_s, compiled.model.anchors());
    (sources, Moment { now_unix_s, since_unix_s })
}

/// The policy with names for selectors, if the question has such; and the question with names.
pub fn named(
    compiled: &Compiled,
    question: &Question,
) -> Result<Option<(Compiled, Question)>, ExplainError> {
    let is_selector = |text: &str| text.trim_start().starts_with(['{', '[']);
    let mut sets = String::from("sets:\n");
    let mut named = question.clone();
    let sides = [(&mut named.from, "question-from"), (&mut named.to, "question-to")];
    for (side, name) in sides.into_iter().filter(|s| is_selector(s.0)) {
        sets += &format!("  {name}: [{}]\n", side.replace(['\n', '\r'], " "));
        *side = name.to_owned();
    }
    if named == *question {
        return Ok(None);
    }
    let (sources, moment) = with(compiled, sets);
    let bad = |d: Diagnostics| ExplainError::BadSelector { message: d.render(false) };
    Ok(Some((compile_unproved_at(&sources, &moment).map_err(bad)?, named)))
}

/// Changes that allow what is asked for and break no invariant: those that an `always` for it
/// would come with.
pub fn edits(compiled: &Compiled, from: &str, to: &str, service: &str) -> Vec<Edit> {
    let text = format!(
        "always:\n  - {{ name: question, from: \"{from}\", to: \"{to}\", for: \"{service}\" }}\n"
    );
    let (sources, moment) = with(compiled, text);
    let last = compiled.model.sources.files().len() as u32;
    let Err(diagnostics) = compile_at(&sources, &moment) else { return Vec::new() };
    let asked = diagnostics
        .items()
        .iter()
        .filter(|d| d.span.file == last && matches!(d.problem, Problem::AlwaysViolated { .. }));
    asked.flat_map(|d| d.edits.iter().cloned()).filter(|e| e.span.file != last).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(text: &str) -> String {
        match Question::flow(text) {
            Ok(q) => format!("{} | {} | {}", q.from, q.to, q.service),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_flow_reads_plainly() {
        let asked = [
            (
                "tcp 10.10.0.11:40000 -> 10.20.0.5:443",
                "10.10.0.11 | 10.20.0.5 | tcp/443 from 40000",
            ),
            ("tcp 10.10.0.11 -> 10.20.0.5:443", "10.10.0.11 | 10.20.0.5 | tcp/443"),
            ("udp [fd00::1]:53->[fd00::2]:53", "fd00::1 | fd00::2 | udp/53 from 53"),
            ("sctp pc1 -> web1:2905", "pc1 | web1 | sctp/2905"),
            ("icmp/8 pc1 -> web1", "pc1 | web1 | icmp/8"),
            ("icmpv6/128 fd00::1 -> fd00::2", "fd00::1 | fd00::2 | icmpv6/128"),
            ("proto/47 10.0.0.1 -> host", "10.0.0.1 | host | proto/47"),
        ];
        for (text, expected) in asked {
            assert_eq!(flow(text), expected);
        }
    }

    #[test]
    fn what_is_no_flow_is_told_why() {
        for (text, why) in [
            ("tcp", "something is missing"),
            ("tcp 10.0.0.1:1 10.0.0.2:2", "there is no `->`"),
            ("tcp 10.0.0.1:1 -> 10.0.0.2", "the destination has no port"),
            ("tcp -> 10.0.0.2:7", "an end is missing"),
            ("icmp/8 10.0.0.1:1 -> 10.0.0.2", "only tcp, udp and sctp have ports"),
        ] {
            assert!(flow(text).contains(why), "{text}: {}", flow(text));
        }
    }
}
