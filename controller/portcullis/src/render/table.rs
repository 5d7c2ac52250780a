//! Columns of text.

use crate::paint::{Paint, Style};

/// A piece of text with its style.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A text in a style.
    pub fn new(style: Style, text: impl Into<String>) -> Self {
        Self { text: text.into(), style }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), style: Style::Plain }
    }
}

/// A table: a heading, and rows below it. The last column is not padded.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<Cell>>,
    /// Columns of numbers stand to the right.
    right: Vec<bool>,
}

impl Table {
    /// A table with these columns; a heading that begins with `>` is for numbers.
    pub fn new(columns: &[&str]) -> Self {
        let heading = |c: &&str| Cell::new(Style::Dim, c.trim_start_matches('>'));
        Self {
            rows: vec![columns.iter().map(heading).collect()],
            right: columns.iter().map(|c| c.starts_with('>')).collect(),
        }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        debug_assert_eq!(N, self.right.len());
        self.rows.push(cells.into());
    }

    /// Has it no rows?
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// As text, each line indented.
    pub fn render(&self, paint: Paint) -> String {
        let width = |column: usize| self.rows.iter().map(|r: &Vec<Cell>| r[column].width()).max();
        let widths: Vec<usize> = (0..self.right.len()).filter_map(width).collect();
        self.rows.iter().map(|row| self.line(row, &widths, paint)).collect()
    }

    fn line(&self, row: &[Cell], widths: &[usize], paint: Paint) -> String {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let space = " ".repeat(widths[column] - cell.width());
            let text = paint.paint(cell.style, &cell.text);
            line += "  ";
            line += &if self.right[column] { space + &text } else { text + &space };
        }
        line.truncate(line.trim_end_matches(' ').len());
        line + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["name", ">count", "note"]);
        assert!(table.is_empty());
        table.row(["ä".into(), "7".into(), "".into()]);
        table.row(["long".into(), Cell::new(Style::Bad, "1234567"), "x".into()]);
        let expected = "  name    count  note\n  ä           7\n  long  1234567  x\n";
        assert_eq!(table.render(Paint::off()), expected);
    }
}
