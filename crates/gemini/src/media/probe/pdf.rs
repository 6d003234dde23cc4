//! The number of pages of a PDF, found without understanding it: most say it in a place or two.

use std::io::Read;

use flate2::read::ZlibDecoder;

use super::Window;
use crate::media::mime::find;

/// How much is read at each end of a large file.
const END: u64 = 4 << 20;

/// How much one packed group of objects may unfold to, and all of them together.
const UNPACKED: u64 = 2 << 20;
const ALL_UNPACKED: usize = 16 << 20;

/// `None` when nothing in it tells.
pub(super) fn pages(window: &mut Window<'_>) -> Option<u32> {
    let mut text = window.upto(0, END as usize)?;
    if let Some(pages) = linearized(&text) {
        return Some(pages);
    }
    if window.size > END {
        let from = END.max(window.size - END);
        text.extend(window.upto(from, END as usize)?);
    }
    counted(&text).or_else(|| counted(&unpacked(&text)))
}

/// A file made for the web names its pages in its first object.
fn linearized(text: &[u8]) -> Option<u32> {
    let head = &text[..text.len().min(1_024)];
    let dictionary = &head[find(head, b"/Linearized")?..];
    let dictionary = &dictionary[..find(dictionary, b">>")?];
    number_after(dictionary, b"/N")
}

/// The largest count of a node of the page tree, which is the root's; else the pages themselves.
fn counted(text: &[u8]) -> Option<u32> {
    let (mut largest, mut pages) = (None, 0);
    for at in places(text, b"/Type") {
        let value = text[at + 5..].trim_ascii_start();
        if value.starts_with(b"/Pages") {
            largest = largest.max(number_after(dictionary(text, at), b"/Count"));
        } else if value.starts_with(b"/Page") && !value.get(5).is_some_and(u8::is_ascii_alphanumeric) {
            pages += 1;
        }
    }
    largest.filter(|count| *count > 0).or(Some(pages).filter(|pages| *pages > 0))
}

/// The number behind `name`, of at most seven digits.
fn number_after(text: &[u8], name: &[u8]) -> Option<u32> {
    places(text, name).find_map(|at| {
        let value = text[at + name.len()..].trim_ascii_start();
        let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
        std::str::from_utf8(value.get(..digits).filter(|digits| (1..8).contains(&digits.len()))?).ok()?.parse().ok()
    })
}

fn places<'a>(text: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + find(&text[from..], name)?;
        from = at + name.len();
        Some(at)
    })
}

/// The dictionary around `at`, as far as a page tree's node reaches.
fn dictionary(text: &[u8], at: usize) -> &[u8] {
    const REACH: usize = 64 << 10;
    let (first, last) = (at.saturating_sub(REACH), text.len().min(at + REACH));
    let (mut depth, mut start, mut end) = (0, at, at);
    while start > first {
        start -= 1;
        match &text[start..start + 2] {
            b">>" => depth += 1,
            b"<<" if depth == 0 => break,
            b"<<" => depth -= 1,
            _ => continue,
        }
        start = start.saturating_sub(1).max(first);
    }
    depth = 0;
    while end + 2 <= last {
        match &text[end..end + 2] {
            b"<<" => depth += 1,
            b">>" if depth == 0 => break,
            b">>" => depth -= 1,
            _ => {
                end += 1;
                continue;
            }
        }
        end += 2;
    }
    &text[start..end]
}

/// The objects of newer files are packed in groups; those groups that unfold, one after the other.
fn unpacked(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for at in places(text, b"/ObjStm") {
        let Some(start) = find(&text[at..text.len().min(at + 4_096)], b"stream").map(|found| at + found + 6) else { continue };
        let packed = text[start..].strip_prefix(b"\r\n").or_else(|| text[start..].strip_prefix(b"\n")).unwrap_or(&text[start..]);
        // A group cut or damaged gives what unfolded before.
        let _ = ZlibDecoder::new(packed).take(UNPACKED).read_to_end(&mut out);
        out.push(b'\n');
        if out.len() > ALL_UNPACKED {
            break;
        }
    }
    out
}
