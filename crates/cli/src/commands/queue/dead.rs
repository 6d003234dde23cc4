//! `tidegate queue dead`: the dead letters with their history.

use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_redis::queue::{DeadLetter, Queue};

use super::unreachable;
use crate::commands::Context;
use crate::exit_code::{ExitCode, Failure};
use crate::screen;

pub async fn list(queue: &Queue, limit: usize, as_json: bool, context: &Context) -> Result<ExitCode, Failure> {
    let letters = queue.dead_letters(limit).await.map_err(unreachable)?;
    for letter in &letters {
        if as_json {
            screen::data(to_json(letter));
        } else {
            screen::data(format!("{}  {}  {}", when(letter), letter.state, letter.id));
            letter.history.lines().for_each(|line| screen::data(format!("    {line}")));
        }
    }
    if letters.is_empty() {
        context.screen.say(format!("queue {}: no dead letters", queue.name()));
    }
    Ok(ExitCode::AllOk)
}

/// The ids of all dead letters.
pub async fn ids(queue: &Queue) -> Result<Vec<String>, Failure> {
    let letters = queue.dead_letters(usize::MAX).await.map_err(unreachable)?;
    Ok(letters.into_iter().map(|letter| letter.id).collect())
}

fn when(letter: &DeadLetter) -> String {
    let at = i64::try_from(letter.at).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
    at.map(|at| format!("{at:.3}")).unwrap_or_default()
}

fn to_json(letter: &DeadLetter) -> Value {
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|_| Value::from(text));
    json!({
        "id": letter.id,
        "state": letter.state,
        "at": when(letter),
        "history": letter.history.lines().map(read).collect::<Vec<_>>(),
        "record": if letter.record.is_empty() { Value::Null } else { read(&letter.record) },
    })
}
