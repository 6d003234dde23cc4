//! The one door to the terminal: every line for people goes through here, above a moving bar if there is one.

use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget};
use tracing_subscriber::fmt::MakeWriter;

use crate::args::{Color, LogFormat};

/// Standard error, shared by messages, the log and the progress bar. Clones share it.
#[derive(Debug, Clone)]
pub struct Screen {
    bar: ProgressBar,
    look: Look,
}

/// What the screen can show, and what it was asked to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    /// Standard error is a terminal that moves its cursor.
    pub terminal: bool,
    /// Colours are wanted.
    pub color: bool,
    /// News are not wanted, errors only.
    pub quiet: bool,
    /// Lines are JSON objects, for programs.
    pub json: bool,
}

impl Look {
    /// What standard error can do, and what was asked for.
    pub fn of_process(color: Color, no_color: bool, quiet: bool, format: LogFormat) -> Look {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = io::stderr().is_terminal() && !dumb;
        let json = format == LogFormat::Json;
        let color = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !no_color,
        };
        Look { terminal, color: color && !json, quiet, json }
    }
}

impl Default for Screen {
    fn default() -> Screen {
        Screen::new(Look::default())
    }
}

impl Screen {
    /// A screen without a bar so far.
    pub fn new(look: Look) -> Screen {
        Screen { bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()), look }
    }

    /// What it can show.
    pub fn look(&self) -> Look {
        self.look
    }

    /// The bar; it is hidden until somebody gives it a place to draw.
    pub fn bar(&self) -> &ProgressBar {
        &self.bar
    }

    /// One line of news; not written when asked to be quiet.
    pub fn say(&self, line: impl std::fmt::Display) {
        if !self.look.quiet {
            self.message("info", line);
        }
    }

    /// One line of warning; not written when asked to be quiet.
    pub fn warn(&self, line: impl std::fmt::Display) {
        if !self.look.quiet {
            self.message("warning", line);
        }
    }

    /// One line that is written in any case.
    pub fn error(&self, line: impl std::fmt::Display) {
        self.message("error", line);
    }

    /// A line exactly as it is, unless asked to be quiet.
    pub fn raw(&self, line: &str) {
        if !self.look.quiet {
            self.put(format!("{line}\n").as_bytes());
        }
    }

    fn message(&self, kind: &str, line: impl std::fmt::Display) {
        let text = match (self.look.json, kind) {
            (true, _) => serde_json::json!({ "event": kind, "message": line.to_string() }).to_string(),
            (false, "info") => line.to_string(),
            (false, _) => format!("{kind}: {line}"),
        };
        self.put(format!("{text}\n").as_bytes());
    }

    fn put(&self, bytes: &[u8]) {
        self.bar.suspend(|| write_or_drop(&mut io::stderr().lock(), bytes));
    }
}

/// One line of data on standard output.
pub fn data(line: impl std::fmt::Display) {
    write_or_drop(&mut io::stdout().lock(), format!("{line}\n").as_bytes());
}

/// A reader that has gone away is no reason to lose a run.
fn write_or_drop(writer: &mut impl Write, bytes: &[u8]) {
    writer.write_all(bytes).and_then(|()| writer.flush()).unwrap_or_default();
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Screen {
    type Writer = Screen;
    fn make_writer(&'a self) -> Screen {
        self.clone()
    }
}
