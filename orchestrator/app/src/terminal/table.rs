//! Tables: columns with headings, each as wide as its widest cell. Each row is a single line, so
//! that `grep` works.

use std::fmt;

use console::measure_text_width;
use owo_colors::OwoColorize;

/// A table for the terminal.
#[derive(Debug)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Row>,
}

#[derive(Debug)]
enum Row {
    Cells(Vec<String>),
    /// A line that belongs to the row above it and spans all columns.
    Note(String),
}

impl Table {
    pub(crate) fn new(headings: impl Into<Vec<&'static str>>) -> Self {
        Self { headings: headings.into(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl Into<Vec<String>>) {
        self.rows.push(Row::Cells(cells.into()));
    }

    pub(crate) fn note(&mut self, note: String) {
        self.rows.push(Row::Note(note));
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| match row {
            Row::Cells(cells) => cells.get(column),
            Row::Note(_) => None,
        });
        cells.map(|cell| measure_text_width(cell)).chain([self.headings[column].len()]).max().unwrap_or(0)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<usize> = (0..self.headings.len()).map(|column| self.width(column)).collect();
        let headings: Vec<String> = self.headings.iter().map(|heading| heading.dimmed().to_string()).collect();
        write_row(f, &headings, &widths)?;
        for row in &self.rows {
            writeln!(f)?;
            match row {
                Row::Cells(cells) => write_row(f, cells, &widths)?,
                Row::Note(note) => write!(f, "    {note}")?,
            }
        }
        Ok(())
    }
}

fn write_row(f: &mut fmt::Formatter<'_>, cells: &[String], widths: &[usize]) -> fmt::Result {
    let filled = cells.iter().rposition(|cell| measure_text_width(cell) > 0).map_or(0, |last| last + 1);
    for (i, (cell, width)) in cells.iter().zip(widths).take(filled).enumerate() {
        f.write_str(cell)?;
        if i + 1 < filled {
            write!(f, "{:1$}", "", width.saturating_sub(measure_text_width(cell)) + 2)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain_text(table: &Table) -> String {
        console::strip_ansi_codes(&table.to_string()).into_owned()
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["ID", "STATUS"]);
        table.row(["a-long-id".into(), "ok".green().to_string()]);
        table.note("and why".into());
        table.row(["b".into(), "failed".into()]);
        assert_eq!(plain_text(&table), "ID         STATUS\na-long-id  ok\n    and why\nb          failed");
    }

    #[test]
    fn lines_have_no_trailing_spaces() {
        let mut table = Table::new(["A", "B", ""]);
        table.row(["long".into(), String::new(), String::new()]);
        assert_eq!(plain_text(&table), "A     B\nlong");
    }

    #[test]
    fn colours_and_wide_letters_do_not_shift_the_columns() {
        let mut table = Table::new(["A", "B"]);
        table.row(["日本".red().to_string(), "x".into()]);
        table.row(["abcd".into(), "y".into()]);
        assert_eq!(plain_text(&table), "A     B\n日本  x\nabcd  y");
    }
}
