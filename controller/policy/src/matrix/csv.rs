//! A matrix as comma-separated values (RFC 4180): spreadsheets read it.

use super::Matrix;

/// A line for each row; the first names the columns.
pub fn render(matrix: &Matrix) -> String {
    let names: Vec<String> = matrix.subjects.iter().map(ToString::to_string).collect();
    let mut out = line(std::iter::once("from \\ to").chain(names.iter().map(String::as_str)));
    for (name, cells) in names.iter().zip(&matrix.cells) {
        let words: Vec<String> = cells.iter().map(super::Cell::words).collect();
        out += &line(std::iter::once(name.as_str()).chain(words.iter().map(String::as_str)));
    }
    out
}

fn line<'a>(fields: impl Iterator<Item = &'a str>) -> String {
    fields.map(field).collect::<Vec<_>>().join(",") + "\r\n"
}

fn field(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn commas_and_quotes_are_kept() {
        let fields = ["a", "b, c", "say \"x\""];
        assert_eq!(super::line(fields.into_iter()), "a,\"b, c\",\"say \"\"x\"\"\"\r\n");
    }
}
