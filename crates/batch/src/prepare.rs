//! Everything before the first call: lock, heal, check every row, decide what to ask, take out what is asked again.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use crate::compile::{BadRow, Compiled, Compiler};
use crate::control::Control;
use crate::errors_file::ErrorsFile;
use crate::feed::Walk;
use crate::home::Home;
use crate::identity::Identities;
use crate::input::{Input, InputError};
use crate::journal::{self, JournalError};
use crate::manifest::Manifest;
use crate::options::Options;
use crate::output::{Layout, Output, OutputError};
use crate::resume::{Index, Judged, Verdict};
use crate::run::RunError;
use crate::summary::{Counts, ProgressSink, Summary, Update};

/// What preparing came to.
pub(crate) enum Preparation {
    Ready(Box<Prepared>),
    /// Stopped by the caller before anything was changed.
    Stopped(Summary),
}

/// A run about to ask.
pub(crate) struct Prepared {
    pub(crate) inputs: Vec<Input>,
    pub(crate) compiler: Compiler,
    pub(crate) selection: Selection,
    pub(crate) home: Home,
    pub(crate) counts: Counts,
    pub(crate) errors: Option<ErrorsFile>,
    /// Tokens that the records in the output cost before.
    pub(crate) tokens: u64,
    pub(crate) warnings: Vec<String>,
}

/// Which rows to ask.
pub(crate) enum Selection {
    /// The first pass has told.
    Planned(Plan),
    /// A stream, and nothing to resume: all of them, as they come.
    Live(Identities),
}

/// One bit a row.
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

pub(crate) fn prepare(
    inputs: Vec<Input>,
    output: Output,
    compiler: Compiler,
    options: &Options,
    control: &Control,
    sink: &dyn ProgressSink,
) -> Result<Preparation, RunError> {
    for input in &inputs {
        input.check()?;
    }
    if inputs.iter().filter(|input| input.path().is_none()).count() > 1 {
        return Err(InputError::StreamTwice.into());
    }
    let mut home = Home::open(output, &inputs, options.ordered)?;
    let (mut index, mut warnings) = (Index::default(), Vec::new());
    let manifest = Manifest::of(options);
    if let Some(files) = home.files().filter(|_| !options.fresh) {
        refuse_foreign(files)?;
        if files.manifest().exists() {
            warnings.extend(journal::heal(&files.journal())?);
        }
        index = read(&files.journal())?;
        if !index.is_empty() {
            check_settings(files, &manifest, options.accept_changes)?;
        }
    }
    let tokens = index.tokens();
    let inputs = spool_if_needed(inputs, &home, &index)?;
    let mut errors = options.errors.as_deref().map(|path| errors_file(path, &inputs)).transpose()?;
    let streams = inputs.iter().any(|input| input.path().is_none());
    let mut counts = Counts::default();
    let selection = if streams {
        Selection::Live(Identities::default())
    } else {
        let mut check = Check { compiler: &compiler, options, index: &mut index, counts: &mut counts, errors: &mut errors };
        match check.run(&inputs, control, sink)? {
            Some(plan) => Selection::Planned(plan),
            None => {
                let outstanding = counts.outstanding();
                let summary = Summary { counts, outstanding, stopped: control.reason(), warnings, ..Summary::default() };
                return Ok(Preparation::Stopped(summary));
            }
        }
    };
    counts.gone = index.gone().count() as u64;
    home.settle(&mut index, options, &manifest)?;
    Ok(Preparation::Ready(Box::new(Prepared { inputs, compiler, selection, home, counts, errors, tokens, warnings })))
}

fn errors_file(path: &Path, inputs: &[Input]) -> Result<ErrorsFile, OutputError> {
    match inputs.iter().find(|input| input.is_at(path)) {
        Some(input) => Err(OutputError::IsInput { path: input.name().to_owned() }),
        None => ErrorsFile::create(path),
    }
}

fn read(journal: &Path) -> Result<Index, JournalError> {
    let mut index = Index::default();
    journal::scan(journal, |line| {
        index.add(&line.head, line.number);
        Ok::<(), JournalError>(())
    })?;
    index.seal().map_err(|(first, second)| JournalError::Twice { path: journal.display().to_string(), first, second })?;
    Ok(index)
}

/// A final form without a journal beside it was written by somebody else.
fn refuse_foreign(files: &Layout) -> Result<(), OutputError> {
    let written = fs::metadata(&files.out).is_ok_and(|found| found.len() > 0);
    if !files.is_journal() && written && !files.manifest().exists() {
        return Err(OutputError::Foreign { path: files.out.display().to_string() });
    }
    Ok(())
}

fn check_settings(files: &Layout, manifest: &Manifest, accept: bool) -> Result<(), RunError> {
    let path = files.manifest();
    let unusable = |reason: String| OutputError::Manifest { path: path.display().to_string(), reason };
    let Some(earlier) = Manifest::read(&path).map_err(|error| unusable(error.to_string()))? else { return Ok(()) };
    let differences = manifest.differences(&earlier);
    if differences.is_empty() || accept {
        return Ok(());
    }
    Err(RunError::SettingsChanged { output: files.out.display().to_string(), differences })
}

/// A stream can be compared with earlier records only once it is here as a whole.
fn spool_if_needed(inputs: Vec<Input>, home: &Home, index: &Index) -> Result<Vec<Input>, OutputError> {
    let Some(files) = home.files().filter(|_| !index.is_empty()) else { return Ok(inputs) };
    let spool = files.spool();
    let spooled = inputs.into_iter().map(|input| input.spool(&spool));
    spooled.collect::<io::Result<Vec<Input>>>().map_err(|error| OutputError::failed(&spool, &error))
}

/// The first pass over files.
struct Check<'a> {
    compiler: &'a Compiler,
    options: &'a Options,
    index: &'a mut Index,
    counts: &'a mut Counts,
    errors: &'a mut Option<ErrorsFile>,
}

impl Check<'_> {
    /// What to ask; `None` when the caller stopped the run meanwhile.
    fn run(&mut self, inputs: &[Input], control: &Control, sink: &dyn ProgressSink) -> Result<Option<Plan>, RunError> {
        const EVERY: u64 = 1000;
        let mut walk = Walk::over(inputs);
        let (mut ids, mut plan) = (Identities::default(), Plan::default());
        while let Some(located) = walk.next() {
            let located = located?;
            let compiled = self.compiler.compile(&located.row);
            let (id, occurrence) = match &compiled {
                Ok(compiled) => walk.identify(compiled, &located, &mut ids)?,
                Err(bad) if self.options.skip_invalid => identify_bad(bad, &mut ids),
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
            let judged = self.index.judge((&id, fingerprint), located.index, self.options.retry_failed, may_ask);
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

/// What a bad line is known by: its bytes.
pub(crate) fn identify_bad(bad: &BadRow, ids: &mut Identities) -> (String, u32) {
    let occurrence = ids.occurrence(&bad.fingerprint);
    (bad.fingerprint.derived_id(occurrence), occurrence)
}

impl Compiled {
    /// Its own id, or one derived from what it asks.
    pub(crate) fn id(&self, occurrence: u32) -> String {
        self.prompt.id.clone().unwrap_or_else(|| self.fingerprint().derived_id(occurrence))
    }
}
