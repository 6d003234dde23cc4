//! A text that went through the removal of keys: the only form in which a body enters the store.

use secrecy::{ExposeSecret, SecretString};

use crate::redact::without;

/// The most that is kept of a body, in bytes.
const LONGEST: usize = 4 << 10;

/// At most 4 KiB of a text, without the keys it may quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redacted(String);

impl Redacted {
    /// `text` without `keys`, then cut to 4 KiB. Hand in every key that took part in the exchange.
    ///
    /// ```
    /// use secrecy::SecretString;
    /// use tidegate_engine::store::Redacted;
    /// let key = SecretString::from("AIzaSyD-0123456789abcdefghijklmnopq6F2k");
    /// let body = Redacted::new("Consumer 'api_key:AIzaSyD-0123456789abcdefghijklmnopq6F2k' is gone", [&key]);
    /// assert_eq!(body.as_str(), "Consumer 'api_key:[key]' is gone");
    /// ```
    pub fn new<'a>(text: &str, keys: impl IntoIterator<Item = &'a SecretString>) -> Redacted {
        let mut safe = keys.into_iter().fold(text.to_owned(), |text, key| without(&text, key.expose_secret()));
        safe.truncate(safe.floor_char_boundary(LONGEST));
        Redacted(safe)
    }

    /// The safe text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A text that was redacted before it was stored.
    pub(super) fn from_store(text: String) -> Redacted {
        Redacted(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AIzaSyD-0123456789abcdefghijklmnopq6F2k";

    fn redacted(text: &str) -> String {
        Redacted::new(text, [&SecretString::from(KEY)]).as_str().to_owned()
    }

    #[test]
    fn keys_are_removed_wherever_and_however_often_they_stand() {
        assert_eq!(redacted(&format!("{KEY}, ?key={KEY}&x=1 {KEY}{KEY}")), "[key], ?key=[key]&x=1 [key][key]");
        assert_eq!(redacted("nothing to hide"), "nothing to hide");
    }

    #[test]
    fn a_key_that_was_cut_short_is_removed_too() {
        assert_eq!(redacted(&format!("key {}... is wrong", &KEY[..30])), "key [key]... is wrong");
        assert_eq!(redacted(&format!("{}\"", &KEY[..12])), "[key]\"");
    }

    #[test]
    fn a_key_across_the_cut_leaves_no_piece_behind() {
        let text = redacted(&format!("{}{KEY}", "x".repeat(LONGEST - 20)));
        assert!(text.len() <= LONGEST && text.ends_with("x[key]"), "{text}");
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let text = redacted(&"ü".repeat(5_000));
        assert!(text.len() <= LONGEST && text.chars().all(|c| c == 'ü'));
    }

    #[test]
    fn keys_of_any_length_and_script_are_removed() {
        let of = |text: &str, key: &str| Redacted::new(text, [&SecretString::from(key)]).as_str().to_owned();
        assert_eq!(of("my kéy-kéy-kéy-kéy!", "kéy-kéy-kéy-kéy"), "my [key]!");
        assert_eq!(of("a short one", "short"), "a [key] one");
        assert_eq!(of("no key", ""), "no key");
    }
}
