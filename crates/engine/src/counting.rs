//! Asks the API for the exact size of a prompt before it is sent, where that is wanted; without an answer the estimate stands.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tidegate_gemini::{models, tokens};
use tidegate_scheduler::KeyState;

use crate::backend::{Call, Method};
use crate::driver::{Driver, State};
use crate::outlier::CountTokens;
use crate::request::Request;

/// A count that takes longer is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most questions at once.
pub(crate) const AT_ONCE: usize = 32;

/// The input tokens of `request` as the API counts them; `None` where that is not wanted or not told.
pub(crate) async fn count(driver: &Driver, request: &Request) -> Option<u64> {
    if !is_worth_a_look(driver, request) {
        return None;
    }
    let call = call(driver, request)?;
    let _turn = driver.counting.acquire().await.ok()?;
    let patience = request.deadline.map_or(PATIENCE, |deadline| deadline.span().min(PATIENCE));
    let reply = tokio::time::timeout(patience, driver.backend.count_tokens(call)).await.ok()?.ok()?;
    let total = (reply.status == 200).then(|| tokens::total_counted(&reply.body)).flatten();
    total.filter(|total| *total > 0)
}

/// Whether requests of this kind are counted at all.
pub(crate) fn is_worth_a_look(driver: &Driver, request: &Request) -> bool {
    driver.count_tokens != CountTokens::Never && request.method == Method::Generate
}

/// The question, if it is worth asking and there is a key to ask with.
fn call(driver: &Driver, request: &Request) -> Option<Call> {
    let key = {
        let mut state = driver.state.lock();
        if !is_wanted(driver, &mut state, request) {
            return None;
        }
        let usable = |state: &KeyState| !matches!(state, KeyState::FailedInit { .. });
        let keys: Vec<_> = state.scheduler.keys(driver.clock.now()).into_iter().filter(|key| usable(&key.state)).collect();
        let turn = driver.counted.fetch_add(1, Ordering::Relaxed);
        keys.get(turn % keys.len().max(1))?.key
    };
    // What media cost is estimated from what they are: to be counted they would have to be uploaded first.
    let body = Bytes::from(tokens::count_request(&request.model, request.body.ready()?)?).into();
    Some(Call { model: request.model.as_str().into(), method: request.method, body, key: driver.key(key).secret.clone() })
}

fn is_wanted(driver: &Driver, state: &mut State, request: &Request) -> bool {
    if state.closed || driver.count_tokens == CountTokens::Always {
        return !state.closed;
    }
    let family = models::family(&request.model);
    let Some(model) = state.scheduler.admit(family) else { return false };
    let projects = 0..driver.roster().projects();
    let tpm = projects.filter_map(|project| state.scheduler.limits(project, model).tpm).min();
    let tokens = state.calibration.apply(family, request.estimate);
    let spread = state.calibration.spread(family, tokens);
    state.sizes.stands_out(&family.into(), tokens, spread, tpm)
}
