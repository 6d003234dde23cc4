//! Who may call: tokens, found where each kind of client puts them, compared in constant time.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use secrecy::ExposeSecret;

use crate::budget::Allowance;
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
    /// Callers of one number are one party of the queue; the same after a restart.
    pub party: u32,
    /// What it may use.
    pub allowance: Allowance,
    /// Models it may ask; none listed means all.
    models: Arc<[String]>,
}

impl Caller {
    fn new(client: &Client) -> Caller {
        let Client { name, priority, allowance, models, .. } = client;
        let models = models.iter().map(|model| bare(model).to_string()).collect();
        Caller { name: name.as_str().into(), priority: *priority, party: party(name), allowance: *allowance, models }
    }

    /// Whether it may ask every model.
    pub fn is_unbound(&self) -> bool {
        self.models.is_empty()
    }

    /// Whether it may ask this model.
    pub fn may_ask(&self, model: &str) -> bool {
        self.is_unbound() || self.models.iter().any(|pattern| matches(pattern, bare(model)))
    }
}

/// A model without the folder that its full name begins with.
fn bare(model: &str) -> &str {
    model.strip_prefix("models/").unwrap_or(model)
}

/// The party of a name; 0 is for work in bulk.
fn party(name: &str) -> u32 {
    let [a, b, c, d, ..] = *blake3::hash(name.as_bytes()).as_bytes();
    u32::from_le_bytes([a, b, c, d]).max(1)
}

/// Whether a text is as a pattern says, in which `*` stands for any letters.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(head) else { return false };
    (0..=text.len()).filter(|&at| text.is_char_boundary(at)).any(|at| matches(rest, &text[at..]))
}

impl Callers {
    pub fn new(clients: &[Client]) -> Callers {
        let digest = |client: &Client| blake3::hash(client.token.expose_secret().trim().as_bytes());
        let known = clients.iter().map(|client| (Caller::new(client), digest(client))).collect();
        let anybody = Caller::new(&Client::new("anybody", String::new().into()));
        Callers { known, anybody }
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
    fn patterns_of_models_take_any_letters_for_a_star() {
        let client = Client {
            models: ["gemini-*-flash*", "models/exact"].map(String::from).into(),
            ..Client::new("a", String::new().into())
        };
        let caller = Caller::new(&client);
        for (model, may) in [
            ("gemini-3.8-flash", true),
            ("models/gemini-3.8-flash-lite", true),
            ("gemini-3.8-pro", false),
            ("exact", true),
            ("exactly", false),
        ] {
            assert_eq!(caller.may_ask(model), may, "{model}");
        }
        assert!(Caller::new(&Client::new("b", String::new().into())).may_ask("any"));
    }

    #[test]
    fn only_who_is_known_may_call_unless_nobody_is() {
        let client = |name: &str, token: &str, priority| Client { priority, ..Client::new(name, token.to_string().into()) };
        let callers = Callers::new(&[client("a", "token-a", 1), client("b", "token-b", 2)]);
        assert_eq!(callers.find(Some(" token-b")).unwrap().priority, 2);
        for stranger in [None, Some(""), Some("token"), Some("token-bb")] {
            assert_eq!(callers.find(stranger), None);
        }
        assert!(Callers::new(&[]).find(None).is_some());
    }
}
