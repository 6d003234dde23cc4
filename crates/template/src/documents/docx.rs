//! DOCX: the paragraphs, headings and table rows of a Word file.

use std::io::{Cursor, Read};

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::{Block, BlockKind, Place};

/// The parts of a Word file by name, as they stand in its archive.
pub(crate) type Archive = Vec<(String, Vec<u8>)>;

/// Unpacked, a file may be so large and no larger: archives of a few kilobytes can unpack to terabytes.
const LARGEST: u64 = 256 * 1024 * 1024;

/// Unpacks a Word file.
pub(crate) fn archive(bytes: &[u8]) -> Result<Archive, String> {
    let mut packed = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
    let mut left = LARGEST;
    let mut parts = Vec::new();
    for number in 0..packed.len() {
        let file = packed.by_index(number).map_err(|error| error.to_string())?;
        let name = file.name().map_err(|error| error.to_string())?.into_owned();
        let mut content = Vec::new();
        file.take(left + 1).read_to_end(&mut content).map_err(|error| format!("{name}: {error}"))?;
        left = left.checked_sub(content.len() as u64).ok_or_else(|| format!("it unpacks to more than {LARGEST} bytes"))?;
        parts.push((name, content));
    }
    Ok(parts)
}

pub(super) fn blocks(bytes: &[u8]) -> Result<Vec<Block>, String> {
    let parts = archive(bytes)?;
    let main = parts.iter().find(|(name, _)| name == "word/document.xml").ok_or("it has no word/document.xml")?;
    read(&main.1)
}

#[derive(Default)]
struct Body {
    blocks: Vec<Block>,
    paragraph: String,
    cells: Vec<String>,
    level: Option<u8>,
    /// Rows that are open: tables may stand in tables.
    rows: u32,
    in_text: bool,
}

fn read(xml: &[u8]) -> Result<Vec<Block>, String> {
    let xml = std::str::from_utf8(xml).map_err(|error| error.to_string())?;
    let mut reader = Reader::from_str(xml);
    let mut body = Body::default();
    loop {
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Start(tag) => body.open(&tag),
            Event::Empty(tag) => {
                body.open(&tag);
                body.in_text = false;
            }
            Event::End(tag) => body.close(tag.name().as_ref()),
            Event::Text(text) if body.in_text => body.paragraph.push_str(&text),
            Event::GeneralRef(name) if body.in_text => body.paragraph.push_str(&resolved(&name)),
            Event::Eof => return Ok(body.blocks),
            _ => {}
        }
    }
}

/// What an entity stands for.
pub(crate) fn resolved(name: &quick_xml::events::BytesRef<'_>) -> String {
    if let Ok(Some(letter)) = name.resolve_char_ref() {
        return letter.to_string();
    }
    quick_xml::escape::resolve_predefined_entity(name).unwrap_or_default().to_owned()
}

impl Body {
    fn open(&mut self, tag: &BytesStart<'_>) {
        match tag.name().as_ref() {
            "w:t" => self.in_text = true,
            "w:tab" => self.paragraph.push('\t'),
            "w:br" | "w:cr" => self.paragraph.push('\n'),
            "w:tr" => self.rows += 1,
            "w:pStyle" => self.level = style(tag).as_deref().and_then(heading),
            _ => {}
        }
    }

    fn close(&mut self, name: &str) {
        match name {
            "w:t" => self.in_text = false,
            "w:p" if self.rows > 0 => self.paragraph.push(' '),
            "w:p" => {
                let kind = self.level.take().map_or(BlockKind::Paragraph, BlockKind::Heading);
                let text = std::mem::take(&mut self.paragraph);
                self.push(kind, text.trim());
            }
            "w:tc" => {
                let cell = std::mem::take(&mut self.paragraph);
                self.cells.push(cell.trim().to_owned());
            }
            "w:tr" => {
                self.rows = self.rows.saturating_sub(1);
                let cells = std::mem::take(&mut self.cells);
                self.push(BlockKind::Row, cells.join(" | ").trim_matches([' ', '|']));
                self.level = None;
            }
            _ => {}
        }
    }

    fn push(&mut self, kind: BlockKind, text: &str) {
        if !text.is_empty() {
            self.blocks.push(Block { kind, text: text.to_owned(), place: Place::default() });
        }
    }
}

fn style(tag: &BytesStart<'_>) -> Option<String> {
    let attribute = tag.try_get_attribute("w:val").ok()??;
    Some(attribute.value.into_owned())
}

/// The level of a heading style; Word names them in the language of its user.
fn heading(style: &str) -> Option<u8> {
    let lower = style.to_lowercase();
    if lower == "title" || lower == "titel" {
        return Some(1);
    }
    let number = ["heading", "berschrift", "überschrift", "titre"].iter().find_map(|name| lower.strip_prefix(name))?;
    number.trim().parse().ok().or(Some(1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn paragraphs_headings_and_rows_are_read() {
        let xml = br#"<w:document><w:body>
            <w:p><w:pPr><w:pStyle w:val="berschrift1"/></w:pPr><w:r><w:t>Miete &amp; Kaution</w:t></w:r></w:p>
            <w:p><w:r><w:t>Die Miete </w:t></w:r><w:r><w:t xml:space="preserve">ist 800.</w:t></w:r></w:p>
            <w:tbl><w:tr><w:tc><w:p><w:r><w:t>Heizung</w:t></w:r></w:p></w:tc><w:tc><w:p><w:r><w:t>Gas</w:t></w:r></w:p></w:tc></w:tr></w:tbl>
            </w:body></w:document>"#;
        let shown: Vec<String> = read(xml).unwrap().iter().map(|block| format!("{:?}: {}", block.kind, block.text)).collect();
        assert_eq!(shown, ["Heading(1): Miete & Kaution", "Paragraph: Die Miete ist 800.", "Row: Heizung | Gas"]);
    }
}
