//! PDF: the text of each page. Pages that are only pictures have none.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Block, text};

/// Letters a document must have, at least, to count as one with text: scans often carry a stamp or a page number.
const FEWEST_LETTERS: usize = 16;

/// The blocks of all pages; none when the pages hold no text.
pub(super) fn blocks(bytes: &[u8]) -> Result<Vec<Block>, String> {
    // The reader gives up on some damaged fonts by panicking; such a file is damaged for us, no more.
    let pages = catch_unwind(AssertUnwindSafe(|| pdf_extract::extract_text_from_mem_by_pages(bytes)))
        .map_err(|_| "its text cannot be taken out".to_owned())?
        .map_err(|error| error.to_string())?;
    let letters: usize = pages.iter().map(|page| page.chars().filter(|letter| letter.is_alphanumeric()).count()).sum();
    if letters < FEWEST_LETTERS {
        return Ok(Vec::new());
    }
    let numbered = (1..).zip(&pages);
    Ok(numbered.flat_map(|(number, page)| text::plain(page, Some(number))).collect())
}
