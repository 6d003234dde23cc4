//! Whether git would commit the file of keys.

use std::path::Path;
use std::process::{Command, Stdio};

use super::env_file::NAME;

/// What git would do with `.env`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing: it is ignored, or there is no repository, or no git.
    Safe,
    /// Commit it with the next `git add .`.
    WouldCommit,
    /// It is in the repository already.
    IsTracked,
}

impl Fate {
    /// Asks git, if there is one.
    pub fn of(folder: &Path) -> Fate {
        if git(folder, &["ls-files", "--error-unmatch", NAME]) == Some(0) {
            return Fate::IsTracked;
        }
        match git(folder, &["check-ignore", "-q", NAME]) {
            Some(1) => Fate::WouldCommit,
            _ => Fate::Safe,
        }
    }

    /// What to do about it.
    pub fn warning(self) -> Option<String> {
        match self {
            Fate::Safe => None,
            Fate::WouldCommit => {
                Some(format!("git would commit {NAME}, and with it the keys: add the line {NAME} to .gitignore"))
            }
            Fate::IsTracked => Some(format!(
                "{NAME} is in the git repository: run `git rm --cached {NAME}`, add the line {NAME} to .gitignore, and replace keys that were pushed"
            )),
        }
    }
}

fn git(folder: &Path, words: &[&str]) -> Option<i32> {
    let mut command = Command::new("git");
    command.args(words).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().ok()?.code()
}
