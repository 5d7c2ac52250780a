//! A matrix for a terminal: a letter for each set of services, and what the letters mean; where
//! the columns do not fit, a list of what is allowed.

use std::collections::HashMap;

use super::{Access, Cell, Matrix};

const ALL: &str = "#";
const NONE: &str = ".";
const IMPOSSIBLE: &str = "-";

/// The table, or a list.
pub fn render(matrix: &Matrix, width: usize) -> String {
    let marks = Marks::new(matrix);
    if marks.width(matrix) <= width { marks.table(matrix) } else { as_list(matrix) }
}

/// Is there room for the table?
pub fn fits(matrix: &Matrix, width: usize) -> bool {
    Marks::new(matrix).width(matrix) <= width
}

/// Letters for what cells say, in the order in which they are met.
struct Marks {
    letters: HashMap<String, String>,
    legend: Vec<(String, String)>,
}

impl Marks {
    fn new(matrix: &Matrix) -> Self {
        let mut marks = Self { letters: HashMap::new(), legend: Vec::new() };
        let some = matrix.cells.iter().flatten().filter(|c| c.access == Access::Some);
        for words in some.map(Cell::words) {
            if !marks.letters.contains_key(&words) {
                let letter = letter(marks.letters.len());
                marks.legend.push((letter.clone(), words.clone()));
                marks.letters.insert(words, letter);
            }
        }
        marks
    }

    fn of(&self, cell: &Cell) -> &str {
        match cell.access {
            Access::All => ALL,
            Access::None => NONE,
            Access::Impossible => IMPOSSIBLE,
            Access::Some => self.letters.get(&cell.words()).map_or(NONE, String::as_str),
        }
    }

    /// Characters of a column, with the space before it.
    fn column(&self, matrix: &Matrix) -> usize {
        let letters = self.legend.last().map_or(1, |(letter, _)| letter.len());
        letters.max(matrix.subjects.len().to_string().len()) + 1
    }

    fn width(&self, matrix: &Matrix) -> usize {
        names(matrix) + matrix.subjects.len() * self.column(matrix)
    }

    fn table(&self, matrix: &Matrix) -> String {
        let (width, names) = (self.column(matrix), names(matrix));
        let line = |name: String, cells: Vec<String>| {
            let cells: String = cells.iter().map(|c| format!("{c:>width$}")).collect();
            format!("{name:<names$}{cells}\n")
        };
        let numbers = (1..=matrix.subjects.len()).map(|n| n.to_string()).collect();
        let mut out = line("from \\ to".to_owned(), numbers);
        for ((n, subject), cells) in (1..).zip(&matrix.subjects).zip(&matrix.cells) {
            let cells = cells.iter().map(|c| self.of(c).to_owned()).collect();
            out += &line(format!("{n:>2} {subject}"), cells);
        }
        out += &format!("\n{ALL} everything  {NONE} nothing  {IMPOSSIBLE} no such connection\n");
        for (letter, words) in &self.legend {
            out += &format!("{letter} {words}\n");
        }
        out
    }
}

/// Characters of the names' column.
fn names(matrix: &Matrix) -> usize {
    let longest = matrix.subjects.iter().map(|s| s.to_string().chars().count()).max();
    (longest.unwrap_or(0) + 3).max(9)
}

/// `a`, ..., `z`, `aa`, ...
fn letter(number: usize) -> String {
    let last = char::from(b'a' + (number % 26) as u8).to_string();
    match number / 26 {
        0 => last,
        more => letter(more - 1) + &last,
    }
}

/// What is allowed, a line for each pair.
fn as_list(matrix: &Matrix) -> String {
    let mut out = String::new();
    for (from, cells) in matrix.subjects.iter().zip(&matrix.cells) {
        for (to, cell) in matrix.subjects.iter().zip(cells) {
            if matches!(cell.access, Access::All | Access::Some) {
                out += &format!("{from} -> {to}: {}\n", cell.words());
            }
        }
    }
    if out.is_empty() { "nobody may talk to anybody\n".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    #[test]
    fn letters_go_on() {
        let shown = [0, 25, 26, 27, 51, 52, 701, 702].map(super::letter);
        assert_eq!(shown, ["a", "z", "aa", "ab", "az", "ba", "zz", "aaa"]);
    }
}
