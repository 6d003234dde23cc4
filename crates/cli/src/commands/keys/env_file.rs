//! The `.env` file as a text that is changed line by line: comments and other variables stay as they are.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::exit_code::{ExitCode, Failure};

/// The file's usual name.
pub const NAME: &str = ".env";

/// A `.env` file, in memory until [`EnvFile::save`]. It holds keys, so it has no `Debug`.
pub struct EnvFile {
    path: PathBuf,
    text: String,
}

impl EnvFile {
    /// The file of `folder`; an empty one if there is none.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn open(folder: &Path) -> Result<EnvFile, Failure> {
        let path = folder.join(NAME);
        // A link stays a link: the file behind it is written.
        let path = fs::canonicalize(&path).unwrap_or(path);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(EnvFile { path, text }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(EnvFile { path, text: String::new() }),
            Err(error) => Err(Failure::new(ExitCode::Unreachable, format!("{NAME}: cannot be read: {error}"))),
        }
    }

    /// The variables as every reader of such files understands them.
    ///
    /// # Errors
    /// When a line is none; the line is not shown, it may hold a key.
    pub fn values(&self) -> Result<BTreeMap<String, String>, Failure> {
        values(&self.text).ok_or_else(|| Failure::usage(format!("{NAME}: a line is no NAME=VALUE: correct it first")))
    }

    /// Sets a variable: in its place if it is there, else in a line at the end.
    ///
    /// # Errors
    /// When the value cannot be written so that it reads back as the same.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        let line = format!("{name}={}", quoted(value));
        let (mut lines, place) = self.without(name);
        lines.insert(place.unwrap_or(lines.len()), line);
        self.replace(lines, name, Some(value))
    }

    /// Takes a variable out.
    ///
    /// # Errors
    /// When the rest would then read as something else.
    pub fn remove(&mut self, name: &str) -> Result<(), Failure> {
        let (lines, _) = self.without(name);
        self.replace(lines, name, None)
    }

    /// Writes the file anew, in one step; a new one is readable by its owner alone.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(&self) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::new(ExitCode::Unreachable, format!("{NAME}: cannot be written: {error}"));
        let beside = self.path.with_file_name(format!("{NAME}.{}.new", std::process::id()));
        let written = write_private(&beside, &self.text).and_then(|()| {
            if let Ok(found) = fs::metadata(&self.path) {
                fs::set_permissions(&beside, found.permissions())?;
            }
            fs::rename(&beside, &self.path)
        });
        written.inspect_err(|_| fs::remove_file(&beside).unwrap_or_default()).map_err(failed)
    }

    /// True when others than the owner may read it.
    pub fn is_open_to_others(&self) -> bool {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::metadata(&self.path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0)
        }
        #[cfg(not(unix))]
        false
    }

    /// All lines but those that set `name`, and where the first of those stood.
    fn without(&self, name: &str) -> (Vec<String>, Option<usize>) {
        let sets = |line: &str| {
            let line = line.trim_start();
            let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
            line.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('='))
        };
        let place = self.text.lines().position(sets);
        (self.text.lines().filter(|line| !sets(line)).map(str::to_string).collect(), place)
    }

    /// Takes over new lines, if exactly `name` has changed by them.
    fn replace(&mut self, lines: Vec<String>, name: &str, value: Option<&str>) -> Result<(), Failure> {
        let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        let mut wanted = self.values()?;
        match value {
            Some(value) => wanted.insert(name.to_string(), value.to_string()),
            None => wanted.remove(name),
        };
        if values(&text) != Some(wanted) {
            return Err(Failure::usage(format!("{NAME}: {name} cannot be changed without touching other lines: edit the file")));
        }
        self.text = text;
        Ok(())
    }
}

fn values(text: &str) -> Option<BTreeMap<String, String>> {
    dotenvy::from_read_iter(text.as_bytes()).collect::<Result<_, _>>().ok()
}

/// The value as it stands behind `NAME=`: bare where that is safe.
fn quoted(value: &str) -> String {
    let plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.,:/+=".contains(&byte));
    match (plain, value.contains('\'')) {
        (true, _) => value.to_string(),
        (false, false) => format!("'{value}'"),
        (false, true) => format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$")),
    }
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, EnvFile) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(NAME), text).unwrap();
        let file = EnvFile::open(folder.path()).unwrap();
        (folder, file)
    }

    #[test]
    fn other_lines_stay_as_they_are() {
        let (folder, mut file) = file("# ours\nexport A=1\n\nGEMINI_API_KEY_1=old # first\nB='two words'\n");
        file.set("GEMINI_API_KEY_1", "new").unwrap();
        file.set("GEMINI_API_KEY_2", "second").unwrap();
        file.remove("A").unwrap();
        file.save().unwrap();
        let text = fs::read_to_string(folder.path().join(NAME)).unwrap();
        assert_eq!(text, "# ours\n\nGEMINI_API_KEY_1=new\nB='two words'\nGEMINI_API_KEY_2=second\n");
    }

    #[test]
    fn a_key_of_any_characters_reads_back_as_itself() {
        for key in ["AIzaSy-_09", "a#b", "a$HOME", "it's", "q\"uo\\te$x'", "100%", "a=b=="] {
            let (_folder, mut file) = file("");
            file.set("GEMINI_API_KEY", key).unwrap();
            assert_eq!(file.values().unwrap()["GEMINI_API_KEY"], key);
        }
    }

    #[test]
    fn a_line_inside_a_longer_value_is_no_variable_and_is_left_alone() {
        let text = "LONG=\"one\nA=2\nthree\"\nA=1\n";
        let (_folder, mut file) = file(text);
        assert!(file.remove("A").unwrap_err().message.contains("edit the file"));
        assert_eq!(file.text, text);
    }

    #[cfg(unix)]
    #[test]
    fn a_new_file_is_its_owners_alone_and_an_old_one_keeps_its_rights() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mode = || fs::metadata(folder.path().join(NAME)).unwrap().permissions().mode() & 0o777;
        let mut file = EnvFile::open(folder.path()).unwrap();
        file.set("A", "1").unwrap();
        file.save().unwrap();
        assert_eq!((mode(), file.is_open_to_others()), (0o600, false));
        fs::set_permissions(folder.path().join(NAME), fs::Permissions::from_mode(0o640)).unwrap();
        file.save().unwrap();
        assert_eq!((mode(), file.is_open_to_others()), (0o640, true));
    }
}
