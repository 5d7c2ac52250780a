//! The way from a source that has been read to a policy that is proved equal to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use portcullis_policy::{
    Compiled, Diagnostics, Sources, compile, compile_unproved,
    model::{Ports, Protocol},
};

use crate::{
    bits::Bits,
    finding::{self, Finding, Remark, Weight},
    flatten::flatten,
    grid::{Grid, Possible, Shape},
    names::Names,
    program::{Place, Program},
    prove::{self, Difference, Judge},
    ranges::Ranges,
    site::{Realm, Site},
    unorder::{Piece, unorder},
    words::{INLINE_MAX, Said, SetText, Speaker, Words, literals},
    yaml::{self, RuleText},
};

/// Name of the produced file in messages.
const OUTPUT: &str = "(imported policy)";

/// A source that has been read.
pub trait Source {
    /// First lines of the policy, as comments.
    fn title(&self) -> Vec<String>;

    /// Its chains and gates, where everybody's addresses are known.
    fn draft(&self, site: &Site, realm: &Realm, findings: &mut Vec<Finding>) -> Draft;

    /// Its own opinion. It shares nothing with [`Self::draft`].
    fn judge<'s>(&'s self, site: &'s Site, realm: &'s Realm) -> Box<dyn Judge + 's>;
}

/// A source on its way to a policy.
pub struct Draft {
    /// Chains and gates.
    pub program: Program,
    /// Names and literals to say them with.
    pub words: Words,
    /// Names that are taken.
    pub names: Names,
}

/// A policy that decides as the source does.
#[derive(Clone, Debug)]
pub struct Imported {
    /// Its text.
    pub yaml: String,
    /// What there is to say about it.
    pub findings: Vec<Finding>,
    /// How many rules it has.
    pub rules: usize,
    /// How many connections stand for all that there are; each was compared.
    pub compared: u64,
}

impl Imported {
    /// How many findings close something that the source leaves open.
    pub fn closed(&self) -> usize {
        self.findings.iter().filter(|f| f.weight() == Weight::Closed).count()
    }
}

/// Why there is no policy.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ImportError {
    /// The source, or what the user said besides, is not enough.
    #[error("nothing is written: {} of the findings are errors", errors(findings))]
    Refused {
        /// All findings.
        findings: Vec<Finding>,
    },
    /// The policy does not compile.
    #[error("internal error, nothing is written: the translation does not compile\n{diagnostics}")]
    NotAccepted {
        /// Why.
        diagnostics: Diagnostics,
        /// What was to be written.
        yaml: String,
    },
    /// The policy means something else.
    #[error("internal error, nothing is written: the translation is not equal: {difference}")]
    NotEqual {
        /// A connection that shows it.
        difference: Difference,
        /// What was to be written.
        yaml: String,
    },
}

fn errors(findings: &[Finding]) -> usize {
    findings.iter().filter(|f| f.weight() == Weight::Error).count()
}

/// Translates, compiles, compares.
///
/// # Errors
/// [`ImportError`].
pub fn translate(
    source: &dyn Source,
    site: &Site,
    mut findings: Vec<Finding>,
) -> Result<Imported, ImportError> {
    refuse_errors(&mut findings)?;
    let site_text = yaml::site(site);
    let realm = match compile_unproved(&sources(&site_text)) {
        Ok(compiled) => Realm::new(&compiled.model),
        Err(diagnostics) => {
            findings.push(bad_site(&diagnostics));
            return Err(ImportError::Refused { findings });
        }
    };
    let draft = source.draft(site, &realm, &mut findings);
    refuse_errors(&mut findings)?;
    let (text, rules) = match write(source, &site_text, draft, &realm, &mut findings) {
        Ok(done) => done,
        Err(what) => {
            findings.push(Finding::anywhere(Remark::TooLarge { what }));
            return Err(ImportError::Refused { findings });
        }
    };
    let compiled = accept(&text)?;
    let judge = source.judge(site, &realm);
    let compared = prove::compare(&compiled.image, judge.as_ref(), &realm.machines())
        .map_err(|difference| ImportError::NotEqual { difference, yaml: text.clone() })?;
    finding::sort(&mut findings);
    Ok(Imported { yaml: text, findings, rules, compared })
}

fn refuse_errors(findings: &mut Vec<Finding>) -> Result<(), ImportError> {
    if errors(findings) == 0 {
        return Ok(());
    }
    finding::sort(findings);
    Err(ImportError::Refused { findings: std::mem::take(findings) })
}

fn sources(text: &str) -> Sources {
    Sources::new([(OUTPUT, text)])
}

fn accept(text: &str) -> Result<Compiled, ImportError> {
    compile(&sources(text))
        .map_err(|diagnostics| ImportError::NotAccepted { diagnostics, yaml: text.to_owned() })
}

fn bad_site(diagnostics: &Diagnostics) -> Finding {
    let first = diagnostics.to_json().into_iter().next();
    let why = first.as_ref().map(|d| d.message.clone()).unwrap_or_default();
    let finding = Finding::anywhere(Remark::BadSite { why });
    finding.maybe_help(first.map(|d| match d.help.into_iter().next() {
        Some(help) => format!("{help} (in `{}`)", d.excerpt.trim()),
        None => format!("look at `{}`", d.excerpt.trim()),
    }))
}

/// The whole text, and how many rules it has.
fn write(
    source: &dyn Source,
    site_text: &str,
    draft: Draft,
    realm: &Realm,
    findings: &mut Vec<Finding>,
) -> Result<(String, usize), String> {
    let Draft { program, words, names } = draft;
    let grid = grid(&program, &words, realm);
    let gates = flatten(&grid, &program).map_err(|e| e.to_string())?;
    let possible = Possible::new(&grid, &realm.machines());
    let done = unorder(&gates, &possible).map_err(|e| e.to_string())?;
    for line in &done.dead {
        // A policy that nothing is left to, as behind a final "drop the rest", is no surprise.
        if !program.gates.iter().any(|g| std::ptr::eq(&raw const g.default, *line)) {
            findings.push(Finding::new(Remark::NeverReached {}, &line.place, &line.text));
        }
    }
    for line in &done.unlogged {
        findings.push(Finding::new(Remark::NotLogged {}, &line.place, &line.text));
    }
    let mut writer = Writer::new(&grid, &words, names, &possible);
    let mut pieces = done.pieces;
    pieces.sort_by(|a, b| (&a.line.place, b.allow).cmp(&(&b.line.place, a.allow)));
    let rules: Vec<RuleText> = pieces.iter().map(|piece| writer.rule(piece)).collect();
    let mut text: String = source.title().iter().map(|line| yaml::comment(0, line)).collect();
    text += "\n";
    text += site_text;
    text += &writer.sets();
    text += &writer.services();
    text += &yaml::rules(&rules);
    Ok((text, rules.len()))
}

fn grid(program: &Program, words: &Words, realm: &Realm) -> Grid {
    let mut addresses: BTreeSet<Ranges> = BTreeSet::new();
    let mut services: BTreeSet<Vec<Ports>> = BTreeSet::new();
    addresses.extend(words.endpoints.iter().map(|w| w.ranges.clone()));
    services.extend(words.services.iter().map(|w| w.ports.clone()));
    for line in program.lines() {
        addresses.insert(line.from.clone());
        addresses.insert(line.to.clone());
        services.insert(line.services.clone());
    }
    for gate in &program.gates {
        addresses.insert(gate.from.clone());
        addresses.insert(gate.to.clone());
    }
    addresses.extend(realm.machines());
    services.extend(Protocol::ALL.map(|p| vec![Ports::all(p)]));
    let (addresses, services): (Vec<_>, Vec<_>) =
        (addresses.into_iter().collect(), services.into_iter().collect());
    Grid::new(&addresses, &services)
}

/// Says pieces as rules, and keeps what sets and services they use.
struct Writer<'w> {
    grid: &'w Grid,
    words: &'w Words,
    speaker: Speaker<'w>,
    names: Names,
    rule_names: Names,
    service_names: Names,
    possible: &'w Possible,
    /// Lists that were too long for a rule, by what is in them.
    long: HashMap<Vec<String>, String>,
    long_sets: Vec<(String, SetText)>,
    long_services: BTreeMap<String, Vec<String>>,
    used: BTreeSet<String>,
}

impl<'w> Writer<'w> {
    fn new(grid: &'w Grid, words: &'w Words, names: Names, possible: &'w Possible) -> Self {
        let mut service_names = Names::default();
        words.services.iter().for_each(|w| drop(service_names.take(&w.text, "service")));
        Self {
            service_names,
            grid,
            words,
            speaker: words.on(grid),
            names,
            rule_names: Names::default(),
            possible,
            long: HashMap::new(),
            long_sets: Vec::new(),
            long_services: BTreeMap::new(),
            used: BTreeSet::new(),
        }
    }

    fn rule(&mut self, piece: &Piece<'_>) -> RuleText {
        let line = piece.line;
        let name = self.rule_names.take_numbered(&line.name, "rule");
        let Shape { from, to, services } = &piece.shape;
        let to_said =
            self.speaker.endpoints(to, &self.possible.apart_from(from, services), &line.words);
        let to_bits = self.bits(&to_said, to);
        let from_said = self.speaker.endpoints(
            from,
            &self.possible.apart_from(&to_bits, services),
            &line.words,
        );
        let from_bits = self.bits(&from_said, from);
        let free = self.possible.unused_services(&from_bits, &to_bits);
        let said = self.speaker.services(services, &free, &line.words);
        self.use_words(said.iter());
        RuleText {
            from: self.short(from_said, &format!("{name}-from"), &line.place, &line.text),
            to: self.short(to_said, &format!("{name}-to"), &line.place, &line.text),
            services: self.short_services(said, &name),
            allow: piece.allow,
            log: piece.log,
            comment: vec![format!("{}: {}", line.place, line.text)],
            name,
        }
    }

    /// What was said, which may be more than was needed.
    fn bits(&self, said: &Said, need: &Bits) -> Bits {
        match said {
            Said::Union(terms) => {
                let words = self.words.endpoints.iter().filter(|w| terms.contains(&w.text));
                words.fold(need.clone(), |all, w| all.or(&self.grid.classes(&w.ranges)))
            }
            Said::Except(base, terms) => {
                let of = |text: &str| {
                    let mut found = self.words.endpoints.iter().filter(|w| w.text == text);
                    found.next().map(|w| self.grid.classes(&w.ranges))
                };
                let base = of(base).unwrap_or_else(|| need.clone());
                terms.iter().filter_map(|t| of(t)).fold(base, |all, bits| all.minus(&bits))
            }
        }
    }

    /// Gives long lists a name of their own.
    fn short(&mut self, said: Said, name: &str, place: &Place, text: &str) -> Said {
        let mut name_it = |terms: Vec<String>| -> Vec<String> {
            self.used.extend(terms.iter().cloned());
            if terms.len() <= INLINE_MAX {
                return terms;
            }
            if let Some(known) = self.long.get(&terms) {
                return vec![known.clone()];
            }
            let own = self.names.take(name, "set");
            let set = SetText {
                members: terms.clone(),
                except: Vec::new(),
                place: place.clone(),
                text: text.to_owned(),
            };
            self.long.insert(terms, own.clone());
            self.long_sets.push((own.clone(), set));
            vec![own]
        };
        match said {
            Said::Union(terms) => Said::Union(name_it(terms)),
            Said::Except(base, terms) => {
                let terms = name_it(terms);
                self.used.insert(base.clone());
                Said::Except(base, terms)
            }
        }
    }

    fn use_words<'t>(&mut self, terms: impl Iterator<Item = &'t String>) {
        self.used.extend(terms.cloned());
    }

    fn short_services(&mut self, list: Vec<String>, name: &str) -> Vec<String> {
        if list.len() <= INLINE_MAX {
            return list;
        }
        let same = self.long_services.iter().find(|(_, known)| **known == list);
        if let Some((known, _)) = same {
            return vec![known.clone()];
        }
        // Own services are made of built-in ones and literals only.
        let own = |text: &String| self.words.services.iter().find(|w| w.own && w.text == *text);
        let flat = list.iter().flat_map(|text| match own(text) {
            Some(word) => literals(&word.ports),
            None => vec![text.clone()],
        });
        let name = self.service_names.take(&format!("{name}-services"), "services");
        self.long_services.insert(name.clone(), flat.collect());
        vec![name]
    }

    fn sets(&self) -> String {
        let mut wanted = self.used.clone();
        // A set may be used by another one only.
        let with_set = || self.words.endpoints.iter().filter_map(|w| Some((w, w.set.as_ref()?)));
        for (word, set) in with_set().collect::<Vec<_>>().into_iter().rev() {
            if wanted.contains(&word.text) {
                wanted.extend(set.members.iter().chain(&set.except).cloned());
            }
        }
        let own = with_set().filter(|(w, _)| wanted.contains(&w.text));
        let long = self.long_sets.iter().map(|(name, set)| (name.as_str(), set));
        yaml::sets(own.map(|(w, set)| (w.text.as_str(), set)).chain(long))
    }

    fn services(&self) -> String {
        let own = self.words.services.iter().filter(|w| w.own && self.used.contains(&w.text));
        let long = self.long_services.iter().map(|(name, list)| (name.as_str(), list.clone()));
        yaml::services(own.map(|w| (w.text.as_str(), literals(&w.ports))).chain(long))
    }
}
