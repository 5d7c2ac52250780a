//! What guests have used, for people.

use portcullis_policy::until;

use super::{
    status::bytes,
    table::{Cell, Table},
};
use crate::{
    api::Usage,
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
            Cell::new(Style::Dim, until::show(u.since_unix_s)),
        ]);
    }
    table.render(paint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_has_a_line_for_each_network() {
        let one = |network: &str| Usage {
            guest: "web1".into(),
            network: network.into(),
            sent_packets: 12,
            sent_bytes: 3_400_000,
            ..Usage::default()
        };
        let text = render(&[one("dmz"), one("lan")], Paint::off());
        assert!(text.contains("web1   lan        12  3.4 MB        0         0    0 B"), "{text}");
        assert_eq!(text.lines().count(), 3);
        assert!(render(&[], Paint::off()).contains("no guest"));
    }
}
