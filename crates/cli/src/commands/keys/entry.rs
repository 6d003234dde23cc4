//! How a key gets in: typed unseen, or from a stream, one a line; never from the command line.

use std::io::{self, BufRead, IsTerminal, Write};

use secrecy::SecretString;

use crate::exit_code::{ExitCode, Failure};

/// The keys typed at a terminal (one, unseen) or standing on standard input (one a line).
///
/// # Errors
/// When there is none, or a line is no key; what was read is never shown.
pub fn read(prompt: &str) -> Result<Vec<SecretString>, Failure> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return keys_of(stdin.lock());
    }
    let terminal = console::Term::stderr();
    let typed = (&terminal).write_all(prompt.as_bytes()).and_then(|()| terminal.read_secure_line());
    keys_of(typed.map_err(|error| unreadable("the terminal", &error))?.as_bytes())
}

/// The keys in a stream, one a line; blank lines and comments do not count.
///
/// # Errors
/// When there is none, or a line is no key; the line is told by its number.
pub fn keys_of(lines: impl BufRead) -> Result<Vec<SecretString>, Failure> {
    let mut keys = Vec::new();
    for (number, line) in lines.lines().enumerate() {
        let line = line.map_err(|error| unreadable("the key", &error))?;
        let key = line.trim();
        if key.is_empty() || key.starts_with('#') {
            continue;
        }
        // A comma would make two keys of one; blanks and letters beyond ASCII cannot stand in an HTTP header.
        if !key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',') {
            let line = number + 1;
            return Err(Failure::usage(format!("line {line} is no key: it holds blanks, commas or letters that no key has")));
        }
        keys.push(SecretString::from(key));
    }
    if keys.is_empty() {
        return Err(Failure::usage("no key was given: type it at the prompt, or send it by standard input, one a line"));
    }
    Ok(keys)
}

/// Refuses what looks like a key on the command line, without repeating it.
///
/// # Errors
/// Says why it is refused, and how to give a key.
pub fn refuse_typed<'a>(words: impl IntoIterator<Item = &'a String>) -> Result<(), Failure> {
    match words.into_iter().next() {
        None => Ok(()),
        Some(_) => Err(Failure::usage(
            "a key does not go on the command line: it would stay in the shell's history. Leave it out and type it when asked, \
             or send it by standard input. If it was a real one, replace it",
        )),
    }
}

/// Whether a word given as a variable's name is one. Keys of Google are words too, but not such.
pub fn is_name(word: &str) -> bool {
    let first = word.bytes().next().is_some_and(|byte| byte.is_ascii_uppercase() || byte == b'_');
    first && word.len() <= 64 && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

fn unreadable(what: &str, error: &io::Error) -> Failure {
    Failure::new(ExitCode::Unreachable, format!("{what} cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn each_line_is_a_key_and_comments_are_not() {
        assert_eq!(keys_of("# ours\n one-key \n\nother-key\n".as_bytes()).unwrap().len(), 2);
    }

    #[test]
    fn a_line_that_is_no_key_is_told_by_its_number_alone() {
        let error = keys_of("good-key\nsecret words here\n".as_bytes()).unwrap_err();
        assert_eq!(error.message, "line 2 is no key: it holds blanks, commas or letters that no key has");
        assert!(keys_of("a,b\n".as_bytes()).is_err());
        assert!(keys_of("\n".as_bytes()).unwrap_err().message.starts_with("no key was given"));
    }

    #[test]
    fn names_of_variables_are_told_from_keys() {
        assert!(is_name("GEMINI_API_KEY_7") && is_name("TEAM_KEY"));
        for word in ["AIzaSyD-0123456789-0123456789-01236F2k", "AIzaSyD0123456789", "", "7UP", "gemini_api_key", "A B"] {
            assert!(!is_name(word), "{word}");
        }
    }
}
