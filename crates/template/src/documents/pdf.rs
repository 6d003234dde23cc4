//! PDF: the text of each page. Pages that are only pictures have none.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pdf_extract::{Document, PlainTextOutput, output_doc_page};

use super::{Block, text};

/// Letters a document must have, at least, to count as one with text: scans often carry a stamp or a page number.
const FEWEST_LETTERS: usize = 16;

/// What was read of a file.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// The blocks of all pages; none when the pages hold no text.
    pub blocks: Vec<Block>,
    /// Pages whose text cannot be taken out.
    pub unread: Vec<u32>,
}

pub(super) fn read(bytes: &[u8]) -> Result<Pages, String> {
    let file = guarded(|| Document::load_mem(bytes).map_err(|error| error.to_string()))?;
    let file = opened(file)?;
    let mut pages = Pages::default();
    let mut letters = 0;
    for number in file.get_pages().into_keys() {
        match guarded(|| page(&file, number)) {
            Ok(text) => {
                letters += text.chars().filter(|letter| letter.is_alphanumeric()).count();
                pages.blocks.extend(text::plain(&text, Some(number)));
            }
            Err(_) => pages.unread.push(number),
        }
    }
    if letters < FEWEST_LETTERS {
        pages.blocks.clear();
    }
    Ok(pages)
}

/// Most files that are encrypted open without a password: they are locked against changes only.
fn opened(mut file: Document) -> Result<Document, String> {
    if file.is_encrypted() && guarded(|| file.decrypt("").map_err(|error| error.to_string())).is_err() {
        return Err("it needs a password: give it without one".to_owned());
    }
    Ok(file)
}

fn page(file: &Document, number: u32) -> Result<String, String> {
    let mut text = String::new();
    let mut out = PlainTextOutput::new(&mut text);
    output_doc_page(file, &mut out, number).map_err(|error| error.to_string())?;
    Ok(text)
}

/// The reader gives up on some damaged pages by panicking: that costs the page and nothing else.
fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("it cannot be read".to_owned()))
}
