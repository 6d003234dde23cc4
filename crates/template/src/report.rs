//! A filled template as a file: JSON, CSV, Markdown, or a page where each value shows its quote in the source.

use std::fmt::Write;
use std::path::Path;

use crate::field::Origin;
use crate::filled::{Filled, FilledField, Source, Support};
use crate::placeholder::written;
use crate::quote::Plain;

/// How a result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportFormat {
    /// Everything, for programs and for going on later.
    Json,
    /// A row for each field.
    Csv,
    /// A table for people.
    Markdown,
    /// A page that needs nothing but itself.
    Html,
}

impl ReportFormat {
    /// The format of a file, by its ending.
    pub fn of(path: &Path) -> Option<ReportFormat> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "json" => Some(ReportFormat::Json),
            "csv" => Some(ReportFormat::Csv),
            "md" | "markdown" => Some(ReportFormat::Markdown),
            "html" | "htm" => Some(ReportFormat::Html),
            _ => None,
        }
    }
}

impl Filled {
    /// The result in a format.
    pub fn report(&self, format: ReportFormat) -> String {
        match format {
            // Maps with text for keys and plain numbers always become JSON.
            ReportFormat::Json => serde_json::to_string_pretty(self).unwrap_or_default() + "\n",
            ReportFormat::Csv => csv(self),
            ReportFormat::Markdown => markdown(self),
            ReportFormat::Html => html(self),
        }
    }
}

fn csv(filled: &Filled) -> String {
    let mut table = csv::Writer::from_writer(Vec::new());
    let head = ["name", "value", "origin", "confidence", "support", "quote", "document", "page", "line", "note"];
    // Writing into memory does not fail.
    let _ = table.write_record(head);
    for field in &filled.fields {
        let number = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
        let place = field.source.as_ref().map(|source| source.place).unwrap_or_default();
        let _ = table.write_record([
            field.name.clone(),
            written(&field.value),
            field.origin.name().to_owned(),
            field.confidence.map(|share| share.to_string()).unwrap_or_default(),
            field.support.map(support_name).unwrap_or_default().to_owned(),
            field.quote.clone().unwrap_or_default(),
            field.source.as_ref().map(|source| source.document.to_string()).unwrap_or_default(),
            number(place.page),
            number(place.line),
            field.note.clone().unwrap_or_default(),
        ]);
    }
    String::from_utf8(table.into_inner().unwrap_or_default()).unwrap_or_default()
}

fn markdown(filled: &Filled) -> String {
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    let mut out = format!("# {}\n\n| Field | Value | Origin | Source | Quote |\n|---|---|---|---|---|\n", filled.template);
    for field in &filled.fields {
        let place = field.source.as_ref().map(place).unwrap_or_default();
        let quote = field.quote.as_deref().unwrap_or_default();
        let mark = if field.support == Some(Support::Unsupported) { " (unsupported)" } else { "" };
        let cells = [&field.name, &written(&field.value), field.origin.name(), &place].map(cell);
        let _ = writeln!(out, "| {} | {}{mark} |", cells.join(" | "), cell(quote));
    }
    for note in &filled.notes {
        let _ = write!(out, "\n> {note}\n");
    }
    out
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b2733}\
table{border-collapse:collapse;width:100%}td,th{border-top:1px solid #d5dde5;padding:.5rem;text-align:left;vertical-align:top}\
.origin{font-size:.8rem;border-radius:.6rem;padding:.1rem .5rem;background:#e4ecf4}.pattern{background:#fdf0d0}\
.missing,.unsupported{background:#fbdcdc}mark{background:#ffe98a}blockquote{margin:.4rem 0;padding:.4rem .8rem;\
background:#f5f8fa;white-space:pre-wrap}.place,.note{color:#5a6b7b;font-size:.85rem}\
@media(prefers-color-scheme:dark){body{background:#14202b;color:#dde6ee}td,th{border-color:#31424f}blockquote{background:#1d2c39}\
.origin{background:#2b4258}.pattern{background:#5b4a1c}.missing,.unsupported{background:#5e2a2a}mark{background:#7a6512;color:#fff}}";

fn html(filled: &Filled) -> String {
    let title = escape(&filled.template);
    let found = filled.fields.iter().filter(|field| !field.value.is_null()).count();
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style>\n<h1>{title}</h1>\n<p>{found} of {} fields, {} calls.</p>\n",
        filled.fields.len(),
        filled.stats.generation_calls
    );
    for note in &filled.notes {
        let _ = writeln!(out, "<p class=\"note\">{}</p>", escape(note));
    }
    out.push_str("<table><thead><tr><th>Field<th>Value<th>Origin<th>In the source</tr></thead><tbody>\n");
    for field in &filled.fields {
        row(&mut out, field);
    }
    out.push_str("</tbody></table></html>\n");
    out
}

fn row(out: &mut String, field: &FilledField) {
    let origin = field.origin.name();
    let required = if field.required && field.origin == Origin::Missing { " (required)" } else { "" };
    let _ = write!(
        out,
        "<tr><th scope=\"row\">{}<td>{}<td><span class=\"origin {origin}\">{origin}{required}</span>",
        escape(&field.name),
        escape(&written(&field.value))
    );
    if field.support == Some(Support::Unsupported) {
        out.push_str(" <span class=\"origin unsupported\">unsupported</span>");
    }
    out.push_str("<td>");
    if let Some(source) = &field.source {
        let _ = write!(out, "<div class=\"place\">{}</div>", escape(&place(source)));
    }
    match (&field.source, &field.quote) {
        (Some(source), Some(quote)) if !source.text.is_empty() => {
            let _ = write!(out, "<blockquote>{}</blockquote>", marked(&source.text, quote));
        }
        (_, Some(quote)) => {
            let _ = write!(out, "<blockquote>{}</blockquote>", escape(quote));
        }
        _ => {}
    }
    if let Some(note) = &field.note {
        let _ = write!(out, "<div class=\"note\">{}</div>", escape(note));
    }
    out.push_str("</tr>\n");
}

/// The text around a quote with the quote marked.
fn marked(text: &str, quote: &str) -> String {
    let Some((begin, end)) = Plain::new(text).find(quote) else { return escape(text) };
    let end = text.ceil_char_boundary(end);
    format!("{}<mark>{}</mark>{}", escape(&text[..begin]), escape(&text[begin..end]), escape(&text[end..]))
}

fn place(source: &Source) -> String {
    let at = |name: &str, number: Option<u32>| number.map_or_else(String::new, |number| format!(", {name} {number}"));
    let heading = if source.heading.is_empty() { String::new() } else { format!(", {}", source.heading) };
    format!("{}{}{}{heading}", source.document, at("page", source.place.page), at("line", source.place.line))
}

fn support_name(support: Support) -> &'static str {
    match support {
        Support::Supported => "supported",
        Support::Unsupported => "unsupported",
        Support::Unchecked => "unchecked",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::{Value, json};

    use super::*;

    fn result() -> Filled {
        let field = json!({"name": "rent", "value": 800, "origin": "model", "confidence": 0.9, "quote": "is 800 <EUR>",
            "support": "supported", "source": {"document": "lease.pdf", "page": 2, "heading": "Rent", "text": "It is\n800 <EUR> a month"}});
        let empty = json!({"name": "a|b", "value": null, "origin": "missing", "required": true, "note": "why"});
        serde_json::from_value(json!({"template": "Lease <1>", "values": {"rent": 800, "a|b": null},
            "fields": [field, empty], "notes": ["keyword search only"]}))
        .unwrap()
    }

    #[test]
    fn a_page_shows_each_quote_in_its_source_and_escapes_everything() {
        let page = result().report(ReportFormat::Html);
        for words in [
            "<mark>is\n800 &lt;EUR&gt;</mark> a month",
            "lease.pdf, page 2, Rent",
            "<title>Lease &lt;1&gt;</title>",
            "missing (required)",
            "keyword search only",
        ] {
            assert!(page.contains(words), "{words} in {page}");
        }
        assert!(!page.contains("<EUR>") && !page.contains("http"));
    }

    #[test]
    fn tables_have_a_row_for_each_field() {
        let table = result().report(ReportFormat::Csv);
        assert_eq!(table.lines().nth(1), Some("rent,800,model,0.9,supported,is 800 <EUR>,lease.pdf,2,,"));
        let table = result().report(ReportFormat::Markdown);
        assert!(table.contains("| rent | 800 | model | lease.pdf, page 2, Rent | is 800 <EUR> |"), "{table}");
        assert!(table.contains("| a\\|b |  | missing |"), "{table}");
    }

    #[test]
    fn json_holds_everything_and_can_be_gone_on_from() {
        let text = result().report(ReportFormat::Json);
        let again: Filled = serde_json::from_str(&text).unwrap();
        assert_eq!(again.report(ReportFormat::Json), text);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["values"]["rent"], 800);
    }
}
