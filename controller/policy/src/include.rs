//! `include:`: one policy over several files, with one namespace.
//!
//! Paths are those of the file that names them, with `/`. A folder stands for its `*.yaml`, and
//! so does a glob (`guests/*.yaml`, `*` and `?` in any part of the path) for what it matches;
//! both sorted. Each file counts once, so files may include each other. The lists of prefixes that
//! `denied:` names are found the same way. Reading is somebody else's business: a [`Loader`].

use std::collections::HashSet;

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    near::did_you_mean,
    problem::Problem,
    source::{Sources, Span, is_list},
    yaml::{self, Node, Value},
};

/// Reads files and folders for [`load`].
pub trait Loader {
    /// The text of a file.
    fn read(&self, path: &str) -> Result<String, LoadError>;
    /// Names of what stands in a folder, in any order.
    fn list(&self, folder: &str) -> Result<Vec<String>, LoadError>;
}

/// Why a [`Loader`] has nothing to give.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Nothing stands there.
    #[error("there is no such file or folder")]
    Missing,
    /// A folder where a file was asked for, or a file where a folder was.
    #[error("it is a folder where a file belongs, or the other way round")]
    OtherKind,
    /// The system refuses.
    #[error("it cannot be read: {reason}")]
    Unreadable {
        /// In the system's words.
        reason: String,
    },
}

/// Why a policy cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum LoadRefused {
    /// A file or folder that the caller named.
    #[error("`{path}`: {error}")]
    Root {
        /// Which.
        path: String,
        /// Why.
        error: LoadError,
    },
    /// A folder that the caller named holds no policy.
    #[error("`{path}` holds no `*.yaml` file")]
    NoFiles {
        /// Which.
        path: String,
    },
    /// What files include, with their places.
    #[error("{0}")]
    Include(Diagnostics),
}

/// Reads these files and folders and everything that they include.
pub fn load<'p>(
    roots: impl IntoIterator<Item = &'p str>,
    loader: &dyn Loader,
) -> Result<Sources, LoadRefused> {
    let mut reading = Reading { loader, asked: Vec::new(), seen: HashSet::new() };
    for root in roots {
        reading.root(root)?;
    }
    let (mut files, mut bad, mut next) = (Vec::new(), Vec::new(), 0);
    while let Some(asked) = reading.asked.get(next) {
        next += 1;
        let text = match loader.read(&asked.name) {
            Ok(text) => text,
            Err(error) => {
                bad.push(asked.refused(error)?);
                continue;
            }
        };
        let (name, file) = (asked.name.clone(), files.len() as u32);
        let Entries { included, lists } = entries_of(&name, &text);
        for (entry, span) in included {
            bad.extend(reading.include(&name, &entry, Span { file, ..span }));
        }
        for (entry, span) in lists {
            reading.add(join(folder_of(&name), &entry), Some((&entry, Span { file, ..span })));
        }
        files.push((name, text));
    }
    let sources = Sources::new(files);
    if bad.is_empty() {
        return Ok(sources);
    }
    let mut diags = Diagnostics::new(&sources);
    bad.into_iter().for_each(|d| diags.push(d));
    Err(LoadRefused::Include(diags.sorted()))
}

/// A file to read, and who asked for it.
struct Asked {
    name: String,
    /// The entry that names it and its place; the caller if none.
    by: Option<(String, Span)>,
}

impl Asked {
    /// What to say when it cannot be read.
    fn refused(&self, error: LoadError) -> Result<Diagnostic, LoadRefused> {
        match &self.by {
            Some((entry, span)) if is_list(&self.name) => {
                let (file, why) = (entry.clone(), error.to_string());
                Ok(Diagnostic::new(Problem::DeniedFile { file, why }, *span))
            }
            Some((entry, span)) => Ok(cannot(entry, error.to_string(), *span)),
            None => Err(LoadRefused::Root { path: self.name.clone(), error }),
        }
    }
}

/// The files to read, those that were read first among them.
struct Reading<'l> {
    loader: &'l dyn Loader,
    asked: Vec<Asked>,
    seen: HashSet<String>,
}

impl Reading<'_> {
    fn add(&mut self, name: String, by: Option<(&str, Span)>) {
        if self.seen.insert(normal(&name)) {
            let by = by.map(|(entry, span)| (entry.to_owned(), span));
            self.asked.push(Asked { name, by });
        }
    }

    fn root(&mut self, path: &str) -> Result<(), LoadRefused> {
        match self.loader.list(path) {
            Ok(inside) => {
                let inside = policies(path, inside);
                if inside.is_empty() {
                    return Err(LoadRefused::NoFiles { path: path.to_owned() });
                }
                inside.into_iter().for_each(|name| self.add(name, None));
            }
            Err(LoadError::OtherKind) => self.add(path.to_owned(), None),
            Err(error) => return Err(LoadRefused::Root { path: path.to_owned(), error }),
        }
        Ok(())
    }

    /// Asks for what an entry names, or says why there is nothing.
    fn include(&mut self, file: &str, entry: &str, span: Span) -> Option<Diagnostic> {
        let path = join(folder_of(file), entry);
        let found = if is_glob(entry) { self.expand(&path) } else { self.one(&path) };
        match found {
            Ok(names) if !names.is_empty() => {
                names.into_iter().for_each(|name| self.add(name, Some((entry, span))));
                None
            }
            Ok(_) if is_glob(entry) => Some(cannot(entry, "no file matches".to_owned(), span)),
            Ok(_) => Some(cannot(entry, "the folder holds no `*.yaml` file".to_owned(), span)),
            Err(error) => {
                let help = self.suggest(path.trim_end_matches('/'));
                Some(cannot(entry, error.to_string(), span).maybe_help(help))
            }
        }
    }

    /// A file, or the policies of a folder.
    fn one(&self, path: &str) -> Result<Vec<String>, LoadError> {
        match self.loader.list(path) {
            Ok(inside) => Ok(policies(path, inside)),
            Err(LoadError::OtherKind) => Ok(vec![path.to_owned()]),
            Err(error) => Err(error),
        }
    }

    /// What matches, one part of the path after the other.
    fn expand(&self, path: &str) -> Result<Vec<String>, LoadError> {
        let (root, parts) = match path.strip_prefix('/') {
            Some(rest) => ("/", rest),
            None => ("", path),
        };
        let parts: Vec<&str> = parts.split('/').collect();
        let mut found = vec![root.to_owned()];
        for (i, part) in parts.iter().enumerate() {
            let mut next = Vec::new();
            for folder in &found {
                if !is_glob(part) {
                    next.push(join(folder, part));
                    continue;
                }
                let inside = match self.loader.list(if folder.is_empty() { "." } else { folder }) {
                    // A file that matched where a folder was meant leads nowhere.
                    Err(LoadError::OtherKind) => Vec::new(),
                    // So does a folder that lacks the rest of the path.
                    Err(LoadError::Missing) if i > 0 && found.len() > 1 => Vec::new(),
                    other => other?,
                };
                let fits = |name: &&String| matches_part(part, name) && !name.starts_with('.');
                next.extend(inside.iter().filter(fits).map(|name| join(folder, name)));
            }
            next.sort();
            found = next;
        }
        found.retain(|path| matches!(self.loader.list(path), Err(LoadError::OtherKind)));
        Ok(found)
    }

    /// A name beside the missing one that may have been meant.
    fn suggest(&self, path: &str) -> Option<String> {
        let folder = folder_of(path);
        let name = path.rsplit('/').find(|part| !part.is_empty())?;
        let beside = self.loader.list(if folder.is_empty() { "." } else { folder }).ok()?;
        did_you_mean(name, beside.iter().map(String::as_str))
    }
}

fn cannot(entry: &str, why: String, span: Span) -> Diagnostic {
    Diagnostic::new(Problem::CannotInclude { path: entry.to_owned(), why }, span)
}

/// Files that the text of one file names, with the places.
#[derive(Default)]
struct Entries {
    /// Under `include:`.
    included: Vec<(String, Span)>,
    /// Lists of prefixes under `denied:`.
    lists: Vec<(String, Span)>,
}

/// What the text of one file names. What is wrong with the text is reported when the policy is
/// read.
fn entries_of(name: &str, text: &str) -> Entries {
    if is_list(name) || !(text.contains(KEY) || text.contains(DENIED)) {
        return Entries::default();
    }
    let sources = Sources::new([(name, text)]);
    let root = yaml::parse(&sources, 0, &mut Diagnostics::new(&sources));
    let Some(root) = root else { return Entries::default() };
    let files = at(&root, DENIED).into_iter().flat_map(values).filter_map(|set| at(set, FILE));
    let lists = files.flat_map(texts).filter(|(entry, _)| is_list(entry));
    Entries {
        included: at(&root, KEY).into_iter().flat_map(texts).collect(),
        lists: lists.collect(),
    }
}

/// The value of a key of a mapping.
fn at<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    let Value::Map(entries) = &node.value else { return None };
    entries.iter().find(|(k, _)| k.text == key).map(|(_, node)| node)
}

/// All values of a mapping.
fn values(node: &Node) -> impl Iterator<Item = &Node> {
    let entries = if let Value::Map(entries) = &node.value { &entries[..] } else { &[] };
    entries.iter().map(|(_, node)| node)
}

/// A text, or the texts of a list.
fn texts(node: &Node) -> Vec<(String, Span)> {
    let items = match &node.value {
        Value::List(items) => &items[..],
        _ => std::slice::from_ref(node),
    };
    let text = |item: &Node| match &item.value {
        Value::Scalar(text) => Some((text.clone(), item.span)),
        _ => None,
    };
    items.iter().filter_map(text).collect()
}

/// The keys that denied sets name their files with.
const DENIED: &str = "denied";
const FILE: &str = "file";

/// The key of the section.
pub(crate) const KEY: &str = "include";

/// Is one of the files what an entry of this file names? A policy arrives with everything that
/// it includes or it is refused.
pub(crate) fn is_there(sources: &Sources, file: u32, entry: &str) -> bool {
    let including = sources.files()[file as usize].name();
    let wanted = normal(&join(folder_of(including), entry));
    sources.files().iter().any(|f| {
        let name = normal(f.name());
        let inside = name.ends_with(".yaml") && normal(folder_of(&name)) == wanted;
        name == wanted || inside || is_glob(entry) && matches_path(&wanted, &name)
    })
}

/// The list of prefixes that an entry of this file names, if it is one of the files.
pub(crate) fn list_at(sources: &Sources, file: u32, entry: &str) -> Option<u32> {
    let naming = sources.files()[file as usize].name();
    let wanted = normal(&join(folder_of(naming), entry));
    let mut files = (0..).zip(sources.files());
    files.find(|(_, f)| f.is_list() && normal(f.name()) == wanted).map(|(at, _)| at)
}

/// The policies of a folder, sorted.
fn policies(folder: &str, inside: Vec<String>) -> Vec<String> {
    let is_policy = |name: &String| name.ends_with(".yaml") && !name.starts_with('.');
    let mut names: Vec<String> =
        inside.into_iter().filter(is_policy).map(|name| join(folder, &name)).collect();
    names.sort();
    names
}

/// The folder that a file stands in, without the last `/`; nothing for the present one.
fn folder_of(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) => "/",
        Some(at) => &path[..at],
        None => "",
    }
}

fn join(folder: &str, entry: &str) -> String {
    if folder.is_empty() || entry.starts_with('/') {
        return entry.to_owned();
    }
    format!("{}/{entry}", folder.trim_end_matches('/'))
}

/// A path without `.`, and without `..` where what it leaves is known.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|p| *p != "..") => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

fn is_glob(path: &str) -> bool {
    path.contains(['*', '?'])
}

fn matches_path(pattern: &str, path: &str) -> bool {
    let (pattern, path) = (pattern.split('/'), path.split('/'));
    pattern.clone().count() == path.clone().count()
        && pattern.zip(path).all(|(pattern, part)| matches_part(pattern, part))
}

/// `*` is anything, `?` one character.
fn matches_part(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last `*` stands, and how far it reached.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, reached)) => {
                    star = Some((at, reached + 1));
                    (p, t) = (at + 1, reached + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let yes = [("*.yaml", "a.yaml"), ("a*b*c", "a-b-b-c"), ("?", "ü"), ("*", ""), ("a", "a")];
        let no = [("*.yaml", "a.yml"), ("a*b", "a-c"), ("?", ""), ("?", "ab"), ("", "a")];
        assert!(yes.iter().all(|(p, t)| matches_part(p, t)));
        assert!(!no.iter().any(|(p, t)| matches_part(p, t)));
        assert!(matches_path("a/*/c", "a/b/c") && !matches_path("a/*", "a/b/c"));
    }

    #[test]
    fn paths() {
        assert_eq!(normal("./a//b/../c"), "a/c");
        assert_eq!(normal("../a/../../b"), "../../b");
        assert_eq!(normal("/a/./b"), "/a/b");
        assert_eq!(join(folder_of("policies/a.yaml"), "../b.yaml"), "policies/../b.yaml");
        assert_eq!(join(folder_of("a.yaml"), "b.yaml"), "b.yaml");
        assert_eq!(join(folder_of("/a.yaml"), "b.yaml"), "/b.yaml");
    }
}
