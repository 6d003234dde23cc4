//! Which prompt is this: a digest of a request body that ignores spelling, order of fields and labels.

use std::borrow::Cow;

use serde_json::Value;

/// A 128-bit digest, stable between runs and platforms; not meant to withstand an adversary.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Digest(u64, u64);

impl Digest {
    pub(crate) fn new() -> Self {
        Self(0x243F_6A88_85A3_08D3, 0x1319_8A2E_0370_7344)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    pub(crate) fn finish(mut self) -> u128 {
        self.word(0);
        self.word(0);
        u128::from(self.0) << 64 | u128::from(self.1)
    }

    fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        self.1 = (self.1.rotate_left(31) ^ word).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        self.0 ^= self.1 >> 32;
    }
}

/// Tells the content behind the address of a file, when the server has it.
pub(crate) type Contents<'a> = &'a dyn Fn(&str) -> Option<&'a str>;

/// The identity of a request: its model and its body without `labels` and `model`, files by their content.
pub(crate) fn of_request(model: &str, body: &Value, contents: Contents<'_>) -> u128 {
    let mut digest = Digest::new();
    digest.write(model.as_bytes());
    hash(body, &mut digest, contents, true);
    digest.finish()
}

/// The lowerCamelCase form of a field name, which is how the API's own JSON writes it.
pub(crate) fn camel(name: &str) -> Cow<'_, str> {
    if !name.trim_start_matches('_').contains('_') {
        return Cow::Borrowed(name);
    }
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    Cow::Owned(camel)
}

/// A field under either of its two spellings.
pub(crate) fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let object = value.as_object()?;
    object.get(name).or_else(|| object.iter().find(|(key, _)| camel(key) == name).map(|(_, v)| v))
}

fn hash(value: &Value, digest: &mut Digest, contents: Contents<'_>, top: bool) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().map(|(key, value)| (camel(key), value)).collect();
            fields.retain(|(key, _)| !(top && matches!(&**key, "labels" | "model")));
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            digest.write(b"{");
            for (key, value) in fields {
                digest.write(key.as_bytes());
                match value.as_str().filter(|_| key == "fileUri").and_then(contents) {
                    Some(content) => digest.write(content.as_bytes()),
                    None => hash(value, digest, contents, false),
                }
            }
            digest.write(b"}");
        }
        Value::Array(items) => {
            digest.write(b"[");
            items.iter().for_each(|item| hash(item, digest, contents, false));
            digest.write(b"]");
        }
        Value::String(text) => digest.write(text.as_bytes()),
        other => digest.write(other.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use serde_json::json;

    fn of_request(model: &str, body: &Value) -> u128 {
        super::of_request(model, body, &|uri| (uri == "files/a" || uri == "files/b").then_some("same bytes"))
    }

    #[test]
    fn copies_of_a_file_are_one_content() {
        let body = |uri: &str| json!({"contents": [{"parts": [{"file_data": {"file_uri": uri}}]}]});
        assert_eq!(of_request("m", &body("files/a")), of_request("m", &body("files/b")));
        assert_ne!(of_request("m", &body("files/a")), of_request("m", &body("files/c")));
    }

    #[test]
    fn spelling_order_and_labels_do_not_change_an_identity() {
        let one = json!({"contents": [{"parts": [{"text": "a"}]}], "generationConfig": {"topK": 1}});
        let two = json!({"labels": {"id": "7"}, "generation_config": {"top_k": 1}, "contents": [{"parts": [{"text": "a"}]}]});
        assert_eq!(of_request("m", &one), of_request("m", &two));
    }

    #[test]
    fn a_different_text_or_model_is_another_identity() {
        let body = |text: &str| json!({"contents": [{"parts": [{"text": text}]}]});
        assert_ne!(of_request("m", &body("a")), of_request("m", &body("b")));
        assert_ne!(of_request("m", &body("a")), of_request("n", &body("a")));
    }

    #[test]
    fn many_short_texts_collide_nowhere() {
        let all: std::collections::HashSet<_> = (0..50_000).map(|n| of_request("m", &json!(n.to_string()))).collect();
        assert_eq!(all.len(), 50_000);
    }

    #[test]
    fn both_spellings_of_a_field_are_found() {
        assert_eq!(field(&json!({"max_output_tokens": 3}), "maxOutputTokens"), Some(&json!(3)));
        assert_eq!(field(&json!({"maxOutputTokens": 3}), "maxOutputTokens"), Some(&json!(3)));
    }
}
