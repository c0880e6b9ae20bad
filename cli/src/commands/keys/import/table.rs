//! Key records in CSV (RFC 4180): the first line names the members.

use std::io::BufRead;

use anyhow::{Context, Result, bail, ensure};
use keylet::encoding;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::At;
use super::format::Sink;

/// Members that are text.
const TEXTS: [&str; 9] = [
    "id",
    "content_id",
    "key",
    "kid",
    "kid_order",
    "iv",
    "track",
    "stream",
    "title",
];

/// Members that are lists, with [`BETWEEN`] between the entries.
const LISTS: [&str; 2] = ["aliases", "systems"];

/// The member that is a JSON object.
const TERMS: &str = "terms";

/// What stands between the entries of a list.
const BETWEEN: char = '|';

/// The longest row, in bytes.
const LONGEST: usize = 64 * 1024;

/// Reads a table.
///
/// # Errors
/// A header that names other columns than members of a record. What is wrong with one row goes to the sink.
pub fn read(input: impl BufRead, sink: Sink<'_>) -> Result<()> {
    let mut rows = Rows {
        input,
        delimiter: b',',
        line: 0,
    };
    let Some((_, header)) = rows.first()? else {
        bail!("it is empty");
    };
    let columns: Vec<String> = header?
        .iter()
        .map(|name| name.to_ascii_lowercase())
        .collect();
    ensure!(
        columns.len() > 1,
        "its first line names no columns: it is neither JSON nor CSV"
    );
    for column in &columns {
        let is_known =
            TEXTS.contains(&column.as_str()) || LISTS.contains(&column.as_str()) || column == TERMS;
        ensure!(
            is_known,
            "its first line has the column {column:?}, and columns are {}, {} and {TERMS}",
            TEXTS.join(", "),
            LISTS.join(", ")
        );
    }
    for needed in ["id", "key"] {
        ensure!(
            columns.iter().any(|column| column == needed),
            "its first line has no column `{needed}`"
        );
    }
    while let Some((line, row)) = rows.next()? {
        let record = row
            .map_err(|error| error.to_string())
            .and_then(|row| record(&columns, &row));
        if !sink(At::Line(line), record) {
            break;
        }
    }
    Ok(())
}

/// Rows of a table. A cell in quotation marks may have line breaks, and quotation marks twice.
struct Rows<R> {
    input: R,
    delimiter: u8,
    line: u64,
}

impl<R: BufRead> Rows<R> {
    /// The header, which tells what stands between the columns: Excel writes `;` in much of Europe.
    fn first(&mut self) -> Result<Option<(u64, Result<Vec<String>>)>> {
        let Some((line, text)) = self.text()? else {
            return Ok(None);
        };
        let delimiter = [b',', b';', b'\t']
            .into_iter()
            .find(|delimiter| text.contains(delimiter));
        self.delimiter = delimiter.unwrap_or(self.delimiter);
        Ok(Some((line, self.cells(&text))))
    }

    /// The next row that is not empty, and the line where it begins.
    fn next(&mut self) -> Result<Option<(u64, Result<Vec<String>>)>> {
        let text = self.text()?;
        Ok(text.map(|(line, text)| (line, self.cells(&text))))
    }

    /// The bytes of a row: lines, until no quotation mark is open.
    fn text(&mut self) -> Result<Option<(u64, Zeroizing<Vec<u8>>)>> {
        let mut text = Zeroizing::new(Vec::new());
        let mut first = self.line.saturating_add(1);
        while self.input.read_until(b'\n', &mut text)? > 0 {
            self.line = self.line.saturating_add(1);
            if text.trim_ascii().is_empty() {
                text.clear();
                first = self.line.saturating_add(1);
                continue;
            }
            let marks = text.iter().filter(|byte| **byte == b'"').count();
            ensure!(
                text.len() <= LONGEST,
                "line {first}: a quotation mark is open, and nothing closes it"
            );
            if marks % 2 == 0 {
                return Ok(Some((first, text)));
            }
        }
        Ok((!text.is_empty()).then_some((first, text)))
    }

    fn cells(&self, text: &[u8]) -> Result<Vec<String>> {
        let text = std::str::from_utf8(text)
            .ok()
            .context("it is not text in UTF-8")?;
        let delimiter = char::from(self.delimiter);
        let mut cells = Vec::new();
        let mut rest = text.trim_end_matches(['\r', '\n']);
        loop {
            let unquoted = rest.trim_start_matches(' ');
            let (cell, behind) = match unquoted.strip_prefix('"') {
                None => {
                    let end = rest.find(delimiter).unwrap_or(rest.len());
                    let (cell, behind) = rest.split_at(end);
                    (cell.trim().to_owned(), behind)
                }
                Some(quoted) => {
                    let end = closing(quoted)
                        .context("a quotation mark is open, and nothing closes it")?;
                    let (cell, behind) = quoted.split_at(end);
                    let behind = behind.strip_prefix('"').unwrap_or(behind);
                    (
                        cell.trim().replace("\"\"", "\""),
                        behind.trim_start_matches(' '),
                    )
                }
            };
            cells.push(cell);
            match behind.strip_prefix(delimiter) {
                Some(next) => rest = next,
                None if behind.is_empty() => return Ok(cells),
                None => bail!("something stands behind a cell in quotation marks"),
            }
        }
    }
}

/// Where the quotation mark is that closes a cell: one that stands alone.
fn closing(quoted: &str) -> Option<usize> {
    let mut marks = quoted.match_indices('"').map(|(at, _)| at).peekable();
    while let Some(at) = marks.next() {
        if marks.next_if_eq(&at.saturating_add(1)).is_none() {
            return Some(at);
        }
    }
    None
}

fn record(columns: &[String], row: &[String]) -> Result<Map<String, Value>, String> {
    if row.len() != columns.len() {
        let (cells, columns) = (row.len(), columns.len());
        return Err(format!(
            "it has {cells} columns, and the first line has {columns}"
        ));
    }
    let mut record = Map::new();
    for (column, cell) in columns.iter().zip(row) {
        if cell.is_empty() {
            continue;
        }
        let value = match column.as_str() {
            TERMS => encoding::json_object(cell.as_bytes())
                .map(Value::Object)
                .map_err(|reason| format!("`{TERMS}`: {reason}"))?,
            name if LISTS.contains(&name) => {
                json!(cell.split(BETWEEN).map(str::trim).collect::<Vec<_>>())
            }
            _ => json!(cell),
        };
        record.insert(column.clone(), value);
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a table has, each with its line.
    fn records(table: &str) -> Vec<(u64, Result<Value, String>)> {
        let mut records = Vec::new();
        let mut sink = |at, record: Result<Map<String, Value>, String>| {
            let At::Line(line) = at else { return false };
            records.push((line, record.map(Value::Object)));
            true
        };
        read(table.as_bytes(), &mut sink).unwrap();
        records
    }

    #[test]
    fn cells_are_read_with_marks_and_line_breaks_and_each_row_has_its_line() {
        let table = "id\tkey\ttitle\n\
                     a\t\"k\t1\"\t \"say \"\"so\"\"\nand go on\" \n\
                     \n\
                     b\tk\n\
                     c\t\"k\"x\t\n\
                     d\t\t\"\"\n";
        let mut found = records(table).into_iter();
        let first = json!({"id": "a", "key": "k\t1", "title": "say \"so\"\nand go on"});
        assert_eq!(found.next(), Some((2, Ok(first))));
        for (line, reason) in [(5, "2 columns"), (6, "behind a cell")] {
            let (found, record) = found.next().unwrap();
            assert_eq!(found, line);
            assert!(record.unwrap_err().contains(reason), "{line}");
        }
        assert_eq!(found.next(), Some((7, Ok(json!({"id": "d"})))));
        assert_eq!(found.next(), None);
    }

    #[test]
    fn a_quotation_mark_that_nothing_closes_is_found() {
        let (line, record) = records("id,key\na,k\nb,\"k\n").pop().unwrap();
        assert_eq!(line, 3);
        assert!(record.unwrap_err().contains("nothing closes it"));
        let endless = format!("id,key\na,\"{}\n", "x\n".repeat(LONGEST));
        assert!(read(endless.as_bytes(), &mut |_, _| true).is_err());
    }
}
