//! Answers written out in advance: prompts with a certain text get one exact answer after another.

use serde::Deserialize;

/// What is said to prompts that hold a text: the first such call gets the first reply, and so on; the last one stays.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Which prompts.
    pub contains: String,
    /// What they are told, in order.
    pub replies: Vec<ScriptedReply>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedReply {
    /// Its text, to the letter; an empty one is an answer without parts.
    pub text: String,
    /// Its finish reason, `STOP` unless told.
    #[serde(default = "stop")]
    pub finish: String,
}

fn stop() -> String {
    "STOP".to_owned()
}

/// The scripts, and how often each was used.
#[derive(Debug)]
pub(crate) struct ScriptBook(Vec<(Script, usize)>);

impl ScriptBook {
    pub(crate) fn new(scripts: Vec<Script>) -> Self {
        Self(scripts.into_iter().map(|script| (script, 0)).collect())
    }

    /// The next reply to a prompt of this text; the first script that fits decides.
    pub(crate) fn reply(&mut self, text: &str) -> Option<&ScriptedReply> {
        let (script, told) = self.0.iter_mut().find(|(script, _)| text.contains(&script.contains))?;
        let reply = script.replies.get(*told).or(script.replies.last());
        *told += 1;
        reply
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn replies_come_in_order_and_the_last_one_stays() {
        let script: Script =
            toml::from_str("contains = 'q'\nreplies = [{ text = '1', finish = 'MAX_TOKENS' }, { text = '2' }]").unwrap();
        let mut book = ScriptBook::new(vec![script]);
        let mut told = |text: &str| book.reply(text).map(|reply| (reply.text.clone(), reply.finish.clone()));
        let of = |text: &str, finish: &str| Some((text.to_owned(), finish.to_owned()));
        assert_eq!(told("a q"), of("1", "MAX_TOKENS"));
        assert_eq!(told("other"), None);
        assert_eq!((told("q"), told("q")), (of("2", "STOP"), of("2", "STOP")));
    }
}
