//! Large forms over large documents stay small in memory and few in calls.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(target_os = "linux")]

mod common;

use std::fmt::Write;
use std::sync::Arc;

use common::form;
use tidegate_template::{Document, Filler, Store, Unobserved};

/// The most memory this process ever held, in MB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test(start_paused = true)]
async fn two_hundred_fields_of_five_megabytes_take_twenty_calls_and_less_than_five_hundred_megabytes() {
    let (template, _, mut model) = form(200);
    (model.embeds, model.dimensions) = (true, 768);
    let mut text = String::new();
    for section in 0..2000 {
        if section % 10 == 0 {
            let _ = write!(text, "The value of field{0} is value-{0}.\n\n", section / 10);
        }
        for line in 0..40 {
            let _ = writeln!(
                text,
                "In line {line} of section {section} word{} meets word{} for no reason at all, as words do.",
                section * line,
                section + line
            );
        }
        text.push('\n');
    }
    assert!(text.len() > 5 << 20);
    let document = Document::from_bytes("large.txt", text.as_bytes()).unwrap();
    drop(text);
    let store = Arc::new(Store::in_memory().unwrap());
    let filler = Filler::builder(template, vec![document]).store(store).build();
    // The gateway fills in tasks of their own.
    let filled = tokio::spawn(async move { filler.fill(&model, &Unobserved).await }).await.unwrap();
    assert_eq!((filled.stats.from_model, filled.stats.generation_calls), (200, 20), "{:?}", filled.notes);
    assert!(filled.stats.embedded_texts > 3000, "{}", filled.stats.embedded_texts);
    let peak = peak();
    assert!(peak < 500, "{peak} MB");
}
