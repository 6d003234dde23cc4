//! JSON: every value as a line with the path to it.

use serde_json::Value;

use super::{Block, BlockKind, Place};

pub(super) fn blocks(text: &str) -> Result<Vec<Block>, String> {
    let mut lines = Vec::new();
    let values: Vec<Value> = match serde_json::from_str(text) {
        Ok(value) => vec![value],
        // One value a line is the other usual form.
        Err(fault) => {
            let each = text.lines().filter(|line| !line.trim().is_empty()).map(serde_json::from_str);
            each.collect::<Result<_, _>>().map_err(|_| fault.to_string())?
        }
    };
    let is_single = values.len() == 1;
    for (number, value) in values.iter().enumerate() {
        let path = if is_single { String::new() } else { format!("[{number}]") };
        flatten(value, &path, &mut lines);
    }
    let block = |text| Block { kind: BlockKind::Row, text, place: Place::default() };
    Ok(lines.into_iter().map(block).collect())
}

fn flatten(value: &Value, path: &str, lines: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(member, &path, lines);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (number, item) in items.iter().enumerate() {
                flatten(item, &format!("{path}[{number}]"), lines);
            }
        }
        Value::Array(items) => {
            let all: Vec<String> = items.iter().map(plain).collect();
            push(path, &all.join(", "), lines);
        }
        scalar => push(path, &plain(scalar), lines),
    }
}

fn push(path: &str, text: &str, lines: &mut Vec<String>) {
    if !text.is_empty() {
        lines.push(if path.is_empty() { text.to_owned() } else { format!("{path}: {text}") });
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn each_value_stands_with_its_path() {
        let read = |text| blocks(text).unwrap().into_iter().map(|block| block.text).collect::<Vec<_>>();
        assert_eq!(read(r#"{"a":{"b":1,"c":[1,2]},"d":[{"e":"x"}],"f":null}"#), ["a.b: 1", "a.c: 1, 2", "d[0].e: x"]);
        assert_eq!(read("{\"a\":1}\n{\"a\":2}"), ["[0].a: 1", "[1].a: 2"]);
    }
}
