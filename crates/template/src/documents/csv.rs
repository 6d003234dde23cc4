//! Tables: each row with the names of its columns, so that a row can be understood alone.

use super::{Block, BlockKind, Place};

pub(super) fn blocks(text: &str, separator: u8) -> Result<Vec<Block>, String> {
    let separator = if separator == b',' { likely_separator(text) } else { separator };
    let mut reader = csv::ReaderBuilder::new().delimiter(separator).flexible(true).from_reader(text.as_bytes());
    let head = reader.headers().map_err(|error| error.to_string())?.clone();
    let mut blocks = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        let line = record.position().and_then(|place| u32::try_from(place.line()).ok());
        let cell = |(column, value): (usize, &str)| match head.get(column) {
            _ if value.trim().is_empty() => None,
            Some(name) if !name.trim().is_empty() => Some(format!("{}: {}", name.trim(), value.trim())),
            _ => Some(value.trim().to_owned()),
        };
        let text = record.iter().enumerate().filter_map(cell).collect::<Vec<_>>().join("; ");
        if !text.is_empty() {
            blocks.push(Block { kind: BlockKind::Row, text, place: Place { page: None, line } });
        }
    }
    if blocks.is_empty() && head.iter().any(|name| !name.trim().is_empty()) {
        let text = head.iter().collect::<Vec<_>>().join("; ");
        blocks.push(Block { kind: BlockKind::Row, text, place: Place { page: None, line: Some(1) } });
    }
    Ok(blocks)
}

/// Spreadsheets of countries with a decimal comma separate by semicolons.
fn likely_separator(text: &str) -> u8 {
    let first = text.lines().next().unwrap_or_default();
    let count = |mark: char| first.matches(mark).count();
    [(';', b';'), ('\t', b'\t')].into_iter().find(|(mark, _)| count(*mark) > count(',')).map_or(b',', |(_, byte)| byte)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_row_names_its_columns() {
        let rows = blocks("item;price\nLamp;\"1,50\"\n;\nSofa;900;extra", b',').unwrap();
        let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
        assert_eq!(texts, ["item: Lamp; price: 1,50", "item: Sofa; price: 900; extra"]);
        assert_eq!(rows[1].place.line, Some(4));
        assert_eq!(blocks("only,heads", b',').unwrap()[0].text, "only; heads");
    }
}
