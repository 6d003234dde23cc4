//! Who may call: tokens, found where each kind of client puts them, compared in constant time.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use secrecy::ExposeSecret;

use crate::settings::Client;

/// Everybody who may call. Holds digests of the tokens, not the tokens.
pub struct Callers {
    known: Vec<(Caller, blake3::Hash)>,
    anybody: Caller,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Its name in logs.
    pub name: Arc<str>,
    /// Higher goes first.
    pub priority: i32,
}

impl Callers {
    pub fn new(clients: &[Client]) -> Callers {
        let caller = |client: &Client| Caller { name: client.name.as_str().into(), priority: client.priority };
        let digest = |client: &Client| blake3::hash(client.token.expose_secret().trim().as_bytes());
        let known = clients.iter().map(|client| (caller(client), digest(client))).collect();
        Callers { known, anybody: Caller { name: "anybody".into(), priority: 0 } }
    }

    /// Whether nobody in particular was named.
    pub fn is_open(&self) -> bool {
        self.known.is_empty()
    }

    /// Who asks where nobody has to say who it is.
    pub fn anybody(&self) -> &Caller {
        &self.anybody
    }

    /// The caller behind a token; `None` for a stranger.
    pub fn find(&self, token: Option<&str>) -> Option<&Caller> {
        if self.is_open() {
            return Some(&self.anybody);
        }
        // Digests are compared in constant time by their own type, and all of them are: time tells nothing of a token.
        let digest = blake3::hash(token?.trim().as_bytes());
        self.known.iter().fold(None, |found, (caller, known)| if *known == digest { Some(caller) } else { found })
    }
}

/// What a request shows: a key as Gemini's clients send it, else a Bearer token.
pub fn token<'a>(headers: &'a HeaderMap, query: &'a str) -> Option<&'a str> {
    let key = headers.get("x-goog-api-key").and_then(|value| value.to_str().ok());
    key.or_else(|| key_of_query(query)).or_else(|| bearer(headers))
}

/// A Bearer token: the mark of OpenAI's clients.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The key of `?key=`; keys with letters that an address must spell otherwise belong in a header.
fn key_of_query(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("key=")).filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[test]
    fn a_token_is_found_where_each_kind_of_client_puts_it() {
        assert_eq!(token(&headers("x-goog-api-key", "k"), "key=q"), Some("k"));
        assert_eq!(token(&headers("authorization", "bearer k"), ""), Some("k"));
        assert_eq!(token(&HeaderMap::new(), "alt=sse&key=k"), Some("k"));
        assert_eq!(token(&headers("authorization", "Basic k"), "key="), None);
    }

    #[test]
    fn only_who_is_known_may_call_unless_nobody_is() {
        let client = |name: &str, token: &str, priority| Client { name: name.into(), token: token.to_string().into(), priority };
        let callers = Callers::new(&[client("a", "token-a", 1), client("b", "token-b", 2)]);
        assert_eq!(callers.find(Some(" token-b")).unwrap().priority, 2);
        for stranger in [None, Some(""), Some("token"), Some("token-bb")] {
            assert_eq!(callers.find(stranger), None);
        }
        assert!(Callers::new(&[]).find(None).is_some());
    }
}
