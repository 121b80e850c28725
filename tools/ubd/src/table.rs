// SPDX-License-Identifier: GPL-2.0

//! Units as lines with columns.

use crate::units::status::Status;
use std::fmt;

/// A column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    Name,
    Unit,
    State,
    Health,
    Size,
    Used,
    Limit,
    ReadOnly,
    DirectIo,
    DetachOnClose,
    Flags,
    Serial,
    Device,
    File,
    Backing,
    Error,
}

/// The columns that are shown if none are chosen.
pub(crate) const DEFAULT: [Column; 7] = [
    Column::Name,
    Column::State,
    Column::Size,
    Column::ReadOnly,
    Column::DirectIo,
    Column::File,
    Column::Backing,
];

impl Column {
    /// All that there are.
    pub(crate) const ALL: [Column; 16] = [
        Column::Name,
        Column::Unit,
        Column::State,
        Column::Health,
        Column::Size,
        Column::Used,
        Column::Limit,
        Column::ReadOnly,
        Column::DirectIo,
        Column::DetachOnClose,
        Column::Flags,
        Column::Serial,
        Column::Device,
        Column::File,
        Column::Backing,
        Column::Error,
    ];

    /// The column with this heading, in large letters or small ones.
    ///
    /// Returns an error in words if there is none.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let named = |column: &Column| column.names().0.eq_ignore_ascii_case(text);
        let found = Self::ALL.into_iter().find(named);
        found.ok_or_else(|| {
            let names = Self::ALL.map(|column| column.names().0);
            format!("there are {}", names.join(", "))
        })
    }

    /// Its heading, and the name that JSON has for it.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Column::Name => ("NAME", "disk"),
            Column::Unit => ("UNIT", "unit"),
            Column::State => ("STATE", "state"),
            Column::Health => ("HEALTH", "health"),
            Column::Size => ("SIZE", "size"),
            Column::Used => ("USED", "used"),
            Column::Limit => ("LIMIT", "limit"),
            Column::ReadOnly => ("RO", "read_only"),
            Column::DirectIo => ("DIO", "direct_io"),
            Column::DetachOnClose => ("CLOSE", "detach_on_close"),
            Column::Flags => ("FLAGS", "flags"),
            Column::Serial => ("SERIAL", "serial"),
            Column::Device => ("MAJ:MIN", "device"),
            Column::File => ("FILE", "file"),
            Column::Backing => ("BACKING", "backing_files"),
            Column::Error => ("ERROR", "last_error"),
        }
    }

    /// The name that JSON has for it.
    pub(crate) fn key(self) -> &'static str {
        self.names().1
    }

    fn is_number(self) -> bool {
        let numbers = [Column::Unit, Column::Size, Column::Used, Column::Limit];
        numbers.contains(&self)
    }
}

/// Lines of cells, each column as wide as its widest cell.
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// No lines yet, but the headings if they are wanted.
    pub(crate) fn new(columns: Vec<Column>, headings: bool) -> Self {
        let heading = columns.iter().map(|column| column.names().0.into());
        let rows = headings.then(|| heading.collect()).into_iter().collect();
        Self { columns, rows }
    }

    /// A line for a unit.
    pub(crate) fn add(&mut self, status: &Status) {
        let cells = self.columns.iter().map(|column| status.cell(column.key()));
        self.rows.push(cells.collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |index: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(index));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..self.columns.len()).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, column), width) in row.iter().zip(&self.columns).zip(&widths) {
                line += &if column.is_number() {
                    format!("{cell:>width$} ")
                } else {
                    format!("{cell:width$} ")
                };
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(disk: &str, size: u64, file: &str) -> Status {
        let all = json!({"disk": disk, "size": size, "file": file});
        Status(all.as_object().cloned().unwrap_or_default())
    }

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let columns = vec![Column::Name, Column::Size, Column::File];
        let mut table = Table::new(columns.clone(), true);
        table.add(&status("/dev/ubda", 512, "/a b"));
        table.add(&status("/dev/ubdaa", 1 << 20, ""));
        assert_eq!(
            table.to_string(),
            "NAME          SIZE FILE\n/dev/ubda      512 /a b\n/dev/ubdaa 1048576\n"
        );
        assert_eq!(Table::new(columns, false).to_string(), "");
    }

    #[test]
    fn every_column_has_a_name_of_its_own() {
        let all = Column::ALL;
        for (index, column) in all.iter().enumerate() {
            let same = all.iter().skip(index + 1);
            assert!(same.clone().all(|other| other.key() != column.key()));
            assert!(same
                .clone()
                .all(|other| other.names().0 != column.names().0));
        }
        assert!(Column::parse("maj:min") == Ok(Column::Device));
        assert!(Column::parse("").is_err());
    }
}
