//! Quotes looked up in their source, whatever became of blanks, line breaks and quotation marks on the way.

/// Parts of a quote on both sides of an ellipsis count from this length on.
const SHORTEST_PART: usize = 4;

/// A text as quotes are compared with it.
#[derive(Debug)]
pub(crate) struct Plain {
    text: String,
    /// For each byte of it, the byte of the original.
    origins: Vec<usize>,
}

impl Plain {
    pub fn new(original: &str) -> Plain {
        let mut plain = Plain { text: String::new(), origins: Vec::new() };
        let mut letters = original.char_indices().peekable();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\u{ad}' | '\u{200b}' | '\u{feff}' | '*' | '`' => {}
                // A word divided at the end of a line.
                '-' | '\u{2010}' if letters.peek().is_some_and(|(_, next)| *next == '\n') && plain.ends_in_letter() => {
                    letters.next();
                    let joins = letters.peek().is_some_and(|(_, next)| next.is_lowercase());
                    if !joins {
                        plain.push('-', at);
                    }
                }
                '|' => plain.blank(at),
                letter if letter.is_whitespace() => plain.blank(at),
                '„' | '“' | '”' | '«' | '»' | '"' => plain.push('"', at),
                '‘' | '’' | '‚' | '\'' => plain.push('\'', at),
                '–' | '—' | '\u{2011}' | '\u{2010}' | '−' => plain.push('-', at),
                'ﬁ' => ['f', 'i'].into_iter().for_each(|part| plain.push(part, at)),
                'ﬂ' => ['f', 'l'].into_iter().for_each(|part| plain.push(part, at)),
                letter => letter.to_lowercase().for_each(|lower| plain.push(lower, at)),
            }
        }
        plain
    }

    /// Where a quote stands, as bytes of the original. An ellipsis in it stands for anything between.
    pub fn find(&self, quote: &str) -> Option<(usize, usize)> {
        let quote = quote.replace('…', "...");
        let parts: Vec<Plain> = quote.split("...").map(Plain::new).collect();
        let parts: Vec<&str> = parts.iter().map(|part| trimmed(&part.text)).filter(|part| !part.is_empty()).collect();
        if parts.is_empty() || (parts.len() > 1 && parts.iter().any(|part| part.chars().count() < SHORTEST_PART)) {
            return None;
        }
        let (mut begin, mut from) = (None, 0);
        for part in parts {
            let at = from + self.text[from..].find(part)?;
            begin = begin.or(Some(at));
            from = at + part.len();
        }
        let last = self.origins.get(from - 1)?;
        Some((*self.origins.get(begin?)?, last + 1))
    }

    fn ends_in_letter(&self) -> bool {
        self.text.chars().next_back().is_some_and(char::is_alphabetic)
    }

    fn blank(&mut self, at: usize) {
        if !self.text.is_empty() && !self.text.ends_with(' ') {
            self.push(' ', at);
        }
    }

    fn push(&mut self, letter: char, at: usize) {
        self.text.push(letter);
        self.origins.extend(std::iter::repeat_n(at, letter.len_utf8()));
    }
}

/// Without what models add around a quote.
fn trimmed(quote: &str) -> &str {
    quote.trim_matches(|letter: char| letter.is_whitespace() || matches!(letter, '"' | '\'' | '.' | ',' | ';' | ':' | '-'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const SOURCE: &str = "§ 3 Miete\nDie „Kaltmiete“ be-\nträgt  monatlich\u{a0}800,00\tEUR – zahlbar am 3. Werk-\ntag.";

    fn found(quote: &str) -> Option<&'static str> {
        let (begin, end) = Plain::new(SOURCE).find(quote)?;
        Some(&SOURCE[begin..SOURCE.ceil_char_boundary(end)])
    }

    #[test]
    fn blanks_breaks_and_marks_do_not_matter() {
        assert!(found("Die \"Kaltmiete\" beträgt monatlich 800,00 EUR - zahlbar").is_some());
        assert_eq!(found("monatlich 800,00 EUR."), Some("monatlich\u{a0}800,00\tEUR"));
        assert!(found("die kaltmiete").is_none());
    }

    #[test]
    fn an_ellipsis_stands_for_what_is_left_out() {
        assert!(found("Die „Kaltmiete“ ... 3. Werktag").is_some());
        assert!(found("3. Werktag … Die „Kaltmiete“").is_none());
    }

    #[test]
    fn other_words_and_no_words_are_not_found() {
        for quote in ["Die Kaltmiete beträgt 900,00 EUR", "", "...", "\"\""] {
            assert!(found(quote).is_none(), "{quote}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_copied_from_a_source_is_found_where_it_stands(
            source in "([a-zA-ZäöüßÉ0-9„“’ ,:;|\n\u{ad}\u{a0}-]|ﬁ){1,80}", begin in 0usize..80, length in 1usize..40,
        ) {
            let letters: Vec<(usize, char)> = source.char_indices().collect();
            let copied: String = letters.iter().skip(begin).take(length).map(|(_, letter)| *letter).collect();
            if let Some(first) = copied.chars().find(|letter| letter.is_alphanumeric()) {
                let (from, to) = Plain::new(&source).find(&copied).expect("a copy stands in its source");
                proptest::prop_assert!(from < to && to <= source.len() + 4);
                let there = &source[source.floor_char_boundary(from)..source.ceil_char_boundary(to)].replace('ﬁ', "fi");
                proptest::prop_assert!(there.to_lowercase().contains(first.to_lowercase().next().unwrap()) || first == 'ﬁ');
            }
        }
    }
}
