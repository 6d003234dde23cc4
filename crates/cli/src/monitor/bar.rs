//! The moving bar on a terminal.

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::format;
use super::snapshot::Snapshot;
use crate::screen::Screen;

/// Gives the screen's bar a place to draw.
pub fn start(screen: &Screen) -> ProgressBar {
    let bar = screen.bar().clone();
    bar.set_draw_target(ProgressDrawTarget::stderr());
    let template = if screen.look().color {
        "{bar:32.cyan/blue} {pos}/{len} in {elapsed} {prefix}\n{msg}"
    } else {
        "{bar:32} {pos}/{len} in {elapsed} {prefix}\n{msg}"
    };
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Moves it.
pub fn draw(bar: &ProgressBar, seen: &Snapshot) {
    let ended = seen.done + seen.failed;
    bar.set_length(seen.total.unwrap_or(ended + seen.queued + seen.active.0 + seen.paused));
    bar.set_position(ended);
    bar.set_prefix(format::eta(seen).unwrap_or_default());
    let width = usize::from(Term::stderr().size().1);
    bar.set_message(format::below_bar(seen, width.saturating_sub(1)).join("\n"));
}
