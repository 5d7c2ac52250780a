//! `trunk:`: the tagged networks that a guest's NIC carries besides its own, or instead of one.

use portcullis_image::Trunk;

use super::{
    Builder,
    guests::NicDraft,
    keys,
    reader::{self, Table},
};
use crate::{
    diagnostic::Diagnostic,
    problem::Problem,
    yaml::{Node, Value},
};

impl Builder<'_> {
    /// The NICs by one interface of a guest: `own` is its untagged network, if it has one, `number`
    /// says which of the guest's interfaces it is.
    pub fn trunk(
        &mut self,
        guest: usize,
        number: u32,
        own: Option<NicDraft>,
        table: &Table<'_>,
    ) -> Vec<NicDraft> {
        let Some(list) = table.get("trunk") else { return own.into_iter().collect() };
        reader::refuse_empty(list, "`trunk`", self.diags);
        // Without an untagged network the first of those that have no MAC of their own gets it.
        let mut mac = table.get("mac").filter(|_| own.is_none()).and_then(|n| self.own_mac(n));
        let said = own.as_ref().map_or(mac, |own| own.mac).map(|(mac, _)| mac);
        let mut drafts: Vec<NicDraft> = own.into_iter().collect();
        for draft in &mut drafts {
            (draft.trunk, draft.leads) = (Some(Trunk { number, tagged: false }), true);
        }
        for item in reader::strict_list(list, "`trunk`", self.diags) {
            let Some(mut draft) = self.tagged(guest, item) else { continue };
            draft.trunk = Some(Trunk { number, tagged: true });
            draft.mac = draft.mac.filter(|(own, _)| Some(*own) != said);
            if draft.mac.is_none() && mac.is_some() {
                (draft.mac, draft.leads) = (mac.take(), true);
            }
            drafts.push(draft);
        }
        drafts
    }

    /// A tagged network: its name, or what a NIC is.
    fn tagged(&mut self, guest: usize, item: &Node) -> Option<NicDraft> {
        if let Value::Scalar(_) = item.value {
            let network = self.network_name(item)?;
            return Some(NicDraft::new(guest, network, item.span));
        }
        let table = reader::table(item, "a tagged network", keys::TAGGED, self.diags)?;
        self.plugged(guest, item.span, &table)
    }

    /// A NIC without a network of its own has no address of its own.
    pub fn refuse_own(&mut self, table: &Table<'_>) {
        if let Some(key) = table.key("ip") {
            let help = "say it inside `trunk`, or name the untagged `network`";
            self.diags.push(Diagnostic::new(Problem::NothingUntagged {}, key.span).help(help));
        }
    }
}
