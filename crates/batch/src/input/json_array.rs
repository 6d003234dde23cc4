//! One JSON array, element by element: an element is cut out of the stream by its brackets and quotes, then parsed.

use std::io::BufRead;
use std::iter;

use super::reader::Reader;
use super::{Body, Broken, NOT_UTF8, Row};

/// The elements of the array. What lies between brackets and quotes is not judged here.
pub(super) fn rows(reader: Reader) -> impl Iterator<Item = Result<Row, Broken>> + Send {
    let mut array = Array { bytes: Bytes { reader, line: 1, column: 0 }, state: State::Start };
    iter::from_fn(move || {
        let row = array.next().transpose();
        if matches!(row, Some(Err(_)) | None) {
            array.state = State::Ended;
        }
        row
    })
}

struct Array {
    bytes: Bytes,
    state: State,
}

#[derive(PartialEq)]
enum State {
    Start,
    First,
    More,
    Ended,
}

impl Array {
    fn next(&mut self) -> Result<Option<Row>, Broken> {
        if self.state == State::Start {
            match self.bytes.skip_blanks()? {
                Some(b'[') => self.state = State::First,
                Some(_) => {
                    return Err(self
                        .bytes
                        .broken("expected [, the beginning of a JSON array; one object a line is --format jsonl"));
                }
                None => return Err(self.bytes.broken("expected [, the beginning of a JSON array, and the file is empty")),
            }
        }
        if self.state == State::Ended {
            return Ok(None);
        }
        let first = match (self.bytes.skip_blanks()?, &self.state) {
            (Some(b']'), _) => return self.end(),
            (Some(byte), State::First) => byte,
            (Some(b','), _) => match self.bytes.skip_blanks()? {
                Some(byte) if byte != b']' && byte != b',' => byte,
                _ => return Err(self.bytes.broken("expected an element after the comma")),
            },
            (Some(_), _) => return Err(self.bytes.broken("expected , or ] after an element")),
            (None, _) => return Err(self.cut()),
        };
        self.state = State::More;
        self.element(first).map(Some)
    }

    fn end(&mut self) -> Result<Option<Row>, Broken> {
        self.state = State::Ended;
        match self.bytes.skip_blanks()? {
            None => Ok(None),
            Some(_) => Err(self.bytes.broken("expected nothing after the end of the array")),
        }
    }

    /// The element that begins with `first`: up to the comma or bracket that is not its own.
    fn element(&mut self, first: u8) -> Result<Row, Broken> {
        let (line, start) = (self.bytes.line, self.bytes.column);
        let mut text = vec![first];
        let mut scan = Scan::default();
        scan.take(first);
        loop {
            let Some(byte) = self.bytes.peek()? else { return Err(self.cut()) };
            if !scan.in_string && scan.depth == 0 && matches!(byte, b',' | b']' | b'}') {
                break;
            }
            self.bytes.advance(byte);
            scan.take(byte);
            text.push(byte);
        }
        let body = match String::from_utf8(text) {
            Ok(text) => Body::Json { text, start },
            Err(error) => {
                let raw = String::from_utf8_lossy(error.as_bytes()).into_owned();
                let (line, column) = offset(&raw, line, start, error.utf8_error().valid_up_to());
                return Ok(Row { line, body: Body::Bad { raw, column: Some(column), reason: NOT_UTF8.to_owned() } });
            }
        };
        Ok(Row { line, body })
    }

    fn cut(&self) -> Broken {
        self.bytes.broken("the file ends before the array is closed with ]")
    }
}

/// Line and column of a byte inside an element that begins at `line` and `start`.
fn offset(text: &str, line: u64, start: u64, at: usize) -> (u64, u64) {
    let before = &text.as_bytes()[..at.min(text.len())];
    match before.iter().rposition(|byte| *byte == b'\n') {
        None => (line, start + before.len() as u64),
        Some(last) => {
            let breaks = before.iter().filter(|byte| **byte == b'\n').count();
            (line + breaks as u64, (before.len() - last) as u64)
        }
    }
}

#[derive(Default)]
struct Scan {
    depth: u32,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    fn take(&mut self, byte: u8) {
        match (self.in_string, byte) {
            (true, _) if self.escaped => self.escaped = false,
            (true, b'\\') => self.escaped = true,
            (_, b'"') => self.in_string = !self.in_string,
            (false, b'[' | b'{') => self.depth += 1,
            (false, b']' | b'}') => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

/// Bytes with the place of the one read last.
struct Bytes {
    reader: Reader,
    line: u64,
    column: u64,
}

impl Bytes {
    fn peek(&mut self) -> Result<Option<u8>, Broken> {
        Ok(self.reader.fill_buf()?.first().copied())
    }

    fn advance(&mut self, byte: u8) {
        self.reader.consume(1);
        if byte == b'\n' {
            self.line += 1;
            self.column = 0;
        } else {
            self.column += 1;
        }
    }

    fn skip_blanks(&mut self) -> Result<Option<u8>, Broken> {
        while let Some(byte) = self.peek()? {
            self.advance(byte);
            if !byte.is_ascii_whitespace() {
                return Ok(Some(byte));
            }
        }
        Ok(None)
    }

    fn broken(&self, reason: &str) -> Broken {
        Broken::Structure { line: self.line, column: self.column.max(1), reason: reason.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::io::{BufReader, Cursor};

    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<Result<Row, Broken>> {
        rows(Box::new(BufReader::with_capacity(3, Cursor::new(text.as_bytes().to_vec())))).collect()
    }

    fn texts(text: &str) -> Vec<String> {
        let text_of = |row: Result<Row, Broken>| match row.unwrap().body {
            Body::Json { text, .. } => text.trim_end().to_owned(),
            other => panic!("{other:?}"),
        };
        read(text).into_iter().map(text_of).collect()
    }

    fn complaint(text: &str) -> (u64, u64, String) {
        match read(text).pop() {
            Some(Err(Broken::Structure { line, column, reason })) => (line, column, reason),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn elements_are_cut_at_their_own_commas() {
        assert_eq!(texts("[]"), Vec::<String>::new());
        assert_eq!(texts(" [ \n ] "), Vec::<String>::new());
        assert_eq!(texts(r#"["a,]", {"b":[1,{"c":"}\\\""}]}, 3]"#), [r#""a,]""#, r#"{"b":[1,{"c":"}\\\""}]}"#, "3"]);
    }

    #[test]
    fn an_element_knows_its_line_and_column() {
        let rows: Vec<Row> = read("[\n  \"a\",\n\n   {\"b\":\n1}]").into_iter().map(|row| row.unwrap()).collect();
        let places: Vec<(u64, u64)> = rows
            .iter()
            .map(|row| match row.body {
                Body::Json { start, .. } => (row.line, start),
                _ => panic!(),
            })
            .collect();
        assert_eq!(places, [(2, 3), (4, 4)]);
        assert_eq!(offset("{\"b\":\n1}", 4, 4, 7), (5, 2));
        assert_eq!(offset("abc", 4, 4, 2), (4, 6));
    }

    #[test]
    fn a_broken_array_is_refused_at_its_place() {
        assert_eq!(complaint("{\"a\":1}").0, 1);
        assert_eq!(complaint("").2, "expected [, the beginning of a JSON array, and the file is empty");
        assert_eq!(complaint("[1 \n, 2").2, "the file ends before the array is closed with ]");
        assert_eq!(complaint("[\"a\" \n").2, "the file ends before the array is closed with ]");
        assert_eq!(complaint("[1,]"), (1, 4, "expected an element after the comma".to_owned()));
        assert_eq!(complaint("[1]\n x"), (2, 2, "expected nothing after the end of the array".to_owned()));
        assert_eq!(complaint("[1}").2, "expected , or ] after an element");
    }

    #[test]
    fn bytes_that_are_no_utf8_spoil_their_element_only() {
        let bytes = b"[\"a\xff\",\n\"b\"]".to_vec();
        let rows: Vec<Row> = rows(Box::new(Cursor::new(bytes))).map(|row| row.unwrap()).collect();
        assert!(matches!(&rows[0], Row { line: 1, body: Body::Bad { column: Some(4), .. } }));
        assert!(matches!(&rows[1], Row { line: 2, body: Body::Json { .. } }));
    }

    proptest! {
        #[test]
        fn any_array_comes_back_element_by_element(
            strings in prop::collection::vec(".*", 0..8),
            pretty in any::<bool>(),
        ) {
            let elements: Vec<serde_json::Value> = strings
                .iter()
                .map(|text| serde_json::json!({"prompt": text, "metadata": [text, {"deep": text}]}))
                .collect();
            let array = if pretty { serde_json::to_string_pretty(&elements) } else { serde_json::to_string(&elements) };
            let read: Vec<serde_json::Value> =
                texts(&array.unwrap()).iter().map(|text| serde_json::from_str(text).unwrap()).collect();
            prop_assert_eq!(read, elements);
        }
    }
}
