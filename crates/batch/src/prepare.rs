//! Everything before the first call: lock, heal, check every row, decide what to ask, take out what is asked again.

use std::fs;
use std::path::Path;

use crate::budget::Spending;
use crate::check::{Check, Plan, look_through};
use crate::claims;
use crate::compile::Compiler;
use crate::control::Control;
use crate::errors_file::ErrorsFile;
use crate::home::Home;
use crate::identity::Identities;
use crate::input::{self, Input};
use crate::journal::{self, JournalError};
use crate::manifest::{Manifest, ManifestError};
use crate::options::Options;
use crate::output::{Layout, Output, OutputError};
use crate::refresh::Edited;
use crate::resume::Index;
use crate::run::RunError;
use crate::summary::{Counts, ProgressSink, Summary};

/// What preparing came to.
pub(crate) enum Preparation {
    Ready(Box<Prepared>),
    /// Stopped by the caller before anything was changed.
    Stopped(Box<Summary>),
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
    /// What they cost, against the caller's budget.
    pub(crate) spending: Spending,
    pub(crate) warnings: Vec<String>,
}

/// Which rows to ask.
pub(crate) enum Selection {
    /// The first pass has told.
    Planned(Plan),
    /// A stream, and nothing to resume: all of them, as they come.
    Live(Identities),
}

impl Selection {
    /// True when it is known that there is nothing to ask.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Selection::Planned(plan) if plan.to_ask == 0)
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
    input::check(&inputs)?;
    claims::check(&output, &inputs, options)?;
    let mut errors = options.errors.as_deref().map(ErrorsFile::create).transpose()?;
    let mut home = Home::open(output, options.ordered, &options.task)?;
    let manifest = Manifest::of(options);
    let mut spending = Spending::of(options.max_cost.clone());
    let Earlier { mut index, warnings } = match home.files().filter(|_| !options.fresh) {
        Some(files) => earlier(files, &manifest, options.accept_changes, &mut spending)?,
        None => Earlier::default(),
    };
    let stopped = |counts: Counts, warnings| {
        let outstanding = counts.outstanding();
        let summary = Summary { counts, outstanding, stopped: control.reason(), warnings, ..Summary::default() };
        Ok(Preparation::Stopped(Box::new(summary)))
    };
    let mut counts = Counts::default();
    let inputs = if index.is_empty() { Some(inputs) } else { home.spool(inputs, control, sink)? };
    let Some(inputs) = inputs else { return stopped(counts, warnings) };
    let mut edited = Edited::default();
    let streams = inputs.iter().any(|input| input.path().is_none());
    let selection = if streams {
        look_through(&inputs, &compiler, options, control)?.then(|| Selection::Live(Identities::default()))
    } else {
        let (index, counts, errors, edited) = (&mut index, &mut counts, &mut errors, &mut edited);
        Check { compiler: &compiler, options, index, counts, errors, edited }.run(&inputs, control, sink)?.map(Selection::Planned)
    };
    let Some(selection) = selection else { return stopped(counts, warnings) };
    counts.gone = index.gone().count() as u64;
    let tokens = index.tokens();
    home.settle(&mut index, &mut edited, options, &manifest)?;
    Ok(Preparation::Ready(Box::new(Prepared { inputs, compiler, selection, home, counts, errors, tokens, spending, warnings })))
}

/// What earlier runs left.
#[derive(Default)]
pub(crate) struct Earlier {
    pub(crate) index: Index,
    pub(crate) warnings: Vec<String>,
}

/// Opens what earlier runs left: heals it, reads it, and refuses what others wrote or began otherwise.
pub(crate) fn earlier(files: &Layout, manifest: &Manifest, accept: bool, spending: &mut Spending) -> Result<Earlier, RunError> {
    let begun = begun_with(files, accept)?;
    let (journal, ours) = (files.journal(), files.manifest().exists());
    if !ours {
        refuse_foreign(files)?;
    }
    let mut warnings = Vec::new();
    warnings.extend(journal::heal(&journal, ours)?);
    let index = match read(&journal, spending) {
        Err(JournalError::BadLine { line: 1, .. }) if !ours => {
            return Err(OutputError::Foreign { path: files.out.display().to_string() }.into());
        }
        read => read?,
    };
    warnings.extend(index.repeated().map(|line| {
        format!("{}:{line}: is a second record of its id and is moved to {}", journal.display(), files.superseded().display())
    }));
    let differences = begun.map(|begun| manifest.differences(&begun)).unwrap_or_default();
    if differences.is_empty() || accept || index.is_empty() {
        return Ok(Earlier { index, warnings });
    }
    Err(RunError::SettingsChanged { output: files.out.display().to_string(), differences })
}

fn read(journal: &Path, spending: &mut Spending) -> Result<Index, JournalError> {
    let mut index = Index::default();
    journal::scan(journal, |line| {
        index.add(&line.head, line.number);
        line.head.spend(spending);
        Ok::<(), JournalError>(())
    })?;
    index.seal();
    Ok(index)
}

/// A final form without a journal beside it was written by somebody else.
fn refuse_foreign(files: &Layout) -> Result<(), OutputError> {
    let written = fs::metadata(&files.out).is_ok_and(|found| found.len() > 0);
    if !files.is_journal() && written && !files.journal().exists() {
        return Err(OutputError::Foreign { path: files.out.display().to_string() });
    }
    Ok(())
}

/// The settings the output was begun with; ones that cannot be read are none once the caller accepts any.
fn begun_with(files: &Layout, accept: bool) -> Result<Option<Manifest>, OutputError> {
    let path = files.manifest();
    match Manifest::read(&path) {
        Err(ManifestError::Unreadable(_)) if accept => Ok(None),
        read => read.map_err(|error| OutputError::Manifest { path: path.display().to_string(), reason: error.to_string() }),
    }
}
