//! HTML: the text a reader sees, by headings, paragraphs and table rows.

use html5gum::{Token, Tokenizer};

use super::{Block, BlockKind, Place};

/// What is never shown.
const HIDDEN: [&str; 6] = ["script", "style", "template", "noscript", "svg", "head"];
/// What begins and ends a paragraph.
const BREAKS: [&str; 28] = [
    "p",
    "div",
    "section",
    "article",
    "header",
    "footer",
    "main",
    "nav",
    "aside",
    "ul",
    "ol",
    "li",
    "dl",
    "dt",
    "dd",
    "table",
    "thead",
    "tbody",
    "tr",
    "blockquote",
    "pre",
    "hr",
    "figure",
    "figcaption",
    "form",
    "fieldset",
    "address",
    "body",
];

pub(super) fn blocks(text: &str) -> Vec<Block> {
    let mut page = Page::default();
    for token in Tokenizer::new(text) {
        let Ok(token) = token;
        match token {
            Token::StartTag(tag) => page.open(&String::from_utf8_lossy(&tag.name), tag.self_closing),
            Token::EndTag(tag) => page.close(&String::from_utf8_lossy(&tag.name)),
            Token::String(text) => page.text(&String::from_utf8_lossy(&text)),
            _ => {}
        }
    }
    page.flush();
    page.blocks
}

#[derive(Default)]
struct Page {
    blocks: Vec<Block>,
    open: String,
    heading: Option<u8>,
    in_row: bool,
    /// What is hidden at the moment, and how deep in it.
    hidden: Option<(String, u32)>,
}

impl Page {
    fn open(&mut self, name: &str, self_closing: bool) {
        if let Some((hidden, depth)) = &mut self.hidden {
            *depth += u32::from(hidden == name && !self_closing);
            return;
        }
        if HIDDEN.contains(&name) && !self_closing {
            self.hidden = Some((name.to_owned(), 1));
            return;
        }
        match heading(name) {
            Some(level) => {
                self.flush();
                self.heading = Some(level);
            }
            None if name == "tr" => {
                self.flush();
                self.in_row = true;
            }
            None if matches!(name, "td" | "th") => self.cell(),
            None if name == "br" => self.open.push(if self.in_row { ' ' } else { '\n' }),
            // Paragraphs in a cell are still of its row.
            None if BREAKS.contains(&name) && !self.in_row => self.flush(),
            None => {}
        }
    }

    fn close(&mut self, name: &str) {
        if let Some((hidden, depth)) = &mut self.hidden {
            *depth -= u32::from(hidden == name);
            if *depth == 0 {
                self.hidden = None;
            }
            return;
        }
        if name == "tr" || name == "table" || heading(name).is_some() || (BREAKS.contains(&name) && !self.in_row) {
            self.flush();
        }
    }

    fn text(&mut self, text: &str) {
        if self.hidden.is_some() {
            return;
        }
        for letter in text.chars() {
            let blank = letter.is_whitespace();
            if !blank || !self.open.ends_with([' ', '\n']) {
                self.open.push(if blank { ' ' } else { letter });
            }
        }
    }

    fn cell(&mut self) {
        if !self.open.trim().is_empty() {
            self.open = format!("{} | ", self.open.trim_end());
        }
    }

    fn flush(&mut self) {
        let text = std::mem::take(&mut self.open);
        let text = text.trim().trim_end_matches('|').trim();
        let kind = match (self.heading.take(), self.in_row) {
            (Some(level), _) => BlockKind::Heading(level),
            (None, true) => BlockKind::Row,
            (None, false) => BlockKind::Paragraph,
        };
        self.in_row = false;
        if !text.is_empty() {
            self.blocks.push(Block { kind, text: text.to_owned(), place: Place::default() });
        }
    }
}

fn heading(name: &str) -> Option<u8> {
    let level = name.strip_prefix('h')?.parse().ok()?;
    (1..=6).contains(&level).then_some(level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_as_it_is_seen() {
        let text = "<html><head><title>no</title></head><body><h2>Price&nbsp;list</h2><p>All in\n <b>EUR</b>.</p>\
            <script>var no = '<p>no</p>';</script><table><tr><th>Item<th>Price</tr><tr><td>Lamp<td><p>1&euro;</p></tr></table>after<br>end";
        let shown: Vec<String> = blocks(text).iter().map(|block| format!("{:?}: {}", block.kind, block.text)).collect();
        let expected =
            ["Heading(2): Price list", "Paragraph: All in EUR.", "Row: Item | Price", "Row: Lamp | 1€", "Paragraph: after\nend"];
        assert_eq!(shown, expected);
    }
}
