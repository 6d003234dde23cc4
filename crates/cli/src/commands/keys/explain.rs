//! `keys explain`: the state of one key, why, until when, and how it came to that.

use serde_json::{Value, json};
use tidegate_engine::store::KeyEvent;

use super::card::{self, Card};
use super::standing::{Standing, standings};
use crate::args::ExplainArgs;
use crate::commands::Context;
use crate::commands::past::{self, Past, local, utc};
use crate::exit_code::{ExitCode, Failure};
use crate::screen;

/// Changes told at most.
const MOST: usize = 50;

/// Tells what is known of a key.
///
/// # Errors
/// When there is no such key, or the store cannot be read.
pub fn explain(wanted: &ExplainArgs, context: &Context) -> Result<ExitCode, Failure> {
    let settings = context.settings(context.global.layer(), context.scenario()?)?;
    let cards = card::pool(&settings)?;
    let card = card::named(&cards, &wanted.name)?;
    let simulated = context.global.sim.is_some();
    let past = Past::read(&settings, simulated, &context.screen);
    let journal = past::journal(&settings, simulated, &card.fingerprint().to_string(), MOST);
    let journal = journal.map_err(|error| Failure::new(ExitCode::Unreachable, error))?;
    let states = standings(card, &past);
    screen::data(if wanted.json { as_json(card, &states, &journal) } else { as_text(card, &states, &journal) });
    Ok(ExitCode::AllOk)
}

fn as_text(card: &Card, states: &[Standing], journal: &[KeyEvent]) -> String {
    let mut lines = vec![format!("{} ({}) of project {}", card.name, card.masked, card.project)];
    if states.is_empty() {
        lines.push("AVAILABLE: nothing is known against it".to_string());
    }
    lines.extend(states.iter().map(in_words));
    for event in journal {
        lines.push(changed(event));
        let body = event.body.as_ref().map(|body| body.as_str().split_whitespace().collect::<Vec<_>>().join(" "));
        lines.extend(body.filter(|body| !body.is_empty()).map(|body| format!("    {body}")));
    }
    lines.join("\n")
}

fn in_words(state: &Standing) -> String {
    let model = if state.model.is_empty() { String::new() } else { format!(" for {}", state.model) };
    let word = if is_parked(state) { "next probe" } else { "until" };
    let until = state.until.map_or(format!(", {}", for_good(state)), |until| format!(", {word} {}", local(until)));
    let reason = if state.reason.is_empty() { String::new() } else { format!(": {}", state.reason) };
    let since = state.since.map(|since| format!(" since {}", local(since))).unwrap_or_default();
    format!("{}{model}{since}{until}{reason}", state.state)
}

/// A missing quota may be there for a new run, which asks once more.
fn for_good(state: &Standing) -> &'static str {
    if state.model.is_empty() { "for good" } else { "until a new run finds a quota" }
}

/// A bill or a cap stops the whole project or account; one request asks now and then whether that is over.
fn is_parked(state: &Standing) -> bool {
    state.model.is_empty() && state.state == "FULLY_EXHAUSTED"
}

fn changed(event: &KeyEvent) -> String {
    let model = if event.model.is_empty() { String::new() } else { format!("{} ", event.model) };
    let status = event.http_status.map(|status| format!(" (HTTP {status})")).unwrap_or_default();
    format!("{}  {model}{} -> {}: {}{status}", local(event.at), event.from, event.to, event.cause)
}

fn as_json(card: &Card, states: &[Standing], journal: &[KeyEvent]) -> String {
    let journal = journal.iter().map(|event| {
        json!({
            "at": utc(event.at),
            "model": Some(&event.model).filter(|model| !model.is_empty()),
            "from": event.from,
            "to": event.to,
            "cause": event.cause,
            "http_status": event.http_status,
            "body": event.body.as_ref().map(|body| body.as_str()),
        })
    });
    json!({
        "key": card.name,
        "masked": card.masked,
        "project": card.project,
        "states": states.iter().map(Standing::json).collect::<Value>(),
        "journal": journal.collect::<Value>(),
    })
    .to_string()
}
