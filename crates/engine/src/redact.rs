//! Keeps keys and passwords out of everything that is told: of the answers to a call, of an address.

use std::borrow::Cow;

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};

use crate::backend::Reply;

/// What stands in place of a key.
const HIDDEN: &str = "[key]";

/// An error body may quote the key it was sent, in any form: no marker is needed to know our own.
///
/// Good answers pass untouched: they hold what the model says, and the model never saw the key.
pub(crate) fn hide(mut reply: Reply, key: &SecretString) -> Reply {
    let key = key.expose_secret().trim();
    if reply.status != 200 && !key.is_empty() && contains(&reply.body, key.as_bytes()) {
        let text = String::from_utf8_lossy(&reply.body).replace(key, HIDDEN);
        reply.body = Bytes::from(text);
    }
    reply
}

fn contains(body: &[u8], key: &[u8]) -> bool {
    body.windows(key.len()).any(|window| window == key)
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

    fn hidden(status: u16, body: &'static str) -> Bytes {
        let reply = Reply { status, content_type: None, retry_after: None, body: Bytes::from_static(body.as_bytes()) };
        hide(reply, &SecretString::from("opaque-secret-0123456789")).body
    }

    #[test]
    fn an_error_that_quotes_the_key_loses_it() {
        let body = r#"{"error":{"message":"you sent credential opaque-secret-0123456789, twice: opaque-secret-0123456789"}}"#;
        assert_eq!(hidden(400, body), r#"{"error":{"message":"you sent credential [key], twice: [key]"}}"#);
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
    fn other_bodies_pass_byte_for_byte() {
        assert_eq!(hidden(200, "opaque-secret-0123456789"), "opaque-secret-0123456789");
        assert_eq!(hidden(500, "short"), "short");
    }
}
