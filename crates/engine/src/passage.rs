//! Calls that no quota counts: sent at once with any good key, and with another one when the fault is the key's.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use secrecy::SecretString;
use tidegate_scheduler::{KeyState, Outcome};

use crate::backend::{Method, Passage, Reply, TransportError};
use crate::classify::classify;
use crate::driver::Driver;
use crate::redact;

/// So many keys are tried; a fault that all of them show is not theirs.
const MOST_TRIES: usize = 3;

/// Why a call could not be handed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PassageError {
    /// There is nobody to ask as.
    #[error("All keys exhausted: no usable key is left")]
    NoKey,
    /// The engine was shut down.
    #[error("the engine is shut down: Workers not running")]
    Closed,
    /// The engine speaks to something else than the API over HTTP.
    #[error("this backend takes prompts only")]
    NoRelay,
    /// The API named another address; a key is not taken there.
    #[error("the API sends its callers to another address, which is not followed")]
    Elsewhere,
    /// No answer came.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// Sends `passage`; an answer that blames its key or the moment is asked for again with the next key.
pub(crate) async fn pass(driver: &Driver, passage: Passage) -> Result<Reply, PassageError> {
    let keys = keys(driver)?;
    let turn = driver.counted.fetch_add(1, Ordering::Relaxed);
    let mut last = Err(PassageError::NoKey);
    for key in keys.iter().cycle().skip(turn % keys.len().max(1)).take(MOST_TRIES.min(keys.len().max(2))) {
        let sent =
            tokio::time::timeout(driver.terms.now().attempt_timeout, driver.backend.pass(passage.clone(), key.clone())).await;
        let reply = match sent {
            Ok(Ok(reply)) if reply.status == 200 => return Ok(reply),
            Ok(Ok(reply)) => redact::hidden(&reply, key).unwrap_or(reply),
            Ok(Err(fault)) => {
                last = Err(fault.into());
                continue;
            }
            Err(_) => return Err(TransportError::Timeout { seconds: driver.terms.now().attempt_timeout.as_secs() }.into()),
        };
        match classify(Method::Generate, &Ok(reply.clone()), &driver.terms.now().retry_on).outcome {
            // Whoever asked is not to be told of keys that are ours.
            Outcome::KeyRejected(_) => last = Err(PassageError::NoKey),
            Outcome::KeyLimited(_) | Outcome::Transient { .. } => last = Ok(reply),
            Outcome::Done { .. }
            | Outcome::TaskFailed(_)
            | Outcome::FailedInCompany
            | Outcome::Postponed
            | Outcome::HostRefused => return Ok(reply),
        }
    }
    last
}

/// Every key that is not known to be dead.
fn keys(driver: &Driver) -> Result<Vec<Arc<SecretString>>, PassageError> {
    let mut state = driver.state.lock();
    if state.closed {
        return Err(PassageError::Closed);
    }
    let alive = state.scheduler.keys(driver.clock.now()).into_iter();
    let alive = alive.filter(|key| !matches!(key.state, KeyState::FailedInit { .. }));
    Ok(alive.map(|key| driver.key(key.key).secret.clone()).collect())
}
