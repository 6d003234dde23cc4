//! Repairs inside strings that leave no doubt: backslashes that escape nothing, line breaks and tabs as they stand.

use std::borrow::Cow;

use super::scan::{Escape, escape};

/// Doubles every backslash that begins no escape (`\d`), writes `\'` as `'` and half a surrogate pair as U+FFFD.
pub(super) fn escapes(text: &str) -> Cow<'_, str> {
    rewrite(text, |rest| {
        if rest[0] != b'\\' {
            return None;
        }
        match escape(rest) {
            Escape::Whole(length) => Some((length, None)),
            Escape::Cut => Some((rest.len(), None)),
            Escape::Half(length) => Some((length, Some("\\ufffd".into()))),
            Escape::Wrong if rest[1] == b'\'' => Some((2, Some("'".into()))),
            Escape::Wrong => Some((1, Some("\\\\".into()))),
        }
    })
}

/// Writes line breaks, tabs and other control characters inside strings as escapes.
pub(super) fn controls(text: &str) -> Cow<'_, str> {
    rewrite(text, |rest| match rest[0] {
        b'\\' => Some((rest.len().min(2), None)),
        b'\n' => Some((1, Some("\\n".into()))),
        b'\r' => Some((1, Some("\\r".into()))),
        b'\t' => Some((1, Some("\\t".into()))),
        code @ 0..=0x1f => Some((1, Some(format!("\\u{code:04x}").into()))),
        _ => None,
    })
}

/// So many bytes, and what stands for them if not they themselves.
type Change = (usize, Option<Cow<'static, str>>);

/// Shows `change` the rest of the text at every byte inside double quotes.
fn rewrite(text: &str, change: impl Fn(&[u8]) -> Option<Change>) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut out = String::new();
    let (mut at, mut copied, mut in_string) = (0, 0, false);
    while at < bytes.len() {
        let found = if in_string { change(&bytes[at..]) } else { None };
        match found {
            Some((length, Some(new))) => {
                out.push_str(&text[copied..at]);
                out.push_str(&new);
                at += length;
                copied = at;
            }
            Some((length, None)) => at += length,
            None => {
                in_string ^= bytes[at] == b'"';
                at += 1;
            }
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn only_what_is_wrong_inside_strings_is_rewritten() {
        let right = "{\n\"a\": \"\\n\\u00e9\\\\d\", \\d}";
        assert!(matches!(escapes(right), Cow::Borrowed(_)) && matches!(controls(right), Cow::Borrowed(_)));
        assert_eq!(escapes(r#"["\d+\(é\)", "Bob\'s", "\ud800x", "\u12"]"#), r#"["\\d+\\(é\\)", "Bob's", "\ufffdx", "\\u12"]"#);
        assert_eq!(controls("[\"a\nb\t\u{1}\\\"\n\",\n1]"), "[\"a\\nb\\t\\u0001\\\"\\n\",\n1]");
    }
}
