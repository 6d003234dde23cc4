//! The documented table and the rows are one: the same ids, the same doors, the same words; no known body is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::rows::all;
use crate::stage::testdata;

/// Id -> (whose, code) of the table whose heading begins with `id`.
fn documented() -> BTreeMap<String, (String, String)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/faults.md");
    let text = std::fs::read_to_string(page).unwrap();
    let lines = text.lines().skip_while(|line| !line.starts_with("| id |")).skip(2).take_while(|line| line.starts_with('|'));
    let cells = lines.map(|line| line.split('|').map(|cell| cell.trim().trim_matches('`').to_string()).collect::<Vec<_>>());
    let rows: Vec<_> = cells.map(|cells| (cells[1].clone(), (cells[3].clone(), cells[4].clone()))).collect();
    let unique: BTreeMap<_, _> = rows.iter().cloned().collect();
    assert_eq!(unique.len(), rows.len(), "an id stands twice");
    unique
}

#[test]
fn the_documented_table_has_exactly_the_rows_that_are_tested() {
    let rows = all();
    let tested: BTreeMap<_, _> =
        rows.iter().map(|row| (row.id.to_string(), (row.whose.word().to_string(), row.code.to_string()))).collect();
    assert_eq!(tested.len(), rows.len(), "an id stands twice");
    assert_eq!(documented(), tested);
}

#[test]
fn every_known_body_belongs_to_exactly_one_row() {
    let rows = all();
    let mut named = BTreeSet::new();
    for body in rows.iter().flat_map(|row| row.bodies) {
        assert!(named.insert((*body).to_string()), "{body} stands in two rows");
    }
    let mut known = BTreeSet::new();
    for folder in ["errors", "responses"] {
        for entry in std::fs::read_dir(testdata().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            // Streams have no row: the engine asks for whole answers.
            if let Some(name) = name.strip_suffix(".json").filter(|name| !name.starts_with("stream-")) {
                known.insert(format!("{folder}/{name}"));
            }
        }
    }
    assert_eq!(known, named);
}

#[test]
fn every_row_has_an_answer_to_test() {
    for row in all() {
        assert!(!row.bodies.is_empty() || !(row.made)().is_empty(), "{}", row.id);
    }
}
