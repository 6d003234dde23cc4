//! The charts of the page, each from the course of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use super::brief;
use super::html::{legend, shortened};
use super::svg::{Lane, Plot, lanes, time};
use super::timeline::{Cell, Course, KeyMark, Level};
use crate::duration::show;
use crate::monitor::format::grouped;

const HEIGHT: f64 = 200.0;
/// Columns in which durations are put together: fewer than cells, so that each holds enough calls for a percentile.
const LATENCY_COLUMNS: usize = 60;
/// Lanes of the chart of keys.
const LANES: usize = 40;
/// Classes of colours for reasons of waiting, the longest wait first.
const COLOURS: [&str; 8] = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"];

/// Use of a quota and its limit, if anybody looked.
pub fn quota(course: &Course, of: impl Fn(&Cell) -> Level, name: &str) -> Option<String> {
    let seconds = seconds(course);
    let levels = || course.cells.iter().enumerate().map(|(at, cell)| (middle(course, at), of(cell)));
    let used: Vec<(f64, f64)> = levels().filter_map(|(second, level)| Some((second, level.used()?))).collect();
    // A cell nobody looked at says nothing about the limit: the line goes on to the next that does.
    let limit: Vec<(f64, Option<f64>)> =
        levels().filter(|(_, level)| level.used().is_some()).map(|(second, level)| (second, level.limit())).collect();
    let most = used.iter().map(|point| point.1).chain(limit.iter().filter_map(|point| point.1)).fold(0.0, f64::max);
    if most == 0.0 {
        return None;
    }
    let mut entries = vec![("a", "in the running minute".to_string())];
    if limit.iter().any(|point| point.1.is_some()) {
        entries.push(("limit", "permitted".to_string()));
    }
    let points: Vec<(f64, Option<f64>)> = used.iter().map(|&(second, value)| (second, Some(value))).collect();
    let plot = Plot::new(HEIGHT, seconds, most * 1.05).scale(short).area(&used, "a").line(&points, "a").line(&limit, "limit");
    Some(legend(&entries) + &plot.finish(name))
}

/// Calls that came back, by how they ended.
pub fn calls(course: &Course) -> String {
    let width = course.width.as_secs_f64();
    let total = |cell: &Cell| (cell.answered + cell.refused + cell.failed) as f64 / width;
    let most = course.cells.iter().map(total).fold(0.0, f64::max);
    let mut plot = Plot::new(HEIGHT, seconds(course), most * 1.05).scale(short);
    for (at, cell) in course.cells.iter().enumerate().filter(|(_, cell)| total(cell) > 0.0) {
        let parts = [
            (cell.answered as f64 / width, "a"),
            (cell.refused as f64 / width, "refused"),
            (cell.failed as f64 / width, "failed"),
        ];
        let words = format!("{}: {} answered, {} refused, {} failed", when(course, at), cell.answered, cell.refused, cell.failed);
        plot.column(at as f64 * width, (at + 1) as f64 * width, &parts, &words);
    }
    let entries = [("a", "answered"), ("refused", "refused for a quota"), ("failed", "failed")];
    legend(&entries.map(|(class, name)| (class, name.to_string()))) + &plot.finish("calls a second over time")
}

/// How long successful calls took, if there were any.
pub fn latency(course: &Course) -> Option<String> {
    let columns = gathered(course, LATENCY_COLUMNS);
    let at = |cell: &Cell, percent| Some(cell.latency.percentile(percent)?.as_secs_f64());
    let most = columns.iter().filter_map(|column| at(&column.cell, 99.0)).fold(0.0, f64::max);
    if most == 0.0 {
        return None;
    }
    let words = |value: f64| if most < 1.0 { format!("{:.0} ms", value * 1_000.0) } else { format!("{} s", short(value)) };
    let mut plot = Plot::new(HEIGHT, seconds(course), most * 1.05).scale(words);
    for Column { from, to, cell } in &columns {
        let (Some(p50), Some(p90), Some(p99)) = (at(cell, 50.0), at(cell, 90.0), at(cell, 99.0)) else { continue };
        let told = [p50, p90, p99].map(|seconds| brief(Duration::from_secs_f64(seconds)));
        let told = format!("{}: p50 {}, p90 {}, p99 {}, {} calls", time(*from), told[0], told[1], told[2], cell.latency.count());
        plot.column(*from, *to, &[(p50, "p50"), (p90 - p50, "p90"), (p99 - p90, "p99")], &told);
    }
    let entries = [("p50", "half of the calls"), ("p90", "90 %"), ("p99", "99 % took no longer")];
    Some(legend(&entries.map(|(class, name)| (class, name.to_string()))) + &plot.finish("latency over time"))
}

/// What held the next prompt back when, if anything did.
pub fn waiting(course: &Course) -> Option<String> {
    let mut sums: BTreeMap<&str, Duration> = BTreeMap::new();
    for (&reason, &span) in course.cells.iter().flat_map(|cell| &cell.waiting) {
        *sums.entry(reason).or_default() += span;
    }
    let mut reasons: Vec<(&str, Duration)> = sums.into_iter().collect();
    reasons.sort_by_key(|(_, span)| std::cmp::Reverse(*span));
    if reasons.is_empty() {
        return None;
    }
    let colour = |reason: &str| {
        let rank = reasons.iter().position(|(other, _)| *other == reason).unwrap_or(0);
        COLOURS[rank.min(COLOURS.len() - 1)]
    };
    let width = course.width.as_secs_f64();
    let mut plot = Plot::new(HEIGHT * 0.6, seconds(course), 100.0).scale(|percent| format!("{percent} %"));
    for (at, cell) in course.cells.iter().enumerate().filter(|(_, cell)| !cell.waiting.is_empty()) {
        let share = |span: &Duration| span.as_secs_f64() / width * 100.0;
        let parts: Vec<(f64, &str)> =
            reasons.iter().filter_map(|(reason, _)| Some((share(cell.waiting.get(reason)?), colour(reason)))).collect();
        let words: Vec<String> = cell.waiting.iter().map(|(reason, span)| format!("{reason} {:.0} %", share(span))).collect();
        plot.column(at as f64 * width, (at + 1) as f64 * width, &parts, &format!("{}: {}", when(course, at), words.join(", ")));
    }
    let entries: Vec<(&str, String)> =
        reasons.iter().map(|(reason, span)| (colour(reason), format!("{reason} ({})", show(*span)))).collect();
    Some(legend(&entries) + &plot.finish("what held prompts back over time"))
}

/// The states of keys, those with the most trouble first; how many keys are not shown.
pub fn keys(course: &Course) -> Option<(String, usize)> {
    let trouble = |key: usize| {
        let marks = course.cells.iter().filter_map(|cell| cell.states.get(key));
        std::cmp::Reverse(marks.map(|mark| *mark as u64).sum::<u64>())
    };
    let mut order: Vec<usize> = (0..course.keys.len()).collect();
    order.sort_by_cached_key(|&key| (trouble(key), key));
    let hidden = order.len().saturating_sub(LANES);
    order.truncate(LANES);
    if order.is_empty() {
        return None;
    }
    let rows: Vec<Lane> = order.iter().map(|&key| lane(course, key)).collect();
    let entries = [KeyMark::Available, KeyMark::Cooldown, KeyMark::Temporarily, KeyMark::Fully, KeyMark::Dead];
    let entries: Vec<(&str, String)> = entries.map(|mark| (class(mark), words(mark).to_string())).to_vec();
    Some((legend(&entries) + &lanes(seconds(course), &rows, "states of keys over time"), hidden))
}

fn lane(course: &Course, key: usize) -> Lane {
    let width = course.width.as_secs_f64();
    let mut stretches: Vec<(f64, f64, KeyMark)> = Vec::new();
    for (at, cell) in course.cells.iter().enumerate() {
        let (from, to) = (at as f64 * width, (at + 1) as f64 * width);
        let seen = cell.states.get(key).copied().unwrap_or_default();
        match stretches.last_mut() {
            // Where nobody looked, a key is taken to be as it was.
            Some(last) if seen == last.2 || seen == KeyMark::Unseen => last.1 = to,
            _ => stretches.push((from, to, seen)),
        }
    }
    let (project, name) = &course.keys[key];
    let label = if name.contains(project.as_str()) { name.clone() } else { format!("{project} {name}") };
    let told = |(from, to, mark): (f64, f64, KeyMark)| {
        (from, to, class(mark), format!("{label}, {} to {}: {}", time(from), time(to), words(mark)))
    };
    Lane {
        stretches: stretches.into_iter().filter(|stretch| stretch.2 != KeyMark::Unseen).map(told).collect(),
        name: shortened(&label, 26),
    }
}

fn class(mark: KeyMark) -> &'static str {
    match mark {
        KeyMark::Unseen => "unseen",
        KeyMark::Available => "available",
        KeyMark::Cooldown => "cooldown",
        KeyMark::Temporarily => "temporarily",
        KeyMark::Fully => "fully",
        KeyMark::Dead => "dead",
    }
}

fn words(mark: KeyMark) -> &'static str {
    match mark {
        KeyMark::Unseen => "not seen",
        KeyMark::Available => "available",
        KeyMark::Cooldown => "cooldown",
        KeyMark::Temporarily => "temporarily exhausted",
        KeyMark::Fully => "fully exhausted",
        KeyMark::Dead => "refused for good",
    }
}

/// Neighbouring cells put together.
struct Column {
    from: f64,
    to: f64,
    cell: Cell,
}

fn gathered(course: &Course, most: usize) -> Vec<Column> {
    let each = course.cells.len().div_ceil(most).max(1);
    let width = course.width.as_secs_f64();
    let gather = |(number, cells): (usize, &[Cell])| {
        let mut cell = Cell::default();
        cells.iter().for_each(|part| cell.merge(part.clone()));
        let from = (number * each) as f64;
        Column { from: from * width, to: (from + cells.len() as f64) * width, cell }
    };
    course.cells.chunks(each).enumerate().map(gather).collect()
}

fn seconds(course: &Course) -> f64 {
    course.width.as_secs_f64() * course.cells.len() as f64
}

fn middle(course: &Course, cell: usize) -> f64 {
    (cell as f64 + 0.5) * course.width.as_secs_f64()
}

fn when(course: &Course, cell: usize) -> String {
    time(cell as f64 * course.width.as_secs_f64())
}

/// A number for an axis: `250`, `0.5`, `12,000`, `4 M`.
fn short(value: f64) -> String {
    match value {
        _ if value >= 1e6 => format!("{} M", (value / 1e5).round() / 10.0),
        _ if value >= 1_000.0 => grouped(value.round() as u64),
        _ => format!("{}", (value * 100.0).round() / 100.0),
    }
}
