//! Plain tables, and the verdict on an aim.

use std::fmt;

/// Rows of text under a header, the first column to the left, the others to the right.
pub(crate) struct Table(Vec<Vec<String>>);

impl Table {
    pub(crate) fn new(header: &[&str]) -> Self {
        Self(vec![header.iter().map(ToString::to_string).collect()])
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.0.push(cells.into());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            self.0.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        for row in &self.0 {
            for (column, cell) in row.iter().enumerate() {
                let width = width(column).unwrap_or_default();
                match column {
                    0 => write!(f, "{cell:<width$}")?,
                    _ => write!(f, "  {cell:>width$}")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Says whether an aim was reached.
pub(crate) fn verdict(is_reached: bool, aim: impl fmt::Display) {
    println!("{} {aim}", if is_reached { "PASS" } else { "MISS" });
}
