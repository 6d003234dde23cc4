//! JSON lines: one string or object a line, blank lines do not count.

use std::iter;

use super::reader::Reader;
use super::{Body, Broken, NOT_UTF8, Row, read_line};

pub(super) fn rows(mut reader: Reader) -> impl Iterator<Item = Result<Row, Broken>> + Send {
    let mut buffer = Vec::new();
    let mut line = 0;
    iter::from_fn(move || {
        loop {
            let text = match read_line(&mut reader, &mut buffer) {
                Ok(Some(text)) => text,
                Ok(None) => return None,
                Err(error) => return Some(Err(error.into())),
            };
            line += 1;
            let body = match text {
                Ok(text) if text.trim().is_empty() => continue,
                Ok(text) => Body::Json { text, start: 1 },
                Err((raw, column)) => Body::Bad { raw, column: Some(column), reason: NOT_UTF8.to_owned() },
            };
            return Some(Ok(Row { line, body }));
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::io::Cursor;

    use super::*;

    #[test]
    fn blank_lines_count_as_lines_but_not_as_rows() {
        let rows: Vec<Row> = rows(Box::new(Cursor::new("\"a\"\r\n\n  \n{}"))).map(|row| row.unwrap()).collect();
        let json = |line, text: &str| Row { line, body: Body::Json { text: text.to_owned(), start: 1 } };
        assert_eq!(rows, [json(1, "\"a\""), json(4, "{}")]);
    }

    #[test]
    fn a_line_that_is_no_utf8_is_bad_and_the_next_is_read() {
        let rows: Vec<Row> = rows(Box::new(Cursor::new(b"\"a\xff\"\n\"b\"\n"))).map(|row| row.unwrap()).collect();
        assert!(matches!(&rows[0].body, Body::Bad { column: Some(3), reason, .. } if reason == NOT_UTF8));
        assert!(matches!(&rows[1].body, Body::Json { text, .. } if text == "\"b\""));
    }
}
