//! The settings file: where it lies, and how its mistakes are told.

use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::layers::Layer;
use super::nearest;
use crate::env_vars::{self, Environment};
use crate::keys::shown;

/// The file's usual name.
pub const NAME: &str = "tidegate.toml";

/// A mistake in a settings file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// A file that was named cannot be read.
    #[error("settings file {path}: cannot be read: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// Something in it is not understood.
    #[error("{path}:{line}: {reason}")]
    Invalid {
        /// The file.
        path: String,
        /// 1 for the first.
        line: usize,
        /// What is wrong, what was expected.
        reason: String,
    },
}

/// The settings files in force, the highest first: the one named, or those of the folder and of the user.
///
/// # Errors
/// When a file cannot be read or understood; a file that is not there is an error only when it was named.
pub fn layers(named: Option<&Path>, folder: &Path, environment: &Environment) -> Result<Vec<(PathBuf, Layer)>, FileError> {
    if let Some(path) = named {
        return Ok(vec![(path.to_path_buf(), load(path)?)]);
    }
    let present = candidates(None, environment).into_iter().filter(|path| folder.join(path).is_file());
    present.map(|path| Ok((path.clone(), load(&folder.join(&path)).map_err(|error| error.at(&path))?))).collect()
}

/// Where settings files may lie: the one named, or those of the folder and of the user, the highest first.
pub fn candidates(named: Option<&Path>, environment: &Environment) -> Vec<PathBuf> {
    let of_user = || user_folder(environment).map(|user| user.join("tidegate").join(NAME));
    named
        .map_or_else(|| [Some(PathBuf::from(NAME)), of_user()].into_iter().flatten().collect(), |named| vec![named.to_path_buf()])
}

fn user_folder(environment: &Environment) -> Option<PathBuf> {
    let named = environment.get(env_vars::XDG_CONFIG_HOME).or_else(|| environment.get(env_vars::APPDATA));
    named.map(PathBuf::from).or_else(|| Some(Path::new(environment.get(env_vars::HOME)?).join(".config")))
}

fn load(path: &Path) -> Result<Layer, FileError> {
    let text = std::fs::read_to_string(path).map_err(|error| FileError::Unreadable {
        path: path.display().to_string(),
        reason: match error.kind() {
            ErrorKind::NotFound => "there is no such file".to_string(),
            ErrorKind::InvalidData => "it is not UTF-8 text".to_string(),
            _ => error.to_string(),
        },
    })?;
    let mut layer =
        parse(&text).map_err(|(line, reason)| FileError::Invalid { path: path.display().to_string(), line, reason })?;
    layer.folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
    Ok(layer)
}

/// Reads the text of a settings file; an error is a line and a reason.
fn parse(text: &str) -> Result<Layer, (usize, String)> {
    let whole = |error: &toml::de::Error| (line_of(text, error.span()), error.message().to_string());
    let deserializer = toml::Deserializer::parse(text).map_err(|error| whole(&error))?;
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        let (line, message) = whole(error.inner());
        (line, shown(&explain(&path, &message)))
    })
}

fn line_of(text: &str, span: Option<Range<usize>>) -> usize {
    let before = span.map_or("", |span| text.get(..span.start).unwrap_or(text));
    before.matches('\n').count() + 1
}

/// The reason in our words: an unknown setting names its nearest neighbour, anything else its path.
fn explain(path: &str, message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(unknown) = quoted.next().filter(|_| message.starts_with("unknown field")) else {
        let message = if ["projects", "keys", "serve", "redis"].iter().any(|place| path.starts_with(place)) {
            without_text(message)
        } else {
            message.to_string()
        };
        return if path == "." { message } else { format!("{path}: {message}") };
    };
    let parent = path.strip_suffix(unknown).unwrap_or("");
    let known: Vec<&str> = quoted.collect();
    match nearest(unknown, known.iter().copied()) {
        Some(near) => format!("unknown setting \"{parent}{unknown}\"; did you mean \"{parent}{near}\"?"),
        None => format!("unknown setting \"{parent}{unknown}\"; known here: {}", known.join(", ")),
    }
}

/// The message without the text that was found: where keys stand, it may be one.
fn without_text(message: &str) -> String {
    match message.split_once("string \"").and_then(|(before, rest)| Some((before, rest.split_once("\", expected ")?.1))) {
        Some((before, expected)) => format!("{before}a string, expected {expected}"),
        None => message.to_string(),
    }
}

impl FileError {
    /// The same error under the path people know the file by.
    fn at(self, known: &Path) -> FileError {
        let path = known.display().to_string();
        match self {
            FileError::Unreadable { reason, .. } => FileError::Unreadable { path, reason },
            FileError::Invalid { line, reason, .. } => FileError::Invalid { path, line, reason },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn mistakes_name_line_place_and_remedy() {
        for (text, line, reason) in [
            (
                "\n[pacing]\nmax_concurency = 3\n",
                3,
                "unknown setting \"pacing.max_concurency\"; did you mean \"pacing.max_concurrency\"?",
            ),
            ("modle = \"x\"\n", 1, "unknown setting \"modle\"; did you mean \"model\"?"),
            (
                "[pacing]\nmax_concurrency = \"many\"\n",
                2,
                "pacing.max_concurrency: invalid value: string \"many\", expected a whole number",
            ),
            (
                "[pacing]\nmax_concurrency = -1\n",
                2,
                "pacing.max_concurrency: invalid value: integer `-1`, expected a whole number",
            ),
            (
                "[retry]\n\ninitial_backoff = true\n",
                3,
                "retry.initial_backoff: invalid type: boolean `true`, expected a duration such as \"30s\"",
            ),
            ("model = 3\n", 1, "model: invalid type: integer `3`, expected a string"),
            (
                "profile = \"brave\"\n",
                1,
                "profile: invalid value: string \"brave\", expected \"conservative\", \"balanced\", \"aggressive\", \"classic\" or \"slots\"",
            ),
            (
                "[quota]\ntpm_counts = \"output\"\n",
                2,
                "quota.tpm_counts: invalid value: string \"output\", expected \"auto\", \"input\" or \"total\"",
            ),
            (
                "[[projects]]\nname = \"a\"\nkeys = []\n[projects.limits.\"*\"]\nrmp = 5\n",
                5,
                "unknown setting \"projects[0].limits.*.rmp\"; did you mean \"projects[0].limits.*.rpm\"?",
            ),
        ] {
            assert_eq!(parse(text).map(|_| ()), Err((line, reason.to_string())), "{text}");
        }
    }

    #[test]
    fn a_misplaced_key_is_never_shown() {
        let secret = "AIzaSyA-very-secret-key-of-thirty-nine-c";
        for text in [
            format!("[[projects]]\nname = \"a\"\nkeys = {{ x = \"{secret}\" }}\n"),
            format!("[[projects]]\nname = \"a\"\nkeys = [[\"{secret}\"]]\n"),
            format!("[[projects]]\nname = \"a\"\nkeys = [{secret}]\n"),
            format!("projects = \"{secret}\"\n"),
            format!("keys = [\"{secret}\"]\n"),
            format!("{secret} = 1\n"),
            format!("[pacing]\ndelay = \"{secret}\"\n"),
        ] {
            let (_, reason) = parse(&text).map(|_| ()).unwrap_err();
            assert!(!reason.contains("secret"), "{reason}");
        }
    }

    #[test]
    fn tables_of_later_versions_are_unknown() {
        let (line, reason) = parse("[kafka]\n").map(|_| ()).unwrap_err();
        assert_eq!(line, 1);
        assert!(reason.starts_with("unknown setting \"kafka\""), "{reason}");
    }

    #[test]
    fn the_folder_wins_over_the_user_and_a_named_file_over_both() {
        let folder = tempfile::tempdir().unwrap();
        let user = folder.path().join("user");
        std::fs::create_dir_all(user.join("tidegate")).unwrap();
        std::fs::write(folder.path().join(NAME), "model = \"folder\"\n").unwrap();
        std::fs::write(user.join("tidegate").join(NAME), "model = \"user\"\n").unwrap();
        let environment = Environment::of(&[("XDG_CONFIG_HOME", user.to_str().unwrap())]);
        let models = |named: Option<&Path>| -> Vec<_> {
            layers(named, folder.path(), &environment).unwrap().into_iter().filter_map(|(_, layer)| layer.model).collect()
        };
        assert_eq!(models(None), ["folder", "user"]);
        assert_eq!(models(Some(&user.join("tidegate").join(NAME))), ["user"]);
    }

    #[test]
    fn a_named_file_that_is_missing_is_an_error() {
        let error = layers(Some(Path::new("nowhere.toml")), Path::new("."), &Environment::default()).map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), "settings file nowhere.toml: cannot be read: there is no such file");
    }
}
