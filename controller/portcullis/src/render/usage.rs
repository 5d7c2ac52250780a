//! What guests have used, for people.

use portcullis_policy::until;

use super::{
    status::bytes,
    table::{Cell, Table},
};
use crate::{
    api::{Exchange, Usage},
    paint::{Paint, Style},
};

/// A line for each guest and network.
pub fn render(usage: &[Usage], paint: Paint) -> String {
    if usage.is_empty() {
        return "no guest has sent or received anything yet\n".to_owned();
    }
    let mut table = Table::new(&[
        "guest",
        "network",
        ">sent",
        ">bytes",
        ">dropped",
        ">received",
        ">bytes",
        ">other networks",
        ">outside",
        "since",
    ]);
    for u in usage {
        table.row([
            u.guest.as_str().into(),
            u.network.as_str().into(),
            u.sent_packets.to_string().into(),
            bytes(u.sent_bytes).into(),
            u.dropped_packets.to_string().into(),
            u.received_packets.to_string().into(),
            bytes(u.received_bytes).into(),
            bytes(total(&u.routed)).into(),
            bytes(total(&u.outside)).into(),
            Cell::new(Style::Dim, until::show(u.since_unix_s)),
        ]);
    }
    table.render(paint)
}

/// Bytes of both directions.
fn total(exchange: &Exchange) -> u64 {
    exchange.sent.bytes + exchange.received.bytes
}

#[cfg(test)]
mod tests {
    use portcullis_switch::Amount;

    use super::*;

    #[test]
    fn a_guest_has_a_line_for_each_network() {
        let one = |network: &str| Usage {
            guest: "web1".into(),
            network: network.into(),
            sent_packets: 12,
            sent_bytes: 3_400_000,
            outside: Exchange {
                sent: Amount { packets: 2, bytes: 900 },
                received: Amount::default(),
            },
            ..Usage::default()
        };
        let text = render(&[one("dmz"), one("lan")], Paint::off());
        assert!(
            text.contains(
                "web1   lan        12  3.4 MB        0         0    0 B             0 B    900 B"
            ),
            "{text}"
        );
        assert_eq!(text.lines().count(), 3);
        assert!(render(&[], Paint::off()).contains("no guest"));
    }
}
