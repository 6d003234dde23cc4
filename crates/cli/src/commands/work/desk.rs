//! What a worker does with a prompt of the queue: makes it a request, has it answered, and says what becomes of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tidegate_batch::tasks::{Arrival, Arrived, Finished, Station};
use tidegate_batch::{Ask, Status};
use tidegate_engine::{Engine, Error, ErrorClass, Response, Trace};
use tidegate_redis::queue::{Ending, Handler, Outcome, Queue, Task};

use super::history::{Historian, now};
use super::pace::Pace;
use crate::args::WorkArgs;
use crate::commands::hook::{AddressBook, Teller};
use crate::commands::queue::Wishes;
use crate::monitor::Board;

/// How long a prompt rests that no key could serve, or nothing could be reached for.
const REST: Duration = Duration::from_secs(30);
/// Pauses of a prompt whose media are not here.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// How long webhooks may take at the end of a drained queue.
const LAST_HOOKS: Duration = Duration::from_secs(10);

/// Where prompts of a queue are dealt with.
pub struct Desk<N> {
    engine: Engine,
    queue: Queue,
    pace: Arc<Pace>,
    historian: Arc<Historian>,
    board: Arc<Board>,
    worker: String,
    max_permit_wait: Duration,
    max_task_attempts: u32,
    max_lost: u32,
    /// The model of prompts for which nobody names one.
    model: String,
    /// By the digest of their wishes.
    submissions: Mutex<HashMap<String, Arc<Submission>>>,
    /// Nothing was reached the last time, and that has been said.
    is_away: AtomicBool,
    /// Called when no key is left at all.
    no_key: N,
}

/// What a submission wants, ready for its prompts.
struct Submission {
    wishes: Wishes,
    /// Why nothing of it can be asked, otherwise.
    station: Result<Station, String>,
}

impl<N: Fn() + Sync> Desk<N> {
    /// A desk at which `engine` answers.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        engine: Engine,
        queue: Queue,
        pace: Arc<Pace>,
        historian: Arc<Historian>,
        board: Arc<Board>,
        wanted: &WorkArgs,
        worker: &str,
        model: &str,
        no_key: N,
    ) -> Desk<N> {
        Desk {
            engine,
            queue,
            pace,
            historian,
            board,
            worker: worker.to_owned(),
            max_permit_wait: wanted.max_permit_wait,
            max_task_attempts: wanted.attempts.max_task_attempts.unwrap_or(3),
            max_lost: wanted.max_lost,
            model: model.to_owned(),
            submissions: Mutex::default(),
            is_away: AtomicBool::new(false),
            no_key,
        }
    }

    /// Tells the webhooks that are left, for some seconds; how many still are.
    pub async fn last_hooks(&self, teller: &Teller) -> u64 {
        let left = async || self.queue.status().await.map_or(0, |status| status.hooks);
        let told = async {
            while left().await > 0 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        if left().await > 0 {
            tokio::select! {
                () = teller.tell(self) => {}
                _ = tokio::time::timeout(LAST_HOOKS, told) => {}
            }
        }
        left().await
    }

    async fn submission(&self, digest: &str) -> Arc<Submission> {
        let known = |submissions: &HashMap<String, Arc<Submission>>| submissions.get(digest).cloned();
        if let Some(submission) = known(&self.submissions.lock().unwrap_or_else(PoisonError::into_inner)) {
            return submission;
        }
        let told = match digest {
            "" => Some("{}".to_owned()),
            digest => self.queue.patiently("reading settings", || self.queue.settings(digest)).await,
        };
        let wishes = told.as_deref().map(serde_json::from_str::<Wishes>);
        let (wishes, station) = match wishes {
            Some(Ok(wishes)) => {
                let mut prompts = wishes.prompts.clone();
                prompts.model.get_or_insert_with(|| self.model.clone());
                let station = Station::new(prompts, Some(self.engine.resolver())).map_err(|error| error.to_string());
                (wishes, station)
            }
            Some(Err(error)) => (Wishes::default(), Err(format!("the settings it was submitted with cannot be read: {error}"))),
            None => (Wishes::default(), Err("the settings it was submitted with are gone: submit it again".to_owned())),
        };
        let submission = Arc::new(Submission { wishes, station });
        self.submissions.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.to_owned(), submission.clone());
        submission
    }

    /// Has a prompt answered, and judges what came of it.
    async fn ask(&self, task: &Task, submission: &Submission) -> Outcome {
        let station = match &submission.station {
            Ok(station) => station,
            Err(reason) => return self.unusable(task, submission, reason),
        };
        match station.arrive(&task.id, task.index, &task.fingerprint, &task.body) {
            Arrived::Bad(finished) => self.ended(task, submission, &finished),
            Arrived::Broken(arrival, error) => self.retried(task, submission, &arrival, *error),
            Arrived::Ask(arrival, mut request) => {
                if submission.wishes.at_most_once && task.lost > 0 {
                    let reason = "a worker vanished with it, and it may have been asked: at most once was wanted";
                    return self.quarantined(task, submission, &arrival, "interrupted", reason);
                }
                request.client = Some(task.id.as_str().into());
                let asked = self.engine.submit(*request);
                tokio::select! {
                    biased;
                    result = asked => self.judge(task, submission, &arrival, &result),
                    () = self.waited_in_vain(&task.id) => {
                        self.pace.forget(&task.id);
                        self.postponed()
                    }
                }
            }
        }
    }

    /// Returns when a prompt has waited for its first permit as long as it may. One that has started is let go on: its
    /// further attempts are the business of the engine.
    async fn waited_in_vain(&self, id: &str) {
        tokio::time::sleep(self.max_permit_wait).await;
        if !self.pace.is_waiting(id) {
            std::future::pending::<()>().await;
        }
    }

    /// Waiting is nobody's fault: somebody else may have room, or this worker later.
    fn postponed(&self) -> Outcome {
        Outcome::Postpone { delay: self.max_permit_wait.min(REST) }
    }

    fn judge(&self, task: &Task, submission: &Submission, arrival: &Arrival, result: &Result<Response, Error>) -> Outcome {
        if let Err(error) = result {
            match error.class {
                ErrorClass::Cancelled => return Outcome::HandOver,
                ErrorClass::Deadline => return self.postponed(),
                ErrorClass::NoKey => {
                    if !self.engine.has_keys() {
                        (self.no_key)();
                        return Outcome::HandOver;
                    }
                    return Outcome::Postpone { delay: REST };
                }
                // Nothing was reached, so nothing was asked.
                ErrorClass::Upstream if error.http_status.is_none() && error.code != "timeout" => {
                    if !self.is_away.swap(true, Ordering::Relaxed) {
                        tracing::warn!("the API cannot be reached: {}; prompts go back to the queue meanwhile", error.message);
                    }
                    return Outcome::Postpone { delay: REST };
                }
                ErrorClass::Input if error.retryable => return self.retried(task, submission, arrival, error.clone()),
                ErrorClass::Task | ErrorClass::TooLarge | ErrorClass::Upstream | ErrorClass::Input => {}
            }
        }
        self.is_away.store(false, Ordering::Relaxed);
        match arrival.record(result) {
            Some(finished) => self.ended(task, submission, &finished),
            None => Outcome::HandOver,
        }
    }

    /// Another worker may see what this one does not: tried again, but only so often.
    fn retried(&self, task: &Task, submission: &Submission, arrival: &Arrival, error: Error) -> Outcome {
        let line = self.line(&error.code, &error.message);
        if task.attempts + 1 < self.max_task_attempts {
            let delay = FIRST_PAUSE.saturating_mul(1 << task.attempts.min(10)).min(REST);
            return Outcome::Retry { delay, line };
        }
        match arrival.record(&Err(Error { retryable: false, ..error })) {
            Some(finished) => self.buried(task, submission, finished.line, Ending::Dead, vec![line]),
            None => Outcome::HandOver,
        }
    }

    fn ended(&self, task: &Task, submission: &Submission, finished: &Finished) -> Outcome {
        let history = self.historian.take(&task.id);
        if finished.status == Status::Ok {
            let wishes = &submission.wishes;
            return Outcome::Ended {
                ending: Ending::Done,
                record: finished.line.clone(),
                history: String::new(),
                collected: !wishes.no_result,
                hook: wishes.webhook.is_some(),
            };
        }
        let history = if history.is_empty() { vec![self.line("failed", "see its record")] } else { history };
        self.buried(task, submission, finished.line.clone(), Ending::Dead, history)
    }

    fn quarantined(&self, task: &Task, submission: &Submission, arrival: &Arrival, code: &str, reason: &str) -> Outcome {
        let error = Error {
            class: ErrorClass::Task,
            code: code.to_owned(),
            http_status: None,
            message: reason.to_owned(),
            retryable: false,
            answer: None,
            body: None,
            trace: Trace::default(),
        };
        match arrival.record(&Err(error)) {
            Some(finished) => self.buried(task, submission, finished.line, Ending::Quarantined, vec![self.line(code, reason)]),
            None => Outcome::HandOver,
        }
    }

    /// A prompt that nothing is known of but its id.
    fn unusable(&self, task: &Task, submission: &Submission, reason: &str) -> Outcome {
        let record = json!({
            "id": task.id,
            "index": task.index,
            "status": "failed",
            "success": false,
            "fingerprint": task.fingerprint,
            "error": {"class": "input", "code": "settings", "message": reason, "retryable": false},
            "attempts": 0,
            "finished_at": now(),
        });
        self.buried(task, submission, record.to_string(), Ending::Dead, vec![self.line("settings", reason)])
    }

    fn buried(&self, task: &Task, submission: &Submission, record: String, ending: Ending, lines: Vec<String>) -> Outcome {
        let before = task.history.lines().map(str::to_owned);
        let history = before.chain(lines).collect::<Vec<_>>().join("\n");
        let wishes = &submission.wishes;
        Outcome::Ended { ending, record, history, collected: !wishes.no_result, hook: wishes.webhook.is_some() }
    }

    fn line(&self, code: &str, message: &str) -> String {
        json!({"at": now(), "worker": self.worker, "code": code, "message": message}).to_string()
    }
}

impl<N: Fn() + Sync> AddressBook for Desk<N> {
    async fn webhook(&self, digest: &str) -> Option<String> {
        self.submission(digest).await.wishes.webhook.clone()
    }
}

impl<N: Fn() + Sync> Handler for Desk<N> {
    async fn handle(&self, task: Arc<Task>) -> Outcome {
        let submission = self.submission(&task.settings).await;
        let outcome = self.ask(&task, &submission).await;
        self.historian.take(&task.id);
        outcome
    }

    async fn poisoned(&self, task: Arc<Task>) -> Outcome {
        let submission = self.submission(&task.settings).await;
        let reason = format!("{} workers vanished while they had it (at least {} end it)", task.lost, self.max_lost);
        let station = match &submission.station {
            Ok(station) => station,
            Err(_) => return self.unusable(&task, &submission, &reason),
        };
        match station.arrive(&task.id, task.index, &task.fingerprint, &task.body) {
            Arrived::Ask(arrival, _) | Arrived::Broken(arrival, _) => {
                self.quarantined(&task, &submission, &arrival, "quarantined", &reason)
            }
            Arrived::Bad(finished) => self.ended(&task, &submission, &finished),
        }
    }

    fn room(&self, held: usize) -> usize {
        self.pace.room(held, self.engine.now())
    }

    async fn changed(&self) {
        self.pace.changed().await;
    }

    async fn stop(&self, grace: Duration) {
        self.engine.shutdown(grace).await;
    }

    fn concluded(&self, _: &Task, outcome: &Outcome, counted: bool) {
        if let (true, Outcome::Ended { ending, .. }) = (counted, outcome) {
            self.board.ended(*ending == Ending::Done);
        }
    }

    fn info(&self, held: usize) -> String {
        json!({"held": held, "pid": std::process::id(), "version": env!("CARGO_PKG_VERSION")}).to_string()
    }
}
