//! The first pass over the inputs: every row is checked, and it is decided which are asked.

use std::collections::HashMap;

use crate::compile::{Compiled, Compiler};
use crate::control::Control;
use crate::errors_file::ErrorsFile;
use crate::feed::Walk;
use crate::identity::Identities;
use crate::input::Input;
use crate::options::Options;
use crate::output::OutputError;
use crate::refresh::{Edited, Riders};
use crate::resume::{Index, Judged, Row, Verdict};
use crate::run::RunError;
use crate::summary::{Counts, ProgressSink, Update};

/// Which rows to ask: one bit a row.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    ask: Vec<u64>,
    /// Occurrence numbers above 1 of derived ids, by row.
    occurrences: HashMap<u64, u32>,
    pub(crate) to_ask: u64,
}

impl Plan {
    fn add(&mut self, index: u64, ask: bool) {
        let word = (index / 64) as usize;
        if self.ask.len() <= word {
            self.ask.resize(word + 1, 0);
        }
        self.ask[word] |= u64::from(ask) << (index % 64);
        self.to_ask += u64::from(ask);
    }

    pub(crate) fn asks(&self, index: u64) -> bool {
        self.ask.get((index / 64) as usize).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    pub(crate) fn occurrence(&self, index: u64) -> u32 {
        self.occurrences.get(&index).copied().unwrap_or(1)
    }
}

/// The first pass over files.
pub(crate) struct Check<'a> {
    pub(crate) compiler: &'a Compiler,
    pub(crate) options: &'a Options,
    pub(crate) index: &'a mut Index,
    pub(crate) counts: &'a mut Counts,
    pub(crate) errors: &'a mut Option<ErrorsFile>,
    pub(crate) edited: &'a mut Edited,
}

impl Check<'_> {
    /// What to ask; `None` when the caller stopped the run meanwhile.
    pub(crate) fn run(&mut self, inputs: &[Input], control: &Control, sink: &dyn ProgressSink) -> Result<Option<Plan>, RunError> {
        const EVERY: u64 = 1000;
        let mut walk = Walk::over(inputs);
        let (mut ids, mut plan) = (Identities::default(), Plan::default());
        while let Some(located) = walk.next() {
            let located = located?;
            let compiled = self.compiler.compile(&located.row);
            let (id, occurrence) = match &compiled {
                Ok(compiled) => walk.identify(compiled, &located, &mut ids)?,
                Err(bad) if self.options.skip_invalid => walk.identify_bad(bad, &mut ids)?,
                Err(bad) => return Err(walk.malformed(bad).into()),
            };
            if occurrence > 1 {
                plan.occurrences.insert(located.index, occurrence);
            }
            let may_ask = self.options.limit.is_none_or(|limit| plan.to_ask < limit);
            let fingerprint = || match &compiled {
                Ok(compiled) => compiled.fingerprint().to_string(),
                Err(bad) => bad.fingerprint.to_string(),
            };
            let riders = || compiled.as_ref().map(Compiled::riders).unwrap_or_default();
            let row = Row { id: &id, fingerprint, riders: || riders().digest() };
            let judged = self.index.judge(row, located.index, self.options.retry_failed, may_ask);
            if judged.edited {
                self.edited.push(&id, &riders()).map_err(|error| OutputError::failed(&std::env::temp_dir(), &error))?;
            }
            self.count(judged, may_ask);
            if judged.verdict == Verdict::Keep
                && !judged.succeeded
                && compiled.is_ok()
                && let Some(errors) = self.errors
            {
                errors.push(&located.row.original())?;
            }
            plan.add(located.index, judged.verdict != Verdict::Keep && may_ask);
            self.counts.seen += 1;
            if self.counts.seen.is_multiple_of(EVERY) {
                sink.update(Update::Checking { rows: self.counts.seen });
            }
            if control.reason().is_some() {
                return Ok(None);
            }
        }
        self.counts.total = Some(self.counts.seen);
        Ok(Some(plan))
    }

    fn count(&mut self, judged: Judged, may_ask: bool) {
        match judged.verdict {
            Verdict::Keep => {
                self.counts.kept += 1;
                self.counts.kept_failed += u64::from(!judged.succeeded);
            }
            Verdict::New if may_ask => self.counts.new += 1,
            Verdict::Changed if may_ask => self.counts.changed += 1,
            Verdict::Retry if may_ask => self.counts.retried += 1,
            Verdict::New | Verdict::Changed | Verdict::Retry => {}
        }
    }
}

/// Looks through the files that stand beside a stream, so that their faults are told before any call. False when the
/// caller stopped the run meanwhile.
pub(crate) fn look_through(
    inputs: &[Input],
    compiler: &Compiler,
    options: &Options,
    control: &Control,
) -> Result<bool, RunError> {
    let (mut walk, mut ids) = (Walk::over(inputs), Identities::default());
    while let Some(located) = walk.next() {
        let located = located?;
        match compiler.compile(&located.row) {
            Ok(compiled) => walk.identify(&compiled, &located, &mut ids)?,
            Err(bad) if options.skip_invalid => walk.identify_bad(&bad, &mut ids)?,
            Err(bad) => return Err(walk.malformed(&bad).into()),
        };
        if control.reason().is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Compiled {
    fn riders(&self) -> Riders {
        Riders::of(self.prompt.metadata.as_deref(), self.prompt.extra.clone())
    }
}
