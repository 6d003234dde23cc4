//! The last errors, for people: what it was, where, and whom it concerned.

use std::collections::VecDeque;
use std::sync::Arc;

use tidegate_engine::scheduler::Timestamp;

/// How many are kept.
pub const KEPT: usize = 50;
/// The longest message that is kept, in characters.
const LONGEST: usize = 300;

/// Something that went wrong. Its message never holds a key: the engine takes keys out of what the API says, and our own words hold none.
#[derive(Debug, Clone)]
pub struct Fault {
    pub at: Timestamp,
    /// The API's status or reason, or a word of ours.
    pub code: Arc<str>,
    pub http_status: Option<u16>,
    pub message: String,
    pub project: Option<Arc<str>>,
    /// The key's display name.
    pub key: Option<Arc<str>>,
    pub client: Option<Arc<str>>,
    pub request_id: Option<Arc<str>>,
}

/// The last [`KEPT`] of them.
#[derive(Debug, Default)]
pub struct Faults(VecDeque<Fault>);

impl Faults {
    /// Takes one more, and forgets the oldest when there are too many.
    pub fn push(&mut self, fault: Fault) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(fault);
    }

    /// The newest first.
    pub fn newest(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter().rev()
    }
}

/// A message on one line, cut to what people read.
pub fn line(message: &str) -> String {
    let mut line = String::with_capacity(message.len().min(LONGEST));
    for word in message.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if let Some((end, _)) = line.char_indices().nth(LONGEST) {
            line.truncate(end);
            line.push('…');
            break;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_come_first_and_only_so_many() {
        let mut faults = Faults::default();
        for n in 0..60 {
            let (code, message) = (format!("{n}").into(), String::new());
            let (http_status, project, key, client, request_id) = (None, None, None, None, None);
            faults.push(Fault { at: Timestamp::ZERO, code, http_status, message, project, key, client, request_id });
        }
        let codes: Vec<_> = faults.newest().map(|fault| &*fault.code).collect();
        assert_eq!((codes.len(), codes[0], codes[49]), (50, "59", "10"));
    }

    #[test]
    fn a_message_is_one_short_line() {
        assert_eq!(line(" a\n  b "), "a b");
        assert_eq!(line(&"ö".repeat(400)).chars().count(), 301);
        assert_eq!(line(&"word ".repeat(400)).chars().count(), 301);
    }
}
