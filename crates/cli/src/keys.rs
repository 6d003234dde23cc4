//! Keys: where they are found, what they are called, and how they are shown.

use std::fmt;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserializer;
use serde::de::{SeqAccess, Visitor};

use crate::env_vars::{self, Environment};

/// A key and the name it goes by in displays.
#[derive(Debug, Clone)]
pub struct Key {
    /// Name of the variable it stood in; `None` for a key written in the settings file.
    pub name: Option<String>,
    /// The key.
    pub secret: SecretString,
}

/// Where a settings file says that a key is.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// `env:NAME`: in a variable of the environment or of `.env`.
    Variable(String),
    /// `file:PATH`: in a file, one key a line.
    File(String),
    /// The key itself.
    Literal(SecretString),
}

impl KeySource {
    fn read(text: &str) -> KeySource {
        match (text.strip_prefix("env:"), text.strip_prefix("file:")) {
            (Some(name), _) => KeySource::Variable(name.trim().to_string()),
            (_, Some(path)) => KeySource::File(path.trim().to_string()),
            _ => KeySource::Literal(SecretString::from(text.trim())),
        }
    }

    /// The keys behind this source; what is missing or odd becomes a warning.
    pub fn keys(&self, environment: &Environment, folder: &Path, warnings: &mut Vec<String>) -> Vec<Key> {
        match self {
            KeySource::Variable(name) => variable(name, environment, warnings),
            KeySource::File(path) => file(&folder.join(path), warnings),
            KeySource::Literal(secret) => literal(secret, environment, warnings),
        }
    }
}

/// Every key of the usual variables: `GEMINI_API_KEY`, `GOOGLE_API_KEY`, then `GEMINI_API_KEY_*` in the order of their numbers.
pub fn discover(environment: &Environment, warnings: &mut Vec<String>) -> Vec<Key> {
    let mut numbered = environment.names_with(env_vars::GEMINI_API_KEY_PREFIX);
    numbered.sort_by_key(|name| {
        let suffix = name.trim_start_matches(env_vars::GEMINI_API_KEY_PREFIX);
        (suffix.parse::<u64>().unwrap_or(u64::MAX), suffix.to_string())
    });
    let usual = [env_vars::GEMINI_API_KEY, env_vars::GOOGLE_API_KEY].into_iter().filter(|name| environment.get(name).is_some());
    usual.chain(numbered).flat_map(|name| variable(name, environment, warnings)).collect()
}

/// A key as it may be shown: `AIza…6F2k`; nothing at all of one under 20 characters.
pub fn mask(key: &str) -> String {
    let letters: Vec<char> = key.chars().collect();
    if letters.len() < 20 {
        return "(hidden)".to_string();
    }
    let (head, tail) = (&letters[..4], &letters[letters.len() - 4..]);
    head.iter().chain(&['…']).chain(tail).collect()
}

/// A text that was meant to name something, as it may be shown: what looks like a key instead is masked.
pub fn shown(text: &str) -> String {
    let looks_like_a_key = |part: &str| {
        let of_a_key = part.len() >= 20 && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        let has = |kind: fn(&char) -> bool| part.chars().any(|c| kind(&c));
        let mixed = has(char::is_ascii_lowercase) && has(char::is_ascii_uppercase) && has(char::is_ascii_digit);
        part.starts_with("AIza") || part.starts_with("AQ.") || of_a_key && mixed
    };
    let separates = |c: char| matches!(c, '/' | '\\' | '=' | ',' | ' ' | '"' | '\'' | '`' | ':' | '?' | '&' | '@' | '[' | ']');
    let part = |part: &str| {
        let bare = part.trim_end_matches(separates);
        if looks_like_a_key(bare) { format!("{}{}", mask(bare), &part[bare.len()..]) } else { part.to_string() }
    };
    text.split_inclusive(separates).map(part).collect()
}

/// The name of a variable as it may be shown: anything that no one would name a variable is masked.
fn shown_variable(name: &str) -> String {
    let letters = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let short = name.len() < 20 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if name.chars().all(letters) || short { shown(name) } else { mask(name) }
}

/// Reads the `keys` of a project. Errors never hold what stood there.
pub fn key_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<KeySource>, D::Error> {
    struct List;
    impl<'de> Visitor<'de> for List {
        type Value = Vec<KeySource>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of \"env:NAME\", \"file:PATH\" or keys")
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<KeySource>, E> {
            Ok(vec![KeySource::read(text)])
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<KeySource>, A::Error> {
            let mut sources = Vec::new();
            while let Some(text) = seq.next_element::<String>()? {
                sources.push(KeySource::read(&text));
            }
            Ok(sources)
        }
    }
    deserializer.deserialize_any(List)
}

fn variable(name: &str, environment: &Environment, warnings: &mut Vec<String>) -> Vec<Key> {
    let Some(value) = environment.get(name) else {
        let name = shown_variable(name);
        warnings.push(format!("key env:{name} is not set: set the variable, or put it into .env"));
        return Vec::new();
    };
    let parts: Vec<&str> = value.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    let called = |at: usize| if parts.len() == 1 { name.to_string() } else { format!("{name}/{}", at + 1) };
    let named = parts.iter().enumerate().map(|(at, part)| (Some(called(at)), *part));
    named.filter_map(|(name, part)| usable(name, part, warnings)).collect()
}

fn file(path: &Path, warnings: &mut Vec<String>) -> Vec<Key> {
    let shown = shown(&path.display().to_string());
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            warnings.push(format!("key file:{shown}: cannot be read: {error}"));
            return Vec::new();
        }
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Vec<Key> = lines.filter_map(|line| usable(None, line, warnings)).collect();
    if keys.is_empty() {
        warnings.push(format!("key file:{shown}: holds no key"));
    }
    keys
}

fn literal(secret: &SecretString, environment: &Environment, warnings: &mut Vec<String>) -> Vec<Key> {
    let text = secret.expose_secret();
    if environment.get(text).is_some() {
        warnings.push(format!("key {text} is the name of a variable; write \"env:{text}\" to use what it holds"));
        return Vec::new();
    }
    usable(None, text, warnings).into_iter().collect()
}

/// A key that can stand in an HTTP header.
fn usable(name: Option<String>, text: &str, warnings: &mut Vec<String>) -> Option<Key> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(Key { name, secret: SecretString::from(text) });
    }
    let called = name.unwrap_or_else(|| "in the settings file".to_string());
    warnings.push(format!("key {called} is ignored: it is empty or holds blanks or other characters no key has"));
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn names(keys: &[Key]) -> Vec<&str> {
        keys.iter().map(|key| key.name.as_deref().unwrap_or("-")).collect()
    }

    #[test]
    fn keys_are_found_under_every_usual_name_in_the_order_of_their_numbers() {
        let environment = Environment::of(&[
            ("GEMINI_API_KEY_10", "key-ten"),
            ("GEMINI_API_KEY_2", "key-two"),
            ("GEMINI_API_KEY", "key-zero"),
            ("GOOGLE_API_KEY", "key-google"),
            ("GEMINI_API_KEY_TEAM", "key-a, key-b,"),
            ("GEMINI_API_KEY_3", ""),
        ]);
        let mut warnings = Vec::new();
        let keys = discover(&environment, &mut warnings);
        assert_eq!(
            names(&keys),
            [
                "GEMINI_API_KEY",
                "GOOGLE_API_KEY",
                "GEMINI_API_KEY_2",
                "GEMINI_API_KEY_10",
                "GEMINI_API_KEY_TEAM/1",
                "GEMINI_API_KEY_TEAM/2"
            ]
        );
        assert_eq!(keys[5].secret.expose_secret(), "key-b");
        assert!(warnings.is_empty());
    }

    #[test]
    fn a_key_is_read_from_a_variable_a_file_or_the_text_itself() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("k.txt"), "# ours\nfrom-file-1\n\nfrom-file-2\n").unwrap();
        let environment = Environment::of(&[("MINE", "from-variable")]);
        let mut warnings = Vec::new();
        let read = |text: &str, warnings: &mut Vec<String>| -> Vec<String> {
            let keys = KeySource::read(text).keys(&environment, folder.path(), warnings);
            keys.iter().map(|key| key.secret.expose_secret().to_string()).collect()
        };
        assert_eq!(read("env:MINE", &mut warnings), ["from-variable"]);
        assert_eq!(read("file:k.txt", &mut warnings), ["from-file-1", "from-file-2"]);
        assert_eq!(read("itself", &mut warnings), ["itself"]);
        assert!(warnings.is_empty());
    }

    #[test]
    fn what_is_missing_is_warned_of_by_name() {
        let mut warnings = Vec::new();
        let environment = Environment::of(&[("GEMINI_API_KEY_1", "x")]);
        for text in ["env:GEMINI_API_KEY_9", "GEMINI_API_KEY_1", "two words"] {
            assert!(KeySource::read(text).keys(&environment, Path::new("."), &mut warnings).is_empty());
        }
        assert_eq!(
            warnings,
            [
                "key env:GEMINI_API_KEY_9 is not set: set the variable, or put it into .env",
                "key GEMINI_API_KEY_1 is the name of a variable; write \"env:GEMINI_API_KEY_1\" to use what it holds",
                "key in the settings file is ignored: it is empty or holds blanks or other characters no key has",
            ]
        );
    }

    #[test]
    fn a_key_behind_the_wrong_word_is_never_shown() {
        let mut warnings = Vec::new();
        for key in ["AIzaSyD-0123456789-0123456789-01236F2k", "AQ.Ab8RN6secretsecretsecret", "sk_live_Secret0123456789abcdef"] {
            for word in ["env:", "file:", "file:keys/", "env:GEMINI_API_KEY="] {
                KeySource::read(&format!("{word}{key}")).keys(&Environment::default(), Path::new("."), &mut warnings);
            }
        }
        assert_eq!(warnings.len(), 12);
        for warning in &warnings {
            assert!(warning.contains('…') && !warning.contains("secret") && !warning.contains("01234"), "{warning}");
        }
    }

    #[test]
    fn names_and_paths_are_shown_as_they_are() {
        for name in ["GEMINI_API_KEY_1", "mine", "A_VERY_LONG_NAME_OF_A_VARIABLE_2026", "Key2"] {
            assert_eq!(shown_variable(name), name);
        }
        for path in ["keys/team.txt", "/run/secrets/gemini-keys-of-the-team", "../k"] {
            assert_eq!(shown(path), path);
        }
    }

    #[test]
    fn a_mask_shows_four_letters_at_each_end_of_a_long_key_and_nothing_of_a_short_one() {
        assert_eq!(mask("AIzaSyD-0123456789-0123456789-01236F2k"), "AIza…6F2k");
        assert_eq!(mask("1234567890123456789"), "(hidden)");
    }

    #[test]
    fn debug_output_never_holds_a_key() {
        let key = Key { name: None, secret: SecretString::from("AIza-do-not-show") };
        let source = KeySource::read("AIza-do-not-show");
        assert!(!format!("{key:?} {source:?}").contains("do-not-show"));
    }
}
