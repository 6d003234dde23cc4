//! The one file in a `multipart/related` body: between the head of the second part and the closing boundary.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

/// The description and the heads of both parts fit into so many bytes.
const HEAD: u64 = 256 << 10;

/// The boundary that a `Content-Type` names; `None` for what is not made of parts.
pub fn boundary(content_type: &str) -> Option<String> {
    let mut parts = content_type.split(';');
    parts.next()?.trim().to_ascii_lowercase().starts_with("multipart/").then_some(())?;
    let told = parts.find_map(|part| part.trim().strip_prefix("boundary="))?;
    Some(told.trim_matches('"').to_string())
}

/// Where the content of the second part stands.
///
/// # Errors
/// When the file cannot be read or is not made like that.
pub fn content(file: &mut File, boundary: &str) -> io::Result<Range<u64>> {
    let odd = || io::Error::other("the upload is not made of two parts");
    let length = file.metadata()?.len();
    let mark = format!("--{boundary}");
    file.rewind()?;
    let mut head = Vec::new();
    file.by_ref().take(HEAD).read_to_end(&mut head)?;
    let find = |from: usize, what: &[u8]| memchr::memmem::find(head.get(from..)?, what).map(|at| from + at);
    let first = find(0, mark.as_bytes()).ok_or_else(odd)?;
    let second = find(first + mark.len(), format!("\n{mark}").as_bytes()).ok_or_else(odd)?;
    let bare = find(second, b"\r\n\r\n").map(|at| at + 4);
    let start = bare.or_else(|| find(second, b"\n\n").map(|at| at + 2)).ok_or_else(odd)? as u64;
    let tail_from = length.saturating_sub(mark.len() as u64 + 64).max(start.saturating_sub(2));
    file.seek(SeekFrom::Start(tail_from))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let close = memchr::memmem::rfind(&tail, format!("\n{mark}--").as_bytes()).ok_or_else(odd)?;
    let end = tail_from + close as u64 - u64::from(close > 0 && tail[close - 1] == b'\r');
    (start <= end).then_some(start..end).ok_or_else(odd)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::io::Write as _;

    #[test]
    fn the_file_stands_behind_the_head_of_the_second_part() {
        let boundary = boundary("multipart/related; boundary=\"xyz\"").unwrap();
        let text = "--xyz\r\nContent-Type: application/json\r\n\r\n{}\r\n--xyz\r\nContent-Type: text/plain\r\n\r\nthe\r\n\r\nfile\r\n--xyz--\r\n";
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let at = content(&mut file, &boundary).unwrap();
        assert_eq!(&text[at.start as usize..at.end as usize], "the\r\n\r\nfile");
        assert!(content(&mut file, "other").is_err());
        assert_eq!(super::boundary("application/json"), None);
    }
}
