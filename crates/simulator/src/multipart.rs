//! A whole file in one request: what it is called and its bytes, as the two parts of a `multipart/related` body.

/// The two parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts<'b> {
    /// The JSON of the first part.
    pub(crate) about: &'b [u8],
    /// The type that the second part names.
    pub(crate) mime: Option<String>,
    pub(crate) content: &'b [u8],
}

/// Takes a body apart; `None` for one that is not made like that.
pub(crate) fn parts<'b>(content_type: &str, body: &'b [u8]) -> Option<Parts<'b>> {
    let mut told = content_type.split(';').map(str::trim);
    told.next()?.to_ascii_lowercase().starts_with("multipart/").then_some(())?;
    let boundary = told.find_map(|word| word.strip_prefix("boundary="))?.trim_matches('"');
    let mark = format!("--{boundary}");
    let (_, rest) = split(body, mark.as_bytes())?;
    let between = format!("\r\n{mark}");
    let (first, rest) = split(rest, between.as_bytes())?;
    let (second, end) = split(rest, between.as_bytes())?;
    end.starts_with(b"--").then_some(())?;
    let (_, about) = split(first, b"\r\n\r\n")?;
    let (head, content) = split(second, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(head).into_owned();
    let named = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-type").then(|| value.trim().to_owned())
    };
    Some(Parts { about, mime: head.lines().find_map(named), content })
}

/// What stands before and behind the first `mark`.
fn split<'b>(bytes: &'b [u8], mark: &[u8]) -> Option<(&'b [u8], &'b [u8])> {
    let at = bytes.windows(mark.len()).position(|window| window == mark)?;
    Some((&bytes[..at], &bytes[at + mark.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_the_second_part_are_taken_as_they_are() {
        let body = b"--zz\r\ncontent-type: application/json\r\n\r\n{}\r\n--zz\r\nContent-Type: text/plain\r\n\r\na\r\n\r\nb\r\n--zz--\r\n";
        let taken = parts("multipart/related; boundary=\"zz\"", body);
        assert_eq!(taken, Some(Parts { about: b"{}", mime: Some("text/plain".to_owned()), content: b"a\r\n\r\nb" }));
        assert_eq!(parts("text/plain", body), None);
        assert_eq!(parts("multipart/related; boundary=zz", &body[..40]), None);
    }
}
