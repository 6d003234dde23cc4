//! Plain text: one prompt a line, blank lines do not count.

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
                Ok(text) => Body::Text(text),
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
    fn every_line_with_something_on_it_is_a_prompt() {
        let rows: Vec<Row> = rows(Box::new(Cursor::new("one\n\n \"two\" \n"))).map(|row| row.unwrap()).collect();
        let text = |line, text: &str| Row { line, body: Body::Text(text.to_owned()) };
        assert_eq!(rows, [text(1, "one"), text(3, " \"two\" ")]);
    }
}
