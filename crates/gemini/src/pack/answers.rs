//! The answer to several prompts, taken apart: to each its own, and nothing where it is not sure whose it is.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::json_repair;

/// What was given to one of several prompts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The answer: words, or JSON to the letter where JSON was wanted.
    pub text: String,
    /// Whether the whole it was taken from had to be repaired.
    pub repaired: bool,
}

/// Takes the answer to `count` prompts apart. An answer in damaged JSON is repaired first.
///
/// A prompt has `None` when its number is missing or stands there twice with different answers, when its answer is empty or has
/// the wrong form, and when it may be cut. A number outside of 1 to `count` says that the model counted in a way of its own:
/// then nobody's answer is sure, and all have `None`.
pub fn unpack(text: &str, count: usize, is_json: bool) -> Vec<Option<Given>> {
    let nothing = vec![None; count];
    let Ok(json) = json_repair::read(text) else { return nothing };
    let Some(mut numbered) = numbered(&json.text) else { return nothing };
    if json.truncated {
        // Whatever came last is where it broke off.
        numbered.pop();
    }
    let mut found: Vec<Place> = (0..count).map(|_| Place::Free).collect();
    for (index, answer) in numbered {
        let Some(place) = index.and_then(|index| found.get_mut(index.checked_sub(1)?)) else { return nothing };
        let given = worded(&answer, is_json).map(|text| Given { text, repaired: json.repaired });
        *place = match (&*place, given) {
            (Place::Free, Some(given)) => Place::Taken(given),
            (Place::Taken(earlier), Some(given)) if *earlier == given => Place::Taken(given),
            _ => Place::Unsure,
        };
    }
    found.into_iter().map(Place::given).collect()
}

/// What is known of a prompt's answer.
enum Place {
    Free,
    Taken(Given),
    Unsure,
}

impl Place {
    fn given(self) -> Option<Given> {
        match self {
            Place::Taken(given) => Some(given),
            Place::Free | Place::Unsure => None,
        }
    }
}

type Numbered = (Option<usize>, Box<RawValue>);

/// The numbered answers, in the order they stand there: a list of them, or a list inside an object.
fn numbered(json: &str) -> Option<Vec<Numbered>> {
    let list: Vec<Box<RawValue>> = match serde_json::from_str(json) {
        Ok(list) => list,
        Err(_) => {
            let members: serde_json::Map<String, Value> = serde_json::from_str(json).ok()?;
            let mut lists = members.into_iter().filter(|(_, value)| value.is_array());
            let (Some((_, list)), None) = (lists.next(), lists.next()) else { return None };
            serde_json::from_str(&list.to_string()).ok()?
        }
    };
    // One that cannot be read is one nobody got; its number is as if it were not there.
    Some(
        list.iter()
            .filter_map(|one| serde_json::from_str::<One>(one.get()).ok())
            .map(|one| (index(&one.index), one.answer))
            .collect(),
    )
}

#[derive(Deserialize)]
struct One {
    index: Value,
    answer: Box<RawValue>,
}

fn index(value: &Value) -> Option<usize> {
    match value {
        Value::String(digits) => digits.trim().parse().ok(),
        number => usize::try_from(number.as_u64()?).ok(),
    }
}

/// An answer in the form that was wanted.
fn worded(answer: &RawValue, is_json: bool) -> Option<String> {
    if is_json {
        return Some(answer.get().to_owned());
    }
    match serde_json::from_str(answer.get()).ok()? {
        Value::String(text) => Some(text).filter(|text| !text.trim().is_empty()),
        Value::Number(_) | Value::Bool(_) => Some(answer.get().to_owned()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn texts(answer: &str, count: usize) -> Vec<Option<String>> {
        unpack(answer, count, false).into_iter().map(|given| given.map(|given| given.text)).collect()
    }

    fn some(texts: &[&str]) -> Vec<Option<String>> {
        texts.iter().map(|text| (!text.is_empty()).then(|| (*text).to_owned())).collect()
    }

    #[test]
    fn each_prompt_gets_the_answer_of_its_number_in_whatever_order_they_come() {
        let answer = r#"[{"index":2,"answer":"b\n\"x\""},{"index":"1","answer":"a"},{"index":3,"answer":42}]"#;
        assert_eq!(texts(answer, 3), some(&["a", "b\n\"x\"", "42"]));
        assert_eq!(texts(&format!("{{\"answers\":{answer}}}"), 3), some(&["a", "b\n\"x\"", "42"]));
    }

    #[test]
    fn damaged_json_is_repaired_before_it_is_taken_apart() {
        let answer = "Here:\n```json\n[{'index': 1, 'answer': 'a'}, {'index': 2, 'answer': 'b'},]\n```";
        let given = unpack(answer, 2, false);
        assert!(given.iter().all(|given| given.as_ref().unwrap().repaired));
        assert_eq!(
            texts("{\"index\":1,\"answer\":\"a\"}\n{\"index\":2,\"answer\":\"b\"}", 2),
            some(&["a", "b"]),
            "lines are a list"
        );
    }

    #[test]
    fn what_is_missing_empty_or_doubled_is_nobodys_and_the_others_are_kept() {
        let answer = r#"[{"index":1,"answer":"a"},{"index":2,"answer":"b"},{"index":2,"answer":"c"},{"index":4,"answer":" "}]"#;
        assert_eq!(texts(answer, 5), some(&["a", "", "", "", ""]));
        assert_eq!(
            texts(r#"[{"index":1,"answer":"a"},{"index":1,"answer":"a"}]"#, 2),
            some(&["a", ""]),
            "twice the same is sure"
        );
        assert_eq!(
            texts(r#"[{"index":1,"answer":null},{"index":2,"reply":"b"},{"index":3,"answer":"c"}]"#, 3),
            some(&["", "", "c"])
        );
    }

    #[test]
    fn a_model_that_counts_from_nought_is_believed_in_nothing() {
        assert_eq!(texts(r#"[{"index":0,"answer":"a"},{"index":1,"answer":"b"}]"#, 2), some(&["", ""]));
        assert_eq!(texts(r#"[{"index":1,"answer":"a"},{"index":3,"answer":"b"}]"#, 2), some(&["", ""]));
        assert_eq!(texts(r#"[{"index":"one","answer":"a"}]"#, 1), some(&[""]));
    }

    #[test]
    fn an_answer_cut_anywhere_gives_nobody_a_part_of_one() {
        let whole =
            r#"[{"index":1,"answer":"first, whole"},{"index":2,"answer":"second, \"whole\""},{"index":3,"answer":"third"}]"#;
        let expected = texts(whole, 3);
        for end in 0..whole.len() {
            for (found, whole) in texts(&whole[..end], 3).iter().zip(&expected) {
                assert!(found.is_none() || found == whole, "cut after {end}: {found:?}");
            }
        }
        let cut = whole.find("third").unwrap();
        assert_eq!(texts(&whole[..cut], 3)[..2], expected[..2], "what was whole is kept");
    }

    #[test]
    fn json_is_given_to_the_letter() {
        let answer = r#"[{"index":1,"answer":{"n":  1.50}},{"index":2,"answer":"word"}]"#;
        let given = unpack(answer, 2, true);
        assert_eq!(given[0].as_ref().unwrap().text, r#"{"n":  1.50}"#);
        assert_eq!(given[1].as_ref().unwrap().text, "\"word\"");
        assert_eq!(unpack("I would rather not.", 2, true), [None, None]);
    }
}
