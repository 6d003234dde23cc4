//! Names of things that live in a project, found in JSON without reading the rest of it: where they stand, byte by byte.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr2};

/// Fields of requests that name such a thing.
pub const OF_REQUESTS: &[&str] = &[
    "fileUri",
    "file_uri",
    "uri",
    "fileName",
    "file_name",
    "cachedContent",
    "cached_content",
    "previousInteractionId",
    "previous_interaction_id",
    "fileSearchStoreNames",
    "file_search_store_names",
];
/// Fields of answers that name one.
pub const OF_ANSWERS: &[&str] = &["name", "responsesFile", "responses_file"];

/// Collections whose members live in the project that made them.
const COLLECTIONS: [&str; 6] = ["files", "cachedContents", "batches", "interactions", "fileSearchStores", "tunedModels"];

/// A name as it stands in a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// `files/ID`, `cachedContents/ID`, ...
    pub name: String,
    /// Where the text stands, without its quotes.
    pub at: Range<usize>,
    /// Whether it is written as an address.
    pub is_address: bool,
}

/// Every name that stands in one of these fields, in their order.
pub fn named(body: &[u8], fields: &[&str]) -> Vec<Named> {
    let mut found = Vec::new();
    each(body, |field, at| {
        if !fields.contains(&field) {
            return;
        }
        let text = text(body, &at);
        let of_interaction = field.starts_with("previous").then(|| format!("interactions/{text}"));
        if let Some(name) = resource(of_interaction.as_deref().unwrap_or(&text)) {
            found.push(Named { name, at, is_address: text.contains("://") });
        }
    });
    found
}

/// The first text in the field `id`: how answers name an interaction.
pub fn first_id(body: &[u8]) -> Option<String> {
    let mut first = None;
    each(body, |field, at| {
        if field == "id" && first.is_none() {
            first = Some(text(body, &at).into_owned());
        }
    });
    first.filter(|id| is_id(id))
}

/// The thing that a name or an address is about, without what is done to it; `None` for anything else.
pub fn resource(text: &str) -> Option<String> {
    let path = match text.split_once("://") {
        Some((_, rest)) => after_version(rest.split_once('/')?.1)?,
        None => text,
    };
    let path = path.split(['?', '#']).next()?;
    if let Some((before, id)) = path.split_once("/operations/") {
        let id = id.split([':', '/']).next()?;
        let is_path = before.split('/').all(is_id);
        return (is_path && is_id(id)).then(|| format!("{before}/operations/{id}"));
    }
    let (collection, rest) = path.split_once('/')?;
    let id = rest.split([':', '/']).next()?;
    (COLLECTIONS.contains(&collection) && is_id(id)).then(|| format!("{collection}/{id}"))
}

/// What stands behind the version of a path.
pub fn after_version(path: &str) -> Option<&str> {
    let path = path.strip_prefix("download/").or_else(|| path.strip_prefix("upload/")).unwrap_or(path);
    let (version, rest) = path.split_once('/')?;
    matches!(version, "v1" | "v1beta" | "v1alpha").then_some(rest)
}

fn is_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !id.is_empty() && id.len() <= 512 && !id.contains("..") && id.bytes().all(allowed)
}

/// Every text with the field it stands in, by itself or in a list.
fn each(body: &[u8], mut seen: impl FnMut(&str, Range<usize>)) {
    let (mut end, mut last, mut field): (usize, Range<usize>, Option<Range<usize>>) = (0, 0..0, None);
    while let Some(at) = string(body, end) {
        field = match gap(&body[end.min(at.start - 1)..at.start - 1]) {
            Gap::Value | Gap::List => Some(last),
            Gap::Next => field,
            Gap::Other => None,
        };
        if let Some(field) = &field {
            seen(std::str::from_utf8(&body[field.clone()]).unwrap_or_default(), at.clone());
        }
        end = at.end + 1;
        last = at;
    }
}

/// What stands between two texts.
enum Gap {
    /// The first is the field of the second.
    Value,
    /// The second begins the list of the first.
    List,
    /// Both are in the same list, or the first ends one field and the second is the name of the next.
    Next,
    Other,
}

fn gap(between: &[u8]) -> Gap {
    let mut marks = between.iter().filter(|byte| !byte.is_ascii_whitespace());
    match (marks.next(), marks.next(), marks.next()) {
        (Some(b':'), None, _) => Gap::Value,
        (Some(b':'), Some(b'['), None) => Gap::List,
        (Some(b','), None, _) => Gap::Next,
        _ => Gap::Other,
    }
}

/// The next text from `from` on, without its quotes.
fn string(body: &[u8], from: usize) -> Option<Range<usize>> {
    let start = from + memchr(b'"', body.get(from..)?)? + 1;
    let mut at = start;
    loop {
        let hit = at + memchr2(b'"', b'\\', body.get(at..)?)?;
        if body[hit] == b'"' {
            return Some(start..hit);
        }
        at = hit + 2;
    }
}

fn text<'a>(body: &'a [u8], at: &Range<usize>) -> Cow<'a, str> {
    let raw = &body[at.clone()];
    if !raw.contains(&b'\\') {
        return String::from_utf8_lossy(raw);
    }
    let quoted = &body[at.start - 1..at.end + 1];
    serde_json::from_slice::<String>(quoted).map(Cow::Owned).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn names(body: &str) -> Vec<String> {
        named(body.as_bytes(), OF_REQUESTS).into_iter().map(|named| named.name).collect()
    }

    #[test]
    fn names_are_found_in_their_fields_and_nowhere_else() {
        let body = r#"{"contents":[{"parts":[{"text":"say \"fileUri\": \"files/no\""},{"fileData": { "fileUri" :
            "https:\/\/generativelanguage.googleapis.com\/v1beta\/files\/a-1", "mimeType":"x/y"}}, {"text":"files/no"}]}],
            "cachedContent":"cachedContents/c", "tools":[{"fileSearch":{"fileSearchStoreNames":["fileSearchStores/s","fileSearchStores/t"]}}]}"#;
        assert_eq!(names(body), ["files/a-1", "cachedContents/c", "fileSearchStores/s", "fileSearchStores/t"]);
        assert_eq!(names(r#"{"file_uri":"https://www.youtube.com/watch?v=1"}"#), [""; 0]);
        assert_eq!(names(r#"{"previous_interaction_id":"v1_ab"}"#), ["interactions/v1_ab"]);
        assert_eq!(names("no json \" at all"), [""; 0]);
    }

    #[test]
    fn where_a_name_stands_is_told_to_the_byte() {
        let body = "{\"é\":1,\"fileUri\": \"files/x\"}";
        let found = named(body.as_bytes(), OF_REQUESTS);
        assert_eq!(&body[found[0].at.clone()], "files/x");
    }

    #[test]
    fn addresses_and_actions_are_about_the_same_thing() {
        for text in
            ["files/x", "files/x:download", "https://h/v1beta/files/x", "https://h/download/v1beta/files/x:download?alt=media"]
        {
            assert_eq!(resource(text).as_deref(), Some("files/x"), "{text}");
        }
        assert_eq!(resource("models/veo/operations/o-1").as_deref(), Some("models/veo/operations/o-1"));
        for text in ["files/", "files", "models/m", "https://h/files/x", "files/../x", "gs://b/v1/o"] {
            assert_eq!(resource(text), None, "{text}");
        }
    }
}
