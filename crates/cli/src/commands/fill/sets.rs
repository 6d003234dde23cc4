//! The documents of a filling: one set, or one for each entry of a folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tidegate_template::DocumentError;

use crate::args::FillArgs;
use crate::exit_code::{ExitCode, Failure};

/// Documents that fill a template together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentSet {
    /// What results call it.
    pub name: String,
    /// Its files and folders.
    pub paths: Vec<PathBuf>,
}

/// The name of the set of `--docs`.
const ONLY: &str = "filled";

/// The sets that were asked for, in the order of their names.
///
/// # Errors
/// When the folder cannot be read, or holds nothing.
pub fn of(wanted: &FillArgs) -> Result<Vec<DocumentSet>, Failure> {
    let Some(folder) = &wanted.each else {
        return Ok(vec![DocumentSet { name: ONLY.to_owned(), paths: wanted.docs.clone() }]);
    };
    let entries =
        entries(folder).map_err(|error| Failure::new(ExitCode::Unreachable, format!("--each {}: {error}", folder.display())))?;
    if entries.is_empty() {
        return Err(Failure::usage(format!("--each {}: it holds no documents", folder.display())));
    }
    Ok(named(entries))
}

/// What the error of a document means for the program.
pub fn unreadable(error: DocumentError) -> Failure {
    let code = if matches!(error, DocumentError::Read { .. }) { ExitCode::Unreachable } else { ExitCode::Usage };
    Failure::new(code, error)
}

fn entries(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let all = std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    let mut shown: Vec<PathBuf> = all.into_iter().filter(|path| !name(path, Path::file_name).starts_with('.')).collect();
    shown.sort();
    Ok(shown)
}

/// Short names where they are told apart by them, else whole ones.
fn named(entries: Vec<PathBuf>) -> Vec<DocumentSet> {
    let short = |path: &PathBuf| if path.is_dir() { name(path, Path::file_name) } else { name(path, Path::file_stem) };
    let mut uses: HashMap<String, usize> = HashMap::new();
    for path in &entries {
        *uses.entry(short(path).to_lowercase()).or_default() += 1;
    }
    let told_apart = |name: &String| uses.get(&name.to_lowercase()) == Some(&1);
    let set = |path: PathBuf| {
        let name = Some(short(&path)).filter(told_apart).unwrap_or_else(|| name(&path, Path::file_name));
        DocumentSet { name, paths: vec![path] }
    };
    entries.into_iter().map(set).collect()
}

fn name<'p>(path: &'p Path, of: impl Fn(&'p Path) -> Option<&'p std::ffi::OsStr>) -> String {
    of(path).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn sets_are_named_by_folder_or_file_and_whole_where_that_is_not_enough() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("jones")).unwrap();
        for file in ["smith.txt", "lee.txt", "Lee.md", ".hidden"] {
            std::fs::write(folder.path().join(file), "x").unwrap();
        }
        let names: Vec<String> = named(entries(folder.path()).unwrap()).into_iter().map(|set| set.name).collect();
        assert_eq!(names, ["Lee.md", "jones", "lee.txt", "smith"]);
    }
}
