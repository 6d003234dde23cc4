//! Placeholders of Word files, which may be torn over several runs of text, and values put in their place.

use std::io::{Cursor, Write};
use std::ops::Range;

use quick_xml::Reader;
use quick_xml::escape::escape;
use quick_xml::events::Event;
use zip::write::SimpleFileOptions;

use super::holes::holes;
use crate::documents::{Archive, resolved};

/// One `w:t` element: its place in the XML, that of its text, and the text.
#[derive(Debug, Clone, Default)]
struct Run {
    element: Range<usize>,
    text: String,
}

/// The texts of all paragraphs, of the body first.
pub(super) fn texts(parts: &Archive) -> Result<Vec<String>, String> {
    let mut texts = Vec::new();
    for (_, xml) in parts.iter().filter(|(name, _)| holds_text(name)) {
        texts.extend(paragraphs(utf8(xml)?)?.iter().map(|runs| joined(runs)));
    }
    Ok(texts)
}

/// The file with values in their places.
pub(super) fn filled(parts: &Archive, known: &dyn Fn(&str) -> Option<String>) -> Result<Vec<u8>, String> {
    let mut packed = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    for (name, content) in parts {
        packed.start_file(name.as_str(), options).map_err(|error| error.to_string())?;
        let content = if holds_text(name) { filled_xml(utf8(content)?, known)?.into_bytes() } else { content.clone() };
        packed.write_all(&content).map_err(|error| error.to_string())?;
    }
    Ok(packed.finish().map_err(|error| error.to_string())?.into_inner())
}

fn holds_text(name: &str) -> bool {
    let file = name.strip_prefix("word/").unwrap_or_default();
    file.ends_with(".xml") && ["document", "header", "footer", "footnotes"].iter().any(|begin| file.starts_with(begin))
}

fn utf8(xml: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(xml).map_err(|error| error.to_string())
}

fn joined(runs: &[Run]) -> String {
    runs.iter().map(|run| run.text.as_str()).collect()
}

/// The runs of each paragraph. A paragraph in a text box stands inside another one.
fn paragraphs(xml: &str) -> Result<Vec<Vec<Run>>, String> {
    let mut reader = Reader::from_str(xml);
    let (mut open, mut done): (Vec<Vec<Run>>, Vec<Vec<Run>>) = (Vec::new(), Vec::new());
    let mut run: Option<Run> = None;
    loop {
        let begin = position(&reader);
        let event = reader.read_event().map_err(|error| error.to_string())?;
        let end = position(&reader);
        match (&event, &mut run) {
            (Event::Start(tag), _) if tag.name().as_ref() == "w:p" => open.push(Vec::new()),
            (Event::Start(tag), _) if tag.name().as_ref() == "w:t" => {
                run = Some(Run { element: begin..end, text: String::new() });
            }
            (Event::Text(text), Some(run)) => run.text.push_str(text),
            (Event::GeneralRef(name), Some(run)) => run.text.push_str(&resolved(name)),
            (Event::End(tag), _) if tag.name().as_ref() == "w:t" => {
                if let (Some(mut whole), Some(paragraph)) = (run.take(), open.last_mut()) {
                    whole.element.end = end;
                    paragraph.push(whole);
                }
            }
            (Event::End(tag), _) if tag.name().as_ref() == "w:p" => done.extend(open.pop()),
            (Event::Eof, _) => return Ok(done),
            _ => {}
        }
    }
}

fn position(reader: &Reader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX)
}

fn filled_xml(xml: &str, known: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    for runs in paragraphs(xml)? {
        edits.extend(edited(&runs, known));
    }
    edits.sort_by_key(|(place, _)| place.start);
    let (mut out, mut from) = (String::with_capacity(xml.len()), 0);
    for (place, text) in edits {
        out.push_str(&xml[from..place.start]);
        out.push_str(&text);
        from = place.end;
    }
    out.push_str(&xml[from..]);
    Ok(out)
}

/// The runs of a paragraph that change. A value stands where its placeholder begins, in the style of that run.
fn edited(runs: &[Run], known: &dyn Fn(&str) -> Option<String>) -> Vec<(Range<usize>, String)> {
    let text = joined(runs);
    let values: Vec<(Range<usize>, String)> =
        holes(&text, false).into_iter().filter_map(|hole| Some((hole.begin..hole.end, known(&hole.name)?))).collect();
    let mut begin = 0;
    let mut edits = Vec::new();
    for run in runs {
        let own = begin..begin + run.text.len();
        begin = own.end;
        let touches = |place: &Range<usize>| place.start < own.end && own.start < place.end;
        if !values.iter().any(|(place, _)| touches(place)) {
            continue;
        }
        let (mut new, mut from) = (String::new(), own.start);
        for (place, value) in values.iter().filter(|(place, _)| touches(place)) {
            new.push_str(&text[from..place.start.max(own.start).max(from)]);
            if own.contains(&place.start) {
                new.push_str(value);
            }
            from = place.end.min(own.end);
        }
        new.push_str(&text[from..own.end]);
        edits.push((run.element.clone(), element(&new)));
    }
    edits
}

fn element(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(|line| escape(line).into_owned()).collect();
    format!("<w:t xml:space=\"preserve\">{}</w:t>", lines.join("</w:t><w:br/><w:t xml:space=\"preserve\">"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::documents::{Content, Document, archive};

    fn packed(body: &str) -> Vec<u8> {
        let xml = format!("<?xml version=\"1.0\"?><w:document><w:body>{body}</w:body></w:document>");
        let parts: Archive =
            vec![("[Content_Types].xml".to_owned(), b"<Types/>".to_vec()), ("word/document.xml".to_owned(), xml.into_bytes())];
        filled(&parts, &|_| None).unwrap()
    }

    #[test]
    fn a_placeholder_torn_over_runs_is_read_and_filled_in_one_place() {
        let file = packed(
            "<w:p><w:r><w:t>Dear {ten</w:t></w:r><w:r><w:t>ant</w:t></w:r><w:r><w:t>} &amp; co, rent [rent]</w:t></w:r></w:p>",
        );
        let parts = archive(&file).unwrap();
        assert_eq!(texts(&parts).unwrap(), ["Dear {tenant} & co, rent [rent]"]);
        let known = |name: &str| (name == "tenant").then(|| "Ada <B>\nByron".to_owned());
        let again = filled(&parts, &known).unwrap();
        let Content::Text(blocks) = Document::from_bytes("a.docx", &again).unwrap().content else { panic!("no text") };
        assert_eq!(blocks[0].text, "Dear Ada <B>\nByron & co, rent [rent]");
    }

    #[test]
    fn what_is_not_filled_keeps_every_byte() {
        let file = packed("<w:p><w:pPr/><w:r><w:t>a {b} c</w:t></w:r></w:p>");
        let parts = archive(&file).unwrap();
        assert_eq!(archive(&filled(&parts, &|_| None).unwrap()).unwrap(), parts);
    }
}
