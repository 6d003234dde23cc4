//! Keeps the key of a call out of everything that is told about its answer.

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
    fn other_bodies_pass_byte_for_byte() {
        assert_eq!(hidden(200, "opaque-secret-0123456789"), "opaque-secret-0123456789");
        assert_eq!(hidden(500, "short"), "short");
    }
}
