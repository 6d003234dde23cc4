//! What a run would ask, without asking: the rows of the inputs as a plan needs them.

use serde::Deserialize;
use tidegate_gemini::pack::Item;
use tidegate_gemini::tokens::Estimate;
use tokio::time::Instant;

use crate::compile::Compiler;
use crate::feed::Walk;
use crate::identity::Identities;
use crate::input::{self, Input};
use crate::options::{Options, Task};
use crate::pack::{Gather, Pack, QUIET};
use crate::run::RunError;

/// A call that would be made: for one row, or for several with [`Options::pack`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prospect {
    /// How many rows it is for.
    pub rows: u64,
    /// Bare model id.
    pub model: String,
    /// Input tokens by kind of content, estimated before any calibration.
    pub estimate: Estimate,
    /// The most output tokens each row allows, where it says so.
    pub max_output_tokens: Option<u64>,
    /// Higher goes first.
    pub priority: i32,
}

/// Reads the inputs once, as a run from the start would, and hands over every call that would be made.
/// Returns how many malformed rows [`Options::skip_invalid`] passed over.
///
/// ```
/// use tidegate_batch::{Format, Input, Options, survey::survey};
/// let inputs = vec![Input::stream("here", Format::Txt, std::io::Cursor::new("one\ntwo\n"))];
/// let mut options = Options::default();
/// options.defaults.model = Some("gemini-3.8-flash".into());
/// let mut tokens = 0;
/// survey(inputs, &options, |row| tokens += row.estimate.total())?;
/// assert!(tokens >= 2);
/// # Ok::<(), tidegate_batch::RunError>(())
/// ```
///
/// # Errors
/// What would stop a run before its first call: a template or an input that cannot be used, a malformed row, an id that stands twice.
pub fn survey(inputs: Vec<Input>, options: &Options, mut each: impl FnMut(Prospect)) -> Result<u64, RunError> {
    let compiler = Compiler::new(options)?;
    input::check(&inputs)?;
    let (mut ids, mut skipped, mut left) = (Identities::default(), 0, options.limit.unwrap_or(u64::MAX));
    let mut walk = Walk::through(inputs);
    let packs = options.pack > 1 && options.task == Task::Answer;
    let (mut gather, now) = (Gather::new(options.pack, QUIET), Instant::now());
    while left > 0
        && let Some(located) = walk.next()
    {
        let located = located?;
        match compiler.compile(&located.row) {
            Ok(compiled) => {
                // A row without an id can clash with none, and its hash would cost more than all the rest.
                if compiled.prompt.id.is_some() {
                    walk.identify(&compiled, &located, &mut ids)?;
                }
                left -= 1;
                let media = match compiled.media.transpose() {
                    Ok(media) => media.map(|media| media.estimate).unwrap_or_default(),
                    // It ends without a call.
                    Err(_) => continue,
                };
                let item = if packs { Item::of(&compiled.prompt, &compiled.request) } else { None };
                let alone = Prospect {
                    rows: 1,
                    max_output_tokens: max_output(&compiled.request.body.without_media()),
                    model: compiled.request.model,
                    estimate: [compiled.request.estimate, media].into_iter().sum(),
                    priority: compiled.prompt.priority,
                };
                match item {
                    Some(Item { common, text, tokens }) => {
                        let priority = alone.priority;
                        gather
                            .put((text, alone), (common, tokens), priority, now)
                            .and_then(shared)
                            .into_iter()
                            .for_each(&mut each);
                    }
                    None => each(alone),
                }
            }
            Err(_) if options.skip_invalid => skipped += 1,
            Err(bad) => return Err(walk.malformed(&bad).into()),
        }
    }
    gather.take_all().into_iter().filter_map(shared).for_each(each);
    Ok(skipped)
}

/// The call of rows that would share one: what the first of them would be alone, with the tokens of all.
fn shared(pack: Pack<(String, Prospect)>) -> Option<Prospect> {
    let texts: Vec<&str> = pack.riders.iter().map(|(text, _)| text.as_str()).collect();
    let (rows, estimate) = (texts.len() as u64, (texts.len() > 1).then(|| pack.common.request(&texts).estimate));
    let (_, first) = pack.riders.into_iter().next()?;
    Some(Prospect { rows, estimate: estimate.unwrap_or(first.estimate), ..first })
}

/// The bound on the answer that stands in the body of a request.
fn max_output(body: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(rename = "generationConfig", alias = "generation_config")]
        config: Option<Config>,
    }
    #[derive(Deserialize)]
    struct Config {
        #[serde(rename = "maxOutputTokens", alias = "max_output_tokens")]
        most: Option<u64>,
    }
    serde_json::from_slice::<Body>(body).ok()?.config?.most
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::io::Cursor;

    use super::*;
    use crate::input::Format;

    fn look(text: &'static str, options: Options) -> Result<(Vec<Prospect>, u64), RunError> {
        let mut options = options;
        options.defaults.model = Some("gemini-x".to_owned());
        let mut rows = Vec::new();
        let skipped = survey(vec![Input::stream("in", Format::Jsonl, Cursor::new(text))], &options, |row| rows.push(row))?;
        Ok((rows, skipped))
    }

    #[test]
    fn every_row_brings_its_model_tokens_bound_and_priority() {
        let text = "\"hi there\"\n{\"prompt\":\"x\",\"model\":\"gemini-y\",\"priority\":3,\"generation_config\":{\"max_output_tokens\":9}}\n";
        let (rows, _) = look(text, Options::default()).unwrap();
        assert_eq!((rows[0].model.as_str(), rows[0].max_output_tokens, rows[0].priority), ("gemini-x", None, 0));
        assert_eq!((rows[1].model.as_str(), rows[1].max_output_tokens, rows[1].priority), ("gemini-y", Some(9), 3));
        assert!(rows.iter().all(|row| row.estimate.total() > 0));
    }

    #[test]
    fn rows_that_would_share_a_call_are_one() {
        let text = "\"a\"\n\"b\"\n{\"prompt\":\"c\",\"model\":\"gemini-y\"}\n\"d\"\n\"e\"\n";
        let (rows, _) = look(text, Options { pack: 3, ..Options::default() }).unwrap();
        assert_eq!(rows.iter().map(|call| call.rows).collect::<Vec<_>>(), [3, 1, 1]);
        assert!(rows[0].estimate.total() > 3 * rows[1].estimate.total(), "the task and the schema are paid, too");
    }

    #[test]
    fn a_row_that_would_stop_the_run_stops_the_survey() {
        let error = look("\"a\"\n{\"prompt\": 5}\n", Options::default()).unwrap_err().to_string();
        assert!(error.starts_with("in:2:"), "{error}");
        let twice = look("{\"id\":\"a\",\"prompt\":\"x\"}\n{\"id\":\"a\",\"prompt\":\"y\"}\n", Options::default()).unwrap_err();
        assert!(twice.to_string().contains("stands twice"), "{twice}");
    }

    #[test]
    fn bad_rows_may_be_skipped_and_rows_beyond_the_limit_are_not_read() {
        let skip = Options { skip_invalid: true, ..Options::default() };
        let (rows, skipped) = look("\"a\"\n{\"prompt\": 5}\n\"b\"\n", skip).unwrap();
        assert_eq!((rows.len(), skipped), (2, 1));
        let first = Options { limit: Some(1), ..Options::default() };
        assert_eq!(look("\"a\"\n{\"prompt\": 5}\n", first).unwrap().0.len(), 1);
    }
}
