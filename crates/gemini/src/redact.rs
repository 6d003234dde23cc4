//! Keeps API keys out of texts: some error bodies of the real service quote the whole key.

/// Longest message kept, in characters.
const LONGEST: usize = 2_000;

/// Below this length a key is hidden completely, since its ends would be most of it.
const SHORT: usize = 20;

/// `text` cut to 2,000 characters, with every API key in it masked to its ends.
pub(crate) fn message(text: &str) -> String {
    let mut safe = text.to_owned();
    for (marker, included) in [("api_key:", 0), ("?key=", 0), ("&key=", 0), ("AIza", 4)] {
        safe = masked_after(safe, marker, included);
    }
    match safe.char_indices().nth(LONGEST) {
        Some((end, _)) => safe[..end].to_owned(),
        None => safe,
    }
}

/// Masks the key-like run at every `marker`; the last `included` bytes of the marker belong to the key.
fn masked_after(text: String, marker: &str, included: usize) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find(marker) {
        let start = at + marker.len() - included;
        let run = rest[start..].find(|c: char| !is_key_char(c)).unwrap_or(rest.len() - start);
        out.push_str(&rest[..start]);
        out.push_str(&mask(&rest[start..start + run]));
        rest = &rest[start + run..];
    }
    out.push_str(rest);
    out
}

fn is_key_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

fn mask(key: &str) -> String {
    match (key.get(..4), key.len().checked_sub(4).and_then(|tail| key.get(tail..))) {
        (Some(head), Some(tail)) if key.len() >= SHORT => format!("{head}…{tail}"),
        _ if key.is_empty() || key == "AIza" => key.to_owned(),
        _ => "…".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const KEY: &str = "AIzaSyD-0123456789abcdefghijklmnopq6F2k";

    #[test]
    fn a_quoted_key_keeps_only_its_ends() {
        let text = format!("Permission denied: Consumer 'api_key:{KEY}' has been suspended.");
        assert_eq!(message(&text), "Permission denied: Consumer 'api_key:AIza…6F2k' has been suspended.");
    }

    #[test]
    fn keys_of_any_form_after_the_label_and_bare_keys_anywhere_are_masked() {
        assert_eq!(message("api_key:AQ.Ab8RN6-0123456789abcdef end"), "api_key:AQ.A…cdef end");
        assert_eq!(message(&format!("see ?key={KEY}&x={KEY}")), "see ?key=AIza…6F2k&x=AIza…6F2k");
        assert_eq!(message("api_key:short"), "api_key:…");
        assert_eq!(message("AIzaShort"), "…");
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        assert_eq!(message(&"ü".repeat(5_000)).chars().count(), 2_000);
        assert_eq!(message("short"), "short");
    }

    #[test]
    fn an_already_masked_key_stays_readable() {
        assert_eq!(message("key AIza…6F2k"), "key AIza…6F2k");
    }
}
