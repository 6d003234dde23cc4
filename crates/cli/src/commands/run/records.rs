//! Keeps the figures of a run: a census of its calls and, for the report, what happened when.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidegate_engine::{Census, Engine, Figures, Observer};
use tidegate_gemini::prices::Prices;

use super::summary::Account;
use crate::args::RunArgs;
use crate::exit_code::{ExitCode, Failure};
use crate::report::{Report, Timeline};

/// How often the engine is looked at for what events do not tell.
const INTERVAL: Duration = Duration::from_millis(200);

/// The figures of a run, and the page they are written to.
pub struct Records {
    census: Arc<Census>,
    page: Option<(PathBuf, Arc<Timeline>)>,
}

impl Records {
    /// Nothing recorded yet.
    ///
    /// # Errors
    /// When the page could not be written at the end: better to know before the first call.
    pub fn new(prices: Prices, page: Option<&Path>) -> Result<Records, Failure> {
        if let Some(path) = page {
            probe(path).map_err(|error| unwritable(path, &error))?;
        }
        let page = page.map(|path| (path.to_path_buf(), Arc::new(Timeline::new())));
        Ok(Records { census: Arc::new(Census::new(prices)), page })
    }

    /// Who has to see the engine's events.
    pub fn observers(&self) -> Vec<Arc<dyn Observer>> {
        let timeline = self.page.iter().map(|(_, timeline)| timeline.clone() as Arc<dyn Observer>);
        std::iter::once(self.census.clone() as Arc<dyn Observer>).chain(timeline).collect()
    }

    /// Looks at the engine again and again.
    pub async fn keep(self: Arc<Self>, engine: Engine) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            self.look(&engine);
        }
    }

    /// Looks once.
    pub fn look(&self, engine: &Engine) {
        let status = engine.status();
        self.census.sample(&status);
        if let Some((_, timeline)) = &self.page {
            timeline.look(&status);
        }
    }

    /// The figures so far.
    pub fn figures(&self) -> Figures {
        self.census.figures()
    }

    /// Writes the page, if one is wanted; an older one of that name is replaced as a whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, account: &Account, wanted: &RunArgs) -> Result<(), Failure> {
        let Some((path, timeline)) = &self.page else { return Ok(()) };
        let report = Report {
            title: format!("{} → {}", wanted.inputs.join(", "), wanted.output),
            written: format!("Tidegate {}, {}", env!("CARGO_PKG_VERSION"), jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S %Z")),
            lines: account.lines(),
            elapsed: account.elapsed,
            rows_ok: account.summary.counts.ok,
            figures: &account.figures,
            course: &timeline.course(),
        };
        replace(path, &report.page()).map_err(|error| unwritable(path, &error))
    }
}

/// Opens the file as it will be opened at the end, and leaves everything as it was.
fn probe(path: &Path) -> std::io::Result<()> {
    let was_there = path.exists();
    OpenOptions::new().append(true).create(true).open(path)?;
    if was_there { Ok(()) } else { std::fs::remove_file(path) }
}

fn replace(path: &Path, page: &str) -> std::io::Result<()> {
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        return std::fs::write(path, page);
    }
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    std::fs::write(&part, page)?;
    std::fs::rename(&part, path)
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(ExitCode::Unreachable, format!("report {}: cannot be written: {error}", path.display()))
}
