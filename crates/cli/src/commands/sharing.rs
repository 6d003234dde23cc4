//! The ledger in Redis that a command shares its quotas by, where the settings name one.

use secrecy::ExposeSecret;
use tidegate_engine::Builder;
use tidegate_engine::ledger::RedisLedger;

use crate::exit_code::{ExitCode, Failure};
use crate::settings::Settings;

/// The builder with the ledger of the settings. `alone` is the part of the limits to go on with while it is away.
///
/// # Errors
/// When Redis cannot be reached within five seconds; the message names place, reason and remedy, never a password.
pub async fn shared(builder: Builder, settings: &Settings, simulated: bool, alone: f64) -> Result<Builder, Failure> {
    let Some(url) = &settings.redis.url else { return Ok(builder) };
    if simulated {
        return Err(Failure::usage(
            "--sim and --redis: each process would have a simulator of its own; start one with `tidegate simulate` and name it in --base-url",
        ));
    }
    let ledger = RedisLedger::open(url.expose_secret()).await.map_err(|error| Failure::new(ExitCode::Unreachable, error))?;
    Ok(builder.ledger(ledger).alone(alone))
}
