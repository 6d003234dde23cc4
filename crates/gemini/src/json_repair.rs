//! The JSON in a model's answer: valid JSON as it stands, damaged JSON repaired as exactly as its damage allows.
//!
//! From sure to unsure: the text itself; values taken out of fences and prose; strings whose line breaks or backslashes
//! were not escaped; a text that merely ended too early, closed and nothing added; and for everything else the crate
//! `jsonrepair-rs`, whose guesses are marked [`lossy`](Json::lossy).

mod find;
mod mend;
mod scan;

/// The JSON of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json {
    /// Valid JSON. Where the answer was valid, its own bytes without the blanks around them.
    pub text: String,
    /// Top-level values that were found; several are given as one list.
    pub values: usize,
    /// The answer was not this very text: prose or a fence was taken off, or something was mended.
    pub repaired: bool,
    /// The answer ended inside the value: what is here is a part of what was meant.
    pub truncated: bool,
    /// Something was guessed.
    pub lossy: bool,
}

/// An answer that holds no JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoJson {
    /// Nothing to read.
    #[error("the answer is empty")]
    Empty,
    /// Words, or JSON damaged beyond repair.
    #[error("no JSON object or list was found in the answer, which begins {head:?}")]
    NotFound {
        /// The first characters of the answer.
        head: String,
    },
}

/// So much of an answer is told in an error.
const HEAD: usize = 60;

/// Reads the JSON of an answer.
///
/// # Errors
/// When there is no object or list in it that can be read or repaired. A bare string, number or word counts only where it
/// is valid JSON and the whole answer.
///
/// ```
/// let json = tidegate_gemini::json_repair::read("Here you are:\n```json\n{\"n\": 1.50}\n```")?;
/// assert_eq!((json.text.as_str(), json.repaired), ("{\"n\": 1.50}", true));
/// # Ok::<(), tidegate_gemini::json_repair::NoJson>(())
/// ```
pub fn read(answer: &str) -> Result<Json, NoJson> {
    let trimmed = answer.trim_matches([' ', '\t', '\n', '\r']);
    if trimmed.is_empty() {
        return Err(NoJson::Empty);
    }
    if scan::is_whole(trimmed) {
        return Ok(Json { text: trimmed.to_owned(), values: 1, repaired: false, truncated: false, lossy: false });
    }
    let mut pieces = find::values(trimmed);
    let (values, truncated) = (pieces.len(), pieces.iter().any(|piece| piece.truncated));
    let lossy = pieces.iter().any(|piece| piece.lossy);
    let text = match values {
        0 => return Err(NoJson::NotFound { head: trimmed.chars().take(HEAD).collect() }),
        1 => pieces.remove(0).json,
        _ => format!("[{}]", pieces.into_iter().map(|piece| piece.json).collect::<Vec<_>>().join(",")),
    };
    Ok(Json { text, values, repaired: true, truncated, lossy })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn text(answer: &str) -> String {
        read(answer).unwrap_or_else(|error| panic!("{answer}: {error}")).text
    }

    #[test]
    fn valid_json_is_given_back_byte_for_byte() {
        for answer in ["{\"a\":  1.50e+10, \"a\": [ ]}", "\"x\"", "12345678901234567890123", " \n[1]\r\n", "null"] {
            let json = read(answer).unwrap();
            assert_eq!((json.text.as_str(), json.repaired), (answer.trim(), false));
        }
    }

    #[test]
    fn nothing_is_made_of_words() {
        for answer in ["", " \n", "I cannot help with that.", "yes", "Use {x} and [y].", "\"half", "\u{feff}"] {
            assert!(read(answer).is_err(), "{answer}: {:?}", read(answer));
        }
    }

    #[test]
    fn several_values_are_a_list_and_none_is_lost() {
        let lines = "```json\n{\"a\": 1}\n{\"a\": 2}\n{\"a\": 3}\n```";
        let json = read(lines).unwrap();
        assert_eq!((json.text.as_str(), json.values), ("[{\"a\": 1},{\"a\": 2},{\"a\": 3}]", 3));
        assert_eq!(text("```json\n{\"a\":1}\n```\nor\n```json\n[2]\n```"), "[{\"a\":1},[2]]");
        assert_eq!(text("{\"a\":1}\n[2]"), "[{\"a\":1},[2]]");
        assert_eq!(text("As [1] says: {\"a\":1} (see {} and [2])."), "{\"a\":1}");
        assert_eq!(text("The answer is [1, 2]."), "[1, 2]");
    }

    #[test]
    fn prose_after_the_value_is_left_alone() {
        assert_eq!(text("{\"a\": 1}\nReplace {x} with your name."), "{\"a\": 1}");
        assert_eq!(text("{\"a\": 1,}\nHe said \"no\", and \"yes\"."), "{\"a\": 1}");
        assert_eq!(text("{'a': 1}\nIt's \"done\"."), "{\"a\": 1}");
        assert_eq!(text("```json\n{\"a\": [1, 2\n```\nThat is {all}."), "{\"a\": [1]}");
    }

    #[test]
    fn a_string_cut_after_a_brace_keeps_the_brace() {
        let json = read("{\"code\": \"if (a) {").unwrap();
        assert_eq!((json.text.as_str(), json.truncated, json.lossy), ("{\"code\": \"if (a) {\"}", true, false));
        let json = read("[{\"a\": 1}, {\"b\": \"x\ny").unwrap();
        assert_eq!((json.text.as_str(), json.truncated, json.lossy), ("[{\"a\": 1}, {\"b\": \"x\\ny\"}]", true, false));
        let json = read("{'items': [{'a': 1}, {'b': 'tw").unwrap();
        assert!(json.truncated && json.lossy && json.text.contains("tw"), "{json:?}");
    }

    #[test]
    fn a_guess_is_marked_and_an_exact_repair_is_not() {
        assert!(read("{a: 1}").unwrap().lossy);
        assert!(!read("{\"re\": \"\\d+\"}").unwrap().lossy);
        assert!(!read("```\n{\"a\": 1}\n```").unwrap().lossy);
    }

    #[test]
    fn twenty_thousand_levels_are_read_without_a_stack() {
        let deep = "[".repeat(20_000);
        assert_eq!(text(&deep), format!("{deep}{}", "]".repeat(20_000)));
        let whole = format!("{deep}{}", "]".repeat(20_000));
        assert_eq!(text(&whole), whole);
        assert!(read(&format!("{}x", "{a:[".repeat(20_000))).is_err());
    }

    #[test]
    fn a_megabyte_that_was_cut_is_closed() {
        let row = "{\"id\": 1, \"t\": \"some words \\u00e9\"},";
        let long = format!("[{}", row.repeat(1_100_000 / row.len()));
        let json = read(&long).unwrap();
        assert!(json.truncated && json.text.len() + 1 >= long.len());
    }
}
