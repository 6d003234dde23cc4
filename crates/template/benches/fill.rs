//! What filling takes: calls beside one search and one question for each field, time at one second a call, a large form.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::time::Duration;

use tidegate_template::{Filler, Settings, Unobserved};

#[path = "../tests/common/mod.rs"]
mod common;

/// What the naive way takes for each field: a search and a question, one after the other.
const ONE_BY_ONE: u64 = 2;
const LATENCY: Duration = Duration::from_secs(1);

fn main() {
    // Time that nobody waits for: seconds pass when all are asleep.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        println!("fields  calls  one by one  fewer  seconds  one by one  times as fast");
        for count in [10, 12, 20, 30, 60] {
            fields(count).await;
        }
        large().await;
    });
}

async fn fields(count: usize) {
    let (template, document, model) = common::form(count);
    let filler = Filler::builder(template, vec![document]).settings(Settings::default()).build();
    let begun = tokio::time::Instant::now();
    let filled = filler.fill(&model, &Unobserved).await;
    let took = begun.elapsed().as_secs_f64();
    assert!(filled.fields.iter().all(|field| !field.value.is_null()), "a field is empty");
    let (calls, naive) = (filled.stats.generation_calls, ONE_BY_ONE * count as u64);
    let slow = (LATENCY * u32::try_from(naive).unwrap()).as_secs_f64();
    println!(
        "{count:>6}  {calls:>5}  {naive:>10}  {:>4.1}%  {took:>7.1}  {slow:>10.1}  {:>13.1}",
        100.0 * (1.0 - calls as f64 / naive as f64),
        slow / took
    );
}

/// 200 fields, each in a section of its own, of several megabytes.
async fn large() {
    const FIELDS: usize = 200;
    const REMARKS: usize = 160;
    let (template, _, model) = common::form(FIELDS);
    let mut text = String::new();
    for number in 0..FIELDS {
        text += &format!("# Section {number}\n\nThe value of field{number} is value-{number}.\n\n");
        for line in 0..REMARKS {
            text += &format!(
                "Remark {number}/{line}: nothing that matters stands in this line, whose words w{number}x{line} and v{line}y{number} are its own and nobody else's.\n\n"
            );
        }
    }
    let megabytes = text.len() as f64 / 1e6;
    let document = tidegate_template::Document::from_bytes("large.md", text.as_bytes()).unwrap();
    drop(text);
    let settings = Settings { max_batch_size: 15, ..Settings::default() };
    let begun = std::time::Instant::now();
    let filled = Filler::builder(template, vec![document]).settings(settings).build().fill(&model, &Unobserved).await;
    let found = filled.fields.iter().filter(|field| !field.value.is_null()).count();
    println!(
        "\n{FIELDS} fields, {megabytes:.1} MB, {} chunks: {found} found, {} calls of at most 15 fields, {:.1} s of work, peak memory {}",
        filled.stats.chunks,
        filled.stats.generation_calls,
        begun.elapsed().as_secs_f64(),
        peak().unwrap_or_else(|| "unknown here".to_owned())
    );
}

/// The most memory this process ever held, where the system tells.
fn peak() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(format!("{} MB", kilobytes / 1024))
}
