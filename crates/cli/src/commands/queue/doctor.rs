//! `tidegate queue doctor`: can this Redis be trusted with a queue?

use serde_json::json;
use tidegate_redis::queue::{Queue, Verdict};

use super::unreachable;
use crate::commands::Context;
use crate::exit_code::{ExitCode, Failure};
use crate::screen;

pub async fn tell(queue: &Queue, as_json: bool, context: &Context) -> Result<ExitCode, Failure> {
    let findings = queue.examine().await.map_err(unreachable)?;
    for found in &findings.0 {
        let verdict = found.verdict.name();
        if as_json {
            screen::data(json!({"what": found.what, "verdict": verdict, "message": found.message}));
        } else {
            screen::data(format!("{verdict:<5} {:<12} {}", found.what, found.message));
        }
    }
    if findings.0.iter().any(|found| found.verdict == Verdict::Bad) {
        context.screen.error(format!("queue {}: this Redis cannot be trusted with it", queue.name()));
        return Ok(ExitCode::Usage);
    }
    Ok(ExitCode::AllOk)
}
