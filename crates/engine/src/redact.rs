//! Keeps keys and passwords out of everything that is told: of the answers to a call, of an address.

use std::borrow::Cow;

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};

use crate::backend::Reply;

/// What stands in place of a key.
const HIDDEN: &str = "[key]";

/// So many letters of a key in a row are taken out, wherever in the key they stand: what quotes a key may cut it short.
const PIECE: usize = 8;

/// An error body may quote the key it was sent, in any form: no marker is needed to know our own. `None`: it does not.
pub(crate) fn hidden(reply: &Reply, key: &SecretString) -> Option<Reply> {
    let body = String::from_utf8_lossy(&reply.body);
    let clean = without(&body, key.expose_secret().trim());
    (clean != body).then(|| Reply { body: Bytes::from(clean), ..reply.clone() })
}

/// The same; of an answer that is no error only the whole key is taken out, since a piece may stand there by chance.
pub(crate) fn hidden_whole(reply: &Reply, key: &SecretString) -> Option<Reply> {
    let whole = key.expose_secret().trim();
    if reply.status < 400 && !reply.body.windows(whole.len().max(1)).any(|piece| piece == whole.as_bytes()) {
        return None;
    }
    hidden(reply, key)
}

/// `text` without the key and every longer piece of it.
pub(crate) fn without(text: &str, key: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        if let Some(length) = quoted(rest, key) {
            out.push_str(HIDDEN);
            rest = &rest[length..];
        } else {
            out.push(letter);
            rest = &rest[letter.len_utf8()..];
        }
    }
    out
}

/// How many bytes at the beginning of a text are a piece of the key; `None` for less than what tells anything.
fn quoted(text: &str, key: &str) -> Option<usize> {
    let same = |piece: &str| text.chars().zip(piece.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
    let longest: usize = key.char_indices().map(|(start, _)| same(&key[start..])).max()?;
    (longest >= PIECE.min(key.len())).then_some(longest)
}

/// An address as it may be shown: without user, password, query and fragment, where people put keys.
///
/// ```
/// assert_eq!(tidegate_engine::public_url("https://me:pass@host:8443/v1beta?key=AIza"), "https://host:8443/v1beta");
/// ```
pub fn public_url(url: &str) -> Cow<'_, str> {
    let told = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = told.split_once("://").map_or(("", told), |(scheme, rest)| (scheme, rest));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) if scheme.is_empty() => Cow::Owned(format!("{host}{path}")),
        Some((_, host)) => Cow::Owned(format!("{scheme}://{host}{path}")),
        None => Cow::Borrowed(told),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(body: &str) -> Option<Bytes> {
        let reply = Reply { status: 400, content_type: None, retry_after: None, body: Bytes::from(body.to_owned()) };
        super::hidden(&reply, &SecretString::from("opaque-secret-0123456789")).map(|reply| reply.body)
    }

    #[test]
    fn an_error_that_quotes_the_key_loses_it() {
        let body = r#"{"error":{"message":"you sent credential opaque-secret-0123456789, twice: opaque-secret-0123456789"}}"#;
        let clean = r#"{"error":{"message":"you sent credential [key], twice: [key]"}}"#;
        assert_eq!(hidden(body), Some(Bytes::from_static(clean.as_bytes())));
    }

    #[test]
    fn pieces_of_a_key_are_taken_out_too() {
        for (text, clean) in [
            ("opaque-secret-01... is wrong", "[key]... is wrong"),
            ("ends in ret-0123456789", "ends in [key]"),
            ("...secret-0123... of yours", "...[key]... of yours"),
            ("opaque-secret-0123456789opaque-s", "[key][key]"),
        ] {
            assert_eq!(without(text, "opaque-secret-0123456789"), clean);
        }
        assert_eq!(without("opaque", "opaque-secret-0123456789"), "opaque", "too little to tell");
        assert_eq!(without("a tiny key", "tiny"), "a [key] key");
        assert_eq!(without("no key", ""), "no key");
    }

    #[test]
    fn an_address_is_told_without_what_nobody_may_see() {
        for (url, told) in [
            ("http://h:1/v1", "http://h:1/v1"),
            ("http://h/?key=secret", "http://h/"),
            ("http://h#secret", "http://h"),
            ("https://a:secret@h/p@q", "https://h/p@q"),
            ("https://a:se@cret@h", "https://h"),
            ("secret@h/p", "h/p"),
            ("ftp://example.org", "ftp://example.org"),
        ] {
            assert_eq!(public_url(url), told);
        }
    }

    #[test]
    fn other_bodies_pass_as_they_are() {
        assert_eq!(hidden("short"), None);
    }
}
