//! Real-looking documents: a German contract, a PDF with tables, three hundred pages, scans and binaries.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "common/pdf.rs"]
mod pdf;

use common::{Scripted, searching};
use pdf::{column, pdf};
use serde_json::{Value, json};
use tidegate_template::{
    ChunkSize, Content, Document, DocumentError, Field, FieldType, Filler, Index, ModelError, Origin, Question, Settings,
    Support, Template, TextTemplate, Unobserved, chunks,
};

const LEASE: &str = "WOHNRAUMMIETVERTRAG

zwischen Frau Anna Beispiel, Gartenweg 3, 10115 Berlin (Vermieterin)
und Herrn Bernd Muster, geboren am 14.07.1988 (Mieter).

§ 1 Mietsache
Vermietet wird die Wohnung im 2. Obergeschoss, Seestraße 12, 13353 Berlin,
bestehend aus 3 Zimmern, Küche und Bad. Die Wohnfläche beträgt 78,5 m².

§ 2 Mietzeit
Das Mietverhältnis beginnt am 1. März 2024 und läuft auf unbestimmte Zeit.
Die Kündigungsfrist beträgt drei Monate zum Monatsende.

§ 3 Miete
Die monatliche Kaltmiete beträgt 1.250,00 EUR. Hinzu kommt eine Voraus-
zahlung auf die Betriebskosten von 210,00 EUR.

§ 4 Kaution
Der Mieter leistet eine Kaution in Höhe von 3.750,00 EUR auf das Konto
DE89 3704 0044 0532 0130 00.

§ 5 Tierhaltung
Haustiere: nein
";

fn lease() -> Template {
    let field =
        |name: &str, kind: FieldType, description: &str| Field { description: description.into(), ..Field::new(name, kind) };
    Template {
        name: "Mietvertrag".into(),
        description: String::new(),
        fields: vec![
            field("mieter", FieldType::String, "Name des Mieters"),
            field("mietbeginn", FieldType::Date, "Beginn des Mietverhältnisses"),
            field("kaltmiete", FieldType::Number, "monatliche Miete in EUR"),
            field("betriebskosten", FieldType::Number, "Vorauszahlung in EUR"),
            field("kaution", FieldType::Number, "in EUR"),
            field("iban", FieldType::String, "Konto für die Kaution"),
            field("haustiere", FieldType::Boolean, "sind sie erlaubt"),
            field("stellplatz", FieldType::String, "Nummer des Stellplatzes"),
        ],
    }
}

async fn fill(template: Template, document: Document, model: &Scripted) -> tidegate_template::Filled {
    Filler::builder(template, vec![document]).build().fill(model, &Unobserved).await
}

#[tokio::test(start_paused = true)]
async fn a_german_contract_is_filled_in_typed_values_with_their_lines() {
    let fact = |name: &str, value: Value, quote: &str| (name.to_owned(), value, quote.to_owned());
    let model = Scripted::new([
        fact("mieter", json!("Bernd Muster"), "Herrn Bernd Muster"),
        fact("mietbeginn", json!("1. März 2024"), "beginnt am 1. März 2024"),
        fact("kaltmiete", json!("1.250,00 EUR"), "Kaltmiete beträgt 1.250,00 EUR"),
        fact("haustiere", json!("nein"), "Haustiere: nein"),
    ])
    .with(|_, names, mut truth| {
        // Quoted as a person would: the word divided at the end of the line is whole.
        let at = names.iter().position(|name| name == "betriebskosten").unwrap() + 1;
        truth[at.to_string()] = json!({"quote": "eine Vorauszahlung auf die Betriebskosten von 210,00 EUR", "source": 1, "value": 210, "confidence": 1});
        common::said(&truth)
    });
    let filled = fill(lease(), Document::from_bytes("vertrag.txt", LEASE.as_bytes()).unwrap(), &model).await;
    let expected = json!({"mieter": "Bernd Muster", "mietbeginn": "2024-03-01", "kaltmiete": 1250.00, "betriebskosten": 210,
        "kaution": null, "iban": null, "haustiere": false, "stellplatz": null});
    assert_eq!(serde_json::to_string(&filled.values).unwrap().replace("1250.00", "1250.0"), expected.to_string());
    let costs = filled.field("betriebskosten").unwrap();
    let source = costs.source.as_ref().unwrap();
    assert_eq!((costs.support, source.place.line), (Some(Support::Supported), Some(15)));
    assert_eq!(model.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_model_rules_find_what_the_contract_says_plainly_and_nothing_else() {
    let model = Scripted::new([]).with(|_, _, _| Err(ModelError::Unavailable { reason: "offline".into() }));
    let filled = fill(lease(), Document::from_bytes("vertrag.txt", LEASE.as_bytes()).unwrap(), &model).await;
    let value = |name: &str| filled.values[name].clone();
    assert_eq!(value("mietbeginn"), "2024-03-01");
    assert_eq!(value("iban"), "DE89 3704 0044 0532 0130 00");
    assert_eq!(value("haustiere"), false);
    assert_eq!(value("kaltmiete").as_f64(), Some(1250.0));
    assert_eq!(value("kaution").as_f64(), Some(3750.0));
    assert_eq!((value("stellplatz"), filled.field("stellplatz").unwrap().origin), (Value::Null, Origin::Missing));
    assert!(filled.fields.iter().all(|field| field.pending && field.origin != Origin::Model));
}

#[test]
fn a_table_in_a_pdf_keeps_its_rows_together() {
    let mut page = column(&["Delivery note 4711", "Ordered by Grönland & Söhne GmbH"]);
    for (row, (item, price)) in (0..).zip([("Item", "Price"), ("Lamp (desk)", "49,90 EUR"), ("Chair", "120,00 EUR")]) {
        let y = 700 - 20 * row;
        page.extend([(60, y, item.to_owned()), (320, y, price.to_owned())]);
    }
    let document = Document::from_bytes("note.pdf", &pdf(&[page, column(&["Paid on 2 May 2024 in full."])])).unwrap();
    let chunks = chunks(&[document], ChunkSize::default());
    let text: String = chunks.iter().map(|chunk| chunk.text.as_str()).collect::<Vec<_>>().join("\n");
    let row = text.lines().find(|line| line.contains("Lamp (desk)")).unwrap();
    assert!(row.contains("49,90 EUR") && !row.contains("Chair"), "{text}");
    assert!(text.contains("Grönland & Söhne"), "{text}");
    let paid = chunks.iter().find(|chunk| chunk.text.contains("Paid on")).unwrap();
    assert_eq!(paid.place_at(paid.text.find("Paid on").unwrap()).page, Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_price_list_in_a_pdf_gives_the_same_values_in_packs_and_one_by_one() {
    const ITEMS: [(&str, &str, f64); 4] = [
        ("lamp", "49,90 EUR", 49.9),
        ("chair", "120,00 EUR", 120.0),
        ("desk", "1.310,50 EUR", 1310.5),
        ("shelf", "88,00 EUR", 88.0),
    ];
    let mut page = column(&["Price list 2025"]);
    for (row, (item, price, _)) in (0..).zip(ITEMS) {
        page.extend([(60, 700 - 20 * row, item.to_owned()), (320, 700 - 20 * row, price.to_owned())]);
    }
    let document = Document::from_bytes("prices.pdf", &pdf(&[page])).unwrap();
    let chunks = chunks(std::slice::from_ref(&document), ChunkSize::default());
    // Quoted as the row stands there, whatever is between its columns.
    let row = |item: &str| chunks[0].text.lines().find(|line| line.starts_with(item)).unwrap().to_owned();
    let facts = ITEMS.map(|(item, price, _)| (item.to_owned(), json!(price), row(item)));
    let fields = ITEMS.map(|(item, ..)| Field::new(item, FieldType::Number)).to_vec();
    let template = Template { name: "prices".into(), description: String::new(), fields };
    let mut told = Vec::new();
    for max_batch_size in [10, 1] {
        let model = Scripted::new(facts.clone());
        let settings = Settings { max_batch_size, ..Settings::default() };
        let filler = Filler::builder(template.clone(), vec![document.clone()]).settings(settings).build();
        let filled = filler.fill(&model, &Unobserved).await;
        assert_eq!(model.calls(), 4usize.div_ceil(max_batch_size));
        assert!(filled.fields.iter().all(|field| field.support == Some(Support::Supported)), "{:?}", filled.fields);
        told.push(ITEMS.map(|(item, ..)| filled.values[item].as_f64()));
    }
    assert_eq!(told, [ITEMS.map(|(.., price)| Some(price)); 2]);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_cannot_be_read_costs_only_itself_and_is_told() {
    let pages: Vec<_> = (0..3).map(|page| column(&[format!("The value of field{page} is value-{page}.").as_str()])).collect();
    let mut file = pdf(&pages);
    let second = find_all(&file, b"/MediaBox")[1];
    file[second + 7] = b'u';
    let (template, _, model) = common::form(3);
    let filled = fill(template, Document::from_bytes("a.pdf", &file).unwrap(), &model).await;
    assert_eq!(json!(filled.values), json!({"field0": "value-0", "field1": null, "field2": "value-2"}));
    assert_eq!(filled.notes, ["document a.pdf: the text of page 2 cannot be read"]);
}

fn find_all(bytes: &[u8], part: &[u8]) -> Vec<usize> {
    (0..bytes.len()).filter(|at| bytes[*at..].starts_with(part)).collect()
}

#[test]
fn a_pdf_without_text_is_kept_as_a_picture_and_a_broken_one_is_refused() {
    let scan = Document::from_bytes("scan.pdf", &pdf(&[column(&["- 1 -"])])).unwrap();
    assert!(matches!(scan.content, Content::Media { mime: "application/pdf", .. }));
    let mut broken = pdf(&[column(&["text"])]);
    broken.truncate(60);
    assert!(matches!(Document::from_bytes("b.pdf", &broken), Err(DocumentError::Damaged { kind: "PDF", .. })));
    let binary = Document::from_bytes("b.dat", &[0u8, 159, 146, 150]).unwrap_err();
    assert!(matches!(binary, DocumentError::Binary { .. }), "{binary}");
}

#[tokio::test(start_paused = true)]
async fn three_hundred_pages_are_searched_and_every_field_finds_its_page() {
    let pages: Vec<_> = (0..300)
        .map(|page| {
            let head = format!("The value of field{page} is value-{page}.");
            let filler: Vec<String> = (0..30)
                .map(|line| {
                    format!("Clause {page}.{line} concerns matters of kind {} and nothing that anybody asks.", line * 7 + page)
                })
                .collect();
            let lines: Vec<&str> = [head.as_str(), ""].into_iter().chain(filler.iter().map(String::as_str)).collect();
            column(&lines)
        })
        .collect();
    let document = Document::from_bytes("book.pdf", &pdf(&pages)).unwrap();
    let (mut template, _, model) = common::form(300);
    template.fields = template.fields.into_iter().step_by(15).collect();
    let filled = Filler::builder(template, vec![document]).settings(Settings::default()).build().fill(&model, &Unobserved).await;
    assert_eq!((filled.stats.from_model, model.calls()), (20, 2));
    for (number, field) in filled.fields.iter().enumerate() {
        let page = u32::try_from(number * 15 + 1).unwrap();
        assert_eq!((field.support, field.source.as_ref().unwrap().place.page), (Some(Support::Supported), Some(page)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_form_of_text_is_filled_from_documents_and_written_back() {
    let form = TextTemplate::from_bytes("letter.md", b"# Rent\nDear {mieter},\nrent: ____ EUR").unwrap();
    let model = Scripted::new([
        ("mieter".into(), json!("Bernd Muster"), "Herrn Bernd Muster".into()),
        ("rent".into(), json!("1.250,00"), "Kaltmiete beträgt 1.250,00 EUR".into()),
    ]);
    let document = Document::from_bytes("vertrag.txt", LEASE.as_bytes()).unwrap();
    let filled = fill(form.template().clone(), document, &model).await;
    let written = form.filled(&filled.values).unwrap();
    assert_eq!(String::from_utf8(written).unwrap(), "# Rent\nDear Bernd Muster,\nrent: 1.250,00 EUR");
}

#[test]
fn among_ten_thousand_chunks_the_one_with_the_rare_word_is_found() {
    let texts: Vec<Document> = (0..10_000)
        .map(|number| {
            let text = format!("Entry {number} of the register concerns parcel p{} in district {}.", number * 31, number % 97);
            Document::from_bytes("r.txt", text.as_bytes()).unwrap()
        })
        .collect();
    let index = Index::new(chunks(&texts, ChunkSize::default()));
    for number in (0..10_000).step_by(500) {
        let found = index.find(&[Question::words(format!("which entry concerns parcel p{}", number * 31))], 5);
        assert_eq!(found[0], number);
    }
}

#[tokio::test(start_paused = true)]
async fn several_documents_are_told_apart() {
    let document = |name: &str, rent: u32| {
        let filler: String = (0..80).map(|line| format!("Line {line} of {name} is of no concern.\n\n")).collect();
        Document::from_bytes(name, format!("{filler}The rent of {name} is {rent} EUR.\n\n{filler}").as_bytes()).unwrap()
    };
    let field = Field { query: Some("rent of b.txt".into()), ..Field::new("rent", FieldType::Number) };
    let template = Template { name: "t".into(), description: String::new(), fields: vec![field] };
    let model = Scripted::new([("rent".into(), json!(900), "The rent of b.txt is 900 EUR".into())]);
    let documents = vec![document("a.txt", 800), document("b.txt", 900)];
    let filled = Filler::builder(template, documents).settings(searching()).build().fill(&model, &Unobserved).await;
    let rent = filled.field("rent").unwrap();
    assert_eq!((&rent.value, &*rent.source.as_ref().unwrap().document), (&json!(900), "b.txt"));
}
