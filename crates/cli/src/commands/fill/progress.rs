//! What is told while a template is filled: one line for each thing that takes time.

use tidegate_template::{Event, Observer};

use crate::screen::Screen;

/// Writes events as lines, or as JSON where the log is JSON.
pub struct Progress {
    screen: Screen,
    /// Before each line, where several sets are filled.
    prefix: String,
    verbose: bool,
}

impl Progress {
    /// Lines on this screen; `verbose`: every field, too.
    pub fn new(screen: Screen, prefix: String, verbose: bool) -> Progress {
        Progress { screen, prefix, verbose }
    }

    fn line(&self, event: &Event) -> Option<String> {
        match event {
            Event::Read { chunks, is_whole } => {
                let how = if *is_whole { "shown whole" } else { "searched for each field" };
                Some(format!("documents: {}, {how}", counted(*chunks, "chunk")))
            }
            Event::Note { text } => Some(format!("note: {text}")),
            Event::Embedding { done, of } => Some(format!("vectors: {done} of {of}")),
            Event::Packed { packs } if packs.is_empty() => Some("nothing has to be asked".to_owned()),
            Event::Packed { packs } => {
                let sizes: Vec<String> = packs.iter().map(|pack| pack.len().to_string()).collect();
                Some(format!("fields to ask: {} in {}", sizes.join(" + "), counted(packs.len(), "call")))
            }
            Event::Asked { call, fields, again } => {
                let again = if *again { "again " } else { "" };
                Some(format!("call {call}: {again}{}", fields.join(", ")))
            }
            Event::Paused { seconds } => Some(format!("waiting {seconds:.0} s: the API asks for it")),
            Event::Field(field) if self.verbose => Some(format!("{} = {} ({})", field.name, field.value, field.origin.name())),
            Event::Field(_) | Event::Done(_) => None,
        }
    }
}

impl Observer for Progress {
    fn saw(&self, event: &Event) {
        if !self.screen.look().json {
            if let Some(line) = self.line(event) {
                self.screen.say(format!("{}{line}", self.prefix));
            }
        } else if let Ok(line) = serde_json::to_string(event) {
            self.screen.raw(&line);
        }
    }
}

/// `1 call`, `2 calls`.
pub fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
