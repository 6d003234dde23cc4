//! Progress: a task that looks at the engine and the run every so often, and shows what it sees.

mod bar;
mod eta;
pub mod format;
mod rate;
mod snapshot;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate_batch::{Counts, ProgressSink, Update};
use tidegate_engine::Engine;
use tidegate_engine::scheduler::Timestamp;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::args::{Progress, ProgressArgs};
use crate::screen::Screen;
use rate::Rate;
pub use snapshot::{Scale, Snapshot, permitted};

/// How often a bar moves: often enough to look alive.
const BAR_INTERVAL: Duration = Duration::from_millis(200);

/// How often speeds are measured, however seldom they are shown.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// What the run tells about itself, for whoever wants to look.
pub struct Board {
    screen: Screen,
    counts: Mutex<Counts>,
}

impl Board {
    /// A board on which nothing stands yet.
    pub fn new(screen: Screen) -> Board {
        Board { screen, counts: Mutex::new(Counts::default()) }
    }

    /// The latest counts.
    pub fn counts(&self) -> Counts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A prompt that came from elsewhere has ended.
    pub fn ended(&self, successful: bool) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if successful { counts.ok += 1 } else { counts.failed += 1 }
    }

    fn keep(&self, counts: &Counts) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone_from(counts);
    }
}

impl ProgressSink for Board {
    fn update(&self, update: Update<'_>) {
        match update {
            Update::Planned(counts) => {
                self.keep(counts);
                tracing::info!(total = ?counts.total, kept = counts.kept, "inputs are checked, asking begins");
                if let Some(resumed) = counts.resumed() {
                    self.screen.say(format!("compared with earlier answers: {resumed}"));
                }
            }
            Update::Ended { id, status, counts } => {
                self.keep(counts);
                tracing::debug!(id, ?status, "row ended");
            }
            Update::Warning(text) => self.screen.warn(text),
            Update::Stopping(reason) => tracing::info!(reason = reason.name(), "no further prompt is admitted"),
            Update::Finishing => tracing::info!("all prompts have ended, the output gets its final form"),
            Update::Checking { rows } => tracing::debug!(rows, "checking the inputs"),
            Update::Admitted { .. } => {}
        }
    }
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Bar,
    Plain,
    Json,
    Nothing,
}

impl Style {
    fn choose(wanted: Progress, screen: &Screen) -> Style {
        let look = screen.look();
        match wanted {
            Progress::None => Style::Nothing,
            Progress::Auto | Progress::Bar if look.terminal && !look.json && !look.quiet => Style::Bar,
            _ if look.json => Style::Json,
            _ => Style::Plain,
        }
    }
}

/// A running display.
pub struct Monitor {
    task: JoinHandle<()>,
    stop: CancellationToken,
    screen: Screen,
}

impl Monitor {
    /// Shows the progress of `board` and `engine` until [`Monitor::finish`].
    pub fn start(engine: Engine, board: Arc<Board>, wanted: &ProgressArgs, scale: Scale) -> Monitor {
        let stop = CancellationToken::new();
        let screen = board.screen.clone();
        let style = Style::choose(wanted.progress, &screen);
        let view = View { style, scale, began: engine.now(), rate: Rate::default(), engine, board };
        let interval = wanted.progress_interval.max(Duration::from_millis(10));
        let task = tokio::spawn(view.show(interval, stop.clone()));
        Monitor { task, stop, screen }
    }

    /// Ends; the last line is shown when `with_last_line`, that is, when the run had something to show.
    pub async fn finish(self, with_last_line: bool) {
        if with_last_line {
            self.stop.cancel();
            self.task.await.unwrap_or_default();
        } else {
            self.task.abort();
            self.screen.bar().finish_and_clear();
        }
    }
}

struct View {
    style: Style,
    scale: Scale,
    began: Timestamp,
    rate: Rate,
    engine: Engine,
    board: Arc<Board>,
}

impl View {
    async fn show(mut self, interval: Duration, stop: CancellationToken) {
        let bar = (self.style == Style::Bar).then(|| bar::start(&self.board.screen));
        let between = if bar.is_some() { BAR_INTERVAL.min(interval) } else { interval };
        let mut looks = ticks(LOOK_INTERVAL.min(between)).await;
        let mut draws = ticks(between).await;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = draws.tick() => self.draw(),
                _ = looks.tick() => { self.look(); }
            }
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        if self.style != Style::Nothing {
            let last = self.look().at_the_end();
            self.line(&last);
        }
    }

    fn look(&mut self) -> Snapshot {
        Snapshot::take(&self.engine.status(), &self.board.counts(), self.began, self.scale, &mut self.rate)
    }

    fn draw(&mut self) {
        match self.style {
            Style::Nothing => {}
            Style::Bar => {
                let snapshot = self.look();
                bar::draw(self.board.screen.bar(), &snapshot);
            }
            Style::Plain | Style::Json => {
                let snapshot = self.look();
                self.line(&snapshot);
            }
        }
    }

    fn line(&self, snapshot: &Snapshot) {
        let screen = &self.board.screen;
        screen.raw(&if screen.look().json { format::json(snapshot) } else { format::plain(snapshot) });
    }
}

/// Ticks that leave out what was missed; the first comes after `every`.
async fn ticks(every: Duration) -> Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks.tick().await;
    ticks
}
