//! Forms to be filled from sources: each field's value is looked for beside its label and quoted; what is not there is null.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::identity::field;
use crate::reading;

/// Words of a form that name a thing otherwise than a German document does.
const OTHERWISE: [(&str, &str); 18] = [
    ("landlord", "vermieter"),
    ("tenant", "mieter"),
    ("area", "wohnflache"),
    ("rent", "miete"),
    ("deposit", "kaution"),
    ("deposit", "barkaution"),
    ("begins", "beginnt"),
    ("ends", "endet"),
    ("notice", "kundigung"),
    ("birth", "geboren"),
    ("birth", "geburtsdatum"),
    ("insurance", "krankenkasse"),
    ("allergies", "allergien"),
    ("weight", "gewicht"),
    ("price", "preis"),
    ("number", "nummer"),
    ("delivery", "lieferung"),
    ("warranty", "garantie"),
];

/// Says nothing of what is meant.
const EMPTY: [&str; 20] = [
    "the", "and", "for", "with", "from", "that", "this", "what", "whether", "which", "who", "how", "when", "its", "are", "was",
    "all", "one", "full", "string",
];

/// The best label has at least so much in common with its field.
const LEAST: f64 = 0.5;
/// A quote has so many letters, at most.
const QUOTE: usize = 200;

/// The answer to a form; `None` when the prompt is no form.
///
/// A form has its sources below `# Sources`, each headed by `[number] place`, its fields below `# Fields`, one a line as
/// `number. name (type): description`, and a schema with `value` and `quote` for each number.
pub(crate) fn filled(text: &str, schema: &Value) -> Option<Value> {
    let wanted = field(schema, "properties")?.as_object()?;
    let is_field =
        |one: &Value| ["value", "quote"].iter().all(|name| field(one, "properties").is_some_and(|all| all.get(name).is_some()));
    if wanted.is_empty() || !wanted.values().all(is_field) {
        return None;
    }
    let (_, rest) = text.split_once("# Sources\n")?;
    let (sources, fields) = rest.rsplit_once("# Fields\n")?;
    let passages = passages(sources);
    let answer = |(number, one): (&String, &Value)| {
        let begin = format!("{number}. ");
        let asked = fields.lines().find_map(|line| line.strip_prefix(begin.as_str())).unwrap_or_default();
        let kind = field(one, "properties").and_then(|all| field(all, "value")).unwrap_or(&Value::Null);
        (number.clone(), answer(asked, kind, &passages))
    };
    Some(Value::Object(wanted.iter().map(answer).collect::<Map<_, _>>()))
}

/// Something that says what it is of and what that is.
struct Passage<'a> {
    source: usize,
    label: HashSet<String>,
    value: &'a str,
    whole: &'a str,
    /// It is told as a label and a value, not in a sentence.
    is_plain: bool,
}

fn answer(asked: &str, kind: &Value, passages: &[Passage<'_>]) -> Value {
    let (name, about) = asked.split_once(" (").unwrap_or((asked, ""));
    let about = about.split_once("): ").map_or("", |(_, about)| about.split(" (such as").next().unwrap_or(about));
    let (name, about) = (words(name), words(about));
    let fits = |passage: &&Passage<'_>| -> Option<(f64, Value)> {
        let worth = worth(passage, &name, &about);
        // In a sentence a number stands behind what it is of.
        let from = if passage.is_plain || reading::is_text(kind) { 0 } else { behind(passage.value, &name) };
        (worth >= LEAST).then(|| Some((worth, reading::value(&passage.value[from..], kind)?)))?
    };
    let mut best: Option<(f64, &Passage<'_>, Value)> = None;
    for passage in passages {
        if let Some((worth, value)) = fits(&passage).filter(|(worth, _)| best.as_ref().is_none_or(|(most, ..)| worth > most)) {
            best = Some((worth, passage, value));
        }
    }
    match best {
        None => json!({"quote": null, "source": null, "value": null, "confidence": 0.0}),
        Some((worth, passage, value)) => {
            let quote: String = passage.whole.chars().take(QUOTE).collect();
            let confidence = (worth.min(1.0) * 100.0).round() / 100.0;
            json!({"quote": quote.trim(), "source": passage.source, "value": value, "confidence": confidence})
        }
    }
}

/// Where the first of some words stands in a text.
fn behind(text: &str, of: &HashSet<String>) -> usize {
    let mut words_of = text.split(' ').scan(0, |at, word| Some((std::mem::replace(at, *at + word.len() + 1), word)));
    words_of.find(|(_, word)| !words(word).is_disjoint(of)).map_or(0, |(at, _)| at)
}

/// How much a label and a field have in common: of all words of the label, those of the field's name counting most.
fn worth(passage: &Passage<'_>, name: &HashSet<String>, about: &HashSet<String>) -> f64 {
    let share = |of: &HashSet<String>, by: usize| of.intersection(&passage.label).count() as f64 / by.max(1) as f64;
    let all = passage.label.len();
    if passage.is_plain {
        return share(name, all).max(0.9 * share(about, all)) + 0.5 * share(name, name.len());
    }
    // In a sentence stand many words that are not its subject: all words of the name must be there.
    0.4 * share(name, name.len()) + 0.2 * share(about, about.len())
}

fn passages(sources: &str) -> Vec<Passage<'_>> {
    let mut all = Vec::new();
    let mut source = 0;
    for line in sources.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some((number, _)) = line.strip_prefix('[').and_then(|rest| rest.split_once("] "))
            && let Ok(number) = number.parse()
        {
            source = number;
            continue;
        }
        let told = line.trim_start_matches(['|', '-', '*', '#', ' ']);
        let parts = told.split_once(" | ").or_else(|| told.split_once(": ").filter(|(label, _)| label.split(' ').count() < 6));
        if let Some((label, value)) = parts {
            all.push(Passage {
                source,
                label: words(label),
                value: value.trim_end_matches(['|', ' ']),
                whole: line,
                is_plain: true,
            });
        }
        for sentence in line.split_inclusive(". ").map(str::trim) {
            all.push(Passage { source, label: words(sentence), value: sentence, whole: sentence, is_plain: false });
        }
    }
    all
}

/// The words of a text without accents and the commonest endings, and what they are called otherwise.
fn words(text: &str) -> HashSet<String> {
    let plain = |word: &str| -> String {
        let folded = word.to_lowercase().replace('ä', "a").replace('ö', "o").replace('ü', "u").replace('ß', "ss");
        folded.strip_suffix('s').filter(|stem| stem.len() > 3).map_or(folded.clone(), str::to_owned)
    };
    let all = text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| word.chars().count() > 2).map(plain);
    let mut words: HashSet<String> = all.filter(|word| !EMPTY.contains(&word.as_str())).collect();
    let others = OTHERWISE.iter().filter(|(_, german)| words.contains(*german)).map(|(english, _)| plain(english));
    let others: Vec<String> = others.collect();
    for (_, german) in OTHERWISE.iter().filter(|(english, _)| others.contains(&plain(english))) {
        words.remove(*german);
    }
    words.extend(others);
    words
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const FORM: &str = "The form: a stay\n\n# Sources\n\n[1] record.md, Master data\nPatient number | HV-204417\nDate of birth | 17 November 1948\n\
        \n[2] record.md, Examination\nOn 6 February with a weight gain. Pulse 112 and irregular. Weight 81.4 kg, height 158 cm.\n\n# Fields\n\n\
        1. patient_number (string): Number of the patient\n2. date_of_birth (date (YYYY-MM-DD)): Date of birth\n3. weight_kg (number): Weight in kilograms\n\
        4. shoe_size (number): Size of the shoes\n\nAnswer with one JSON object.\n";

    fn schema(kinds: &[&str]) -> Value {
        let one = |kind: &&str| json!({"type": "object", "properties": {"quote": {}, "source": {}, "value": {"type": [kind, "null"], "description": "YYYY-MM-DD"}}});
        let plain =
            |kind: &&str| json!({"type": "object", "properties": {"quote": {}, "source": {}, "value": {"type": [kind, "null"]}}});
        let each = kinds.iter().enumerate().map(|(at, kind)| {
            let schema = if *kind == "date" { one(&"string") } else { plain(kind) };
            ((at + 1).to_string(), schema)
        });
        json!({"type": "object", "properties": each.collect::<Map<_, _>>()})
    }

    #[test]
    fn values_are_found_beside_their_labels_and_quoted_and_what_is_not_there_is_null() {
        let answers = filled(FORM, &schema(&["string", "date", "number", "number"])).unwrap();
        let told = |number: &str| (answers[number]["value"].clone(), answers[number]["source"].clone());
        assert_eq!(told("1"), (json!("HV-204417"), json!(1)));
        assert_eq!(told("2"), (json!("1948-11-17"), json!(1)));
        assert_eq!(told("3"), (json!(81.4), json!(2)), "{answers}");
        assert_eq!(told("4"), (Value::Null, Value::Null));
        for answer in answers.as_object().unwrap().values() {
            assert!(answer["quote"].as_str().is_none_or(|quote| FORM.contains(quote)), "{answer}");
        }
    }

    #[test]
    fn other_prompts_are_no_forms() {
        assert_eq!(filled("hello", &schema(&["string"])), None);
        assert_eq!(filled(FORM, &json!({"type": "object", "properties": {"summary": {"type": "string"}}})), None);
    }
}
