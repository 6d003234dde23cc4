//! Documents: files of many kinds read into blocks of text, each with its place.

use std::path::{Path, PathBuf};
use std::sync::Arc;

mod csv;
mod docx;
mod html;
mod json;
mod pdf;
mod text;

pub(crate) use docx::{Archive, archive, resolved};
pub(crate) use text::decode;

/// A file as it is searched and quoted.
#[derive(Debug, Clone)]
pub struct Document {
    /// What results call it: its path as it was given, or a name.
    pub name: Arc<str>,
    /// What is in it.
    pub content: Content,
    /// Pages whose text cannot be taken out of the file.
    pub unread_pages: Vec<u32>,
}

/// What a document holds.
#[derive(Debug, Clone)]
pub enum Content {
    /// Text in blocks, in reading order.
    Text(Vec<Block>),
    /// No text that could be read, but something a model may look at: a scan, a photo.
    Media {
        /// What it is: `application/pdf`, `image/png`, ...
        mime: &'static str,
        /// The file.
        bytes: Arc<[u8]>,
    },
}

/// A heading, a paragraph or a row of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Which of these.
    pub kind: BlockKind,
    /// Its text.
    pub text: String,
    /// Where it stands.
    pub place: Place,
}

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockKind {
    /// A heading of a level from 1.
    Heading(u8),
    /// A paragraph, or an item of a list.
    Paragraph,
    /// A row of a table.
    Row,
}

/// Where something stands in its document; what a kind of document does not have is left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Place {
    /// Page, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// Line, from 1; of the page where there are pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

/// Why a document cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The file or folder cannot be read.
    #[error("document {path}: {reason}")]
    Read {
        /// Its path.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// Neither text nor anything a model may look at.
    #[error("document {path}: it is binary and no kind that can be read: give txt, md, html, csv, json, pdf, docx or an image")]
    Binary {
        /// Its path.
        path: String,
    },
    /// The file is not what its name or its first bytes say.
    #[error("document {path}: damaged {kind}: {reason}")]
    Damaged {
        /// Its path.
        path: String,
        /// What it should be.
        kind: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// Documents that were read, and those that could not be.
#[derive(Debug, Clone, Default)]
pub struct Documents {
    /// In the order in which they were named; those of a folder by name.
    pub read: Vec<Document>,
    /// Files of folders that were passed over.
    pub skipped: Vec<DocumentError>,
}

impl Documents {
    /// Reads files and whole folders.
    ///
    /// # Errors
    /// [`DocumentError`] for a path that was named and cannot be read. Files of a named folder that cannot be read are
    /// passed over and stand in `skipped`; hidden ones are not looked at.
    pub fn read<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Documents, DocumentError> {
        let mut documents = Documents::default();
        for path in paths {
            let path = path.as_ref();
            if !path.is_dir() {
                documents.read.push(Document::read(path)?);
                continue;
            }
            for file in files_below(path)? {
                match Document::read(&file) {
                    Ok(document) => documents.read.push(document),
                    Err(fault) => documents.skipped.push(fault),
                }
            }
        }
        Ok(documents)
    }
}

impl Document {
    /// Reads one file.
    ///
    /// # Errors
    /// [`DocumentError`] when it cannot be read, is binary or damaged.
    pub fn read(path: &Path) -> Result<Document, DocumentError> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| DocumentError::Read { path: name.clone(), reason: error.to_string() })?;
        Document::from_bytes(&name, &bytes)
    }

    /// Reads the bytes of a file. What it is, its first bytes say before the ending of its name does.
    ///
    /// # Errors
    /// [`DocumentError`] when it is binary or damaged.
    ///
    /// ```
    /// use tidegate_template::Document;
    /// let document = Document::from_bytes("lease.txt", b"Rent: 800 EUR")?;
    /// assert!(!document.is_empty());
    /// # Ok::<(), tidegate_template::DocumentError>(())
    /// ```
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Document, DocumentError> {
        let damaged = |kind, reason: String| DocumentError::Damaged { path: name.to_owned(), kind, reason };
        let mut unread_pages = Vec::new();
        let content = match kind(name, bytes) {
            Kind::Media(mime) => Content::Media { mime, bytes: bytes.into() },
            Kind::Pdf => {
                let pages = pdf::read(bytes).map_err(|reason| damaged("PDF", reason))?;
                if pages.blocks.is_empty() {
                    Content::Media { mime: "application/pdf", bytes: bytes.into() }
                } else {
                    unread_pages = pages.unread;
                    Content::Text(pages.blocks)
                }
            }
            Kind::Docx => Content::Text(docx::blocks(bytes).map_err(|reason| damaged("DOCX", reason))?),
            kind => {
                let text = decode(bytes).ok_or_else(|| DocumentError::Binary { path: name.to_owned() })?;
                Content::Text(match kind {
                    Kind::Html => html::blocks(&text),
                    Kind::Csv(separator) => csv::blocks(&text, separator).map_err(|reason| damaged("CSV", reason))?,
                    Kind::Json => json::blocks(&text).map_err(|reason| damaged("JSON", reason))?,
                    Kind::Markdown => text::markdown(&text),
                    _ => text::plain(&text, None),
                })
            }
        };
        Ok(Document { name: name.into(), content, unread_pages })
    }

    /// Whether nothing is in it, neither text nor media.
    pub fn is_empty(&self) -> bool {
        matches!(&self.content, Content::Text(blocks) if blocks.is_empty())
    }

    /// A hash of what it holds, whatever it is called.
    pub fn fingerprint(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        match &self.content {
            Content::Media { bytes, .. } => {
                hasher.update(bytes);
            }
            Content::Text(blocks) => {
                for block in blocks {
                    hasher.update(block.text.as_bytes()).update(b"\n");
                }
            }
        }
        hasher.finalize()
    }
}

enum Kind {
    Pdf,
    Docx,
    Html,
    Csv(u8),
    Json,
    Markdown,
    Text,
    Media(&'static str),
}

/// Media by their first bytes.
const MAGIC: [(&[u8], &str); 5] = [
    (b"\x89PNG\r\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
];

fn kind(name: &str, bytes: &[u8]) -> Kind {
    if let Some((_, mime)) = MAGIC.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Kind::Media(mime);
    }
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        return Kind::Media("image/webp");
    }
    // Some writers put a few bytes before the mark.
    if bytes.get(..bytes.len().min(1024)).is_some_and(|head| head.windows(5).any(|five| five == b"%PDF-")) {
        return Kind::Pdf;
    }
    let ending = Path::new(name).extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    match ending.as_deref().unwrap_or_default() {
        "docx" => Kind::Docx,
        "pdf" => Kind::Pdf,
        "html" | "htm" | "xhtml" => Kind::Html,
        "csv" => Kind::Csv(b','),
        "tsv" => Kind::Csv(b'\t'),
        "json" | "jsonl" | "ndjson" => Kind::Json,
        "md" | "markdown" => Kind::Markdown,
        _ => Kind::Text,
    }
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>, DocumentError> {
    let fault = |error: std::io::Error| DocumentError::Read { path: folder.display().to_string(), reason: error.to_string() };
    let mut entries: Vec<_> = std::fs::read_dir(folder).map_err(fault)?.collect::<Result<_, _>>().map_err(fault)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    let mut files = Vec::new();
    for entry in entries {
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // A link to a folder may lead in a circle.
        match entry.file_type().map_err(fault)? {
            kind if kind.is_dir() => files.extend(files_below(&entry.path())?),
            kind if kind.is_file() || entry.path().is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_binary_file_is_refused_by_name_and_an_empty_one_is_empty() {
        let error = Document::from_bytes("a.bin", b"\x7fELF\x02\x01\x01\0\0\0\0\0").unwrap_err();
        assert!(error.to_string().starts_with("document a.bin: it is binary"), "{error}");
        assert!(Document::from_bytes("a.txt", b"").unwrap().is_empty());
        assert!(Document::from_bytes("a.html", b"<p> </p>").unwrap().is_empty());
    }

    #[test]
    fn damaged_files_say_what_they_should_be() {
        for (name, bytes, words) in [
            ("a.docx", &b"no archive"[..], "document a.docx: damaged DOCX"),
            ("a.pdf", b"%PDF-1.4 nothing more", "document a.pdf: damaged PDF"),
            ("a.json", b"{\"a\": ", "document a.json: damaged JSON"),
        ] {
            let error = Document::from_bytes(name, bytes).unwrap_err().to_string();
            assert!(error.starts_with(words), "{error}");
        }
    }

    #[test]
    fn an_image_is_kept_for_a_model_to_look_at() {
        let document = Document::from_bytes("scan", b"\x89PNG\r\n\x1a\n....").unwrap();
        assert!(matches!(document.content, Content::Media { mime: "image/png", .. }));
    }

    #[test]
    fn folders_are_read_by_name_and_their_binaries_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("b")).unwrap();
        for (name, bytes) in [("c.txt", &b"C"[..]), ("a.bin", b"\0\0\0\0"), ("b/d.md", b"D"), (".hidden", b"H")] {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let documents = Documents::read([folder.path()]).unwrap();
        let names: Vec<_> = documents.read.iter().map(|document| document.name.rsplit('/').next().unwrap().to_owned()).collect();
        assert_eq!((names, documents.skipped.len()), (vec!["d.md".to_owned(), "c.txt".to_owned()], 1));
        assert!(Documents::read([folder.path().join("none")]).is_err());
    }
}
