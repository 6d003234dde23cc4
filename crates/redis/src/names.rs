//! The names of all keys in Redis, made in one place.
//!
//! What one script touches shares a hash tag, so that in a cluster it lies on one node: the project for a limiter (several
//! model families may share what is counted by project), the queue's name for a queue.

use std::fmt::Write;

/// A key of the limiter: `tidegate:quota:{PROJECT}:FAMILY:PART`.
pub fn quota(project: &str, family: &str, part: &str) -> String {
    format!("{}:{}:{part}", owner(project), escape(family))
}

/// A key of a project as a whole: `tidegate:quota:{PROJECT}:PART`. Its part has no colon, a family's has one.
pub fn project(project: &str, part: &str) -> String {
    format!("{}:{part}", owner(project))
}

/// Where news of the limiter are published: the state key of a bucket, or the facts of a project.
pub const NEWS: &str = "tidegate:quota:news";

/// A key of a queue: `tidegate:queue:{NAME}:PART`.
pub fn queue(name: &str, part: &str) -> String {
    format!("tidegate:queue:{{{}}}:{part}", escape(name))
}

fn owner(project: &str) -> String {
    format!("tidegate:quota:{{{}}}", escape(project))
}

/// Writes as `%XX` what would end a hash tag or a part of a name, and what a terminal would not show.
fn escape(name: &str) -> String {
    if name.is_empty() {
        // An empty hash tag is none: the whole key would choose its node.
        return "%".to_owned();
    }
    let mut escaped = String::with_capacity(name.len());
    for letter in name.chars() {
        if matches!(letter, '{' | '}' | ':' | '%') || letter.is_control() || letter.is_whitespace() {
            let mut bytes = [0; 4];
            for byte in letter.encode_utf8(&mut bytes).bytes() {
                // Writing to a string does not fail.
                let _ = write!(escaped, "%{byte:02X}");
            }
        } else {
            escaped.push(letter);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &str) -> &str {
        let start = key.find('{').map_or(0, |at| at + 1);
        let end = key[start..].find('}').map_or(key.len(), |at| start + at);
        &key[start..end]
    }

    #[test]
    fn names_are_those_a_person_looks_for() {
        assert_eq!(quota("main", "gemini-2.5-flash", "rpm"), "tidegate:quota:{main}:gemini-2.5-flash:rpm");
        assert_eq!(queue("nightly", "dead"), "tidegate:queue:{nightly}:dead");
    }

    #[test]
    fn all_keys_of_an_owner_share_its_tag_whatever_its_name() {
        for name in ["main", "", "}", "a}b{c", "a:b", "ü x"] {
            let tags = [quota(name, "f", "state"), quota(name, "}{", "ring"), project(name, "facts")];
            assert!(tags.iter().all(|key| tag(key) == tag(&tags[0]) && !tag(key).is_empty()), "{tags:?}");
        }
    }

    #[test]
    fn different_names_have_different_keys() {
        assert_ne!(queue("a:b", "c"), queue("a", "b:c"));
        assert_ne!(quota("", "f", "p"), quota("%", "f", "p"));
    }
}
