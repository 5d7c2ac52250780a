//! Services as they are written: `ssh`, `tcp/80`, `tcp/8080-8089`, `icmp/8`, `proto/47`, `any`,
//! and any of those with ports as `tcp/2049 from 600-1023`.

use crate::{
    catalogue,
    model::{Ports, Protocol, Sources16},
    near::nearest,
    problem::Problem,
};

/// Why a service cannot be read, and what may have been meant.
#[derive(Debug)]
pub struct BadService {
    pub problem: Problem,
    pub help: Option<String>,
}

impl From<Problem> for BadService {
    fn from(problem: Problem) -> Self {
        Self { problem, help: None }
    }
}

/// Reads one service. `own` finds the policy's own services, `names` lists them.
pub fn parse<'a>(
    text: &str,
    own: impl Fn(&str) -> Option<Vec<Ports>>,
    names: impl Iterator<Item = &'a str>,
) -> Result<Vec<Ports>, BadService> {
    read(text, own, names).map_err(|bad| match rewritten(text) {
        Some(meant) => BadService { help: Some(format!("did you mean `{meant}`?")), ..bad },
        None => bad,
    })
}

/// How other tools write it, in our words: `80/tcp`, `TCP:80`, `tcp/80,443`, `tcp/http`.
fn rewritten(text: &str) -> Option<String> {
    let lower = text.trim().to_ascii_lowercase();
    let (protocol, numbers) = lower.split_once('/').unwrap_or((&lower, ""));
    if numbers.contains(',') {
        let each: Vec<String> =
            numbers.split(',').map(|n| format!("{protocol}/{}", n.trim())).collect();
        let fine = each.iter().all(|one| literal(one).is_ok());
        return fine.then(|| format!("[{}]", each.join(", ")));
    }
    let words: Vec<&str> = text.split([' ', ',', ';']).filter(|w| !w.is_empty()).collect();
    if words.len() > 1 && words.iter().all(|w| catalogue::find(w).is_some() || literal(w).is_ok()) {
        return Some(format!("[{}]", words.join(", ")));
    }
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, ""));
    let candidates = [
        lower.replace(' ', ""),
        format!("{numbers}/{protocol}"),
        format!("{protocol}/{}", numbers.replace(':', "-").replace("..", "-")),
        format!("{protocol}/{last}-{first}"),
        format!("{protocol}/{first}-65535"),
        lower.replacen([':', ' ', '.', '-'], "/", 1),
        numbers.to_owned(),
        numbers.replace("echo-request", "ping"),
        match lower.as_str() {
            "all" | "*" | "everything" => "any".to_owned(),
            _ => String::new(),
        },
    ];
    let is_service = |c: &String| c == "any" || catalogue::find(c).is_some() || literal(c).is_ok();
    candidates.into_iter().find(|c| c != text && is_service(c))
}

fn read<'a>(
    text: &str,
    own: impl Fn(&str) -> Option<Vec<Ports>>,
    names: impl Iterator<Item = &'a str>,
) -> Result<Vec<Ports>, BadService> {
    if let Some((service, ports)) = text.split_once(" from ") {
        let source = source(ports.trim())?;
        return from(read(service.trim(), own, names)?, source, text);
    }
    if text == "any" {
        return Ok(Protocol::ALL.into_iter().map(Ports::all).collect());
    }
    if let Some(ports) = own(text).or_else(|| catalogue::find(text)) {
        return Ok(ports);
    }
    if text.contains('/') {
        return literal(text);
    }
    let built_in = catalogue::names().chain(["any"]).map(|name| -> &'a str { name });
    let known = names.chain(built_in);
    let help = match nearest(text, known) {
        Some(name) => Some(format!("did you mean `{name}`?")),
        None if text.bytes().all(|b| b.is_ascii_digit()) => {
            Some(format!("say of which protocol: `tcp/{text}` or `udp/{text}`"))
        }
        None => Some("define it under `services:`, or write its ports as in `tcp/8080`".into()),
    };
    Err(BadService { problem: Problem::UnknownService { name: text.to_owned() }, help })
}

/// A service from these source ports only.
fn from(mut ports: Vec<Ports>, source: Sources16, text: &str) -> Result<Vec<Ports>, BadService> {
    let refuse = |why| Err(Problem::BadService { got: text.into(), why }.into());
    if ports.iter().any(|p| !p.protocol.has_ports()) {
        return refuse("only tcp, udp and sctp have source ports");
    }
    if ports.iter().any(|p| p.source != Sources16::ALL) {
        return refuse("it says twice from which source ports");
    }
    ports.iter_mut().for_each(|p| p.source = source);
    Ok(ports)
}

/// Source ports: one, or a range.
fn source(text: &str) -> Result<Sources16, Problem> {
    let (first, last) = bounds(text, "a source port")?;
    Ok(Sources16 { first, last })
}

/// `PROTOCOL/NUMBERS`.
pub fn literal(text: &str) -> Result<Vec<Ports>, BadService> {
    let (name, numbers) = text.split_once('/').unwrap_or((text, ""));
    let Some(protocol) = Protocol::ALL.into_iter().find(|p| p.name() == name) else {
        let why = "it begins with tcp, udp, sctp, icmp, icmpv6 or proto";
        let help = nearest(name, Protocol::ALL.into_iter().map(Protocol::name))
            .map(|near| format!("did you mean `{near}/{numbers}`?"));
        return Err(BadService { problem: Problem::BadService { got: text.into(), why }, help });
    };
    match protocol {
        Protocol::Icmp | Protocol::Icmpv6 => Ok(vec![icmp(protocol, numbers)?]),
        Protocol::Proto => Ok(ip_protocol(number(numbers, "a protocol", 255)? as u8)),
        _ => Ok(vec![port_range(protocol, numbers)?]),
    }
}

/// One number as it is written: `tcp/22`, `icmp/8/0`, `proto/47`.
pub fn show_number(protocol: Protocol, number: u16) -> String {
    Ports::range(protocol, number, number).to_string()
}

fn port_range(protocol: Protocol, numbers: &str) -> Result<Ports, Problem> {
    let (first, last) = bounds(numbers, "a port")?;
    Ok(Ports::range(protocol, first, last))
}

/// `80` or `80-89`.
fn bounds(numbers: &str, what: &'static str) -> Result<(u16, u16), Problem> {
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let first = number(first, what, 65_535)?;
    let last = number(last, what, 65_535)?;
    if last < first {
        return Err(Problem::BackwardRange { first, last });
    }
    Ok((first as u16, last as u16))
}

/// `icmp/TYPE` or `icmp/TYPE/CODE`.
fn icmp(protocol: Protocol, numbers: &str) -> Result<Ports, Problem> {
    let (kind, code) = match numbers.split_once('/') {
        Some((kind, code)) => (kind, Some(number(code, "an ICMP code", 255)? as u16)),
        None => (numbers, None),
    };
    let base = (number(kind, "an ICMP type", 255)? as u16) << 8;
    let (first, last) = code.map_or((base, base | 0xff), |c| (base | c, base | c));
    Ok(Ports::range(protocol, first, last))
}

/// A protocol number; for those that have tables of their own, all of their numbers too.
fn ip_protocol(number: u8) -> Vec<Ports> {
    let own = match number {
        1 => Some(Protocol::Icmp),
        6 => Some(Protocol::Tcp),
        17 => Some(Protocol::Udp),
        58 => Some(Protocol::Icmpv6),
        132 => Some(Protocol::Sctp),
        _ => None,
    };
    let bare = Ports::range(Protocol::Proto, number.into(), number.into());
    own.map(Ports::all).into_iter().chain([bare]).collect()
}

fn number(text: &str, what: &'static str, max: u32) -> Result<u32, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u32>() {
        Ok(n) if digits && n <= max => Ok(n),
        _ => Err(Problem::OutOfRange { what, max, got: text.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str) -> String {
        match parse(text, |_| None, std::iter::empty()) {
            Ok(ports) => ports.iter().map(Ports::to_string).collect::<Vec<_>>().join(" "),
            Err(bad) => format!("{}: {}", bad.problem.code(), bad.help.unwrap_or_default()),
        }
    }

    #[test]
    fn reads_what_people_write() {
        assert_eq!(show("tcp/80"), "tcp/80");
        assert_eq!(show("tcp/8080-8089"), "tcp/8080-8089");
        assert_eq!(show("icmp/3/4"), "icmp/3/4");
        assert_eq!(show("icmpv6/128"), "icmpv6/128");
        assert_eq!(show("proto/47"), "proto/47");
        assert_eq!(show("proto/6"), "tcp proto/6");
        assert_eq!(show("ping"), "icmp/8 icmpv6/128");
        assert_eq!(show("any"), "tcp udp sctp icmp icmpv6 proto");
        assert_eq!(show("tcp/2049 from 600-1023"), "tcp/2049 from 600-1023");
        assert_eq!(show("udp/5000-5010  from  53"), "udp/5000-5010 from 53");
        assert_eq!(show("dns from 53"), "tcp/53 from 53 udp/53 from 53");
    }

    #[test]
    fn refuses_what_it_cannot_mean() {
        assert_eq!(show("tcp/70000"), "PC0304: ");
        assert_eq!(show("tcp/"), "PC0304: ");
        assert_eq!(show("tcp/+5"), "PC0304: ");
        assert_eq!(show("tcp/90-80"), "PC0303: did you mean `tcp/80-90`?");
        assert_eq!(show("tcp/1024-"), "PC0304: did you mean `tcp/1024-65535`?");
        assert_eq!(show("tcp / 80"), "PC0302: did you mean `tcp/80`?");
        assert_eq!(show("ssh http"), "PC0301: did you mean `[ssh, http]`?");
        assert_eq!(show("tcp/80 from 70000"), "PC0304: ");
        assert_eq!(show("tcp/80 from 90-80"), "PC0303: ");
        assert_eq!(show("ping from 7"), "PC0302: ");
        assert_eq!(show("tcp/80 from 7 from 8"), "PC0304: ");
        assert_eq!(show("tpc/80"), "PC0302: did you mean `tcp/80`?");
        assert_eq!(show("80/tcp"), "PC0302: did you mean `tcp/80`?");
        assert_eq!(show("TCP:80"), "PC0301: did you mean `tcp/80`?");
        assert_eq!(show("tcp/80:90"), "PC0304: did you mean `tcp/80-90`?");
        assert_eq!(show("tcp/80,443"), "PC0304: did you mean `[tcp/80, tcp/443]`?");
        assert_eq!(show("tcp/http"), "PC0304: did you mean `http`?");
        assert_eq!(show("icmp/echo-request"), "PC0304: did you mean `ping`?");
        assert_eq!(show("ALL"), "PC0301: did you mean `any`?");
        assert_eq!(show("htp"), "PC0301: did you mean `http`?");
        assert_eq!(show("8443"), "PC0301: say of which protocol: `tcp/8443` or `udp/8443`");
    }
}
