//! A whole run: prepare, ask every outstanding row, write every answer, put the output into its final form.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tidegate_engine::{Engine, Error, Request, Response, SchemaError};
use tidegate_gemini::request::RequestError;

use crate::compile::Compiler;
use crate::control::Control;
use crate::drive;
use crate::input::{Input, InputError};
use crate::journal::JournalError;
use crate::manifest::Difference;
use crate::options::Options;
use crate::output::{Output, OutputError};
use crate::prepare::{self, Preparation};
use crate::summary::{ProgressSink, Summary, Update};
use crate::template::TemplateError;

/// Whatever answers requests: the engine, or a script in tests.
pub trait Ask: Sync {
    /// Takes one request to its end. Dropping the future cancels it.
    fn ask(&self, request: Request) -> impl Future<Output = Result<Response, Error>> + Send;

    /// The run stops: requests that have not left yet come back as cancelled, those under way have `grace` to end.
    fn stop(&self, grace: Duration) -> impl Future<Output = ()> + Send {
        let _ = grace;
        async {}
    }

    /// Whether a key is left that could serve anything before long.
    fn has_keys(&self) -> bool {
        false
    }
}

impl Ask for Engine {
    fn ask(&self, request: Request) -> impl Future<Output = Result<Response, Error>> + Send {
        self.submit(request)
    }

    fn stop(&self, grace: Duration) -> impl Future<Output = ()> + Send {
        self.shutdown(grace)
    }

    fn has_keys(&self) -> bool {
        self.status().keys.iter().any(|key| !matches!(key.state, "FAILED_INIT" | "FULLY_EXHAUSTED"))
    }
}

/// Why a run could not be done. Records written before it are safe.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RunError {
    /// The inputs cannot be used.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The prompt template cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The settings for every row cannot be used.
    #[error("the settings of this run: {0}")]
    Settings(#[from] RequestError),
    /// The JSON Schema for every answer cannot be used.
    #[error("the JSON schema of this run: {0}")]
    Schema(#[from] SchemaError),
    /// The output cannot be used.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// What the output holds cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Another run writes there.
    #[error("{output}: another run{} is writing it; wait for its end or choose another output", pid.as_ref().map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Locked {
        /// The output.
        output: String,
        /// The other process, if it told.
        pid: Option<String>,
    },
    /// The output was begun with other settings.
    #[error("{output}: begun with other settings: {}; add --accept-changes to go on and ask again what they change, or --fresh to start over", list(.differences))]
    SettingsChanged {
        /// The output.
        output: String,
        /// What differs.
        differences: Vec<Difference>,
    },
    /// The run itself broke off.
    #[error("the run broke off: {0}; every answer is saved, the same command again goes on from there")]
    Broken(String),
}

impl RunError {
    /// True when a file could not be read or written, false when what was asked for or given is wrong.
    pub fn is_file_trouble(&self) -> bool {
        match self {
            RunError::Input(error) => error.is_unreachable(),
            RunError::Output(error) => error.is_unreachable(),
            RunError::Journal(error) => matches!(error, JournalError::Unreadable { .. }),
            RunError::Template(_)
            | RunError::Settings(_)
            | RunError::Schema(_)
            | RunError::SettingsChanged { .. }
            | RunError::Locked { .. } => false,
            RunError::Broken(_) => true,
        }
    }
}

fn list(differences: &[Difference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Takes every row of the inputs through `ask` and ends each exactly once in the output.
///
/// The same call again resumes: rows with a successful record of the same content are kept. `control` stops the run;
/// what has been answered until then is saved, and [`Summary::stopped`] says why it stopped.
///
/// ```no_run
/// use std::sync::Arc;
/// use tidegate_batch::{Control, Input, Options, Output, run};
/// # async fn example(engine: tidegate_engine::Engine) -> Result<(), tidegate_batch::RunError> {
/// let inputs = vec![Input::new("prompts.jsonl", None)?];
/// let output = Output::new("answers.jsonl");
/// let summary = run(&engine, inputs, output, Options::default(), &Control::new(), Arc::new(())).await?;
/// println!("{} answers", summary.counts.ok);
/// # Ok(()) }
/// ```
pub async fn run(
    ask: &impl Ask,
    inputs: Vec<Input>,
    output: Output,
    options: Options,
    control: &Control,
    sink: Arc<dyn ProgressSink>,
) -> Result<Summary, RunError> {
    let compiler = Compiler::new(&options)?;
    let options = Arc::new(options);
    let deadline = options.deadline.map(|after| tokio::time::Instant::now() + after);
    let preparation = {
        let (options, control, sink) = (options.clone(), control.clone(), sink.clone());
        off_thread(move || prepare::prepare(inputs, output, compiler, &options, &control, &*sink)).await?
    };
    let prepared = match preparation {
        Preparation::Ready(prepared) => *prepared,
        Preparation::Stopped(summary) => return Ok(*summary),
    };
    for warning in &prepared.warnings {
        sink.update(Update::Warning(warning));
    }
    sink.update(Update::Planned(&prepared.counts));
    let (ended, home) = drive::drive(ask, prepared, &options, deadline, control, &*sink).await?;
    sink.update(Update::Finishing);
    off_thread(move || home.finish(options.ordered)).await?;
    match ended.refused {
        Some(refused) => Err(refused.into()),
        None => Ok(ended.summary),
    }
}

async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T, RunError> + Send + 'static) -> Result<T, RunError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(RunError::Broken(error.to_string())))
}
