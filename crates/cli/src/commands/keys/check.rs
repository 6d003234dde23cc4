//! `keys check`: asks the API whether each key works, all at once.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidegate_engine::{BuildError, KeyCheck, KeyStanding, KeyVerdict};

use super::card::{self, Card};
use super::table::table;
use crate::args::ListingArgs;
use crate::commands::{Context, past};
use crate::embedded::{self, Embedded};
use crate::exit_code::{ExitCode, Failure};
use crate::screen;

/// The longest an answer may take: it holds one entry of a list.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks about every key of the pool.
///
/// # Errors
/// When there is no key, or the base URL cannot be used.
pub async fn check(wanted: &ListingArgs, context: &Context) -> Result<ExitCode, Failure> {
    let simulator = match &context.global.sim {
        None => None,
        Some(named) => {
            let scenario = embedded::scenario(named)?;
            Some((Embedded::start(scenario.clone()).await?, scenario))
        }
    };
    let scenario = simulator.as_ref().map(|(server, scenario)| embedded::layer(scenario, server.base_url()));
    let settings = context.settings(context.global.layer(), scenario)?;
    let cards = card::pool(&settings)?;
    let asked = KeyCheck::new(&settings.base_url, PATIENCE).map_err(|error| match error {
        BuildError::BaseUrl { .. } | BuildError::NoKeys => Failure::usage(error),
        BuildError::Tls(_) | BuildError::Store(_) => Failure::new(ExitCode::Unreachable, error),
    })?;
    let verdicts = ask(Arc::new(asked), &cards).await;
    screen::data(if wanted.json { as_json(&cards, &verdicts) } else { as_text(&cards, &verdicts) });
    let working = cards.iter().zip(&verdicts).filter(|(_, verdict)| verdict.standing.is_usable());
    let working = working.map(|(card, _)| (card.name.as_str(), card.project.as_str(), &card.secret));
    match past::revive(&settings, context.global.sim.is_some(), working) {
        Ok(0) => {}
        Ok(revived) => context.screen.say(format!("{revived} that had been put aside will be used again")),
        Err(fault) => context.screen.say(format!("keys that were put aside stay so: {fault}")),
    }
    let usable = verdicts.iter().filter(|verdict| verdict.standing.is_usable()).count();
    context.screen.say(format!("{usable} of {} keys work at {}", cards.len(), settings.base_url));
    Ok(exit_code(&verdicts))
}

async fn ask(asked: Arc<KeyCheck>, cards: &[Card]) -> Vec<KeyVerdict> {
    let asking: Vec<_> = cards
        .iter()
        .map(|card| {
            let (asked, secret) = (asked.clone(), card.secret.clone());
            tokio::spawn(async move { asked.check(&secret).await })
        })
        .collect();
    let mut verdicts = Vec::with_capacity(asking.len());
    for answer in asking {
        verdicts.push(answer.await.unwrap_or_else(|fault| KeyVerdict {
            standing: KeyStanding::Unreachable,
            http_status: None,
            reason: None,
            message: Some(fault.to_string()),
        }));
    }
    verdicts
}

fn exit_code(verdicts: &[KeyVerdict]) -> ExitCode {
    let count = |wanted: fn(KeyStanding) -> bool| verdicts.iter().filter(|verdict| wanted(verdict.standing)).count();
    match count(KeyStanding::is_usable) {
        all if all == verdicts.len() => ExitCode::AllOk,
        0 if count(|standing| standing == KeyStanding::Unreachable) == verdicts.len() => ExitCode::Unreachable,
        0 => ExitCode::NoKey,
        _ => ExitCode::SomeFailed,
    }
}

fn as_text(cards: &[Card], verdicts: &[KeyVerdict]) -> String {
    let rows: Vec<_> = cards
        .iter()
        .zip(verdicts)
        .map(|(card, verdict)| {
            let status = verdict.http_status.map(|status| status.to_string()).unwrap_or_default();
            let (reason, message) = (verdict.reason.clone().unwrap_or_default(), verdict.message.clone().unwrap_or_default());
            let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
            [card.name.clone(), card.project.clone(), verdict.standing.name().to_string(), status, reason, message]
        })
        .collect();
    table(["KEY", "PROJECT", "IS", "HTTP", "REASON", "THE API SAYS"], &rows)
}

fn as_json(cards: &[Card], verdicts: &[KeyVerdict]) -> String {
    let keys = cards.iter().zip(verdicts).map(|(card, verdict)| {
        json!({
            "key": card.name,
            "masked": card.masked,
            "project": card.project,
            "standing": verdict.standing.name(),
            "usable": verdict.standing.is_usable(),
            "http_status": verdict.http_status,
            "reason": verdict.reason,
            "message": verdict.message,
        })
    });
    keys.collect::<serde_json::Value>().to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn code(standings: &[KeyStanding]) -> ExitCode {
        let verdict = |&standing| KeyVerdict { standing, http_status: None, reason: None, message: None };
        exit_code(&standings.iter().map(verdict).collect::<Vec<_>>())
    }

    #[test]
    fn the_exit_code_tells_all_some_none_or_no_answer() {
        use KeyStanding::{Invalid, Limited, Unclear, Unreachable, Valid};
        assert_eq!(code(&[Valid, Limited]), ExitCode::AllOk);
        assert_eq!(code(&[Valid, Invalid]), ExitCode::SomeFailed);
        assert_eq!(code(&[Invalid, Unreachable]), ExitCode::NoKey);
        assert_eq!(code(&[Unclear]), ExitCode::NoKey);
        assert_eq!(code(&[Unreachable, Unreachable]), ExitCode::Unreachable);
    }
}
