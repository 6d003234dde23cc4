//! Finds the JSON values in a text of prose, fences and braces that mean nothing.

use super::mend;
use super::scan::{Scan, is_whole, scan};

/// One value that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) json: String,
    pub(super) truncated: bool,
    pub(super) lossy: bool,
    /// Words stand before it.
    in_prose: bool,
}

/// So many places that look like JSON and are none are looked at in one text.
const MOST_FAILURES: usize = 32;

/// The values of a text, in their order.
pub(super) fn values(text: &str) -> Vec<Piece> {
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}' || c == '\u{a0}');
    if text.starts_with(['{', '[']) {
        // However little there is of it: a bare `[n` is the beginning of a list.
        if let Scan::Cut { keep, tail } = scan(text) {
            return vec![cut(&text[..keep], &tail)];
        }
    } else {
        let fenced = in_fences(text);
        if !fenced.is_empty() {
            return fenced;
        }
    }
    let (mut pieces, _) = walk(text, false);
    if pieces.len() > 1 && pieces.iter().any(|piece| says_something(&piece.json)) {
        pieces.retain(|piece| !piece.in_prose || says_something(&piece.json));
    }
    pieces
}

/// Not just `{}` or a mark such as `[1]`.
fn says_something(json: &str) -> bool {
    json[1..].contains(['"', '{', '['])
}

/// The values of every fence whose content begins like JSON.
fn in_fences(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find("```") {
        let fence = at + found;
        match string_around(text, at, fence) {
            Around::Nothing => {}
            Around::Value(end) => {
                at = end;
                continue;
            }
            Around::Rest => break,
        }
        let label_from = fence + 3;
        let rest = text[label_from..].trim_start_matches(|c: char| c.is_ascii_alphanumeric());
        let content = rest.trim_start();
        let label = text[label_from..text.len() - rest.len()].to_ascii_lowercase();
        at = label_from;
        if matches!(&*label, "" | "json" | "jsonc" | "json5" | "jsonl" | "ndjson") && is_start(content) {
            let (found, consumed) = walk(content, true);
            pieces.extend(found);
            at = text.len() - content.len() + consumed;
            // The end of this fence is not the beginning of another.
            at += text[at..].find("```").map_or(text.len() - at, |end| end + 3);
        }
    }
    pieces
}

/// What a fence stands in.
enum Around {
    Nothing,
    /// A string of a value that ends here.
    Value(usize),
    /// A string that the text ends in.
    Rest,
}

/// Whether the fence is a part of a string of some value between `from` and it.
fn string_around(text: &str, from: usize, fence: usize) -> Around {
    let mut at = from;
    for _ in 0..MOST_FAILURES {
        let Some(found) = text[at..fence].find(['{', '[']) else { break };
        let start = at + found;
        match scan(&text[start..]) {
            Scan::Whole(length) if start + length > fence => return Around::Value(start + length),
            Scan::Whole(length) => at = start + length,
            // Outside a string the fence would have been no JSON.
            Scan::Cut { .. } => return Around::Rest,
            Scan::Broken => at = start + 1,
        }
    }
    Around::Nothing
}

/// Walks from one place that looks like JSON to the next; gives what was found, and where it stopped.
fn walk(text: &str, fenced: bool) -> (Vec<Piece>, usize) {
    let mut pieces: Vec<Piece> = Vec::new();
    let (mut at, mut failures, mut gap_from) = (0, 0, 0);
    while let Some(found) = text[at..].find(['{', '[']) {
        let start = at + found;
        let gap = &text[gap_from..start];
        if fenced && gap.contains("```") {
            break;
        }
        let rest = &text[start..];
        let piece = if is_start(rest) { value(rest, fenced) } else { None };
        match piece {
            Some((piece, length)) => {
                pieces.push(Piece { in_prose: gap.contains(char::is_alphabetic), ..piece });
                (at, gap_from) = (start + length, start + length);
            }
            None => {
                failures += usize::from(is_start(rest));
                at = start + 1;
            }
        }
        if failures >= MOST_FAILURES {
            break;
        }
    }
    (pieces, gap_from)
}

/// Whether a text begins as an object or a list would, allowing for the usual faults.
fn is_start(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(['{', '[']) else { return false };
    let rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let quoted = ["\"", "'", "\u{201c}", "\u{2018}", "\\\"", "//", "/*", "# "];
    if rest.is_empty() || quoted.iter().any(|quote| rest.starts_with(quote)) {
        return true;
    }
    let word_end = rest.find(|c: char| !(c.is_alphanumeric() || "_$-+.".contains(c))).unwrap_or(rest.len());
    let (word, after) = (&rest[..word_end], rest[word_end..].trim_start());
    if text.starts_with('{') {
        return after.starts_with(':') && !word.is_empty() || rest.starts_with('}');
    }
    let is_word = word.starts_with(|c: char| c.is_ascii_digit() || c == '-')
        || ["true", "false", "null", "True", "False", "None", "NaN", "Infinity"].contains(&word);
    is_word && (after.is_empty() || after.starts_with([',', ']'])) || rest.starts_with(['{', '[', ']'])
}

/// The value a text begins with, and how much of the text it takes.
fn value(rest: &str, fenced: bool) -> Option<(Piece, usize)> {
    match scan(rest) {
        Scan::Whole(end) => return Some((whole(&rest[..end]), end)),
        Scan::Cut { keep, tail } => return Some((cut(&rest[..keep], &tail), rest.len())),
        Scan::Broken => {}
    }
    let fence_end = rest.find("\n```").filter(|_| fenced);
    if let Some(end) = fence_end
        && let Some((piece, length)) = damaged(&rest[..end])
    {
        return Some((piece, length));
    }
    damaged(rest)
}

/// A value with faults of more than one kind: exact repairs first, then the crate that guesses.
fn damaged(rest: &str) -> Option<(Piece, usize)> {
    if let Scan::Cut { keep, tail } = scan(rest) {
        return Some((cut(&rest[..keep], &tail), rest.len()));
    }
    if let Some(end) = extent(rest) {
        let region = mend::escapes(&rest[..end]);
        let mended = mend::controls(&region);
        if is_whole(&mended) {
            return Some((whole(&mended), end));
        }
        if let Some(json) = guessed(&region) {
            return Some((Piece { lossy: true, ..whole(&json) }, end));
        }
    }
    let region = mend::escapes(rest);
    let mended = mend::controls(&region);
    if let Scan::Cut { keep, tail } = scan(&mended) {
        return Some((cut(&mended[..keep], &tail), rest.len()));
    }
    let truncated = !rest.trim_end().ends_with(['}', ']']);
    if let Some(json) = guessed(&region) {
        return Some((Piece { truncated, lossy: true, ..whole(&json) }, rest.len()));
    }
    let end = rest.rfind(['}', ']'])? + 1;
    let json = guessed(&mend::escapes(&rest[..end]))?;
    Some((Piece { lossy: true, ..whole(&json) }, end))
}

fn whole(json: &str) -> Piece {
    Piece { json: json.trim().to_owned(), truncated: false, lossy: false, in_prose: false }
}

fn cut(kept: &str, tail: &str) -> Piece {
    Piece { truncated: true, ..whole(&format!("{kept}{tail}")) }
}

/// What the repair crate makes of it, where that is a value of the same kind.
fn guessed(region: &str) -> Option<String> {
    let json = jsonrepair_rs::jsonrepair(region).ok()?;
    let json = json.trim();
    (json.as_bytes().first() == region.as_bytes().first() && is_whole(json)).then(|| json.to_owned())
}

/// Where the brackets of a text are balanced for the first time, those in double quotes left out. A closer that was
/// forgotten is taken as given where an outer one follows; one too many is passed over.
fn extent(text: &str) -> Option<usize> {
    let (mut owed, mut in_string, mut escaped) = (Vec::new(), false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' => owed.push(b'}'),
            b'[' => owed.push(b']'),
            b'}' | b']' => {
                if let Some(level) = owed.iter().rposition(|closer| *closer == byte) {
                    owed.truncate(level);
                }
                if owed.is_empty() {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn braces_and_brackets_of_prose_are_no_json() {
        for text in ["{x, y}", "{x}", "[x] done", "[text](url)", "{{ name }}", "[see 1]", "[1 of 3]", "(a)"] {
            assert!(!is_start(text), "{text}");
        }
        for text in ["{\"a\"", "{ 'a'", "{name: 1", "{}", "[]", "[1, 2", "[true]", "[{", "[-1]", "{\\\"a\\\"", "{// x", "{"] {
            assert!(is_start(text), "{text}");
        }
    }

    #[test]
    fn brackets_in_quotes_do_not_count_and_forgotten_ones_are_forgiven() {
        assert_eq!(extent("{\"a\": \"}\"} x"), Some(10));
        assert_eq!(extent("{\"a\": [1, 2, \"b\": 3} x"), Some(20));
        assert_eq!(extent("{\"a\": [1, 2]]} x"), Some(14));
        assert_eq!(extent("{\"a\": \"} x"), None);
    }
}
