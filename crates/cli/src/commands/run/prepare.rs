//! What a run needs before its first call: inputs, options, a yes to starting over, an engine.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tidegate_batch::{Budget, ErrorLog, ErrorLogFormat, Format, Input, Options};
use tidegate_engine::{BuildError, Builder, CacheSettings, Engine, Observer, ReuseSettings, Schema};
use tidegate_gemini::prices::{Date, Usd};
use tidegate_gemini::request::Defaults;

use super::chronicle::Chronicle;
use super::records::Records;
use super::watch::Watch;
use crate::args::{PromptArgs, RunArgs};
use crate::commands::Context;
use crate::commands::sharing::shared;
use crate::exit_code::{ExitCode, Failure};
use crate::settings::Settings;

/// The inputs, by name.
///
/// # Errors
/// When a name does not tell the format.
pub fn inputs(names: &[String], format: Option<Format>) -> Result<Vec<Input>, Failure> {
    names.iter().map(|name| Input::new(name, format)).collect::<Result<_, _>>().map_err(Failure::usage)
}

/// What prompts are given that do not say otherwise themselves.
///
/// # Errors
/// When the file of a system instruction or of a schema cannot be read.
pub fn defaults(wanted: &PromptArgs, model: &str) -> Result<Defaults, Failure> {
    Ok(Defaults {
        model: Some(model.to_owned()),
        system_instruction: wanted.system.as_deref().map(system_instruction).transpose()?,
        temperature: wanted.temperature,
        max_output_tokens: wanted.max_output_tokens,
        expect_json: wanted.expect_json,
        json_schema: wanted.json_schema.as_deref().map(json_schema).transpose()?,
    })
}

/// How the run behaves.
///
/// # Errors
/// When the file of a system instruction cannot be read.
pub fn options(wanted: &RunArgs, settings: &Settings) -> Result<Options, Failure> {
    let now = jiff::Zoned::now();
    let pack = wanted.pack.map_or(1, |most| most as usize);
    if pack > 1 && (settings.cache.enabled || settings.cache.dedup) {
        return Err(Failure::usage(
            "--pack cannot go with --cache or --dedup ([cache] in tidegate.toml): the answer to several prompts is kept for none of them; leave one of the two out",
        ));
    }
    Ok(Options {
        defaults: defaults(&wanted.prompts, &settings.model)?,
        template: wanted.prompts.prompt.clone(),
        pack,
        limit: wanted.limit,
        retry_failed: wanted.retry_failed,
        max_json_tokens: settings.max_json_tokens,
        fresh: wanted.fresh,
        prune: wanted.prune,
        accept_changes: wanted.accept_changes,
        ordered: wanted.ordered,
        skip_invalid: wanted.skip_invalid,
        full_response: wanted.full_response,
        durability: wanted.durability,
        errors: wanted.errors.clone(),
        max_tokens: wanted.max_tokens,
        max_cost: wanted.max_cost.map(|most| budget(most, settings)).transpose()?,
        fail_on_error: wanted.fail_on_error,
        deadline: wanted.deadline.map(|deadline| deadline.time_left(&now)),
        ..Options::default()
    })
}

/// The most money to spend. A bound that could not be kept is refused.
///
/// # Errors
/// When no price of the model is known.
pub fn budget(most: Usd, settings: &Settings) -> Result<Budget, Failure> {
    let today = Date::of_unix_seconds(jiff::Timestamp::now().as_second().unsigned_abs());
    let model = &settings.model;
    if !settings.prices.knows(model, today) {
        return Err(Failure::usage(format!(
            "--max-cost: no price of model {model} is known; add [prices.\"{model}\"] with input and output, in USD per million tokens, to tidegate.toml"
        )));
    }
    Ok(Budget { most, prices: settings.prices.clone() })
}

/// Files written beside the output, with the flags that name them.
pub fn in_use(wanted: &RunArgs, context: &Context) -> Vec<(String, PathBuf)> {
    let files = [("--error-log", &wanted.error_log), ("--log-file", &context.log.file), ("--report", &wanted.report)];
    files.into_iter().filter_map(|(flag, path)| Some((flag.to_string(), path.clone()?))).collect()
}

/// The text itself, or of the file behind an `@`.
///
/// # Errors
/// When that file cannot be read.
pub fn system_instruction(written: &str) -> Result<String, Failure> {
    let Some(path) = written.strip_prefix('@') else { return Ok(written.to_string()) };
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::new(ExitCode::Unreachable, format!("system instruction {path}: cannot be read: {error}")))?;
    Ok(text.trim_end().to_string())
}

/// The schema of a file, checked.
///
/// # Errors
/// When it cannot be read, or is none.
pub fn json_schema(path: &Path) -> Result<Value, Failure> {
    let name = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::new(ExitCode::Unreachable, format!("--json-schema {name}: cannot be read: {error}")))?;
    let read = Schema::read(&text).map_err(|error| Failure::usage(format!("--json-schema {name}: {error}")))?;
    Ok(read.0)
}

/// Refuses flags that exclude each other.
///
/// # Errors
/// Names them.
pub fn consistent(wanted: &RunArgs) -> Result<(), Failure> {
    if wanted.json && wanted.output == "-" {
        return Err(Failure::usage("--json and -o - would both write to standard output: give -o a file"));
    }
    if wanted.json && wanted.errors.as_deref() == Some(Path::new("-")) {
        return Err(Failure::usage("--json and --errors - would both write to standard output: give --errors a file"));
    }
    Ok(())
}

/// Asks before earlier answers are set aside.
///
/// # Errors
/// When the answer is not yes, or nobody can be asked.
pub fn confirm_fresh(wanted: &RunArgs) -> Result<(), Failure> {
    // An output that is written at the end keeps its answers beside it until then.
    let journal = format!("{}.tidegate/journal.jsonl", wanted.output);
    let holds_something = |path: &str| std::fs::metadata(path).is_ok_and(|found| found.len() > 0);
    let nothing_there = !holds_something(&wanted.output) && !holds_something(&journal);
    if wanted.yes || wanted.output == "-" || nothing_there {
        return Ok(());
    }
    let refused = || Failure::usage(format!("{}: kept as it is; add --yes to start over without being asked", wanted.output));
    if wanted.inputs.iter().any(|input| input == "-") {
        return Err(refused());
    }
    let mut stderr = std::io::stderr().lock();
    let question = format!("{} holds answers. Set them aside and ask everything again? [y/N] ", wanted.output);
    stderr.write_all(question.as_bytes()).and_then(|()| stderr.flush()).unwrap_or_default();
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).unwrap_or_default();
    if !std::io::stdin().is_terminal() {
        stderr.write_all(b"\n").unwrap_or_default();
    }
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") { Ok(()) } else { Err(refused()) }
}

/// The engine with its projects and everybody who watches it.
///
/// # Errors
/// When no key was found, the base URL cannot be used, the error log cannot be opened, or Redis not be reached.
pub async fn engine(
    settings: &Settings,
    simulated: bool,
    wanted: &RunArgs,
    watch: Arc<Watch>,
    records: &Records,
) -> Result<Engine, Failure> {
    let mut builder = builder(settings, simulated)?.observer(watch).observer(Arc::new(Chronicle::default()));
    for observer in records.observers() {
        builder = builder.observer(observer);
    }
    if let Some(path) = &wanted.error_log {
        builder = builder.observer(error_log(path, wanted.error_log_format)?);
    }
    let builder = shared(builder, settings, simulated, 0.0).await?;
    builder.build().map_err(|error| Failure::new(build_code(&error), error))
}

/// Which answers are reused. Simulated ones are kept apart from true ones.
fn reuse(settings: &Settings, simulated: bool) -> Result<ReuseSettings, Failure> {
    let wish = settings.cache;
    let service = if simulated { "simulated".to_owned() } else { settings.base_url.clone() };
    let cache = match (wish.enabled, &settings.state_dir) {
        (false, _) => None,
        (true, Some(folder)) => Some(CacheSettings { folder: folder.clone(), bounds: wish.bounds, service }),
        (true, None) => {
            return Err(Failure::usage(
                "--cache: there is no folder to keep answers in; name one in TIDEGATE_STATE_DIR or state_dir",
            ));
        }
    };
    Ok(ReuseSettings { in_flight: wish.dedup, cache })
}

/// An engine of these settings, about to be built.
///
/// # Errors
/// When answers are to be kept and there is no folder for them.
pub fn builder(settings: &Settings, simulated: bool) -> Result<Builder, Failure> {
    let mut builder = Engine::builder()
        .settings(settings.scheduler.clone())
        .base_url(settings.base_url.clone())
        .attempt_timeout(settings.attempt_timeout)
        .retry_on(settings.retry_on.clone())
        .count_tokens(settings.count_tokens)
        .media(settings.media.clone())
        .reuse(reuse(settings, simulated)?);
    // A simulated quota begins afresh with each run, and real limits must not learn from it.
    if let Some(folder) = settings.state_dir.as_ref().filter(|_| !simulated) {
        builder = builder.state_dir(folder);
    }
    for project in &settings.projects {
        builder = builder.project(project.clone());
    }
    Ok(builder)
}

/// The exit code of an engine that could not be built.
pub fn build_code(error: &BuildError) -> ExitCode {
    match error {
        BuildError::NoKeys => ExitCode::NoKey,
        BuildError::BaseUrl { .. } => ExitCode::Usage,
        BuildError::Tls(_) | BuildError::Store(_) => ExitCode::Unreachable,
    }
}

fn error_log(path: &Path, format: ErrorLogFormat) -> Result<Arc<dyn Observer>, Failure> {
    let log = ErrorLog::open(path, format).map_err(|error| {
        Failure::new(ExitCode::Unreachable, format!("error log {}: cannot be opened: {error}", path.display()))
    })?;
    Ok(Arc::new(log))
}
