//! Documents cut into chunks along their structure, each overlapping its neighbour and knowing its place.

use std::path::Path;
use std::sync::Arc;

use crate::documents::{Block, BlockKind, Content, Document, Place};

/// How large chunks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkSize {
    /// The most characters of a chunk.
    pub chars: usize,
    /// So many characters, at most, stand at the end of one chunk and again at the start of the next.
    pub overlap: usize,
}

impl Default for ChunkSize {
    /// Some 400 tokens: a clause of a contract, a section of a manual.
    fn default() -> ChunkSize {
        ChunkSize { chars: 1600, overlap: 200 }
    }
}

/// A piece of a document that is searched, shown to the model and quoted.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// Name of its document.
    pub document: Arc<str>,
    /// The headings above it, outermost first: `Lease > § 3 Rent`.
    pub heading: Arc<str>,
    /// Its text.
    pub text: String,
    /// Where its pieces begin: bytes into the text, and the place.
    marks: Vec<(usize, Place)>,
}

impl Chunk {
    /// Where it begins.
    pub fn place(&self) -> Place {
        self.marks.first().map_or_else(Place::default, |(_, place)| *place)
    }

    /// The place of a byte of its text.
    pub fn place_at(&self, offset: usize) -> Place {
        let piece = self.marks.iter().rev().find(|(begin, _)| *begin <= offset);
        let Some((begin, place)) = piece else { return self.place() };
        let before = &self.text[*begin..self.text.floor_char_boundary(offset.max(*begin))];
        let lines = u32::try_from(before.matches('\n').count()).unwrap_or(0);
        Place { line: place.line.map(|line| line + lines), ..*place }
    }

    /// What it is found by before its text: the words of the file's name, which often say alone whose document it is, and
    /// the headings.
    pub fn title(&self) -> String {
        let stem = Path::new(&*self.document).file_stem().map(|stem| stem.to_string_lossy().replace(['-', '_'], " "));
        [stem.as_deref().unwrap_or_default(), &self.heading]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// What its vector is made from: the text under its title.
    pub fn embedded_text(&self) -> String {
        format!("{}\n{}", self.title(), self.text)
    }

    /// A hash of [`Chunk::embedded_text`]: chunks of one hash share a vector.
    pub fn fingerprint(&self) -> String {
        blake3::hash(self.embedded_text().as_bytes()).to_hex()[..32].to_owned()
    }

    /// Tokens it takes in a prompt, with its head.
    pub fn tokens(&self) -> u64 {
        tidegate_gemini::tokens::estimate_text(&self.text) + 24
    }
}

/// Cuts documents into chunks, in their order. Media have none.
pub fn chunks(documents: &[Document], size: ChunkSize) -> Vec<Chunk> {
    let mut all = Vec::new();
    for document in documents {
        if let Content::Text(blocks) = &document.content {
            let mut cutter = Cutter { size, name: &document.name, path: Vec::new(), heading: "".into(), open: Open::default() };
            cutter.cut(blocks, &mut all);
        }
    }
    all
}

/// The chunk that is being filled.
#[derive(Default)]
struct Open {
    text: String,
    marks: Vec<(usize, Place)>,
    /// So much of it stands in the chunk before, too.
    repeated: usize,
}

struct Cutter<'a> {
    size: ChunkSize,
    name: &'a Arc<str>,
    path: Vec<(u8, String)>,
    /// The headings above the open chunk.
    heading: Arc<str>,
    open: Open,
}

impl Cutter<'_> {
    fn cut(&mut self, blocks: &[Block], all: &mut Vec<Chunk>) {
        for block in blocks {
            if let BlockKind::Heading(level) = block.kind {
                // A section of some length is a chunk of its own; small ones share.
                if self.open.text.len() * 3 >= self.size.chars {
                    self.close(all, false);
                }
                self.path.retain(|(above, _)| *above < level);
                self.path.push((level, block.text.clone()));
            }
            // Room for the overlap before it, or a full piece would leave none.
            let most = self.size.chars.saturating_sub(self.size.overlap + 1).max(self.size.chars / 2);
            for (offset, piece) in pieces(&block.text, most) {
                let lines = u32::try_from(block.text[..offset].matches('\n').count()).unwrap_or(0);
                let place = Place { line: block.place.line.map(|line| line + lines), ..block.place };
                self.add(piece, place, block.kind, all);
            }
        }
        self.close(all, false);
    }

    fn add(&mut self, piece: &str, place: Place, kind: BlockKind, all: &mut Vec<Chunk>) {
        if self.open.text.len() + piece.len() > self.size.chars && !self.open.text.is_empty() {
            self.close(all, true);
            if self.open.text.len() + piece.len() > self.size.chars {
                self.open = Open::default();
            }
        }
        if self.open.text.len() == self.open.repeated {
            self.heading = self.headings(kind);
        }
        if !self.open.text.is_empty() {
            self.open.text.push('\n');
        }
        self.open.marks.push((self.open.text.len(), place));
        self.open.text.push_str(piece);
    }

    /// The headings above what begins now; a heading that begins a chunk is its first line already.
    fn headings(&self, kind: BlockKind) -> Arc<str> {
        let own = usize::from(matches!(kind, BlockKind::Heading(_)));
        let above: Vec<&str> = self.path.iter().map(|(_, text)| text.as_str()).collect();
        above[..above.len().saturating_sub(own)].join(" > ").into()
    }

    fn close(&mut self, all: &mut Vec<Chunk>, goes_on: bool) {
        let open = std::mem::take(&mut self.open);
        if open.text.len() == open.repeated {
            return;
        }
        if goes_on {
            self.open = self.repeat(&open);
        }
        all.push(Chunk { document: self.name.clone(), heading: self.heading.clone(), text: open.text, marks: open.marks });
    }

    /// The end of a chunk, from the start of a sentence or line.
    fn repeat(&self, closed: &Open) -> Open {
        let text = &closed.text;
        let earliest = text.ceil_char_boundary(text.len().saturating_sub(self.size.overlap).max(closed.repeated));
        let Some(start) = sentence_start(&text[earliest..]).map(|start| earliest + start) else { return Open::default() };
        let tail = text[start..].to_owned();
        let mark = closed.marks.iter().rev().find(|(begin, _)| *begin <= start);
        let place = mark.map_or_else(Place::default, |(begin, place)| {
            let lines = u32::try_from(text[*begin..start].matches('\n').count()).unwrap_or(0);
            Place { line: place.line.map(|line| line + lines), ..*place }
        });
        Open { repeated: tail.len(), marks: vec![(0, place)], text: tail }
    }
}

fn sentence_start(text: &str) -> Option<usize> {
    let ends = [". ", "! ", "? ", "\n"];
    let start = ends.iter().filter_map(|end| text.find(end).map(|at| at + end.len())).min()?;
    (start < text.len()).then_some(start)
}

/// A text in pieces of at most so many bytes, cut at lines, sentences or words.
fn pieces(text: &str, most: usize) -> Vec<(usize, &str)> {
    let (mut rest, mut offset, mut pieces) = (text, 0, Vec::new());
    while rest.len() > most {
        let window = &rest[..rest.floor_char_boundary(most)];
        let late = window.floor_char_boundary(window.len() / 2);
        let end = [". ", "\n", " "].iter().find_map(|mark| window[late..].rfind(mark).map(|at| late + at + mark.len()));
        let end = end.unwrap_or(window.len()).max(1);
        pieces.push((offset, rest[..end].trim_end()));
        (rest, offset) = (&rest[end..], offset + end);
    }
    if !rest.trim().is_empty() {
        pieces.push((offset, rest));
    }
    pieces
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn cut(text: &str, chars: usize, overlap: usize) -> Vec<Chunk> {
        let document = Document::from_bytes("a.md", text.as_bytes()).unwrap();
        chunks(&[document], ChunkSize { chars, overlap })
    }

    #[test]
    fn chunks_follow_headings_and_know_them() {
        let chunks = cut("# Lease\nBetween A and B.\n\n## Rent\nIt is 800.\n\n## Deposit\nThree rents.", 40, 0);
        let shown: Vec<(&str, &str)> = chunks.iter().map(|chunk| (&*chunk.heading, chunk.text.as_str())).collect();
        let expected = [("", "Lease\nBetween A and B."), ("Lease", "Rent\nIt is 800."), ("Lease", "Deposit\nThree rents.")];
        assert_eq!(shown, expected);
        assert_eq!((chunks[1].place().line, chunks[1].place_at(6).line), (Some(4), Some(5)));
    }

    #[test]
    fn a_long_paragraph_is_cut_at_sentences_and_overlaps() {
        let text: String = (0..40).map(|number| format!("Sentence number {number} stands here. ")).collect();
        let chunks = cut(&text, 200, 60);
        assert!(chunks.len() > 6 && chunks.iter().all(|chunk| chunk.text.len() <= 200));
        for pair in chunks.windows(2) {
            let start = pair[1].text.lines().next().unwrap().trim();
            assert!(pair[0].text.contains(start), "{:?} does not end with {start:?}", pair[0].text);
        }
        for number in 0..40 {
            let sentence = format!("Sentence number {number} stands here.");
            assert!(chunks.iter().any(|chunk| chunk.text.contains(&sentence)), "{sentence}");
        }
    }

    #[test]
    fn any_text_is_cut_without_loss_of_a_letter() {
        let text = "ä".repeat(1000) + " " + &"ö".repeat(77);
        let whole: String = cut(&text, 99, 0).iter().map(|chunk| chunk.text.replace(['\n', ' '], "")).collect();
        assert_eq!(whole, text.replace(' ', ""));
    }
}
