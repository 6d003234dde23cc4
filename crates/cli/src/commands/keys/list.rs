//! `keys list`: the pool, masked, with limits, what is used of them and what is known of each key.

use serde_json::{Value, json};
use tidegate_engine::Kin;
use tidegate_engine::store::LearnedLimit;
use tidegate_gemini::models::{Limits, family};

use super::card::{self, Card};
use super::standing::{Standing, day_limit, standings};
use super::table::table;
use crate::args::ListingArgs;
use crate::commands::Context;
use crate::commands::past::{Past, local, local_date, utc};
use crate::commands::run::kin_in_words;
use crate::exit_code::{ExitCode, Failure};
use crate::monitor::format::grouped;
use crate::screen;

/// Shows every key that a run would use.
///
/// # Errors
/// When there is none, or settings are wrong.
pub fn list(wanted: &ListingArgs, context: &Context) -> Result<ExitCode, Failure> {
    let settings = context.settings(context.global.layer(), context.scenario()?)?;
    let cards = card::pool(&settings)?;
    let past = Past::read(&settings, context.global.sim.is_some(), &context.screen);
    if wanted.json {
        screen::data(cards.iter().map(|card| as_json(card, &past)).collect::<Value>());
    } else {
        let titles = ["KEY", "IS", "PROJECT", "TIER", "LIMITS", "LEARNED", "TODAY", "STATE", "FREE AGAIN"];
        let rows: Vec<_> = cards.iter().map(|card| row(card, &past, family(&settings.model))).collect();
        screen::data(table(titles, &rows));
        context.screen.say(format!("limits and use are those of {}", settings.model));
        kin_in_words(&kin(&cards, &past)).iter().for_each(|line| context.screen.say(line));
    }
    Ok(ExitCode::AllOk)
}

/// Projects of the pool that earlier runs took for one.
fn kin(cards: &[Card], past: &Past) -> Vec<Kin> {
    let is_here = |name: &str| cards.iter().any(|card| card.project == name);
    past.kin.iter().filter(|kin| is_here(&kin.one) && is_here(&kin.other)).cloned().collect()
}

fn row(card: &Card, past: &Past, model: &str) -> [String; 9] {
    let learned: Vec<String> = learned(card, past)
        .filter(|limit| limit.model == model)
        .map(|limit| format!("{} {} ({})", limit.dimension.name(), grouped(limit.value), local_date(limit.learned_at)))
        .collect();
    let day = past.days.iter().find(|day| day.project == card.project && day.model == model);
    let today = day.map(|day| {
        let limit = day_limit(card, past, model).map(|limit| format!("/{}", grouped(limit))).unwrap_or_default();
        grouped(day.requests) + &limit
    });
    let standings = standings(card, past);
    let state = standings.iter().find(|state| state.model.is_empty() || state.model == model);
    let free = state.map(|state| state.until.map_or(state.never().to_string(), local));
    [
        card.name.clone(),
        card.masked.clone(),
        card.project.clone(),
        card.tier.clone().unwrap_or_default(),
        short(card.limits_for(model)),
        learned.join(", "),
        today.unwrap_or_default(),
        state.map_or("AVAILABLE".to_string(), |state| state.state.clone()),
        free.unwrap_or_default(),
    ]
}

/// Limits as short as a table needs them.
fn short(Limits { rpm, tpm, rpd }: Limits) -> String {
    let all = [("RPM", rpm), ("TPM", tpm), ("RPD", rpd)];
    let known: Vec<String> =
        all.iter().filter_map(|(name, limit)| limit.map(|limit| format!("{name} {}", grouped(limit)))).collect();
    if known.is_empty() { "not known".to_string() } else { known.join(", ") }
}

fn learned<'a>(card: &'a Card, past: &'a Past) -> impl Iterator<Item = &'a LearnedLimit> {
    past.limits.iter().filter(|limit| limit.project == card.project)
}

fn as_json(card: &Card, past: &Past) -> Value {
    let limits: serde_json::Map<String, Value> = card
        .limits
        .iter()
        .map(|(model, limits)| (model.clone(), json!({"rpm": limits.rpm, "tpm": limits.tpm, "rpd": limits.rpd})))
        .collect();
    let learned = learned(card, past).map(|limit| {
        let (dimension, source) = (limit.dimension.name(), limit.source.name());
        json!({"model": limit.model, "dimension": dimension, "value": limit.value, "learned_at": utc(limit.learned_at), "source": source})
    });
    let days = past.days.iter().filter(|day| day.project == card.project);
    let today = days.map(|day| json!({"model": day.model, "requests": day.requests, "day_ends_at": utc(day.day_end)}));
    json!({
        "key": card.name,
        "masked": card.masked,
        "project": card.project,
        "tier": card.tier,
        "limits": limits,
        "learned": learned.collect::<Value>(),
        "today": today.collect::<Value>(),
        "probably_one_project_with": kin_of(card, past),
        "states": standings(card, past).iter().map(Standing::json).collect::<Value>(),
    })
}

fn kin_of<'a>(card: &Card, past: &'a Past) -> Vec<&'a str> {
    let others = past.kin.iter().filter_map(|kin| match (&*kin.one, &*kin.other) {
        (one, other) if one == card.project => Some(other),
        (one, other) if other == card.project => Some(one),
        _ => None,
    });
    others.collect()
}
