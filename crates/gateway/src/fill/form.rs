//! A `multipart/form-data` body taken apart, without copying what is in it.

use bytes::Bytes;
use memchr::memmem;

use crate::error::Refusal;

/// One field of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    /// The name of the file, where it is one.
    pub file: Option<String>,
    pub content: Bytes,
}

/// The fields in their order.
///
/// # Errors
/// A 400 when the body is not made of such parts.
pub fn form(body: &Bytes, boundary: &str) -> Result<Vec<Field>, Refusal> {
    let odd = |what: &str| Refusal::invalid(format!("the form cannot be read: {what}"));
    let mark = format!("--{boundary}");
    // The line break before a boundary belongs to the boundary; the first may have none.
    let inner = memmem::Finder::new(format!("\r\n{mark}").as_bytes()).into_owned();
    let first = if body.starts_with(mark.as_bytes()) { Some(mark.len()) } else { None };
    let first = first.or_else(|| inner.find(body).map(|at| at + mark.len() + 2));
    let mut at = first.ok_or_else(|| odd("its boundary does not stand in it"))?;
    let mut fields = Vec::new();
    loop {
        let rest = &body[at..];
        if rest.starts_with(b"--") {
            return Ok(fields);
        }
        let head = memmem::find(rest, b"\r\n\r\n").ok_or_else(|| odd("a part without an end of its head"))?;
        let content = at + head + 4;
        let length = inner.find(&body[content..]).ok_or_else(|| odd("it ends before its last boundary"))?;
        let (name, file) = names(&rest[..head]).ok_or_else(|| odd("a part without a name"))?;
        fields.push(Field { name, file, content: body.slice(content..content + length) });
        at = content + length + mark.len() + 2;
    }
}

/// The name of a part and that of its file.
fn names(head: &[u8]) -> Option<(String, Option<String>)> {
    let head = String::from_utf8_lossy(head);
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"))?;
    Some((parameter(line, "name")?, parameter(line, "filename").filter(|file| !file.is_empty())))
}

/// A quoted parameter. Browsers write a quotation mark as `%22`, others put a backslash before it.
fn parameter(line: &str, name: &str) -> Option<String> {
    let wanted = format!("{name}=\"");
    let starts = |at: &usize| line[..*at].ends_with([' ', ';', '\t']);
    let begin = line.match_indices(&wanted).map(|(at, _)| at).find(starts)? + wanted.len();
    let mut value = String::new();
    let mut letters = line[begin..].chars();
    loop {
        match letters.next()? {
            '"' => return Some(value.replace("%22", "\"")),
            '\\' if matches!(letters.clone().next(), Some('"' | '\\')) => value.extend(letters.next()),
            letter => value.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn read(body: &str) -> Result<Vec<Field>, Refusal> {
        form(&Bytes::from(body.replace('\n', "\r\n")), "xyz")
    }

    #[test]
    fn fields_and_files_come_in_their_order_and_byte_for_byte() {
        let fields = read(
            "--xyz\nContent-Disposition: form-data; name=\"profile\"\n\naggressive\n--xyz\n\
             content-disposition: form-data; name=\"documents\"; filename=\"a \\\"b\\\" %22c%22.txt\"\nContent-Type: text/plain\n\n\
             --xy\n\nend\n\n--xyz--\n",
        )
        .unwrap();
        assert_eq!(fields[0], Field { name: "profile".into(), file: None, content: "aggressive".into() });
        assert_eq!((&*fields[1].name, fields[1].file.as_deref()), ("documents", Some("a \"b\" \"c\".txt")));
        assert_eq!(fields[1].content, "--xy\r\n\r\nend\r\n");
        assert_eq!(read("--xyz--\n").unwrap(), []);
        assert_eq!(read("preamble\n--xyz\nContent-Disposition: form-data; name=\"a\"\n\n\n--xyz--").unwrap()[0].content, "");
    }

    #[test]
    fn what_is_not_made_of_parts_is_refused() {
        for body in
            ["", "--abc\n", "--xyz\n", "--xyz\nContent-Disposition: form-data; name=\"a\"\n\ncut", "--xyz\nA: b\n\n\n--xyz--"]
        {
            assert!(read(body).is_err(), "{body}");
        }
    }
}
