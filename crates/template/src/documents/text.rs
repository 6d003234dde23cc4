//! Plain text and Markdown: paragraphs and headings with their lines; and bytes of any usual encoding as text.

use encoding_rs::{UTF_16BE, UTF_16LE, WINDOWS_1252};

use super::{Block, BlockKind, Place};

/// Headings in plain text are no longer than this.
const LONGEST_HEADING: usize = 90;

/// The text in the bytes: UTF-8, UTF-16 by its mark, else the old Western code page. `None` for what is no text.
pub(crate) fn decode(bytes: &[u8]) -> Option<String> {
    let text = match bytes {
        [0xff, 0xfe, ..] => UTF_16LE.decode(bytes).0.into_owned(),
        [0xfe, 0xff, ..] => UTF_16BE.decode(bytes).0.into_owned(),
        _ => match std::str::from_utf8(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)) {
            Ok(text) => text.to_owned(),
            Err(_) => WINDOWS_1252.decode(bytes).0.into_owned(),
        },
    };
    let control = |letter: &char| letter.is_control() && !matches!(letter, '\n' | '\r' | '\t' | '\u{c}' | '\u{1b}');
    let controls = text.chars().filter(control).count();
    (!text.contains('\0') && controls * 50 <= text.chars().count()).then_some(text)
}

/// Paragraphs between empty lines; a form feed begins another page.
pub(super) fn plain(text: &str, page: Option<u32>) -> Vec<Block> {
    let mut blocks = Blocks::default();
    for (number, line) in text.lines().enumerate() {
        let place = Place { page, line: u32::try_from(number + 1).ok() };
        let trimmed = line.trim();
        match heading_of_plain(trimmed) {
            Some(level) => blocks.whole(BlockKind::Heading(level), trimmed, place),
            None => blocks.line(trimmed, place),
        }
    }
    blocks.finish()
}

/// Headings, paragraphs and table rows of Markdown.
pub(super) fn markdown(text: &str) -> Vec<Block> {
    let mut blocks = Blocks::default();
    let mut in_code = false;
    let lines: Vec<&str> = text.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let place = Place { page: None, line: u32::try_from(number + 1).ok() };
        let trimmed = line.trim();
        if trimmed.starts_with("```") || trimmed.starts_with("~~~") {
            in_code = !in_code;
            continue;
        }
        let level = trimmed.chars().take_while(|letter| *letter == '#').count();
        let is_heading = (1..=6).contains(&level) && trimmed[level..].starts_with(' ');
        let underlined = lines.get(number + 1).and_then(|next| underline(next)).filter(|_| blocks.open.is_empty());
        if in_code {
            blocks.line(trimmed, place);
        } else if is_heading {
            let level = u8::try_from(level).unwrap_or(6);
            blocks.whole(BlockKind::Heading(level), trimmed[level as usize..].trim().trim_end_matches('#').trim(), place);
        } else if underline(trimmed).is_some() {
            blocks.close();
        } else if let Some(level) = underlined.filter(|_| !trimmed.is_empty() && !trimmed.starts_with(['|', '-', '*'])) {
            blocks.whole(BlockKind::Heading(level), trimmed, place);
        } else if trimmed.starts_with('|') {
            let is_rule = trimmed.chars().all(|letter| matches!(letter, '|' | '-' | ':' | ' '));
            if !is_rule {
                blocks.whole(BlockKind::Row, trimmed.trim_matches('|').trim(), place);
            }
        } else {
            blocks.line(trimmed, place);
        }
    }
    blocks.finish()
}

fn underline(line: &str) -> Option<u8> {
    let line = line.trim();
    let of = |mark: char| line.len() >= 3 && line.chars().all(|letter| letter == mark);
    if of('=') { Some(1) } else { of('-').then_some(2) }
}

/// Headings show themselves by a paragraph sign, a number or capitals.
fn heading_of_plain(line: &str) -> Option<u8> {
    let length = line.chars().count();
    if !(2..=LONGEST_HEADING).contains(&length) || line.ends_with(['.', ';', ':', ',']) {
        return None;
    }
    if line.starts_with('§') {
        return Some(2);
    }
    let (first, rest) = line.split_once(' ')?;
    let numbers: Vec<&str> = first.trim_end_matches('.').split('.').collect();
    let is_number = numbers.iter().all(|part| (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit()));
    // "12. March 2024" and "3 rooms" are no headings: a number of one part needs its point and no year after it.
    let has_point = numbers.len() > 1 || first.ends_with('.');
    let begins = rest.chars().next().is_some_and(char::is_uppercase) && !rest.chars().any(|letter| letter.is_ascii_digit());
    if is_number && has_point && begins {
        return Some(u8::try_from(numbers.len() + 1).unwrap_or(6));
    }
    let letters: Vec<char> = line.chars().filter(|letter| letter.is_alphabetic()).collect();
    let is_loud = letters.len() >= 6 && letters.iter().all(|letter| letter.is_uppercase());
    let is_words = line.chars().all(|letter| !letter.is_ascii_digit());
    (is_loud && is_words).then_some(1)
}

/// Lines gathered into paragraphs.
#[derive(Default)]
pub(super) struct Blocks {
    done: Vec<Block>,
    open: String,
    begun: Place,
}

impl Blocks {
    /// A line of the open paragraph; an empty one closes it.
    fn line(&mut self, line: &str, place: Place) {
        if line.is_empty() {
            return self.close();
        }
        if self.open.is_empty() {
            self.begun = place;
        } else {
            self.open.push('\n');
        }
        self.open.push_str(line);
    }

    /// A block of its own.
    pub fn whole(&mut self, kind: BlockKind, text: &str, place: Place) {
        self.close();
        if !text.is_empty() {
            self.done.push(Block { kind, text: text.to_owned(), place });
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            let text = std::mem::take(&mut self.open);
            self.done.push(Block { kind: BlockKind::Paragraph, text, place: self.begun });
        }
    }

    pub fn finish(mut self) -> Vec<Block> {
        self.close();
        self.done
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn shown(blocks: &[Block]) -> Vec<String> {
        let one = |block: &Block| format!("{:?}@{}: {}", block.kind, block.place.line.unwrap_or(0), block.text);
        blocks.iter().map(one).collect()
    }

    #[test]
    fn a_contract_has_its_paragraphs_under_their_headings() {
        let text = "MIETVERTRAG\n\n§ 3 Miete\nDie Miete beträgt\n1.200,00 EUR.\n\n12. März 2024\n\n1. Kaution\nDrei Mieten.";
        let expected = [
            "Paragraph@1: MIETVERTRAG",
            "Heading(2)@3: § 3 Miete",
            "Paragraph@4: Die Miete beträgt\n1.200,00 EUR.",
            "Paragraph@7: 12. März 2024",
            "Heading(2)@9: 1. Kaution",
            "Paragraph@10: Drei Mieten.",
        ];
        let blocks = shown(&plain(text, None));
        assert_eq!(blocks[1..], expected[1..]);
    }

    #[test]
    fn markdown_has_headings_tables_and_code() {
        let text = "# A #\ntext\n\nB\n---\n| x | y |\n|---|---|\n| 1 | 2 |\n```\n# no heading\n```";
        let expected = [
            "Heading(1)@1: A",
            "Paragraph@2: text",
            "Heading(2)@4: B",
            "Row@6: x | y",
            "Row@8: 1 | 2",
            "Paragraph@10: # no heading",
        ];
        assert_eq!(shown(&markdown(text)), expected);
    }

    #[test]
    fn old_encodings_are_read() {
        assert_eq!(decode(b"K\xfcndigung").unwrap(), "Kündigung");
        assert_eq!(decode(b"\xff\xfeK\0").unwrap(), "K");
        assert_eq!(decode(b"\xef\xbb\xbfK").unwrap(), "K");
        assert!(decode(b"\x01\x02\x03\x04abc").is_none());
    }
}
