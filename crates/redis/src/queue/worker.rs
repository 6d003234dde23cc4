//! A worker: takes as many tasks as it has room for, keeps its leases, says what became of each. No outage of Redis ends it.
//!
//! One loop waits for whatever happens next and deals with it; everything that takes time is a step of its own. Answers in
//! hand wait for Redis as long as it takes. Where the answer of Redis itself was lost, the worker looks afterwards what
//! it was given.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{AbortHandle, Abortable, BoxFuture};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep, sleep_until};

use super::Queue;
use super::handler::{Handler, Stop, Tally, WorkerSettings};
use super::hold::{Cursors, Entry, Lease};
use super::task::{CHUNK, Ending, Outcome, Place, Task};
use crate::connection::{CallError, Connection};

/// How long after the grace answers in hand are still offered to Redis.
const LAST_WORD: Duration = Duration::from_secs(5);
/// Redis stores some results while the next are written down for it, and finds tasks while others are read.
const CONCLUDING: usize = 2;
const FETCHING: usize = 2;
/// The longest wait for new entries: one that came between two looks is found this late.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// Works until it is stopped, or with [`WorkerSettings::drain`] until nothing is left. `ears` is a connection of its own, on
/// which it waits for entries.
pub async fn work(queue: &Queue, ears: &Connection, handler: &impl Handler, settings: &WorkerSettings, stop: Stop) -> Tally {
    let mut worker = Worker {
        queue,
        ears,
        handler,
        settings,
        held: HashMap::new(),
        numbers: HashMap::new(),
        next: 0,
        ended: Vec::new(),
        busy: Busy::default(),
        listening: None,
        fetches: 0,
        asked: 0,
        plenty: false,
        cursors: Cursors::default(),
        unsure: Arc::default(),
        drained: false,
        end: None,
        left_off: false,
        tally: Tally::default(),
    };
    worker.run(stop).await;
    if let Err(error) = tokio::time::timeout(LAST_WORD, queue.sign_off(&settings.name)).await.unwrap_or(Ok(())) {
        tracing::debug!("{error}: the worker did not sign off");
    }
    worker.tally
}

struct Worker<'a, H> {
    queue: &'a Queue,
    ears: &'a Connection,
    handler: &'a H,
    settings: &'a WorkerSettings,
    held: HashMap<u64, Held>,
    numbers: HashMap<Place, u64>,
    next: u64,
    /// Outcomes Redis has not been told yet.
    ended: Vec<(u64, Outcome)>,
    busy: Busy,
    /// Ends the wait for something to fetch.
    listening: Option<AbortHandle>,
    fetches: u64,
    /// Tasks that fetches under way may bring.
    asked: usize,
    /// The last fetch brought as many as it could: another one is sent before the next is through.
    plenty: bool,
    /// How far it has looked for tasks that others left.
    cursors: Cursors,
    /// An answer was lost that may have given it tasks.
    unsure: Arc<AtomicBool>,
    drained: bool,
    /// When what is under way is left off.
    end: Option<Instant>,
    left_off: bool,
    tally: Tally,
}

struct Held {
    task: Arc<Task>,
    abort: AbortHandle,
    /// Its outcome is here, and Redis is being told.
    ended: bool,
}

/// Which steps are under way: most of them at most once.
#[derive(Default)]
struct Busy {
    fetching: usize,
    concluding: usize,
    renewing: bool,
    reaping: bool,
    recovering: bool,
    taking: usize,
}

/// Something that happened.
enum Step {
    /// A handler is through with a task; `None` when it was made to leave off.
    Ended(u64, Option<Outcome>),
    /// Tasks, of so many that were asked for.
    Fetched(Vec<Task>, usize),
    /// There was nothing to fetch. `open` is false when no task is open at all.
    Nothing {
        asked: usize,
        next_due: Option<Duration>,
        /// Whether any task is open at all, where that was asked.
        open: Option<bool>,
    },
    /// Something may have come.
    Heard,
    Reaped(Vec<Entry>, Cursors),
    Recovered(Vec<Entry>),
    Taken(Vec<Task>),
    Concluded(Vec<(u64, Outcome, bool)>),
    Renewed(Vec<(u64, Lease)>),
    Stopped,
}

type Steps<'a> = FuturesUnordered<BoxFuture<'a, Step>>;

impl<'a, H: Handler> Worker<'a, H> {
    async fn run(&mut self, mut stop: Stop) {
        let lease = self.queue.terms().lease;
        let mut steps: Steps<'a> = FuturesUnordered::new();
        // A lease that ran out is noticed within a sixtieth of it, and half a second at most.
        let mut reap = tokio::time::interval((lease / 60).clamp(Duration::from_millis(20), Duration::from_millis(250)));
        let mut renew = tokio::time::interval(lease / 3);
        reap.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        renew.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let far = Instant::now() + Duration::from_secs(86_400 * 365);
        loop {
            self.conclude(&steps);
            self.recover(&steps);
            self.fetch(&steps);
            if self.is_over() {
                return;
            }
            let last = self.end.map(|end| end + LAST_WORD);
            tokio::select! {
                biased;
                Ok(()) = stop.changed(), if self.end.is_none() => self.stop(&stop, &steps),
                // Before the steps, of which a busy worker always has one ready.
                _ = renew.tick(), if !self.busy.renewing => self.renew(&steps),
                _ = reap.tick() => self.reap(&steps),
                () = sleep_until(last.unwrap_or(far)), if last.is_some() => return,
                () = sleep_until(self.end.unwrap_or(far)), if self.end.is_some() && !self.left_off => self.leave_off(),
                Some(step) = steps.next(), if !steps.is_empty() => self.take_in(step, &steps),
                () = self.handler.changed() => {}
            }
            // What has come meanwhile is dealt with at once: a turn of this loop costs more than a step.
            while let Some(Some(step)) = futures_util::FutureExt::now_or_never(steps.next()) {
                self.take_in(step, &steps);
            }
        }
    }

    fn is_over(&self) -> bool {
        // What is just being fetched is ours already: it is handed over first.
        let Busy { fetching, reaping, recovering, taking, .. } = self.busy;
        let quiet = self.held.is_empty() && fetching == 0 && !reaping && !recovering && taking == 0;
        quiet && (self.end.is_some() || self.drained)
    }

    fn take_in(&mut self, step: Step, steps: &Steps<'a>) {
        match step {
            Step::Ended(number, outcome) => {
                if let Some(held) = self.held.get_mut(&number) {
                    held.ended = true;
                    // One that was made to leave off by the end of the grace goes to somebody else.
                    self.ended.push((number, outcome.unwrap_or(Outcome::HandOver)));
                }
            }
            Step::Fetched(tasks, asked) => {
                self.fetched(asked);
                self.plenty = tasks.len() == CHUNK;
                self.begin(tasks, steps);
            }
            Step::Nothing { asked, next_due, open } => {
                self.fetched(asked);
                self.plenty = false;
                self.drained = open == Some(false);
                // What was held when this fetch began has ended meanwhile: the next one asks whether anything is left.
                let ask_again = self.settings.drain && open.is_none() && self.held.is_empty();
                let wait = next_due.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT);
                if !self.drained && !ask_again && !wait.is_zero() && self.listening.is_none() {
                    self.listen(wait, steps);
                }
            }
            Step::Heard => self.listening = None,
            Step::Reaped(entries, cursors) => {
                self.busy.reaping = false;
                self.cursors = cursors;
                self.look_up(entries, steps);
            }
            Step::Recovered(entries) => {
                self.busy.recovering = false;
                self.look_up(entries, steps);
            }
            Step::Taken(tasks) => {
                self.busy.taking -= 1;
                self.begin(tasks, steps);
            }
            Step::Concluded(told) => {
                self.busy.concluding -= 1;
                for (number, outcome, counted) in told {
                    self.concluded(number, &outcome, counted);
                }
            }
            Step::Renewed(leases) => {
                self.busy.renewing = false;
                for (number, lease) in leases {
                    if matches!(lease, Lease::Lost | Lease::Over) {
                        self.let_go(number);
                    }
                }
            }
            Step::Stopped => {}
        }
    }

    fn begin(&mut self, tasks: Vec<Task>, steps: &Steps<'a>) {
        for task in tasks {
            if self.numbers.contains_key(&task.place) {
                continue;
            }
            let (number, handler) = (self.next, self.handler);
            self.next += 1;
            self.numbers.insert(task.place.clone(), number);
            let task = Arc::new(task);
            let (abort, registration) = AbortHandle::new_pair();
            self.held.insert(number, Held { task: task.clone(), abort, ended: self.end.is_some() });
            if self.end.is_some() {
                self.ended.push((number, Outcome::HandOver));
                continue;
            }
            let poisoned = task.lost >= self.settings.max_lost;
            let handled = async move { if poisoned { handler.poisoned(task).await } else { handler.handle(task).await } };
            let handled = Abortable::new(handled, registration);
            steps.push(Box::pin(async move { Step::Ended(number, handled.await.ok()) }));
        }
    }

    /// A task that is not this worker's any more; a call for it is given up.
    fn let_go(&mut self, number: u64) {
        // An answer that is here counts if nobody was first.
        if self.held.get(&number).is_none_or(|held| held.ended) {
            return;
        }
        if let Some(held) = self.held.remove(&number) {
            held.abort.abort();
            self.numbers.remove(&held.task.place);
            self.tally.late += 1;
        }
    }

    fn concluded(&mut self, number: u64, outcome: &Outcome, counted: bool) {
        let Some(held) = self.held.remove(&number) else { return };
        self.numbers.remove(&held.task.place);
        match outcome {
            _ if !counted => self.tally.late += 1,
            Outcome::Ended { ending: Ending::Done, .. } => self.tally.done += 1,
            Outcome::Ended { .. } => self.tally.dead += 1,
            Outcome::Retry { .. } | Outcome::Postpone { .. } | Outcome::HandOver => self.tally.returned += 1,
        }
        self.handler.concluded(&held.task, outcome, counted);
        if let (true, true, Some(listening)) = (self.settings.drain, self.held.is_empty(), &self.listening) {
            // Now it can be told whether anything is left.
            listening.abort();
        }
    }

    fn stop(&mut self, stop: &Stop, steps: &Steps<'a>) {
        let Some(grace) = *stop.borrow() else { return };
        self.end = Some(Instant::now() + grace);
        let handler = self.handler;
        steps.push(Box::pin(async move {
            handler.stop(grace).await;
            Step::Stopped
        }));
    }

    fn leave_off(&mut self) {
        self.left_off = true;
        for held in self.held.values() {
            held.abort.abort();
        }
    }

    /// Fetches when there is room.
    fn fetch(&mut self, steps: &Steps<'a>) {
        let held = self.held.len() + self.asked;
        let asked = self.settings.most.saturating_sub(held).min(self.handler.room(held)).min(CHUNK);
        let most = if self.plenty { FETCHING } else { 1 };
        if asked == 0 || self.busy.fetching >= most || self.listening.is_some() || self.end.is_some() || self.drained {
            return;
        }
        self.busy.fetching += 1;
        self.asked += asked;
        self.fetches += 1;
        // Lower classes are asked first now and then: each gets its part, however much comes above it.
        let order = match self.fetches % 16 {
            7 => "213",
            15 => "321",
            _ => "123",
        };
        let (queue, name) = (self.queue, self.settings.name.as_str());
        let drain = self.settings.drain && self.held.is_empty();
        let unsure = Arc::clone(&self.unsure);
        steps.push(Box::pin(async move {
            let fetched = queue.patiently("fetching", || noting(&unsure, queue.fetch(name, asked, order))).await;
            if !fetched.is_empty() {
                let (mut tasks, entries) = (fetched.tasks, &fetched.entries);
                if !entries.is_empty() {
                    tasks.extend(queue.patiently("fetching", || queue.take(entries)).await);
                }
                return Step::Fetched(tasks, asked);
            }
            let open = match drain {
                true => Some(queue.patiently("draining", || queue.outlook()).await.open > 0),
                false => None,
            };
            Step::Nothing { asked, next_due: fetched.next_due, open }
        }));
    }

    fn fetched(&mut self, asked: usize) {
        self.busy.fetching -= 1;
        self.asked -= asked;
    }

    /// Waits for something to fetch: a new entry, or the first delayed task.
    fn listen(&mut self, most: Duration, steps: &Steps<'a>) {
        let (queue, ears) = (self.queue, self.ears);
        let (abort, registration) = AbortHandle::new_pair();
        self.listening = Some(abort);
        steps.push(Box::pin(async move {
            let _ = Abortable::new(queue.listen(ears, most), registration).await;
            Step::Heard
        }));
    }

    fn reap(&mut self, steps: &Steps<'a>) {
        let room = self.settings.most.saturating_sub(self.held.len());
        if room == 0 || self.busy.reaping || self.busy.renewing || self.end.is_some() {
            return;
        }
        self.busy.reaping = true;
        let (queue, name) = (self.queue, self.settings.name.as_str());
        let (cursors, unsure) = (std::mem::take(&mut self.cursors), Arc::clone(&self.unsure));
        steps.push(Box::pin(async move {
            let reap = || noting(&unsure, queue.reap(name, room, &cursors));
            let (entries, next) = queue.patiently("taking over", reap).await;
            Step::Reaped(entries, next)
        }));
    }

    /// Asks what it was given by answers that were lost: that has not begun yet, and nobody else may have it.
    fn recover(&mut self, steps: &Steps<'a>) {
        if self.busy.recovering || self.end.is_some() || !self.unsure.swap(false, Ordering::AcqRel) {
            return;
        }
        self.busy.recovering = true;
        let (queue, name) = (self.queue, self.settings.name.as_str());
        steps.push(Box::pin(async move { Step::Recovered(queue.patiently("recovering", || queue.given(name)).await) }));
    }

    /// Looks up the tasks of entries that it does not hold. What it held a moment ago has ended, which Redis knows by now.
    fn look_up(&mut self, mut entries: Vec<Entry>, steps: &Steps<'a>) {
        entries.retain(|entry| !self.numbers.contains_key(entry.place()));
        if entries.is_empty() {
            return;
        }
        self.busy.taking += 1;
        let queue = self.queue;
        steps.push(Box::pin(async move { Step::Taken(queue.patiently("taking over", || queue.take(&entries)).await) }));
    }

    fn renew(&mut self, steps: &Steps<'a>) {
        self.busy.renewing = true;
        let (queue, name) = (self.queue, self.settings.name.as_str());
        let info = self.handler.info(self.held.len());
        let (numbers, held): (Vec<u64>, Vec<(Place, String)>) =
            self.held.iter().map(|(number, held)| (*number, (held.task.place.clone(), held.task.id.clone()))).unzip();
        steps.push(Box::pin(async move {
            let leases = queue.patiently("renewing", || queue.renew(name, &info, &held)).await;
            Step::Renewed(numbers.into_iter().zip(leases).collect())
        }));
    }

    fn conclude(&mut self, steps: &Steps<'a>) {
        if self.ended.is_empty() || self.busy.concluding == CONCLUDING {
            return;
        }
        self.busy.concluding += 1;
        let (queue, name) = (self.queue, self.settings.name.as_str());
        let ended: Vec<(u64, Arc<Task>, Outcome)> = std::mem::take(&mut self.ended)
            .into_iter()
            .filter_map(|(number, outcome)| Some((number, self.held.get(&number)?.task.clone(), outcome)))
            .collect();
        steps.push(Box::pin(async move {
            let told: Vec<(&Task, &Outcome)> = ended.iter().map(|(_, task, outcome)| (&**task, outcome)).collect();
            let counted = queue.patiently("storing results", || queue.conclude(name, &told)).await;
            let told = ended.into_iter().zip(counted).map(|((number, _, outcome), counted)| (number, outcome, counted));
            Step::Concluded(told.collect())
        }));
    }
}

/// Notes when a call failed: what it would have given may be this worker's without its knowing.
async fn noting<T>(unsure: &AtomicBool, call: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    let answer = call.await;
    if answer.is_err() {
        unsure.store(true, Ordering::Release);
    }
    answer
}

impl Queue {
    /// Waits until an entry comes into any stream, `most` at the longest.
    async fn listen(&self, ears: &Connection, most: Duration) {
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(1).arg("BLOCK").arg(most.as_millis().max(1) as u64).arg("STREAMS");
        read.arg(self.keys.streams()).arg(&["$", "$", "$"]);
        if ears.call::<redis::Value>(&read, most + Duration::from_secs(1)).await.is_err() {
            sleep(Duration::from_millis(100)).await;
        }
    }
}
