//! The exit codes of the program: what scripts may rely on.

/// How the program ended, as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Everything was answered.
    AllOk = 0,
    /// The run finished; some prompts failed.
    SomeFailed = 1,
    /// Wrong usage, configuration or input: nothing was asked, or asking stopped.
    Usage = 2,
    /// There is no key at all, or none is left that works.
    NoKey = 3,
    /// The API, or a file the run needs, cannot be reached.
    Unreachable = 4,
    /// Stopped with work left: quota, deadline or budget. The same command goes on later.
    WorkLeft = 75,
    /// Stopped by Ctrl-C; what was answered is saved.
    Interrupted = 130,
    /// Stopped by SIGTERM; what was answered is saved.
    Terminated = 143,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> std::process::ExitCode {
        std::process::ExitCode::from(code as u8)
    }
}

/// An error on its way out of the program: what to say, and the code to leave with.
#[derive(Debug)]
pub struct Failure {
    /// The code.
    pub code: ExitCode,
    /// Reason and remedy, for people.
    pub message: String,
}

impl Failure {
    /// An error that ends the program with `code`.
    pub fn new(code: ExitCode, message: impl std::fmt::Display) -> Failure {
        Failure { code, message: message.to_string() }
    }

    /// Wrong usage, configuration or input.
    pub fn usage(message: impl std::fmt::Display) -> Failure {
        Failure::new(ExitCode::Usage, message)
    }
}
