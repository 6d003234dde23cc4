//! Forms to be filled from sources: each field's value is looked for beside its label and quoted; what is not there is null.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::identity::field;
use crate::passages::{Kind, Passage, passages};
use crate::reading::{self, Look};
use crate::wording::{measured, words};

/// The best passage has at least so much in common with its field.
const LEAST: f64 = 0.5;
/// A quote has so many letters, at most.
const QUOTE: usize = 200;

/// The answer to a form; `None` when the prompt is no form.
///
/// A form has its sources below `# Sources`, each headed by `[number] place`, its fields below `# Fields`, one a line as
/// `number. name (type): description (such as example; example)`, and a schema with `value` and `quote` for each number.
pub(crate) fn filled(text: &str, schema: &Value) -> Option<Value> {
    let wanted = field(schema, "properties")?.as_object()?;
    let is_field =
        |one: &Value| ["value", "quote"].iter().all(|name| field(one, "properties").is_some_and(|all| all.get(name).is_some()));
    if wanted.is_empty() || !wanted.values().all(is_field) {
        return None;
    }
    let (_, rest) = text.split_once("# Sources\n")?;
    let (sources, fields) = rest.rsplit_once("# Fields\n")?;
    let passages = passages(sources.split("\n# Known already").next().unwrap_or(sources));
    let answer = |(number, one): (&String, &Value)| {
        let begin = format!("{number}. ");
        let asked = fields.lines().find_map(|line| line.strip_prefix(begin.as_str())).unwrap_or_default();
        let kind = field(one, "properties").and_then(|all| field(all, "value")).unwrap_or(&Value::Null);
        (number.clone(), Asked::of(asked).answer(kind, &passages))
    };
    Some(Value::Object(wanted.iter().map(answer).collect::<Map<_, _>>()))
}

/// What a line of a form asks for.
struct Asked<'a> {
    name: &'a str,
    /// Words of the name, and of everything else that is said of it.
    called: HashSet<String>,
    about: HashSet<String>,
    units: &'static [&'static str],
}

impl Asked<'_> {
    fn of(line: &str) -> Asked<'_> {
        let (name, rest) = line.split_once(" (").unwrap_or((line, ""));
        let about = rest.split_once("): ").map_or("", |(_, about)| about);
        let about = [" (such as", " [at most", " (answered before"]
            .iter()
            .fold(about, |about, mark| about.split(mark).next().unwrap_or(about));
        let (called, units) = measured(name);
        Asked { name, called: words(called), about: words(about), units }
    }

    fn answer(&self, kind: &Value, passages: &[Passage<'_>]) -> Value {
        let mut best: Option<(f64, &Passage<'_>, Value)> = None;
        for passage in passages {
            let most = best.as_ref().map_or(0.0, |(most, ..)| *most);
            let worth = self.worth(passage, kind);
            if worth >= LEAST
                && worth > most
                && let Some(value) = self.value(passage, kind)
            {
                best = Some((worth, passage, value));
            }
        }
        match best {
            None => json!({"quote": null, "source": null, "value": null, "confidence": 0.0}),
            Some((worth, passage, value)) => {
                let quote: String = passage.quote.chars().take(QUOTE).collect();
                let confidence = (worth.min(1.0) * 100.0).round() / 100.0;
                json!({"quote": quote.trim(), "source": passage.source, "value": value, "confidence": confidence})
            }
        }
    }

    /// How much a passage and the field have in common: of all words of a label, those of the field's name counting most.
    fn worth(&self, passage: &Passage<'_>, kind: &Value) -> f64 {
        let label = &passage.label;
        let share = |of: &HashSet<String>, by: usize| of.intersection(label).count() as f64 / by.max(1) as f64;
        let (called, about) = (share(&self.called, self.called.len()), share(&self.about, self.about.len()));
        let as_label = share(&self.called, label.len()) + 0.5 * called;
        match passage.kind {
            Kind::Title if !self.about.is_disjoint(label) || !self.called.is_disjoint(label) => 0.9,
            Kind::Title => 0.0,
            // One word that a description happens to hold is no label of its field.
            Kind::Pair if label.len() > 1 || about >= 0.5 => as_label.max(0.9 * share(&self.about, label.len()) + 0.5 * called),
            Kind::Pair => as_label,
            Kind::Phrase if called >= 0.5 && label.iter().all(|word| self.called.contains(word) || self.about.contains(word)) => {
                as_label - 0.1
            }
            Kind::Section if !label.is_empty() && label.is_subset(&self.called) => 0.8 * as_label,
            Kind::Section if reading::is_text(kind) && called >= 1.0 => 0.8 * as_label,
            Kind::Phrase | Kind::Section => 0.0,
            Kind::Sentence if reading::is_text(kind) => 0.45 * called + 0.2 * about,
            // What is of a type and stands behind all of the name is hardly chance.
            Kind::Sentence => (0.5 * called + 0.2 * about).max(reading::parts_named(passage.value, kind)),
        }
    }

    fn value(&self, passage: &Passage<'_>, kind: &Value) -> Option<Value> {
        let from = match passage.kind {
            // In a sentence a number stands behind what it is of.
            Kind::Sentence if !reading::is_text(kind) && !reading::is_object(kind) => behind(passage.value, &self.called),
            _ => 0,
        };
        let asked: HashSet<&String> = self.called.union(&self.about).collect();
        let look = Look {
            kind: passage.kind,
            name: self.name,
            units: self.units,
            says_all: asked.iter().all(|word| passage.label.contains(*word)),
        };
        reading::value(&passage.value[from..], kind, &look)
    }
}

/// Where the first of some words stands in a text.
fn behind(text: &str, of: &HashSet<String>) -> usize {
    let mut words_of = text.split(' ').scan(0, |at, word| Some((std::mem::replace(at, *at + word.len() + 1), word)));
    words_of.find(|(_, word)| !words(word).is_disjoint(of)).map_or(0, |(at, _)| at)
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
