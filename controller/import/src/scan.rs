//! Words of a line, with their columns.

/// A word, without its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// What it says.
    pub text: String,
    /// Column of its first character, from 1.
    pub column: u32,
}

/// A quote that does not end; the column where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a quote begins here and does not end")]
pub struct OpenQuote(pub u32);

/// Splits at blanks; `"..."` and `'...'` are one word, and a backslash takes the next character
/// as it is (inside of double quotes and outside of quotes).
pub fn words(line: &str) -> Result<Vec<Word>, OpenQuote> {
    let mut words = Vec::new();
    let mut open: Option<Word> = None;
    let mut quote: Option<(char, u32)> = None;
    let mut chars = (1u32..).zip(line.chars());
    while let Some((column, c)) = chars.next() {
        match (quote, c) {
            (Some((q, _)), c) if c == q => quote = None,
            (None, ' ' | '\t' | '\r') => words.extend(open.take()),
            (None, '"' | '\'') => {
                quote = Some((c, column));
                open.get_or_insert_with(|| Word { text: String::new(), column });
            }
            (quote, c) => {
                let word = open.get_or_insert_with(|| Word { text: String::new(), column });
                let escapes = c == '\\' && quote.is_none_or(|(q, _)| q == '"');
                word.text.push(if escapes { chars.next().map_or(c, |(_, c)| c) } else { c });
            }
        }
    }
    words.extend(open);
    match quote {
        Some((_, column)) => Err(OpenQuote(column)),
        None => Ok(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_columns_and_quotes_hold() {
        let texts = |line| -> Vec<(u32, String)> {
            words(line).unwrap().into_iter().map(|w| (w.column, w.text)).collect()
        };
        let two = |a: (u32, &str), b: (u32, &str)| vec![(a.0, a.1.into()), (b.0, b.1.into())];
        assert_eq!(texts(" -A  INPUT\r"), two((2, "-A"), (6, "INPUT")));
        assert_eq!(texts(r#"-m "a \"b\" c""#), two((1, "-m"), (4, r#"a "b" c"#)));
        assert_eq!(texts(""), []);
        assert_eq!(words("a \"b"), Err(OpenQuote(3)));
    }
}
