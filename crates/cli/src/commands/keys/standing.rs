//! What stands against a key now: what the API said of it, and days of its project that are used up.

use serde_json::{Value, json};
use tidegate_engine::scheduler::{Dimension, Timestamp};
use tidegate_engine::store::{DayRow, KeyRecord, LearnedLimit};

use super::card::Card;
use crate::commands::past::{Past, utc};

/// The state of a used up day, as runs name it.
const FULLY_EXHAUSTED: &str = "FULLY_EXHAUSTED";

/// Something that keeps a key from being used.
#[derive(Debug)]
pub struct Standing {
    /// The model family it concerns; empty for the key itself.
    pub model: String,
    pub state: String,
    /// Since when, where that is known.
    pub since: Option<Timestamp>,
    /// Until when, where it ends by itself.
    pub until: Option<Timestamp>,
    pub reason: String,
}

/// All that stands against a key: what concerns it as a whole before what concerns single models.
pub fn standings(card: &Card, past: &Past) -> Vec<Standing> {
    let key = card.fingerprint();
    let told = past.states.iter().filter(|state| state.key == key && state.state != "AVAILABLE");
    let mut all: Vec<Standing> = told.map(of_record).collect();
    for day in past.days.iter().filter(|day| day.project == card.project) {
        let Some(limit) = day_limit(card, past, &day.model).filter(|limit| (1..=day.requests).contains(limit)) else { continue };
        let known = |standing: &&mut Standing| standing.model == day.model && standing.state == FULLY_EXHAUSTED;
        match all.iter_mut().find(known) {
            // A refusal just after midnight is asked once more; the count says that it was no mistake.
            Some(standing) => standing.until = standing.until.map(|until| until.max(day.day_end)),
            None => {
                all.retain(|standing| standing.model != day.model);
                all.push(used_up(day, limit));
            }
        }
    }
    all.sort_by(|one, other| one.model.cmp(&other.model));
    all
}

/// Requests a day of the card's project, as a run would hold them: a limit the server taught goes before a configured one.
pub fn day_limit(card: &Card, past: &Past, model: &str) -> Option<u64> {
    past.limits.iter().find(|limit| is_of_day(limit, card, model)).map(|limit| limit.value).or(card.limits_for(model).rpd)
}

fn is_of_day(limit: &LearnedLimit, card: &Card, model: &str) -> bool {
    limit.project == card.project && limit.model == model && limit.dimension == Dimension::Rpd
}

fn of_record(record: &KeyRecord) -> Standing {
    let KeyRecord { model, state, until, reason, since, .. } = record.clone();
    Standing { model, state, since: Some(since), until, reason }
}

fn used_up(day: &DayRow, limit: u64) -> Standing {
    Standing {
        model: day.model.clone(),
        state: FULLY_EXHAUSTED.to_string(),
        since: None,
        until: Some(day.day_end),
        reason: format!("the day's {limit} requests are used up"),
    }
}

impl Standing {
    /// Stands for the time where time alone ends nothing. A model without quota is asked for again by a new run.
    pub fn never(&self) -> &'static str {
        if self.model.is_empty() { "never" } else { "no quota" }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "model": Some(&self.model).filter(|model| !model.is_empty()),
            "state": self.state,
            "since": self.since.and_then(utc),
            "until": self.until.and_then(utc),
            "reason": self.reason,
        })
    }
}
