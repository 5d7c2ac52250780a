//! A matrix as one HTML page with an SVG picture: nothing is loaded from anywhere, and nothing
//! runs. Hovering over a cell tells what it allows, and by which rules.

use std::fmt::Write;

use super::{Access, Cell, Matrix};
use crate::explain::RuleView;

/// Side of a cell, pixels.
const CELL: usize = 22;
/// Width of a character of a name, pixels.
const LETTER: usize = 7;

const STYLE: &str = "\
:root { color-scheme: light dark; --ink: #1b1f24; --dim: #6a737d; --paper: #ffffff; --grid: #e1e4e8;
  --all: #1a7f37; --some: #bf8700; --partly: #e3c565; --none: #f6f8fa; --cross: #0969da; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --dim: #8d96a0; --paper: #0d1117; --grid: #30363d;
    --all: #3fb950; --some: #d29922; --partly: #6e5518; --none: #161b22; --cross: #58a6ff; } }
body { margin: 2rem; background: var(--paper); color: var(--ink); font: 14px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.3rem; margin: 0 0 .3rem; }
p { color: var(--dim); margin: .2rem 0 1rem; max-width: 50rem; }
.scroll { overflow-x: auto; }
svg text { fill: var(--ink); font: 12px ui-monospace, monospace; }
svg rect { stroke: var(--grid); stroke-width: 1; }
svg rect:hover { stroke: var(--cross); stroke-width: 2; }
.all { fill: var(--all); } .some { fill: var(--some); } .partly { fill: var(--partly); }
.none { fill: var(--none); } .impossible { fill: transparent; }
.legend span { display: inline-block; width: .9em; height: .9em; margin: 0 .35em 0 1em;
  border: 1px solid var(--grid); vertical-align: -.1em; }
.legend .all { background: var(--all); } .legend .some { background: var(--some); }
.legend .partly { background: var(--partly); } .legend .none { background: var(--none); }
table { border-collapse: collapse; margin-top: 1rem; }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid var(--grid);
  vertical-align: top; }
td small { color: var(--dim); }
";

/// The page.
pub fn render(matrix: &Matrix, title: &str) -> String {
    let title = escape(title);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Who may talk to whom: {title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>Who may talk to whom</h1>\n<p>{title}. Rows open connections to columns; answers come \
         back by themselves. Hold the pointer over a cell to see the services and the rules.</p>\n\
         <p class=\"legend\"><span class=\"all\"></span>everything<span class=\"some\"></span>some \
         services<span class=\"partly\"></span>only between some members<span class=\"none\"></span>\
         nothing</p>\n"
    );
    out += "<div class=\"scroll\">\n";
    picture(&mut out, matrix);
    out += "</div>\n";
    table(&mut out, matrix);
    out += "</body>\n</html>\n";
    out
}

/// Writing to a string cannot fail.
fn picture(out: &mut String, matrix: &Matrix) {
    let names: Vec<String> = matrix.subjects.iter().map(ToString::to_string).collect();
    let margin = names.iter().map(|n| n.chars().count()).max().unwrap_or(0) * LETTER + 16;
    let side = names.len() * CELL;
    // Column names lean to the right.
    let (width, height) = (margin + side + margin, margin + side + 2);
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"Who may talk to whom\">"
    );
    for (i, name) in names.iter().map(|n| escape(n)).enumerate() {
        let at = margin + i * CELL;
        let (middle, x) = (at + CELL / 2 + 4, at + CELL / 2);
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{name}</text>\n\
             <text x=\"{x}\" y=\"{y}\" transform=\"rotate(-45 {x} {y})\">{name}</text>",
            margin - 8,
            y = margin - 8,
        );
    }
    for (row, (from, cells)) in names.iter().zip(&matrix.cells).enumerate() {
        for (column, (to, cell)) in names.iter().zip(cells).enumerate() {
            let (x, y) = (margin + column * CELL, margin + row * CELL);
            let _ = writeln!(
                out,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{CELL}\" height=\"{CELL}\" class=\"{}\"><title>{}</title></rect>",
                class(cell),
                escape(&told(from, to, cell))
            );
        }
    }
    *out += "</svg>\n";
}

const fn class(cell: &Cell) -> &'static str {
    match cell.access {
        Access::All => "all",
        Access::Some if cell.services.is_empty() => "partly",
        Access::Some => "some",
        Access::None => "none",
        Access::Impossible => "impossible",
    }
}

/// What hovering tells.
fn told(from: &str, to: &str, cell: &Cell) -> String {
    let mut text = format!("{from} \u{2192} {to}: {}", cell.words());
    let mut rules = |what: &str, rules: &[RuleView]| {
        for rule in rules {
            let _ = write!(text, "\n{what} {} ({})", rule.name, rule.position);
        }
    };
    rules("allowed by", &cell.allowed_by);
    rules("denied by", &cell.denied_by);
    text
}

/// The same in words, for who does not see or hover.
fn table(out: &mut String, matrix: &Matrix) {
    *out += "<table>\n<tr><th>from</th><th>to</th><th>allowed</th><th>by</th></tr>\n";
    for (from, cells) in matrix.subjects.iter().zip(&matrix.cells) {
        for (to, cell) in matrix.subjects.iter().zip(cells) {
            if !matches!(cell.access, Access::All | Access::Some) {
                continue;
            }
            let by = |r: &RuleView| {
                format!("{} <small>{}</small>", escape(&r.name), escape(&r.position.to_string()))
            };
            let rules: Vec<String> = cell.allowed_by.iter().map(by).collect();
            let [from, to] = [from, to].map(|s| escape(&s.to_string()));
            let (words, rules) = (escape(&cell.words()), rules.join("<br>"));
            let _ = writeln!(
                out,
                "<tr><td>{from}</td><td>{to}</td><td>{words}</td><td>{rules}</td></tr>"
            );
        }
    }
    *out += "</table>\n";
}

/// For text and for attributes in double quotes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_of_a_policy_becomes_markup() {
        assert_eq!(
            super::escape("<a b='c' d=\"&\">"),
            "&lt;a b=&#39;c&#39; d=&quot;&amp;&quot;&gt;"
        );
    }
}
