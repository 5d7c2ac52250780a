//! Several files that are one policy.

use std::collections::BTreeMap;

use portcullis_policy::{
    Sources, compile,
    include::{LoadError, LoadRefused, Loader, load},
};

/// Files in memory, by path.
#[derive(Default)]
struct Memory(BTreeMap<String, String>);

impl Memory {
    fn of(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned())).collect())
    }

    fn clean(path: &str) -> String {
        let mut parts: Vec<&str> = Vec::new();
        for part in path.split('/').filter(|p| !matches!(*p, "" | ".")) {
            match part {
                ".." => parts.truncate(parts.len().saturating_sub(1)),
                _ => parts.push(part),
            }
        }
        parts.join("/")
    }
}

impl Loader for Memory {
    fn read(&self, path: &str) -> Result<String, LoadError> {
        self.0.get(&Self::clean(path)).cloned().ok_or(LoadError::Missing)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, LoadError> {
        let path = Self::clean(folder);
        if self.0.contains_key(&path) {
            return Err(LoadError::OtherKind);
        }
        let prefix = if path.is_empty() { path } else { path + "/" };
        let inside = self.0.keys().filter_map(|name| name.strip_prefix(&prefix));
        let mut names: Vec<String> =
            inside.map(|rest| rest.split('/').next().unwrap_or(rest).to_owned()).collect();
        names.dedup();
        // The order of a file system is no order.
        names.reverse();
        if names.is_empty() { Err(LoadError::Missing) } else { Ok(names) }
    }
}

const NETS: &str = "networks:\n  lan: { vlan: 10, subnets: [10.0.0.0/24] }\n";

fn names(sources: &Sources) -> Vec<&str> {
    sources.files().iter().map(|f| f.name()).collect()
}

/// What `load` says about what the file `site.yaml` includes.
fn refusal(include: &str, files: &[(&str, &str)]) -> String {
    let mut memory = Memory::of(files);
    memory.0.insert("site.yaml".into(), format!("include: {include}\n{NETS}"));
    match load(["site.yaml"], &memory) {
        Err(LoadRefused::Include(diags)) => {
            let d = &diags.items()[0];
            let at = diags.sources().position(d.span);
            assert_eq!((d.code(), at.file.as_str(), at.line), ("PC0009", "site.yaml", 1));
            format!("{}; {}", d.problem, d.help.join(" "))
        }
        Err(other) => panic!("{other}"),
        Ok(sources) => panic!("{:?}", names(&sources)),
    }
}

#[test]
fn files_folders_and_globs() {
    let memory = Memory::of(&[
        ("etc/site.yaml", "include: [../common.yaml, rules/, guests/*/g?.yaml, rules/b.yaml]\n"),
        ("common.yaml", NETS),
        (
            "etc/rules/b.yaml",
            "include: ../site.yaml\nrules:\n  - { name: b, allow: { from: x, to: y, for: ssh } }\n",
        ),
        ("etc/rules/a.yaml", "rules: []\n"),
        ("etc/rules/notes.txt", "not a policy"),
        ("etc/guests/x/g1.yaml", "guests:\n  x: { network: lan }\n"),
        ("etc/guests/y/g2.yaml", "guests:\n  y: { network: lan }\n"),
        ("etc/guests/y/other.yaml", "guests: broken\n"),
    ]);
    let sources = load(["etc/site.yaml", "./etc/site.yaml"], &memory).expect("a policy");
    let expected = [
        "etc/site.yaml",
        "etc/../common.yaml",
        "etc/rules/a.yaml",
        "etc/rules/b.yaml",
        "etc/guests/x/g1.yaml",
        "etc/guests/y/g2.yaml",
    ];
    assert_eq!(names(&sources), expected);
    let compiled = compile(&sources).unwrap_or_else(|d| panic!("{d}"));
    assert_eq!((compiled.model.guests.len(), compiled.model.rules.len()), (2, 1));
}

#[test]
fn a_folder_is_its_policies() {
    let memory = Memory::of(&[("p/b.yaml", NETS), ("p/a.yaml", "rules: []\n"), ("p/c.txt", "")]);
    let sources = load(["p"], &memory).expect("a policy");
    assert_eq!(names(&sources), ["p/a.yaml", "p/b.yaml"]);
    let empty = Memory::of(&[("q/c.txt", "")]);
    assert!(matches!(load(["q"], &empty), Err(LoadRefused::NoFiles { .. })));
    let gone = load(["r.yaml"], &empty).expect_err("no such file");
    assert_eq!(gone.to_string(), "`r.yaml`: there is no such file or folder");
}

#[test]
fn what_is_missing_is_shown_where_it_is_asked_for() {
    let files = [("guests.yaml", "guests: {}\n"), ("empty/readme.txt", "")];
    assert_eq!(
        refusal("gests.yaml", &files),
        "`gests.yaml` cannot be included: there is no such file or folder; did you mean \
         `guests.yaml`?"
    );
    assert_eq!(
        refusal("[empty/]", &files),
        "`empty/` cannot be included: the folder holds no `*.yaml` file; "
    );
    assert_eq!(refusal("[\"*.yml\"]", &files), "`*.yml` cannot be included: no file matches; ");
}

/// A policy that is handed over without what it includes is refused, not taken for the whole.
#[test]
fn a_part_is_not_taken_for_the_whole() {
    let site = "include: [guests.yaml, \"rules/*.yaml\"]\n";
    let with = |files: &[(&str, &str)]| {
        let site = [("p/site.yaml", site), ("p/nets.yaml", NETS)];
        compile(&Sources::new(site.iter().chain(files).copied())).map(drop)
    };
    let guests = ("./p/guests.yaml", "guests: {}\n");
    assert!(with(&[guests, ("p/rules/a.yaml", "rules: []\n")]).is_ok());
    let diags = with(&[guests]).expect_err("a part");
    let codes: Vec<_> = diags.items().iter().map(|d| d.code()).collect();
    assert_eq!(codes, ["PC0009"]);
}

#[test]
fn definitions_in_two_files_name_both() {
    let guests = "guests:\n  pc: { network: lan }\n";
    let sources = Sources::new([("a.yaml", NETS), ("b.yaml", guests), ("c.yaml", guests)]);
    let diags = compile(&sources).err().expect("a clash");
    let d = &diags.items()[0];
    let at = |span| diags.sources().position(span).to_string();
    assert_eq!(
        (d.code(), at(d.span), at(d.labels[0].span)),
        ("PC0102", "c.yaml:2:3".into(), "b.yaml:2:3".into())
    );
}

#[test]
fn lists_of_denied_sets_are_read_from_the_folder_of_the_file() {
    let site = format!(
        "{NETS}denied:\n  bogons: {{ file: [lists/a.txt, ../b.zone] }}\n  feed: {{ file: c.list }}\n"
    );
    let files = [
        ("etc/site.yaml", site.as_str()),
        ("etc/lists/a.txt", "include: x.yaml\n"),
        ("b.zone", "192.0.2.0/24\n"),
        ("etc/c.list", "198.51.100.7\n"),
    ];
    let read = load(["etc/site.yaml"], &Memory::of(&files)).unwrap();
    assert_eq!(names(&read), ["etc/site.yaml", "etc/lists/a.txt", "etc/../b.zone", "etc/c.list"]);
    let Err(refused) = load(["etc/site.yaml"], &Memory::of(&files[..3])) else { panic!("taken") };
    let text = refused.to_string();
    assert!(text.contains("PC1401") && text.contains("c.list"), "{text}");
}
