//! Denied sets to ranges: merged, and without everything that is not outside.
//!
//! What is left belongs to the world: addresses of networks (but for undeclared ones of external
//! networks), of guests and of the host are taken out, link-local ones mean something in a network
//! only, and multicast is nobody's address. So the data plane asks the table and nothing else.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use portcullis_image::Denied;

use super::block::{Block, addr};
use crate::{
    diagnostic::Diagnostics,
    model::{Kind, Model},
    problem::Problem,
};

/// Ranges that the tables hold at most; with as many the chunks of a bank suffice in every case.
const RANGES: usize = 3_000_000;

/// What nobody outside has for an address of its own.
const NOT_OUTSIDE: [&str; 4] = ["224.0.0.0/4", "ff00::/8", "fe80::/10", "::ffff:0:0/96"];

/// First and last address, as numbers of their family.
type Range = (u128, u128);

/// The ranges of all denied sets of a model. More than the tables hold is reported.
pub fn denied(model: &Model, diags: &mut Diagnostics) -> Arc<Denied> {
    let Some(first) = model.denied.first() else { return Arc::default() };
    let taken = taken(model);
    let of = |v4: bool| {
        let own = taken.iter().copied().filter(|net| is_v4(*net) == v4);
        let prefixes = model.denied.iter().flat_map(|set| set.prefixes());
        let denied = prefixes.map(|p| p.net).filter(|net| is_v4(*net) == v4);
        without(&merged(denied.map(range)), &merged(own.map(range)))
    };
    let low = |(first, last): Range| (first as u32, last as u32);
    let denied = Denied { v4: of(true).into_iter().map(low).collect(), v6: of(false) };
    let got = denied.ranges();
    if got > RANGES {
        diags.report(Problem::TooManyDenied { got, limit: RANGES }, first.span);
    }
    Arc::new(denied)
}

fn is_v4(net: IpNet) -> bool {
    matches!(net, IpNet::V4(_))
}

/// What is declared, and what nobody has.
fn taken(model: &Model) -> Vec<IpNet> {
    let inner = model.networks.iter().filter(|n| n.kind != Kind::External);
    let subnets = inner.flat_map(|n| n.subnets.iter().copied());
    let gateways = model.networks.iter().flat_map(|n| n.gateway.iter().map(|(addr, _)| *addr));
    let guests =
        model.guests.iter().flat_map(|g| &g.nics).flat_map(|nic| nic.addrs.iter().copied());
    let own = gateways.chain(guests).chain(model.host.iter().map(|h| h.addr));
    let nobodys = NOT_OUTSIDE.iter().filter_map(|text| text.parse::<IpNet>().ok());
    subnets.chain(own.map(IpNet::from)).chain(nobodys).collect()
}

/// A prefix as a range of its family.
fn range(net: IpNet) -> Range {
    match net {
        IpNet::V4(v4) => (u32::from(v4.network()).into(), u32::from(v4.broadcast()).into()),
        IpNet::V6(v6) => (u128::from(v6.network()), u128::from(v6.broadcast())),
    }
}

/// Ranges of one family, ascending, those that touch made one.
fn merged(ranges: impl Iterator<Item = Range>) -> Vec<Range> {
    let mut ranges: Vec<Range> = ranges.collect();
    ranges.sort_unstable();
    ranges.dedup_by(|next, range| {
        let touches = range.1.checked_add(1).is_none_or(|behind| next.0 <= behind);
        if touches {
            range.1 = range.1.max(next.1);
        }
        touches
    });
    ranges
}

/// What is left of ranges when others are taken out; both merged.
fn without(ranges: &[Range], others: &[Range]) -> Vec<Range> {
    let mut left = Vec::with_capacity(ranges.len());
    for &(first, last) in ranges {
        let mut from = Some(first);
        let near = others.partition_point(|(_, end)| *end < first);
        for &(start, end) in others[near..].iter().take_while(|(start, _)| *start <= last) {
            if let Some(from) = from.filter(|from| *from < start) {
                left.push((from, start - 1));
            }
            from = end.checked_add(1);
        }
        left.extend(from.filter(|from| *from <= last).map(|from| (from, last)));
    }
    left
}

/// The first address of a region of the world that is denied: in the block, and in none of the
/// blocks inside it.
pub fn first_denied(denied: &Denied, block: Block, inside: &[Block]) -> Option<IpAddr> {
    let base = if block.is_v4() { Block::V4.first } else { 0 };
    let range = |b: &Block| (b.first - base, b.last() - base);
    let whole = range(&block);
    let found: Vec<Range> = if block.is_v4() {
        let found = overlapping(&denied.v4, (whole.0 as u32, whole.1 as u32));
        found.map(|&(first, last)| (first.into(), last.into())).collect()
    } else {
        overlapping(&denied.v6, whole).copied().collect()
    };
    let found: Vec<Range> = found.iter().map(|r| (r.0.max(whole.0), r.1.min(whole.1))).collect();
    let left = without(&found, &merged(inside.iter().map(range)));
    left.first().map(|(first, _)| addr(first + base).into())
}

/// Those that share an address with another range.
fn overlapping<T: Ord>(ranges: &[(T, T)], (first, last): (T, T)) -> impl Iterator<Item = &(T, T)> {
    let near = ranges.partition_point(|(_, end)| *end < first);
    ranges[near..].iter().take_while(move |(start, _)| *start <= last)
}
