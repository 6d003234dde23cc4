//! Whatever stands in a document, a template or an answer: it is read or refused, and nothing falls over.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use serde_json::Value;
use tidegate_template::{
    Chunk, ChunkSize, Document, Field, FieldType, Index, Question, Template, TextTemplate, checked, chunks, extract,
};

/// Pieces that mean something to one reader or another, and letters of several bytes.
fn text() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "rent",
        "Miete",
        "Kündigungsfrist",
        "ä",
        "ß",
        "漢",
        "\u{ad}",
        "é",
        " ",
        "\n",
        "\n\n",
        ": ",
        "|",
        "§ 3",
        "1.",
        "1.234,56 EUR",
        "-",
        "2024-03-01",
        "31.12.24",
        "1. März 2024",
        "a@b.example",
        "DE89 3704 0044 0532 0130 00",
        "# ",
        "<p>",
        "</td>",
        "<b",
        "{",
        "}",
        "[",
        "]",
        "{x}",
        "____",
        ",",
        "\"",
        "\\",
        "'",
        ";",
        "\t",
        "---",
        "```",
        "…",
        "...",
        "&amp;",
        "\u{feff}",
    ]);
    prop::collection::vec(pieces, 0..120).prop_map(|pieces| pieces.concat())
}

fn fields() -> Vec<Field> {
    let kinds = [
        FieldType::String,
        FieldType::Number,
        FieldType::Integer,
        FieldType::Boolean,
        FieldType::Date,
        FieldType::Enum(vec!["rent".into(), "ä".into()]),
        FieldType::List(Box::new(FieldType::String)),
    ];
    let field = |kind: FieldType| Field { max_chars: Some(5), ..Field::new("Miete rent Kündigungsfrist nummer", kind) };
    let mail = Field { description: "email".into(), ..Field::new("m", FieldType::String) };
    kinds.into_iter().map(field).chain([mail]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn documents_are_read_cut_and_searched(text in text(), chars in 20usize..200, overlap in 0usize..40) {
        for ending in ["txt", "md", "html", "csv", "json", "docx"] {
            let Ok(document) = Document::from_bytes(&format!("a.{ending}"), text.as_bytes()) else { continue };
            let index = Index::new(chunks(&[document], ChunkSize { chars, overlap }));
            let numbered: Vec<(u32, &Chunk)> = (0..).zip(&index.chunks).collect();
            for (_, chunk) in &numbered {
                prop_assert!(chunk.text.len() <= chars.max(4) + 4, "{} {:?}", chars, chunk.text);
                chunk.place_at(chunk.text.len());
            }
            index.find(&[Question::words(&*text)], 5);
            for field in fields() {
                if let Some(found) = extract(&field, &numbered) {
                    prop_assert!(!found.value.is_null());
                }
            }
        }
    }

    #[test]
    fn forms_and_templates_are_read_or_refused(text in text()) {
        for name in ["a.txt", "a.md"] {
            if let Ok(form) = TextTemplate::from_bytes(name, text.as_bytes()) {
                let values = form.template().fields.iter().map(|field| (field.name.clone(), Value::from("v"))).collect();
                form.filled(&values).unwrap();
            }
        }
        for format in [tidegate_template::TemplateFormat::Yaml, tidegate_template::TemplateFormat::Toml, tidegate_template::TemplateFormat::Json] {
            let _ = Template::parse(&text, format, "a");
        }
    }

    #[test]
    fn values_are_checked_or_refused(text in text()) {
        for field in fields() {
            let _ = checked(&field, &Value::from(text.as_str()));
        }
    }
}
