//! Where placeholders stand in a text, and what looks like one and is none.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// A placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hole {
    /// Its bytes in the text, those that a value takes the place of.
    pub begin: usize,
    pub end: usize,
    pub name: String,
}

/// More words than this are a remark and no name.
const MOST_WORDS: usize = 6;
/// More letters, likewise.
const LONGEST: usize = 60;
/// Names that are tags of HTML, which Markdown may hold.
const TAGS: [&str; 34] = [
    "a",
    "b",
    "br",
    "blockquote",
    "code",
    "dd",
    "del",
    "details",
    "div",
    "dl",
    "dt",
    "em",
    "h",
    "hr",
    "i",
    "img",
    "ins",
    "kbd",
    "li",
    "ol",
    "p",
    "pre",
    "q",
    "s",
    "small",
    "span",
    "strong",
    "sub",
    "summary",
    "sup",
    "table",
    "td",
    "tr",
    "ul",
];

static BRACED: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\{\{([^{}\n]+)\}\}|\{([^{}\n]+)\}|\[([^\[\]\n]+)\]|<([^<>\n]+)>").ok());
static RULED: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"([^:\n_…]+):[ \t]*(_{3,}|\.{5,}|…{2,})").ok());

/// All placeholders of a text, in their order.
pub(super) fn holes(text: &str, is_markdown: bool) -> Vec<Hole> {
    let mut holes: Vec<Hole> = Vec::new();
    for captures in BRACED.iter().flat_map(|form| form.captures_iter(text)) {
        holes.extend(braced(text, &captures, is_markdown));
    }
    for captures in RULED.iter().flat_map(|form| form.captures_iter(text)) {
        if let (Some(label), Some(rule)) = (captures.get(1), captures.get(2)) {
            let label = label.as_str().rsplit(|letter| !is_of_name(letter)).next().unwrap_or_default();
            let name = label.trim_start_matches(|letter: char| !letter.is_alphabetic()).trim().to_owned();
            if is_name(&name) {
                holes.push(Hole { begin: rule.start(), end: rule.end(), name });
            }
        }
    }
    holes.sort_by_key(|hole| hole.begin);
    holes
}

fn braced(text: &str, captures: &Captures<'_>, is_markdown: bool) -> Option<Hole> {
    let whole = captures.get_match();
    let name = (1..=4).find_map(|group| captures.get(group))?.as_str().trim();
    let after = text[whole.end()..].chars().next();
    let before = text[..whole.start()].chars().next_back();
    let is_link = is_markdown && (matches!(after, Some('(' | '[' | ':')) || matches!(before, Some(']' | '!')));
    let is_box = whole.as_str().starts_with('[') && name.eq_ignore_ascii_case("x");
    let is_tag = whole.as_str().starts_with('<') && TAGS.contains(&name.trim_end_matches('/').to_lowercase().as_str());
    (is_name(name) && !is_link && !is_box && !is_tag).then(|| Hole {
        begin: whole.start(),
        end: whole.end(),
        name: name.to_owned(),
    })
}

/// Letters, digits and what stands between words, begun by a letter.
fn is_name(text: &str) -> bool {
    let begins = text.starts_with(|letter: char| letter.is_alphabetic() || letter == '_');
    let is_plain = text.chars().all(is_of_name);
    begins && is_plain && text.chars().count() <= LONGEST && text.split_whitespace().count() <= MOST_WORDS
}

fn is_of_name(letter: char) -> bool {
    letter.is_alphanumeric() || " _.'/()-".contains(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, is_markdown: bool) -> Vec<String> {
        holes(text, is_markdown).into_iter().map(|hole| hole.name).collect()
    }

    #[test]
    fn all_four_forms_are_seen_in_their_order() {
        assert_eq!(names("{a} [b c] <d> Label one: ____ {{ e }}", false), ["a", "b c", "d", "Label one", "e"]);
        assert_eq!(names("Name: ______ Datum: ....... ", false), ["Name", "Datum"]);
    }

    #[test]
    fn links_boxes_tags_code_and_remarks_are_none() {
        for text in
            ["[text](https://a.example)", "![image][ref]", "[x] done", "a<br>b", "<https://a.example>", "{ \"a\": 1 }", "[1]"]
        {
            assert_eq!(names(text, true), Vec::<String>::new(), "{text}");
        }
        assert_eq!(names("[see the notes in the annex on page two]", false), Vec::<String>::new());
    }
}
