//! `denied:`: named lists of prefixes that nobody outside may come from or be reached at.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use ipnet::IpNet;

use super::{
    Builder, keys,
    names::check_name,
    reader::{self, Table},
};
use crate::{
    diagnostic::Diagnostic,
    include,
    model::{DeniedPrefix, DeniedSet},
    problem::Problem,
    source::{LIST_ENDINGS, Span, is_list},
    yaml::{Key, Node},
};

/// Lines of one file that are told to be wrong: it may be a file of another kind altogether.
const BAD_LINES: usize = 10;

impl Builder<'_> {
    /// All of `denied:`.
    pub fn denied(&mut self, sections: &[&(Key, Node)]) {
        let mut first = HashMap::new();
        let mut used = vec![false; self.model.sources.files().len()];
        for (key, node) in sections {
            if let Some(at) = first.insert(key.text.as_str(), key.span) {
                let (name, first) = (key.text.clone(), "a denied set");
                let problem = Problem::DuplicateName { name, first };
                self.diags.push(Diagnostic::new(problem, key.span).label(at, "first here"));
            } else if check_name(key, self.diags) {
                self.denied_set(key, node, &mut used);
            }
        }
        self.refuse_unnamed_lists(&used);
    }

    fn denied_set(&mut self, key: &Key, node: &Node, used: &mut [bool]) {
        let Some(table) = reader::table(node, "a denied set", keys::DENIED, self.diags) else {
            return;
        };
        let said =
            ["file", "addresses"].iter().any(|k| table.get(k).is_some() || table.may_mean(k));
        if !said {
            table.need("file", key.span, self.diags);
            return;
        }
        let inline = self.denied_addresses(&table);
        let listed = Arc::new(self.denied_files(&table, used));
        if inline.is_empty() && listed.is_empty() && !self.diags.has_errors() {
            self.diags.report(Problem::EmptyDenied { name: key.text.clone() }, key.span);
        }
        let (name, span) = (key.text.clone(), key.span);
        self.model.denied.push(DeniedSet { name, span, inline, listed });
    }

    fn denied_addresses(&mut self, table: &Table<'_>) -> Vec<DeniedPrefix> {
        let Some(node) = table.get("addresses") else { return Vec::new() };
        let mut prefixes = Vec::new();
        for item in reader::list(node, "`addresses`", self.diags) {
            let Some(text) = reader::text(item, "an address or a prefix", self.diags) else {
                continue;
            };
            match prefix(text) {
                Ok(net) => prefixes.push(DeniedPrefix { net, span: item.span }),
                Err(why) => self.bad_prefix(text, why, item.span),
            }
        }
        prefixes
    }

    fn denied_files(&mut self, table: &Table<'_>, used: &mut [bool]) -> Vec<DeniedPrefix> {
        let Some(node) = table.get("file") else { return Vec::new() };
        let mut prefixes = Vec::new();
        for item in reader::list(node, "`file`", self.diags) {
            let Some(path) = reader::text(item, "a file", self.diags) else { continue };
            let sources = self.model.sources.clone();
            let why = match include::list_at(&sources, item.span.file, path) {
                _ if !is_list(path) => {
                    format!(
                        "lists of prefixes are called {}",
                        LIST_ENDINGS.map(|e| format!("*{e}")).join(", ")
                    )
                }
                Some(file) => {
                    used[file as usize] = true;
                    self.list(file, &mut prefixes);
                    continue;
                }
                None => "it is not among the files of this policy".to_owned(),
            };
            self.diags.report(Problem::DeniedFile { file: path.to_owned(), why }, item.span);
        }
        prefixes
    }

    /// Every line of a file: a prefix or an address, and what stands behind `#` or `;`.
    fn list(&mut self, file: u32, prefixes: &mut Vec<DeniedPrefix>) {
        let sources = self.model.sources.clone();
        let list = &sources.files()[file as usize];
        let (mut start, mut bad, mut more) = (0, 0, None);
        for line in list.text().split_inclusive('\n') {
            let item = line.split(['#', ';']).next().unwrap_or_default();
            let text = item.trim();
            let from = start + (item.len() - item.trim_start().len()) as u32;
            start += line.len() as u32;
            if text.is_empty() {
                continue;
            }
            let span = Span { file, start: from, end: from + text.len() as u32 };
            match prefix(text) {
                Ok(net) => prefixes.push(DeniedPrefix { net, span }),
                Err(why) => {
                    bad += 1;
                    if bad <= BAD_LINES {
                        self.bad_prefix(text, why, span);
                    } else {
                        more.get_or_insert(span);
                    }
                }
            }
        }
        if let Some(at) = more {
            let (count, file) = (bad - BAD_LINES, list.name().to_owned());
            self.diags.report(Problem::MoreBadLines { count, file }, at);
        }
    }

    fn bad_prefix(&mut self, got: &str, why: String, span: Span) {
        let got = got.chars().take(80).collect();
        self.diags.report(Problem::BadDenied { got, why }, span);
    }

    /// A list that no set names would be read in vain, and a policy under such a name not at all.
    fn refuse_unnamed_lists(&mut self, used: &[bool]) {
        for (file, used) in (0..).zip(used) {
            let list = &self.model.sources.files()[file as usize];
            if list.is_list() && !used {
                let why = "no denied set names it; a policy is called *.yaml".to_owned();
                let problem = Problem::DeniedFile { file: list.name().to_owned(), why };
                self.diags.report(problem, Span { file, ..Span::default() });
            }
        }
    }
}

/// A prefix, or an address as one of full length; or what is wrong with it.
fn prefix(text: &str) -> Result<IpNet, String> {
    let net = match text.parse::<IpAddr>() {
        Ok(addr) => IpNet::from(addr),
        Err(_) => text.parse::<IpNet>().map_err(|_| {
            "an address or a prefix stands alone on its line, as in `192.0.2.0/24` or `2001:db8::/32`"
                .to_owned()
        })?,
    };
    if net.trunc() != net {
        return Err(format!("it has bits set behind its length: write `{}`", net.trunc()));
    }
    match net {
        IpNet::V6(v6) if v6.prefix_len() >= 96 && v6.addr().to_ipv4_mapped().is_some() => {
            Err("write IPv4 addresses as IPv4".to_owned())
        }
        _ => Ok(net),
    }
}
