//! Comma or tab separated rows under a first row of field names.

use std::iter;

use ::csv::{ByteRecord, ErrorKind, Reader as Table, ReaderBuilder, StringRecord, Trim};
use serde_json::{Map, Value};

use super::reader::Reader;
use super::{Body, Broken, NOT_UTF8, Row};

pub(super) fn rows(reader: Reader, delimiter: u8) -> impl Iterator<Item = Result<Row, Broken>> + Send {
    let mut table = ReaderBuilder::new().delimiter(delimiter).trim(Trim::Headers).from_reader(reader);
    let mut names: Option<StringRecord> = None;
    let mut ended = false;
    iter::from_fn(move || {
        if ended {
            return None;
        }
        if names.is_none() {
            match header(&mut table) {
                Ok(found) => names = Some(found),
                Err(broken) => {
                    ended = true;
                    return Some(Err(broken));
                }
            }
        }
        let row = next(&mut table, names.as_ref()?);
        ended = matches!(row, None | Some(Err(_)));
        row
    })
}

fn header(table: &mut Table<Reader>) -> Result<StringRecord, Broken> {
    let names = table.headers().map_err(|error| broken(error, 1))?.clone();
    let mut seen: Vec<&str> = Vec::new();
    for (position, name) in names.iter().enumerate() {
        let reason = if name.is_empty() {
            format!("field {} has no name; the first row names the fields", position + 1)
        } else if seen.contains(&name) {
            format!("two fields are called {name:?}; give each its own name")
        } else {
            seen.push(name);
            continue;
        };
        return Err(Broken::Structure { line: 1, column: position as u64 + 1, reason });
    }
    Ok(names)
}

fn next(table: &mut Table<Reader>, names: &StringRecord) -> Option<Result<Row, Broken>> {
    let mut record = ByteRecord::new();
    let before = table.position().line();
    let body = match table.read_byte_record(&mut record) {
        Ok(false) => return None,
        Ok(true) => body(record.clone(), names),
        Err(error) => match error.kind() {
            ErrorKind::UnequalLengths { expected_len, len, .. } => {
                let reason = format!("{len} fields where the first row names {expected_len}; a value may need quotes");
                Body::Bad { raw: raw(&record), column: None, reason }
            }
            _ => return Some(Err(broken(error, before))),
        },
    };
    // The position of a record is before the blank lines in front of it; its end is not.
    let breaks = record.iter().flatten().filter(|byte| **byte == b'\n').count() as u64;
    let line = table.position().line().saturating_sub(breaks + 1).max(before);
    Some(Ok(Row { line, body }))
}

fn body(record: ByteRecord, names: &StringRecord) -> Body {
    match StringRecord::from_byte_record(record) {
        Ok(values) => {
            let fields = names.iter().zip(&values).map(|(name, value)| (name.to_owned(), Value::from(value)));
            Body::Fields(fields.collect::<Map<String, Value>>())
        }
        Err(error) => {
            let reason = format!("field {}: {NOT_UTF8}", error.utf8_error().field() + 1);
            Body::Bad { raw: raw(&error.into_byte_record()), column: None, reason }
        }
    }
}

fn raw(record: &ByteRecord) -> String {
    record.iter().map(String::from_utf8_lossy).collect::<Vec<_>>().join(",")
}

fn broken(error: ::csv::Error, line: u64) -> Broken {
    let text = error.to_string();
    match error.into_kind() {
        ErrorKind::Io(error) => Broken::Io(error),
        ErrorKind::Utf8 { .. } => Broken::Structure { line, column: 1, reason: NOT_UTF8.to_owned() },
        _ => Broken::Structure { line, column: 1, reason: text },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::io::Cursor;

    use super::*;

    fn read(text: &'static [u8], delimiter: u8) -> Vec<Result<Row, Broken>> {
        rows(Box::new(Cursor::new(text)), delimiter).collect()
    }

    #[test]
    fn fields_are_named_by_the_first_row_and_lines_count_quoted_breaks() {
        let rows = read(b"id, text\n1,\"a\nb\"\n\n2,c\n", b',');
        let rows: Vec<Row> = rows.into_iter().map(|row| row.unwrap()).collect();
        let fields = |line, json: Value| Row { line, body: Body::Fields(json.as_object().unwrap().clone()) };
        let expected =
            [fields(2, serde_json::json!({"id": "1", "text": "a\nb"})), fields(5, serde_json::json!({"id": "2", "text": "c"}))];
        assert_eq!(rows, expected);
    }

    #[test]
    fn tabs_separate_when_told() {
        let rows = read(b"a\tb\n1\t2,3\n", b'\t');
        assert!(matches!(&rows[0], Ok(Row { body: Body::Fields(fields), .. }) if fields["b"] == "2,3"));
    }

    #[test]
    fn a_row_of_another_width_is_bad_and_the_next_is_read() {
        let rows = read(b"a,b\n1\n2,3\n", b',');
        assert!(matches!(&rows[0], Ok(Row { line: 2, body: Body::Bad { reason, .. } }) if reason.starts_with("1 fields where")));
        assert!(matches!(&rows[1], Ok(Row { line: 3, body: Body::Fields(_) })));
    }

    #[test]
    fn a_field_name_that_stands_twice_is_refused() {
        let rows = read(b"a,b,a\n1,2,3\n", b',');
        assert_eq!(rows.len(), 1);
        assert!(matches!(&rows[0], Err(Broken::Structure { line: 1, column: 3, reason }) if reason.contains("\"a\"")));
    }

    #[test]
    fn a_field_that_is_no_utf8_is_bad() {
        let rows = read(b"a,b\n1,\xff\n2,3\n", b',');
        assert!(matches!(&rows[0], Ok(Row { body: Body::Bad { reason, .. }, .. }) if reason.starts_with("field 2: not UTF-8")));
        assert!(matches!(&rows[1], Ok(Row { line: 3, .. })));
    }
}
