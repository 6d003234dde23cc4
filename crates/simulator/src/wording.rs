//! Words of forms and documents as they are compared: folded, cut to their beginnings, German ones beside what they are in English.

use std::collections::HashSet;

/// What German documents call the things that forms ask for, folded; the ending of a longer word counts, too.
const GERMAN: [(&str, &[&str]); 58] = [
    ("vermieter", &["landlord"]),
    ("mieter", &["tenant"]),
    ("mietverhaltnis", &["lease"]),
    ("mietvertrag", &["lease"]),
    ("wohnflache", &["living", "area"]),
    ("flache", &["area"]),
    ("wohnung", &["flat"]),
    ("kaltmiete", &["rent", "net"]),
    ("miete", &["rent"]),
    ("gesamt", &["total"]),
    ("summe", &["total", "sum"]),
    ("betrag", &["amount"]),
    ("monatlich", &["monthly"]),
    ("kaution", &["deposit", "security"]),
    ("beginnt", &["begins"]),
    ("beginn", &["begins"]),
    ("endet", &["ends"]),
    ("ende", &["ends"]),
    ("kundigung", &["notice"]),
    ("fernwarme", &["district", "heating"]),
    ("warmepumpe", &["heat", "pump", "heating"]),
    ("heizung", &["heating"]),
    ("tier", &["animal", "pet"]),
    ("katze", &["animal", "pet"]),
    ("hund", &["animal", "pet"]),
    ("konto", &["account", "iban"]),
    ("anschrift", &["address"]),
    ("geboren", &["born", "birth"]),
    ("geburtsdatum", &["date", "birth"]),
    ("krankenkasse", &["insurance"]),
    ("versicherung", &["insurance"]),
    ("versicherer", &["insurer"]),
    ("hausarzt", &["family", "doctor"]),
    ("aufnahme", &["admission", "admitted"]),
    ("entlassung", &["discharge", "discharged"]),
    ("diagnose", &["diagnosis"]),
    ("allergie", &["allergies"]),
    ("gewicht", &["weight"]),
    ("temperatur", &["temperature"]),
    ("preis", &["price"]),
    ("nummer", &["number"]),
    ("datum", &["date"]),
    ("lieferung", &["delivery"]),
    ("lieferzeit", &["lead", "time", "delivery"]),
    ("garantie", &["warranty"]),
    ("gewahrleistung", &["warranty"]),
    ("nennleistung", &["rated", "power"]),
    ("leistung", &["power"]),
    ("hersteller", &["manufacturer"]),
    ("artikel", &["article"]),
    ("rechnung", &["invoice"]),
    ("vertrag", &["contract"]),
    ("kunde", &["customer"]),
    ("auftragnehmer", &["provider", "contractor"]),
    ("auftraggeber", &["customer", "client"]),
    ("farbe", &["colour"]),
    ("telefon", &["telephone", "phone"]),
    ("unterschrift", &["signature"]),
];

/// Says nothing of what is meant.
const EMPTY: [&str; 33] = [
    "the", "and", "for", "with", "from", "that", "this", "what", "whether", "which", "who", "how", "when", "its", "are", "was",
    "all", "one", "full", "string", "such", "der", "die", "das", "und", "des", "dem", "den", "mit", "von", "ein", "eine", "ist",
];

/// How a name's last word says what its number is counted in, and how documents write that.
const UNITS: [(&str, &[&str]); 25] = [
    ("kg", &["kg", "kilogram"]),
    ("eur", &["EUR", "€", "euro", "Euro"]),
    ("usd", &["USD", "$", "dollar"]),
    ("percent", &["%", "percent", "per cent", "Prozent"]),
    ("m3h", &["m³/h"]),
    ("m2", &["m²", "qm", "square met"]),
    ("mm", &["mm"]),
    ("cm", &["cm"]),
    ("km", &["km"]),
    ("m", &["m"]),
    ("kw", &["kW"]),
    ("kwh", &["kWh"]),
    ("a", &["A"]),
    ("v", &["V"]),
    ("c", &["°C"]),
    ("dba", &["dB(A)", "dB"]),
    ("rpm", &["rpm", "1/min", "min⁻¹"]),
    ("litres", &["l", "litre", "Liter"]),
    ("minutes", &["min", "Minute"]),
    ("hours", &["h", "hour", "Stunde"]),
    ("days", &["day", "Tag"]),
    ("weeks", &["week", "Woche"]),
    ("months", &["month", "Monat"]),
    ("years", &["year", "Jahr"]),
    ("points", &["point", "Punkt", "%"]),
];

/// Letters of a word that are compared: those behind tell its form.
const STEM: usize = 6;
/// A longer word ends in a German one that has at least so many letters.
const LEAST_ENDING: usize = 5;

/// The words of a text that say something, and what German ones are in English.
pub(crate) fn words(text: &str) -> HashSet<String> {
    let all = text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| word.chars().count() > 2).map(folded);
    all.filter(|word| !EMPTY.contains(&word.as_str())).flat_map(|word| meanings(&word)).collect()
}

/// The name of a field without what its number is counted in, and how documents write that.
pub(crate) fn measured(name: &str) -> (&str, &'static [&'static str]) {
    let split = name.rsplit_once(['_', ' ', '-']);
    let unit = |word: &str| UNITS.iter().find(|(short, _)| *short == word.to_lowercase());
    match split.and_then(|(name, last)| Some((name, unit(last)?.1))) {
        Some(measured) => measured,
        None => (name, &[]),
    }
}

/// What a word is known by.
fn meanings(word: &str) -> Vec<String> {
    let exact = GERMAN.iter().find(|(german, _)| word == *german || word.strip_prefix(german).is_some_and(is_ending));
    let ending = || GERMAN.iter().filter(|(german, _)| german.len() >= LEAST_ENDING).find(|(german, _)| word.ends_with(german));
    match exact.or_else(ending) {
        Some((_, english)) => english.iter().map(|word| stem(&folded(word))).collect(),
        None => vec![stem(word)],
    }
}

fn is_ending(rest: &str) -> bool {
    matches!(rest, "n" | "e" | "en" | "er" | "s" | "es" | "r")
}

fn stem(word: &str) -> String {
    if word.contains(|letter: char| letter.is_ascii_digit()) {
        return word.to_owned();
    }
    word.chars().take(STEM).collect()
}

fn folded(word: &str) -> String {
    let folded = word.to_lowercase().replace('ä', "a").replace('ö', "o").replace('ü', "u").replace('ß', "ss");
    folded.strip_suffix('s').filter(|stem| stem.len() > 3).map_or(folded.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(one: &str, other: &str) -> bool {
        words(one) == words(other)
    }

    #[test]
    fn forms_of_a_word_and_both_languages_are_one() {
        assert!(same("Allergies", "allergy") || !words("Allergies").is_disjoint(&words("Allergien")));
        assert!(same("approval", "approved") && same("Tenant", "Mieter") && same("landlord", "Vermieters"));
        assert!(!same("Vermieter", "Mieter"));
        assert_eq!(words("Barkaution"), words("deposit security"));
        assert_eq!(words("living area"), words("Wohnfläche"));
        assert!(words("the of and").is_empty());
    }

    #[test]
    fn a_name_may_say_what_its_number_is_counted_in() {
        assert_eq!(measured("rated_flow_m3h"), ("rated_flow", &["m³/h"][..]));
        assert_eq!(measured("colour"), ("colour", &[][..]));
    }
}
