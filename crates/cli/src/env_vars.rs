//! Every environment variable the program reads, declared once.

use std::collections::BTreeMap;
use std::path::Path;

/// The file of variables in the current folder.
pub const DOTENV: &str = ".env";

/// A settings file to use instead of the usual ones; `--config` wins.
pub const CONFIG: &str = "TIDEGATE_CONFIG";
/// The model for prompts that name none.
pub const MODEL: &str = "TIDEGATE_MODEL";
/// Where the API lives.
pub const BASE_URL: &str = "TIDEGATE_BASE_URL";
/// Where the API lives, under the name Google's own libraries use; ours wins.
pub const GOOGLE_BASE_URL: &str = "GOOGLE_GEMINI_BASE_URL";
/// The folder of the local store: learned limits, what the day used, states of keys.
pub const STATE_DIR: &str = "TIDEGATE_STATE_DIR";
/// The preset for pacing and retries.
pub const PROFILE: &str = "TIDEGATE_PROFILE";
/// Requests a minute, for every project and model.
pub const RPM: &str = "TIDEGATE_RPM";
/// Input tokens a minute, for every project and model.
pub const TPM: &str = "TIDEGATE_TPM";
/// Requests a day, for every project and model.
pub const RPD: &str = "TIDEGATE_RPD";
/// The most attempts under way at once.
pub const MAX_CONCURRENCY: &str = "TIDEGATE_MAX_CONCURRENCY";
/// Least time between any two calls.
pub const CALL_INTERVAL: &str = "TIDEGATE_CALL_INTERVAL";
/// The most attempts under way with one key.
pub const SLOTS_PER_KEY: &str = "TIDEGATE_SLOTS_PER_KEY";
/// Least time between two starts in one slot.
pub const SLOT_INTERVAL: &str = "TIDEGATE_SLOT_INTERVAL";
/// Rest of a key after each use.
pub const KEY_COOLDOWN: &str = "TIDEGATE_KEY_COOLDOWN";
/// Rest of a worker after each call.
pub const WORKER_COOLDOWN: &str = "TIDEGATE_WORKER_COOLDOWN";
/// Pause before each call.
pub const DELAY: &str = "TIDEGATE_DELAY";
/// Attempts that may fail by the prompt's own fault.
pub const MAX_TASK_ATTEMPTS: &str = "TIDEGATE_MAX_TASK_ATTEMPTS";
/// Attempts that may fail by the API's or the network's fault.
pub const MAX_TRANSIENT_ATTEMPTS: &str = "TIDEGATE_MAX_TRANSIENT_ATTEMPTS";
/// Attempts of any outcome.
pub const MAX_ATTEMPTS: &str = "TIDEGATE_MAX_ATTEMPTS";
/// Tokens all attempts of a prompt may use before it is asked again for better JSON.
pub const MAX_JSON_TOKENS: &str = "TIDEGATE_MAX_JSON_TOKENS";
/// The longest one attempt may take.
pub const ATTEMPT_TIMEOUT: &str = "TIDEGATE_ATTEMPT_TIMEOUT";
/// HTTP statuses that are worth another try, with commas between them.
pub const RETRY_ON: &str = "TIDEGATE_RETRY_ON";
/// Whose tokens are counted by the API before they are sent.
pub const COUNT_TOKENS: &str = "TIDEGATE_COUNT_TOKENS";
/// First pause after a fault.
pub const INITIAL_BACKOFF: &str = "TIDEGATE_INITIAL_BACKOFF";
/// Longest pause of our own making.
pub const MAX_BACKOFF: &str = "TIDEGATE_MAX_BACKOFF";
/// Pause after a refusal that tells no delay.
pub const EXHAUSTED_WAIT: &str = "TIDEGATE_EXHAUSTED_WAIT";
/// Pause of a quota that is used up for the day.
pub const FULLY_EXHAUSTED_WAIT: &str = "TIDEGATE_FULLY_EXHAUSTED_WAIT";
/// Refusals in a row after which a quota counts as used up.
pub const MAX_EXHAUSTED_RETRIES: &str = "TIDEGATE_MAX_EXHAUSTED_RETRIES";
/// How the server counts a minute.
pub const WINDOW: &str = "TIDEGATE_WINDOW";
/// Length of the server's minute.
pub const MINUTE: &str = "TIDEGATE_MINUTE";
/// The part of a minute's limit that the server's bucket holds.
pub const BUCKET: &str = "TIDEGATE_BUCKET";
/// When a quota day ends.
pub const DAY: &str = "TIDEGATE_DAY";
/// How late a request may be counted after it was sent.
pub const GUARD: &str = "TIDEGATE_GUARD";
/// The address of the Redis that machines share their quotas by.
pub const REDIS_URL: &str = "TIDEGATE_REDIS_URL";
/// The part of the limits that `serve` goes on with while Redis is away.
pub const REDIS_LOCAL_SHARE: &str = "TIDEGATE_REDIS_LOCAL_SHARE";
/// The address that `serve` listens on.
pub const LISTEN: &str = "TIDEGATE_LISTEN";
/// How long a request to `serve` waits for its permit.
pub const MAX_WAIT: &str = "TIDEGATE_MAX_WAIT";
/// The most requests to `serve` that wait for a permit.
pub const MAX_QUEUE: &str = "TIDEGATE_MAX_QUEUE";
/// The collector of traces, by OpenTelemetry's own name for it.
pub const OTEL_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// The whole address that spans are sent to; goes before the other.
pub const OTEL_TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
/// What the collector wants to see with everything that is sent, as `name=value,name=value`.
pub const OTEL_HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
/// What it wants to see with spans; goes before the other.
pub const OTEL_TRACES_HEADERS: &str = "OTEL_EXPORTER_OTLP_TRACES_HEADERS";
/// What this program is called in traces.
pub const OTEL_SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
/// `true` turns traces off.
pub const OTEL_SDK_DISABLED: &str = "OTEL_SDK_DISABLED";
/// `none` turns traces off.
pub const OTEL_TRACES_EXPORTER: &str = "OTEL_TRACES_EXPORTER";
/// How much is logged.
pub const LOG_LEVEL: &str = "TIDEGATE_LOG_LEVEL";
/// Where the log goes instead of standard error.
pub const LOG_FILE: &str = "TIDEGATE_LOG_FILE";
/// The form of log records.
pub const LOG_FORMAT: &str = "TIDEGATE_LOG_FORMAT";
/// Colours: auto, always or never.
pub const COLOR: &str = "TIDEGATE_COLOR";
/// Any value turns colours off, by a common agreement of command line tools.
pub const NO_COLOR: &str = "NO_COLOR";
/// The first variable searched for keys.
pub const GEMINI_API_KEY: &str = "GEMINI_API_KEY";
/// The name Google's own libraries read a key from.
pub const GOOGLE_API_KEY: &str = "GOOGLE_API_KEY";
/// Variables beginning with this hold further keys: `GEMINI_API_KEY_1`, `GEMINI_API_KEY_TEAM`, ...
pub const GEMINI_API_KEY_PREFIX: &str = "GEMINI_API_KEY_";
/// The user's folder for settings on Unix.
pub const XDG_CONFIG_HOME: &str = "XDG_CONFIG_HOME";
/// The user's folder for settings on Windows.
pub const APPDATA: &str = "APPDATA";
/// The user's home.
pub const HOME: &str = "HOME";

/// Beginning of our own variables.
const OWN_PREFIX: &str = "TIDEGATE_";

/// Our own variables, all of them.
const OWN: &[&str] = &[
    CONFIG,
    MODEL,
    BASE_URL,
    STATE_DIR,
    PROFILE,
    RPM,
    TPM,
    RPD,
    MAX_CONCURRENCY,
    CALL_INTERVAL,
    SLOTS_PER_KEY,
    SLOT_INTERVAL,
    KEY_COOLDOWN,
    WORKER_COOLDOWN,
    DELAY,
    MAX_TASK_ATTEMPTS,
    MAX_TRANSIENT_ATTEMPTS,
    MAX_ATTEMPTS,
    MAX_JSON_TOKENS,
    ATTEMPT_TIMEOUT,
    RETRY_ON,
    COUNT_TOKENS,
    INITIAL_BACKOFF,
    MAX_BACKOFF,
    EXHAUSTED_WAIT,
    FULLY_EXHAUSTED_WAIT,
    MAX_EXHAUSTED_RETRIES,
    WINDOW,
    MINUTE,
    BUCKET,
    DAY,
    GUARD,
    REDIS_URL,
    REDIS_LOCAL_SHARE,
    LISTEN,
    MAX_WAIT,
    MAX_QUEUE,
    LOG_LEVEL,
    LOG_FILE,
    LOG_FORMAT,
    COLOR,
];

/// The variables a run sees: the process environment over the `.env` file.
///
/// It holds keys, so it has no `Debug`.
#[derive(Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    /// The real environment, with `.env` of `folder` beneath it.
    ///
    /// # Errors
    /// When `.env` is there and cannot be read; the text of the line is never shown, it may hold a key.
    pub fn of_process(folder: &Path) -> Result<Environment, String> {
        let process = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let mut environment = Environment { variables: dotenv(&folder.join(DOTENV))? };
        environment.variables.extend(process);
        Ok(environment)
    }

    /// An environment made by hand.
    #[cfg(test)]
    pub fn of(pairs: &[(&str, &str)]) -> Environment {
        Environment { variables: pairs.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect() }
    }

    /// The value of a variable; a blank one counts as unset.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// Names of all variables that begin with `prefix` and have a value.
    pub fn names_with(&self, prefix: &str) -> Vec<&str> {
        self.variables.keys().map(String::as_str).filter(|name| name.starts_with(prefix) && self.get(name).is_some()).collect()
    }

    /// One warning for each `TIDEGATE_*` variable nobody reads.
    pub fn unknown(&self) -> Vec<String> {
        self.names_with(OWN_PREFIX).into_iter().filter(|name| !OWN.contains(name)).map(unknown_variable).collect()
    }
}

fn unknown_variable(name: &str) -> String {
    let bare = |name: &'static str| name.trim_start_matches(OWN_PREFIX);
    match crate::settings::nearest(name.trim_start_matches(OWN_PREFIX), OWN.iter().copied().map(bare)) {
        Some(near) => format!("environment variable {name} is not known and ignored; did you mean {OWN_PREFIX}{near}?"),
        None => format!("environment variable {name} is not known and ignored"),
    }
}

fn dotenv(path: &Path) -> Result<BTreeMap<String, String>, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(format!("{}: cannot be read: {error}", path.display())),
    };
    let parsed: Result<_, dotenvy::Error> = dotenvy::from_read_iter(text.as_bytes()).collect();
    parsed.map_err(|error| match error {
        dotenvy::Error::LineParse(line, _) => {
            let number = line_of(&text, &line).map(|number| format!(":{number}")).unwrap_or_default();
            format!("{}{number}: cannot be read: write NAME=VALUE, one on a line", path.display())
        }
        _ => format!("{}: cannot be read: write NAME=VALUE, one on a line", path.display()),
    })
}

/// The line, from 1, at which a bad entry begins. The entry may be a whole line, several with an open quote, or just a value.
fn line_of(text: &str, entry: &str) -> Option<usize> {
    let first = entry.lines().map(str::trim).find(|line| !line.is_empty())?;
    let at = |fits: fn(&str, &str) -> bool| text.lines().position(|line| fits(line.trim(), first));
    at(|line, first| line == first).or_else(|| at(|line, first| line.ends_with(first))).map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_blank_variable_counts_as_unset() {
        let environment = Environment::of(&[("GEMINI_API_KEY", "  "), ("GEMINI_API_KEY_1", " k ")]);
        assert_eq!(environment.get("GEMINI_API_KEY"), None);
        assert_eq!(environment.get("GEMINI_API_KEY_1"), Some("k"));
        assert_eq!(environment.names_with(GEMINI_API_KEY_PREFIX), ["GEMINI_API_KEY_1"]);
    }

    #[test]
    fn a_mistyped_variable_is_warned_of_with_the_nearest_name() {
        let environment = Environment::of(&[("TIDEGATE_MODLE", "x"), ("TIDEGATE_MODEL", "y")]);
        assert_eq!(
            environment.unknown(),
            ["environment variable TIDEGATE_MODLE is not known and ignored; did you mean TIDEGATE_MODEL?"]
        );
    }

    #[test]
    fn nothing_is_suggested_for_a_variable_like_none_of_ours() {
        for name in ["TIDEGATE_FOO", "TIDEGATE_BANANAS", "TIDEGATE_X"] {
            let said = Environment::of(&[(name, "x")]).unknown();
            assert_eq!(said, [format!("environment variable {name} is not known and ignored")]);
        }
    }

    #[test]
    fn an_open_quote_is_named_by_the_line_it_begins_on() {
        let folder = tempfile::tempdir().unwrap();
        for (text, place) in [
            ("A=1\n\nB='never closed\nC=2\n", ".env:3: "),
            ("A=1\nB=\"SECRET\n", ".env:2: "),
            ("B = a b c\n", ".env:1: "),
            ("# first\n= value", ".env:2: "),
        ] {
            std::fs::write(folder.path().join(".env"), text).unwrap();
            let error = dotenv(&folder.path().join(".env")).unwrap_err();
            assert!(error.contains(place) && !error.contains("SECRET"), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_bad_line_of_dotenv_is_named_by_number_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".env"), "A=1\n!SECRET value here\n").unwrap();
        let error = dotenv(&folder.path().join(".env")).unwrap_err();
        assert!(error.ends_with(".env:2: cannot be read: write NAME=VALUE, one on a line"), "{error}");
        assert!(!error.contains("SECRET"));
    }

    #[test]
    fn dotenv_lines_are_read_with_quotes_exports_and_comments() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".env"), "# keys\nexport A=1\nB='two words'\nC=\"3\" # third\n").unwrap();
        let read = dotenv(&folder.path().join(".env")).unwrap();
        assert_eq!(read["A"], "1");
        assert_eq!(read["B"], "two words");
        assert_eq!(read["C"], "3");
    }
}
