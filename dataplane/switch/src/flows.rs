//! The running connections, a piece of the table at a time.

use portcullis_pipeline::{
    conntrack::{CLOSED, FIN, OPEN},
    layout::{FlowEntry, FlowKey},
    policy::Cell,
    tables::TICKS_PER_SECOND,
    wire::protocol,
};
use zerocopy::FromBytes;

use crate::{
    Switch,
    batch::Cursor,
    error::Result,
    place::name_of,
    status::Flow,
    sweep::{self, KEY, VALUE},
};

impl Switch {
    /// Shows every running connection to `each`. Only a few ten thousand are in memory at a time;
    /// what comes or goes meanwhile may be missing, or be shown twice.
    pub fn flows(&self, each: &mut dyn FnMut(Flow)) -> Result<()> {
        let now = self.ticks()?;
        let mut from = Some(Cursor::default());
        while let Some(cursor) = from {
            let piece = sweep::read(&self.maps, cursor)?;
            for (key, value) in piece.keys.chunks_exact(KEY).zip(piece.values.chunks_exact(VALUE)) {
                let key = FlowKey::read_from_bytes(key).expect("a key of that size");
                let entry = FlowEntry::read_from_bytes(value).expect("an entry of that size");
                if !entry.is_expired(key.protocol, now) {
                    each(self.flow(&key, &entry, now));
                }
            }
            from = piece.next;
        }
        let others = self.peer.as_ref().map(|peer| peer.borrow_mut().flows()).unwrap_or_default();
        for (key, entry) in others.iter().filter(|(key, e)| !e.is_expired(key.protocol, now)) {
            each(self.flow(key, entry, now));
        }
        Ok(())
    }

    fn flow(&self, key: &FlowKey, entry: &FlowEntry, now: u64) -> Flow {
        let ends = [(key.a, key.a_port), (key.b, key.b_port)];
        let [(src, sport), (dst, dport)] =
            if entry.a.is_initiator() { ends } else { [ends[1], ends[0]] };
        // Of an echo the key has its identifier.
        let has_ports = !matches!(key.protocol as u8, protocol::ICMP | protocol::ICMPV6);
        let image = self.state.image.as_deref();
        let judged = entry.judged.get();
        let current = judged >> 32 == u64::from(self.state.generation);
        let rule = image.filter(|_| current).and_then(|i| i.rule(Cell(judged as u32).rule()));
        let scope = u32::from(key.scope);
        let idle = now.saturating_sub(entry.last.get());
        Flow {
            src: src.into(),
            dst: dst.into(),
            protocol: key.protocol as u8,
            sport: if has_ports { sport } else { 0 },
            dport: if has_ports { dport } else { 0 },
            network: image.filter(|_| scope != 0).map(|image| name_of(image, scope)),
            state: state(entry.a.state(), entry.b.state()),
            idle_ms: idle * 1000 / TICKS_PER_SECOND,
            rule: rule.map(|rule| rule.name.clone()),
        }
    }
}

const fn state(a: u64, b: u64) -> &'static str {
    match (a, b) {
        (FIN | CLOSED, _) | (_, FIN | CLOSED) => "closing",
        (OPEN, OPEN) => "open",
        _ => "opening",
    }
}
