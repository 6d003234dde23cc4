//! Words of a text as they are compared: lower case, without accents and usual endings, English and German.

/// Endings that are taken off, longer ones first; what is left keeps four letters or more.
const ENDINGS: [&str; 17] =
    ["ungen", "ingly", "ungs", "ings", "ung", "ing", "ern", "est", "ies", "ed", "en", "er", "em", "es", "ly", "e", "s"];
const SHORTEST_STEM: usize = 4;

/// Words that tell nothing of what is meant.
const STOP_WORDS: [&str; 88] = [
    "a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "has", "have", "how", "if", "in", "is", "it", "its", "of",
    "on", "or", "that", "the", "their", "this", "to", "was", "were", "what", "when", "where", "which", "who", "with", "wird",
    "werden", "aber", "als", "am", "an", "auch", "auf", "aus", "bei", "bis", "das", "dass", "dem", "den", "der", "des", "die",
    "dies", "diese", "ein", "eine", "einem", "einen", "einer", "eines", "er", "es", "fur", "hat", "im", "in", "ist", "kann",
    "mit", "nach", "nicht", "oder", "sich", "sie", "sind", "so", "und", "vom", "von", "vor", "war", "was", "welche", "welcher",
    "welches", "wie", "zu", "zum",
];

/// The words of a text, folded and without endings.
pub(crate) fn stems(text: &str) -> Vec<String> {
    words(text).map(|word| stem(&word).to_owned()).collect()
}

/// The words of a question that tell something; all of them where none does.
pub(crate) fn telling(text: &str) -> Vec<String> {
    let telling: Vec<String> =
        words(text).filter(|word| !STOP_WORDS.contains(&word.as_str())).map(|word| stem(&word).to_owned()).collect();
    if telling.is_empty() { stems(text) } else { telling }
}

/// Folded words with their endings.
pub(crate) fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).map(folded)
}

/// Lower case without the accents of Latin letters.
fn folded(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    for letter in word.chars().flat_map(char::to_lowercase) {
        match letter {
            'ä' | 'á' | 'à' | 'â' | 'ã' | 'å' => out.push('a'),
            'ö' | 'ó' | 'ò' | 'ô' | 'õ' | 'ø' => out.push('o'),
            'ü' | 'ú' | 'ù' | 'û' => out.push('u'),
            'é' | 'è' | 'ê' | 'ë' => out.push('e'),
            'í' | 'ì' | 'î' | 'ï' => out.push('i'),
            'ß' => out.push_str("ss"),
            'ñ' => out.push('n'),
            'ç' => out.push('c'),
            other => out.push(other),
        }
    }
    out
}

fn stem(word: &str) -> &str {
    if word.bytes().any(|byte| byte.is_ascii_digit()) {
        return word;
    }
    // "rentals" and "Mietern" carry two of them.
    let once = without_ending(word);
    if once.len() > SHORTEST_STEM + 1 && once.len() < word.len() { without_ending(once) } else { once }
}

fn without_ending(word: &str) -> &str {
    let stems = ENDINGS.iter().filter_map(|ending| word.strip_suffix(ending));
    stems.into_iter().find(|stem| stem.len() >= SHORTEST_STEM).unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_word_are_one() {
        for (one, other) in [
            ("Kündigungen", "kundigung"),
            ("tenants", "tenant"),
            ("Mieter", "Mietern"),
            ("renting", "rented"),
            ("Straße", "STRASSE"),
        ] {
            assert_eq!(stems(one), stems(other));
        }
        assert_eq!(stems("No. 2024-17"), ["no", "2024", "17"]);
    }

    #[test]
    fn a_question_is_its_telling_words() {
        assert_eq!(telling("What is the rent?"), ["rent"]);
        assert_eq!(telling("who is it"), ["who", "is", "it"]);
    }
}
