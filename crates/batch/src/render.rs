//! The final form of an output: the records of the journal in input order, as lines, array, table or text.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Map, Value};

use crate::identity::Digest;
use crate::journal::{JournalError, scan};
use crate::npy;
use crate::output::{Packing, Shape};

/// Where the records lie, in input order; 16 bytes a row. Records whose row is gone come last.
pub(crate) struct Order {
    places: Vec<(u64, u64)>,
    sorted: bool,
}

const LAST: u64 = 1 << 63;

impl Order {
    pub(crate) fn of(journal: &Path, gone: &HashSet<Digest>) -> Result<Order, JournalError> {
        let mut places = Vec::new();
        scan(journal, |line| {
            let is_gone = !gone.is_empty() && gone.contains(&Digest::of(&line.head.id));
            places.push((if is_gone { line.head.index | LAST } else { line.head.index }, line.offset));
            Ok::<(), JournalError>(())
        })?;
        let sorted = places.is_sorted();
        places.sort_unstable();
        Ok(Order { places, sorted })
    }

    /// True when the journal stands in input order already.
    pub(crate) fn is_sorted(&self) -> bool {
        self.sorted
    }

    fn len(&self) -> usize {
        self.places.len()
    }

    fn each(&self, journal: &Path, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        if self.places.is_empty() {
            return Ok(());
        }
        let mut reader = BufReader::with_capacity(64 * 1024, File::open(journal)?);
        let (mut at, mut line) = (0_u64, Vec::new());
        for (_, offset) in &self.places {
            reader.seek_relative(*offset as i64 - at as i64)?;
            line.clear();
            at = offset + reader.read_until(b'\n', &mut line)? as u64;
            each(line.strip_suffix(b"\n").unwrap_or(&line))?;
        }
        reader.rewind()
    }
}

/// Writes the records of `journal` into `writer`, packed.
pub(crate) fn render(journal: &Path, order: &Order, shape: Shape, packing: Packing, writer: &mut dyn Write) -> io::Result<()> {
    match packing {
        Packing::Plain => shaped(journal, order, shape, writer),
        Packing::Gzip => {
            let mut packer = GzEncoder::new(writer, Compression::default());
            shaped(journal, order, shape, &mut packer)?;
            packer.finish().map(drop)
        }
        Packing::Zstd => {
            let mut packer = zstd::stream::write::Encoder::new(writer, 0)?;
            shaped(journal, order, shape, &mut packer)?;
            packer.finish().map(drop)
        }
    }
}

fn shaped(journal: &Path, order: &Order, shape: Shape, writer: &mut dyn Write) -> io::Result<()> {
    match shape {
        Shape::Lines => order.each(journal, |record| {
            writer.write_all(record)?;
            writer.write_all(b"\n")
        }),
        Shape::Array => array(journal, order, writer),
        Shape::Matrix => npy::matrix(order.len(), writer, |each| order.each(journal, each)),
        Shape::Table { delimiter } => table(journal, order, delimiter, writer),
        Shape::Text => order.each(journal, |record| {
            let record: Value = serde_json::from_slice(record)?;
            let text = record.get("text").and_then(Value::as_str).unwrap_or_default();
            writeln!(writer, "{}", text.replace("\r\n", "\\n").replace(['\n', '\r'], "\\n"))
        }),
    }
}

fn array(journal: &Path, order: &Order, writer: &mut dyn Write) -> io::Result<()> {
    writer.write_all(b"[")?;
    let mut between: &[u8] = b"\n";
    order.each(journal, |record| {
        writer.write_all(between)?;
        between = b",\n";
        writer.write_all(record)
    })?;
    writer.write_all(b"\n]\n")
}

/// The columns every table has; vectors and those of metadata and extra fields follow.
const COLUMNS: [&str; 24] = [
    "id",
    "index",
    "status",
    "success",
    "text",
    "finish_reason",
    "model",
    "project",
    "key",
    "usage.input_tokens",
    "usage.output_tokens",
    "usage.thinking_tokens",
    "usage.cached_tokens",
    "usage.total_tokens",
    "attempts",
    "queued_ms",
    "latency_ms",
    "finished_at",
    "error.class",
    "error.code",
    "error.http_status",
    "error.message",
    "error.retryable",
    "fingerprint",
];

/// Columns that only tables of vectors have.
const VECTORS: [&str; 2] = ["embedding", "usage.estimated_tokens"];

fn table(journal: &Path, order: &Order, delimiter: u8, writer: &mut dyn Write) -> io::Result<()> {
    let mut columns: Vec<String> = COLUMNS.map(str::to_owned).to_vec();
    let mut known: HashSet<String> = columns.iter().cloned().collect();
    order.each(journal, |record| {
        let cells = cells(record)?;
        let own = cells.keys().filter(|name| VECTORS.contains(&name.as_str()) || is_of("metadata", name) || is_of("extra", name));
        columns.extend(own.filter(|name| known.insert((*name).clone())).cloned());
        Ok(())
    })?;
    let mut table = csv::WriterBuilder::new().delimiter(delimiter).from_writer(writer);
    table.write_record(&columns)?;
    order.each(journal, |record| {
        let cells = cells(record)?;
        Ok(table.write_record(columns.iter().map(|name| cells.get(name).map(shown).unwrap_or_default()))?)
    })?;
    table.flush()
}

fn is_of(part: &str, name: &str) -> bool {
    name.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// A record's fields by column: objects are taken apart, `metadata.author.name`.
fn cells(record: &[u8]) -> io::Result<Map<String, Value>> {
    let mut cells = Map::new();
    if let Value::Object(fields) = serde_json::from_slice(record)? {
        flatten(String::new(), fields, &mut cells);
    }
    Ok(cells)
}

fn flatten(prefix: String, fields: Map<String, Value>, cells: &mut Map<String, Value>) {
    for (name, value) in fields {
        let name = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            Value::Object(fields) if !fields.is_empty() => flatten(name, fields, cells),
            value => drop(cells.insert(name, value)),
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::io::Read;

    use super::*;

    const JOURNAL: &str = concat!(
        r#"{"id":"c","index":2,"status":"ok","success":true,"text":"one\ntwo","metadata":{"a":{"b":1}}}"#,
        "\n",
        r#"{"id":"gone","index":0,"status":"ok","success":true,"text":"old","metadata":"bare"}"#,
        "\n",
        r#"{"id":"a","index":0,"status":"failed","success":false,"error":{"class":"task","code":"SAFETY"},"extra":{"x":[1,2]}}"#,
        "\n",
    );

    fn rendered(shape: Shape, packing: Packing) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("j.jsonl");
        std::fs::write(&journal, JOURNAL).unwrap();
        let order = Order::of(&journal, &HashSet::from([Digest::of("gone")])).unwrap();
        assert!(!order.is_sorted());
        let mut bytes = Vec::new();
        render(&journal, &order, shape, packing, &mut bytes).unwrap();
        bytes
    }

    fn text(shape: Shape) -> String {
        String::from_utf8(rendered(shape, Packing::Plain)).unwrap()
    }

    #[test]
    fn records_stand_in_input_order_and_gone_ones_last() {
        let array: Vec<Value> = serde_json::from_str(&text(Shape::Array)).unwrap();
        let ids: Vec<&str> = array.iter().map(|record| record["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["a", "c", "gone"]);
        let lines = text(Shape::Lines);
        let mut expected: Vec<&str> = JOURNAL.lines().collect();
        expected.rotate_right(1);
        expected.swap(1, 1);
        assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn an_empty_journal_is_an_empty_array() {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("none.jsonl");
        let order = Order::of(&journal, &HashSet::new()).unwrap();
        let mut bytes = Vec::new();
        render(&journal, &order, Shape::Array, Packing::Plain, &mut bytes).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), serde_json::json!([]));
    }

    #[test]
    fn a_table_has_columns_for_what_metadata_and_extra_fields_hold() {
        let text = text(Shape::Table { delimiter: b',' });
        let mut table = csv::Reader::from_reader(text.as_bytes());
        let columns = table.headers().unwrap().clone();
        let own: Vec<&str> = columns.iter().skip(COLUMNS.len()).collect();
        assert_eq!(own, ["extra.x", "metadata.a.b", "metadata"]);
        let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
        let cell = |row: usize, name: &str| rows[row][columns.iter().position(|c| c == name).unwrap()].to_owned();
        assert_eq!((cell(0, "id"), cell(0, "error.code"), cell(0, "extra.x")), ("a".into(), "SAFETY".into(), "[1,2]".into()));
        assert_eq!((cell(1, "text"), cell(1, "metadata.a.b")), ("one\ntwo".into(), "1".into()));
        assert_eq!(cell(2, "metadata"), "bare");
    }

    #[test]
    fn a_text_output_has_one_line_a_row() {
        assert_eq!(text(Shape::Text), "\none\\ntwo\nold\n");
    }

    #[test]
    fn packed_outputs_unpack_to_the_same() {
        let plain = rendered(Shape::Array, Packing::Plain);
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&rendered(Shape::Array, Packing::Gzip)[..]).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, plain);
        assert_eq!(zstd::decode_all(&rendered(Shape::Array, Packing::Zstd)[..]).unwrap(), plain);
    }
}
