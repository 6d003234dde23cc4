//! Progress: a task that looks at the engine and the run every so often, and shows what it sees.

mod bar;
pub mod format;
mod rate;
mod snapshot;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate_batch::{Counts, ProgressSink, Update};
use tidegate_engine::Engine;
use tidegate_engine::scheduler::Timestamp;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::args::Progress;
use crate::screen::Screen;
use rate::Rate;
pub use snapshot::{Scale, Snapshot, permitted};

/// How often a bar moves: often enough to look alive.
const BAR_INTERVAL: Duration = Duration::from_millis(200);

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
    LastLineOnly,
}

impl Style {
    fn choose(wanted: Progress, screen: &Screen) -> Style {
        let look = screen.look();
        match wanted {
            Progress::None => Style::LastLineOnly,
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
    pub fn start(engine: Engine, board: Arc<Board>, wanted: Progress, interval: Duration, scale: Scale) -> Monitor {
        let stop = CancellationToken::new();
        let screen = board.screen.clone();
        let style = Style::choose(wanted, &screen);
        let view = View { style, scale, began: engine.now(), rate: Rate::default(), engine, board };
        let task = tokio::spawn(view.show(interval.max(Duration::from_millis(10)), stop.clone()));
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
        let mut ticks = tokio::time::interval(if bar.is_some() { BAR_INTERVAL.min(interval) } else { interval });
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        ticks.tick().await;
        loop {
            tokio::select! {
                _ = ticks.tick() => self.draw(false),
                () = stop.cancelled() => break,
            }
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        self.draw(true);
    }

    fn draw(&mut self, last: bool) {
        let snapshot = Snapshot::take(&self.engine.status(), &self.board.counts(), self.began, self.scale, &mut self.rate);
        let screen = &self.board.screen;
        match self.style {
            Style::Bar if !last => bar::draw(screen.bar(), &snapshot),
            Style::LastLineOnly if !last => {}
            _ if screen.look().json => screen.raw(&format::json(&snapshot)),
            Style::Bar | Style::Plain | Style::LastLineOnly | Style::Json => screen.raw(&format::plain(&snapshot)),
        }
    }
}
