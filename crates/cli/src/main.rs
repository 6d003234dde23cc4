//! The `tidegate` program: reads the command line, runs one command, leaves with a documented exit code.

mod args;
mod commands;
mod deadline;
mod descriptors;
mod duration;
mod embedded;
mod env_vars;
mod exit_code;
mod keys;
mod listener;
mod logging;
mod monitor;
mod report;
mod screen;
mod settings;
mod signals;

use std::time::Duration;

use clap::Parser;

use args::{Arguments, Command};
use commands::Context;
use exit_code::{ExitCode, Failure};
use screen::Screen;

/// Many small allocations on two or more threads: the system's allocator keeps more memory and takes longer.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the end may be held up.
const LAST_MOMENT: Duration = Duration::from_millis(200);

fn main() -> std::process::ExitCode {
    let Arguments { command, global } = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return misread(&error).into(),
    };
    if let Command::Completions(wanted) = &command {
        return commands::completions::print(wanted).into();
    }
    let context = match Context::prepare(global) {
        Ok(context) => context,
        Err(failure) => return leave(failure, &Screen::default()).into(),
    };
    let screen = context.screen.clone();
    run(command, context).unwrap_or_else(|failure| leave(failure, &screen)).into()
}

fn run(command: Command, context: Context) -> Result<ExitCode, Failure> {
    match &command {
        Command::Run(wanted) => commands::run::check_files(wanted, &context)?,
        Command::Embed(wanted) => commands::run::check_files(&wanted.run, &context)?,
        _ => {}
    }
    context.log.start(&context.screen)?;
    descriptors::raise();
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::new(ExitCode::Unreachable, format!("Failed to initialize client: no threads: {error}")))?;
    // The command is a task like any other: on the main thread each of its steps would cost two thread switches.
    let ended = runtime.block_on(async {
        let command = tokio::spawn(async {
            match command {
                Command::Run(wanted) => commands::run::run(*wanted, context).await,
                Command::Embed(wanted) => commands::embed::run(*wanted, context).await,
                Command::Fill(wanted) => commands::fill::run(*wanted, context).await,
                Command::Plan(wanted) => commands::plan::run(&wanted, &context),
                Command::Keys(wanted) => commands::keys::run(wanted, context).await,
                Command::Serve(wanted) => commands::serve::run(*wanted, context).await,
                Command::Submit(wanted) => commands::submit::run(*wanted, context).await,
                Command::Work(wanted) => commands::work::run(*wanted, context).await,
                Command::Collect(wanted) => commands::collect::run(*wanted, context).await,
                Command::Queue(wanted) => commands::queue::run(wanted, context).await,
                Command::Simulate(wanted) => commands::simulate::serve(wanted, context).await,
                Command::Completions(wanted) => Ok(commands::completions::print(&wanted)),
            }
        });
        command.await.unwrap_or_else(|fault| match fault.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(fault) => Err(Failure::new(ExitCode::Unreachable, format!("Failed to initialize client: {fault}"))),
        })
    });
    // Logs get a moment to be written out; a thread that still reads standard input would hold up the end for ever.
    runtime.shutdown_timeout(LAST_MOMENT);
    ended
}

/// Leaves with the words of the command line's reader; a key among the words typed is masked in them.
fn misread(error: &clap::Error) -> ExitCode {
    let keys = keys_typed();
    if keys.is_empty() {
        error.exit();
    }
    Screen::default().raw(masked(error.render().to_string(), &keys).trim_end());
    ExitCode::Usage
}

/// Leaves with an error that may repeat what was typed, as a path for example.
fn leave(failure: Failure, screen: &Screen) -> ExitCode {
    screen.error(masked(failure.message, &keys_typed()));
    failure.code
}

/// The words of the command line that hold what looks like a key, each as it may be shown.
fn keys_typed() -> Vec<(String, String)> {
    let typed = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    typed.map(|word| (keys::shown(&word), word)).filter(|(shown, word)| shown != word).collect()
}

fn masked(text: String, keys: &[(String, String)]) -> String {
    keys.iter().fold(text, |text, (shown, key)| text.replace(key, shown))
}
