//! What sources say, piece by piece: labels with their values, sentences, sections with what stands in them.

use std::collections::HashSet;

use crate::reading::is_month;
use crate::wording::words;

/// Something that says what it is of and what that is.
#[derive(Debug)]
pub(crate) struct Passage<'a> {
    /// The number of its source.
    pub(crate) source: usize,
    pub(crate) label: HashSet<String>,
    pub(crate) value: &'a str,
    /// The words that show it.
    pub(crate) quote: &'a str,
    pub(crate) kind: Kind,
}

/// How a passage says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What stands above a document.
    Title,
    /// A label and its value, as such.
    Pair,
    /// A part of a sentence that begins with its label.
    Phrase,
    /// Somewhere in it.
    Sentence,
    /// Below a heading.
    Section,
}

/// A label has no more words.
const LABEL: usize = 5;
/// Nor a heading.
const HEADING: usize = 8;
/// Between label and value of a sentence.
const VERBS: [&str; 10] = ["is", "are", "was", "beträgt", "betragen", "ist", "lautet", "no", "nr", "="];

/// All passages of the sources of a form, each source headed by `[number] document, heading > heading`.
pub(crate) fn passages(sources: &str) -> Vec<Passage<'_>> {
    let mut all = Vec::new();
    let mut titled = HashSet::new();
    for (source, head, text) in parts(sources) {
        let (document, headings) = head.split_once(", ").unwrap_or((head, ""));
        let (title, heading) = (headings.split(" > ").next().unwrap_or_default(), headings.rsplit(" > ").next());
        if !title.is_empty() && titled.insert(document) {
            let title = title.rsplit(" – ").next().unwrap_or(title);
            all.push(Passage { source, label: words("title"), value: title, quote: title, kind: Kind::Title });
        }
        for (heading, text) in sections(heading.unwrap_or_default(), text) {
            all.push(Passage { source, label: words(heading), value: text, quote: text, kind: Kind::Section });
        }
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !is_heading(line));
        lines.for_each(|line| of_line(source, line, &mut all));
    }
    all
}

/// Number, head and text of each source.
fn parts(sources: &str) -> Vec<(usize, &str, &str)> {
    let head = |line: &str| {
        let (number, _) = line.strip_prefix('[')?.split_once("] ")?;
        number.parse::<usize>().ok()
    };
    let mut begins = Vec::new();
    let mut at = 0;
    for line in sources.split_inclusive('\n') {
        begins.extend(head(line).map(|number| (number, at, at + line.len())));
        at += line.len();
    }
    let ends = begins.iter().skip(1).map(|(_, begin, _)| *begin).chain([sources.len()]);
    let part = |((number, begin, text), end): (&(usize, usize, usize), usize)| {
        let head = sources[*begin..*text].trim();
        (*number, head.split_once("] ").map_or(head, |(_, head)| head), &sources[*text..end])
    };
    begins.iter().zip(ends).map(part).collect()
}

/// The sections of a text, each with its heading; what stands before the first is below the heading of the source.
fn sections<'a>(above: &'a str, text: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut all = Vec::new();
    let (mut heading, mut begin, mut at) = (above, 0, 0);
    for line in text.split_inclusive('\n') {
        if is_heading(line.trim()) {
            all.push((heading, text[begin..at].trim()));
            (heading, begin) = (line.trim(), at + line.len());
        }
        at += line.len();
    }
    all.push((heading, text[begin..].trim()));
    all.retain(|(heading, text)| !heading.is_empty() && !text.is_empty());
    all
}

/// A few words on a line of their own, which are neither a sentence nor a label with its value.
fn is_heading(line: &str) -> bool {
    let begins = line.starts_with(|letter: char| letter.is_uppercase() || letter == '§');
    let ends = line.ends_with(['.', ',', ';', ':', '!', '?', ')']);
    let is_numbered = line.starts_with('§') || !line.contains(|letter: char| letter.is_ascii_digit());
    begins && !ends && is_numbered && line.split(' ').count() <= HEADING && [" | ", ": "].iter().all(|mark| !line.contains(mark))
}

fn of_line<'a>(source: usize, line: &'a str, all: &mut Vec<Passage<'a>>) {
    // Forms put several of them on a line, far apart.
    for column in line.split("   ").flat_map(|part| part.split('\t')).map(str::trim).filter(|column| !column.is_empty()) {
        let told = column.trim_start_matches(['|', '-', '*', '#', ' ']);
        let parts =
            told.split_once(" | ").or_else(|| told.split_once(": ").filter(|(label, _)| label.split(' ').count() <= LABEL));
        if let Some((label, value)) = parts.filter(|(_, value)| !is_head_of_table(value)) {
            // Of several columns the first is the value.
            let value = value.split(" | ").next().unwrap_or(value).trim_end_matches(['|', ' ']);
            all.push(Passage { source, label: words(label), value, quote: column, kind: Kind::Pair });
        }
    }
    for sentence in sentences(line) {
        all.push(Passage { source, label: words(sentence), value: sentence, quote: sentence, kind: Kind::Sentence });
        if !line.contains(" | ") {
            sentence.split([',', ';', '·']).for_each(|part| of_phrase(source, part.trim(), sentence, all));
        }
    }
}

/// Columns that are called something, and hold nothing.
fn is_head_of_table(columns: &str) -> bool {
    columns.contains(" | ") && !columns.contains(|letter: char| letter.is_ascii_digit())
}

/// A part of a sentence may begin with a label of one word or more: which, the field tells that looks for it.
fn of_phrase<'a>(source: usize, part: &'a str, sentence: &'a str, all: &mut Vec<Passage<'a>>) {
    for (at, _) in part.match_indices(' ').take(LABEL) {
        let (label, rest) = part.split_at(at);
        let rest = rest.trim_start();
        let value = VERBS.iter().find_map(|verb| rest.strip_prefix(verb)?.strip_prefix([' ', '.'])).map_or(rest, str::trim_start);
        let is_named = value.len() < rest.len() || value.starts_with(|letter: char| letter.is_uppercase() || letter.is_numeric());
        if is_named && !value.is_empty() {
            all.push(Passage { source, label: words(label), value, quote: sentence, kind: Kind::Phrase });
        }
    }
}

/// The sentences of a text. The points of `1. März` and `No. 7` end none.
pub(crate) fn sentences(text: &str) -> Vec<&str> {
    let mut begin = 0;
    let mut all = Vec::new();
    for (at, _) in text.match_indices(". ") {
        let word = text[begin..at].rsplit([' ', '(']).next().unwrap_or_default();
        let next = text[at + 2..].split(' ').next().unwrap_or_default();
        let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
        let goes_on = if is_number { is_month(next) } else { word.chars().count() <= 2 };
        if !goes_on {
            all.push(text[begin..=at].trim());
            begin = at + 2;
        }
    }
    all.push(text[begin..].trim());
    all.retain(|sentence| !sentence.is_empty());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stand_before_colons_in_tables_at_the_start_of_sentences_and_above_sections() {
        let sources = "\n[1] pump.md, Data sheet – Pump 65 > Noise\nLength | 905 mm\nArticle number AQ-1 · issue May 2025\n\
            Seller: Ada        Buyer: Bob\nThe warranty is 36 months.\n";
        let all = passages(sources);
        let told = |label: &str| {
            let wanted = words(label);
            all.iter().find(|passage| passage.label == wanted && passage.kind != Kind::Sentence).map(|passage| passage.value)
        };
        assert_eq!(told("title"), Some("Pump 65"));
        assert_eq!(told("length"), Some("905 mm"));
        assert_eq!(told("article number"), Some("AQ-1"));
        assert_eq!(told("issue"), Some("May 2025"));
        assert_eq!((told("seller"), told("buyer")), (Some("Ada"), Some("Bob")));
        assert_eq!(told("warranty"), Some("36 months."));
        assert!(told("noise").is_some_and(|text| text.starts_with("Length")));
    }

    #[test]
    fn points_of_days_and_short_words_end_no_sentence() {
        assert_eq!(sentences("It begins on 1. March. It ends."), ["It begins on 1. March.", "It ends."]);
        assert_eq!(sentences("Flange PN 16. Length 905 mm, No. 7."), ["Flange PN 16.", "Length 905 mm, No. 7."]);
    }

    #[test]
    fn heads_of_tables_are_no_labels_and_lines_of_a_few_words_are_headings() {
        let all = passages("\n[1] a.md\nSpare parts\nPart | Number | Price EUR\nHood | AH-65 | 92\n");
        let told: Vec<(Kind, &str)> =
            all.iter().filter(|one| one.kind != Kind::Sentence).map(|one| (one.kind, one.value)).collect();
        let table = "Part | Number | Price EUR\nHood | AH-65 | 92";
        assert_eq!(told, [(Kind::Section, table), (Kind::Pair, "AH-65")]);
    }
}
