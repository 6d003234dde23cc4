//! The running part: rows in, answers out. One loop waits for whatever happens next and deals with it.

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use jiff::Timestamp;
use tidegate_engine::{Error, ErrorClass, Response};
use tidegate_gemini::prices::Date;
use tidegate_gemini::response::Usage;
use tokio::time::{Instant, sleep_until};

use crate::budget::Spending;
use crate::control::{Control, Stop, StopReason};
use crate::errors_file::ErrorsFile;
use crate::feed::{self, Fed, Feeding};
use crate::home::Home;
use crate::input::InputError;
use crate::journal::Writer;
use crate::options::Options;
use crate::output::{Layout, OutputError};
use crate::pack::{Gather, Going, Landed, QUIET, QUIET_IN_FILES, Rider};
use crate::prepare::{Prepared, Selection};
use crate::record::{self, Asked, Done, Status, Style};
use crate::run::{Ask, RunError};
use crate::summary::{Counts, ProgressSink, Summary, Update};

/// How the rows ended.
pub(crate) struct Ended {
    pub(crate) summary: Summary,
    /// The input that turned out bad on the way.
    pub(crate) refused: Option<InputError>,
}

/// With no hurry: longer than any single answer takes.
const NO_HURRY: Duration = Duration::from_secs(3600);

/// Asks every selected row and writes what comes of it.
pub(crate) async fn drive<A: Ask>(
    ask: &A,
    prepared: Prepared,
    options: &Options,
    deadline: Option<Instant>,
    control: &Control,
    sink: &dyn ProgressSink,
) -> Result<(Ended, Home), RunError> {
    let Prepared { inputs, compiler, selection, mut home, counts, errors, tokens, spending, warnings } = prepared;
    let broken = |error: std::io::Error| RunError::Broken(error.to_string());
    let capacity = options.admit.max(1);
    let writer = Writer::start(home.store()?, options.durability, capacity + 1).map_err(broken)?;
    let nothing_to_ask = selection.is_empty();
    let quiet = if matches!(selection, Selection::Live(_)) { QUIET } else { QUIET_IN_FILES };
    let rows = if nothing_to_ask { None } else { Some(feed::start(inputs, compiler, selection, options).map_err(broken)?) };
    let style = Style { full: options.full_response, attachments: home.files().map(Layout::attachments) };
    let mut drive = Drive {
        options,
        style,
        sink,
        writer,
        rows,
        gather: Gather::new(options.pack, quiet),
        in_flight: 0,
        writing: 0,
        tally: Tally { counts, errors, tokens, spending, usage: Usage::default(), warnings, unserved: 0 },
        stop: None,
        turned_away: 0,
        failure: None,
        input_ended: nothing_to_ask,
        refused: None,
    };
    drive.run(ask, deadline, control).await;
    drive.finish(home).await
}

struct Drive<'a> {
    options: &'a Options,
    style: Style,
    sink: &'a dyn ProgressSink,
    writer: Writer<Ticket>,
    /// `None` once nothing more is to be admitted.
    rows: Option<Feeding>,
    /// Rows that wait for company.
    gather: Gather,
    /// Rows admitted whose record is not safe yet.
    in_flight: u64,
    /// Those of them whose record is being synced: there will be room for others soon.
    writing: u64,
    tally: Tally,
    stop: Option<(StopReason, Instant)>,
    /// Rows no key could serve since one was served last.
    turned_away: usize,
    failure: Option<std::io::Error>,
    input_ended: bool,
    refused: Option<InputError>,
}

/// What is known of a record while it is being synced.
struct Ticket {
    id: String,
    status: Status,
    usage: Usage,
    retryable: bool,
    line: Option<String>,
}

/// The account kept on the way.
struct Tally {
    counts: Counts,
    errors: Option<ErrorsFile>,
    tokens: u64,
    spending: Spending,
    usage: Usage,
    warnings: Vec<String>,
    /// Rows no key could serve: they are left for another run.
    unserved: u64,
}

impl Drive<'_> {
    async fn run<A: Ask>(&mut self, ask: &A, deadline: Option<Instant>, control: &Control) {
        let mut flying: FuturesUnordered<BoxFuture<'_, Landed>> = FuturesUnordered::new();
        let mut stopping: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
        let mut stops = control.stops();
        if self.rows.is_some()
            && let Some(reason) = self.tally.enough(self.options)
        {
            self.stop(reason, NO_HURRY);
        }
        let far = Instant::now() + 24 * 365 * NO_HURRY;
        while self.rows.is_some() || self.in_flight > 0 {
            let was_stopped = self.stop.is_some();
            let unserved = self.tally.unserved;
            let end = self.stop.map_or(far, |(_, end)| end);
            let due = self.gather.due(self.is_full());
            tokio::select! {
                biased;
                () = control.cancelled() => break,
                () = sleep_until(end), if was_stopped => break,
                Ok(()) = stops.changed() => {
                    let wish = *stops.borrow_and_update();
                    if let Some(Stop { reason, grace }) = wish {
                        self.stop(reason, grace);
                    }
                }
                Some(()) = stopping.next(), if !stopping.is_empty() => {}
                () = sleep_until(deadline.unwrap_or(far)), if deadline.is_some() && !was_stopped => {
                    self.stop(StopReason::Deadline, self.options.grace);
                }
                safe = self.writer.safe() => match safe {
                    Some(Ok(tickets)) => self.safe(tickets),
                    Some(Err(error)) => { self.failure = Some(error); break }
                    None => break,
                },
                Some(landed) = flying.next(), if !flying.is_empty() => {
                    let mut landed = Some(landed);
                    // What has come meanwhile is dealt with at once: a turn of this loop costs more than an answer.
                    while let Some(one) = landed {
                        let again = self.landed(one);
                        flying.extend(again.into_iter().map(|going| going.ask(ask).boxed()));
                        landed = flying.next().now_or_never().flatten();
                    }
                }
                fed = next(&mut self.rows), if self.has_room() && self.rows.is_some() => {
                    let mut fed = fed;
                    loop {
                        if let Some(going) = self.fed(fed) {
                            flying.push(going.ask(ask).boxed());
                        }
                        let Some(next) = self.at_hand() else { break };
                        fed = Some(next);
                    }
                }
                () = sleep_until(due.unwrap_or(far)), if due.is_some() => {}
            }
            flying.extend(self.departures().into_iter().map(|going| going.ask(ask).boxed()));
            self.writer.flush();
            if self.tally.unserved > unserved {
                self.give_up(ask);
            }
            if let (false, Some((_, end))) = (was_stopped, self.stop) {
                stopping.push(Box::pin(ask.stop(end.saturating_duration_since(Instant::now()))));
            }
        }
        // Answers that have come but were not looked at yet are paid for, too.
        while let Some(Some(landed)) = flying.next().now_or_never() {
            self.landed(landed);
        }
        if let (None, Some(reason)) = (self.stop, control.reason()) {
            self.stop(reason, Duration::ZERO);
        }
        if self.tally.unserved > 0 {
            self.stop(StopReason::NoKey, NO_HURRY);
        }
    }

    /// Stops once no row can be served any more. A model without quota anywhere is no reason while other rows are served;
    /// a whole admission of nothing else is.
    fn give_up<A: Ask>(&mut self, ask: &A) {
        let nothing_else = self.in_flight == 0 && self.turned_away >= self.options.admit;
        if nothing_else || !ask.has_keys() {
            self.stop(StopReason::NoKey, NO_HURRY);
        }
    }

    /// Takes in what the inputs gave; what is to be asked now comes back.
    fn fed(&mut self, fed: Option<Fed>) -> Option<Going> {
        match fed {
            Some(Fed::Ask(asked, request, None)) => {
                self.admit();
                return Some(Going::Row(asked, request));
            }
            Some(Fed::Ask(asked, request, Some(item))) => {
                self.admit();
                let (kind, priority) = ((item.common, item.tokens), request.priority);
                let full = self.gather.put(Rider { asked, request, text: item.text }, kind, priority, Instant::now());
                return full.and_then(|pack| self.gather.send(pack));
            }
            Some(Fed::Broken(asked, error)) => {
                self.admit();
                self.answered(*asked, Err(error));
            }
            Some(Fed::Skipped(skipped)) => {
                self.admit();
                let (id, done) = *skipped;
                self.write(id, done, None);
            }
            Some(Fed::Refused(error)) => {
                self.refused = Some(error);
                self.rows = None;
            }
            Some(Fed::Ended) => {
                self.input_ended = true;
                self.rows = None;
            }
            None => self.rows = None,
        }
        None
    }

    /// A further row that needs no waiting for.
    fn at_hand(&mut self) -> Option<Fed> {
        if self.has_room() { self.rows.as_mut()?.at_hand() } else { None }
    }

    fn has_room(&self) -> bool {
        self.in_flight < self.options.admit.max(1) as u64
    }

    /// Whether nobody else can come before a call has ended.
    fn is_full(&self) -> bool {
        !self.has_room() && self.writing == 0
    }

    fn admit(&mut self) {
        self.in_flight += 1;
        if self.tally.counts.total.is_none() {
            self.tally.counts.seen += 1;
            self.tally.counts.new += 1;
        }
        self.sink.update(Update::Admitted { in_flight: self.in_flight });
    }

    /// Rows that have waited long enough for company; all of them when nobody else comes, and none once the run stops.
    fn departures(&mut self) -> Vec<Going> {
        let packs = match (&self.stop, &self.rows) {
            _ if self.gather.is_empty() => return Vec::new(),
            (Some(_), _) => {
                self.in_flight -= self.gather.take_all().iter().map(|pack| pack.riders.len() as u64).sum::<u64>();
                return Vec::new();
            }
            (None, None) => self.gather.take_all(),
            (None, Some(_)) => self.gather.take_due(self.is_full(), Instant::now()),
        };
        packs.into_iter().flat_map(|pack| self.gather.send(pack)).collect()
    }

    /// Deals with what has come back; what is to be asked again comes back.
    fn landed(&mut self, landed: Landed) -> Vec<Going> {
        let (pack, result) = match landed {
            Landed::Row(asked, answer) => {
                self.answered(*asked, answer);
                return Vec::new();
            }
            Landed::Pack(pack, result) => (pack, result),
        };
        let common = pack.common.clone();
        self.gather.landed(common.model());
        let settled = pack.settle(result);
        self.spend(common.model(), &settled.spent);
        for (asked, answer) in settled.answers {
            self.answered(*asked, answer);
        }
        if self.stop.is_some() {
            // They are left for another run, as if they had never been asked.
            self.in_flight -= settled.again.iter().map(|pack| pack.riders.len() as u64).sum::<u64>();
            return Vec::new();
        }
        settled.again.into_iter().flat_map(|pack| self.gather.send(pack)).collect()
    }

    fn answered(&mut self, mut asked: Asked, mut answer: Result<Response, Error>) {
        let line = asked.line.take();
        let trace = answer.as_mut().map_or_else(|error| &mut error.trace, |response| &mut response.trace);
        self.tally.counts.reused += u64::from(trace.reused.is_some());
        self.spend(&asked.model, &trace.usage);
        std::mem::take(&mut asked.earlier).into_trace(trace);
        match record::ended(&asked, &answer, &self.style, Timestamp::now()) {
            Some(done) => {
                self.turned_away = 0;
                self.write(asked.id, done, line);
            }
            None => {
                self.in_flight -= 1;
                if answer.as_ref().is_err_and(|error| error.class == ErrorClass::NoKey) {
                    self.turned_away += 1;
                    self.tally.unserved += 1;
                } else {
                    self.stop(StopReason::Interrupted, NO_HURRY);
                }
            }
        }
    }

    /// Money is gone when the answer comes, whatever becomes of it.
    fn spend(&mut self, model: &str, usage: &Usage) {
        let today = Date::of_unix_seconds(Timestamp::now().as_second().unsigned_abs());
        if let Some(warning) = self.tally.spending.add(model, usage, today) {
            self.tally.warn(self.sink, warning);
        }
        if self.stop.is_none() && self.tally.spending.is_used_up() {
            self.stop(StopReason::Cost, NO_HURRY);
        }
    }

    fn write(&mut self, id: String, done: Done, line: Option<String>) {
        let ticket = Ticket { id, status: done.status, usage: done.usage, retryable: done.retryable, line };
        self.writing += 1;
        self.writer.append(done.files, done.line, ticket);
    }

    /// Records that are on disk now: only here a row counts as done.
    fn safe(&mut self, tickets: Vec<Ticket>) {
        let was_full = !self.has_room();
        for ticket in tickets {
            self.in_flight -= 1;
            self.writing -= 1;
            if let Err(error) = self.tally.take(&ticket) {
                self.tally.errors = None;
                self.tally.warn(self.sink, error.to_string());
            }
            let Ticket { id, status, .. } = &ticket;
            self.sink.update(Update::Ended { id, status: *status, counts: &self.tally.counts });
        }
        if was_full && self.has_room() {
            self.gather.has_room(Instant::now());
        }
        if self.stop.is_none()
            && let Some(reason) = self.tally.enough(self.options)
        {
            self.stop(reason, NO_HURRY);
        }
    }

    /// Admits nothing more. The first reason stands, the earliest end counts.
    fn stop(&mut self, reason: StopReason, grace: Duration) {
        let end = Instant::now() + grace.min(NO_HURRY);
        match &mut self.stop {
            Some((_, earlier)) => *earlier = end.min(*earlier),
            None => {
                self.stop = Some((reason, end));
                self.rows = None;
                self.sink.update(Update::Stopping(reason));
            }
        }
    }

    /// Lets the last records become safe, and sums up.
    async fn finish(mut self, home: Home) -> Result<(Ended, Home), RunError> {
        self.rows = None;
        self.writer.close();
        while let Some(safe) = self.writer.safe().await {
            match safe {
                Ok(tickets) => self.safe(tickets),
                Err(error) => self.failure = Some(error),
            }
        }
        if let Some(error) = self.failure {
            return Err(home.failed(&error).into());
        }
        let Tally { mut counts, errors, usage, warnings, .. } = self.tally;
        if let Some(errors) = errors {
            errors.finish()?;
        }
        if self.input_ended && self.options.limit.is_none() {
            counts.total.get_or_insert(counts.seen);
        }
        let outstanding = counts.outstanding();
        let all_done = counts.total.is_some() && outstanding == 0;
        let stopped = self.stop.map(|(reason, _)| reason).filter(|_| !all_done);
        let ran_through = self.stop.is_none() && self.refused.is_none() && self.options.limit.is_none();
        if ran_through && (outstanding > 0 || !self.input_ended) {
            return Err(RunError::Broken(format!(
                "the inputs changed meanwhile, {outstanding} of their rows were not found again"
            )));
        }
        let summary = Summary { counts, outstanding, usage, stopped, warnings };
        Ok((Ended { summary, refused: self.refused }, home))
    }
}

impl Tally {
    fn take(&mut self, ticket: &Ticket) -> Result<(), OutputError> {
        self.counts.count(ticket.status);
        self.counts.retryable += u64::from(ticket.retryable);
        self.usage.add(&ticket.usage);
        self.tokens += ticket.usage.total_tokens;
        match (&mut self.errors, &ticket.line) {
            (Some(errors), Some(line)) if ticket.status != Status::Ok => errors.push(line),
            _ => Ok(()),
        }
    }

    /// Why to stop, when a bound of the caller is reached.
    fn enough(&self, options: &Options) -> Option<StopReason> {
        if options.max_tokens.is_some_and(|most| self.tokens >= most) {
            return Some(StopReason::Budget);
        }
        if self.spending.is_used_up() {
            return Some(StopReason::Cost);
        }
        let (failed, ended) = (self.counts.unsuccessful(), self.counts.ended());
        options.fail_on_error.filter(|bound| bound.reached(failed, ended)).map(|_| StopReason::TooManyErrors)
    }

    fn warn(&mut self, sink: &dyn ProgressSink, warning: String) {
        sink.update(Update::Warning(&warning));
        self.warnings.push(warning);
    }
}

async fn next(rows: &mut Option<Feeding>) -> Option<Fed> {
    match rows {
        Some(rows) => rows.next().await,
        None => None,
    }
}
