//! Which file serves for what: none may serve for two things, or one would destroy the other.

use std::fs;
use std::path::{Path, PathBuf};

use crate::input::Input;
use crate::options::Options;
use crate::output::{Layout, Output, OutputError, Target};

/// Refuses an output, an errors file or one of [`Options::in_use`] that is a file already used otherwise. A run does this
/// first; a caller that opens files before it may ask earlier.
///
/// # Errors
/// Names the file, the flag and what the file serves for.
pub fn check(output: &Output, inputs: &[Input], options: &Options) -> Result<(), OutputError> {
    let layout = match &output.0 {
        Target::File(path) if !is_device(path) => Some(Layout::of(path)?),
        _ => None,
    };
    let out = match &output.0 {
        Target::File(path) => Some(true_path(path)),
        Target::Stdout => Some(true_path(Path::new(STDOUT))),
        Target::Stream(_) => None,
    };
    let folder = layout.map(|layout| true_path(&layout.state));
    let in_folder = |path: &Path| folder.as_deref().is_some_and(|folder| path.starts_with(folder));
    let inputs: Vec<(&str, PathBuf)> = inputs.iter().filter_map(|input| Some((input.name(), true_path(input.path()?)))).collect();
    if let Some((name, _)) = inputs.iter().find(|(_, path)| Some(path) == out.as_ref() || in_folder(path)) {
        return Err(OutputError::IsInput { path: (*name).to_owned() });
    }
    let mut others: Vec<(&str, PathBuf)> = Vec::new();
    for (flag, path) in written_beside(options) {
        if path == Path::new("/dev/null") {
            continue;
        }
        let at = true_path(path);
        let taken = |path: &PathBuf| *path == at;
        let other = others.iter().find(|(_, path)| taken(path) && !is_device(path));
        let by = if out.as_ref().is_some_and(taken) {
            "the output".to_owned()
        } else if inputs.iter().any(|(_, path)| taken(path)) {
            "an input".to_owned()
        } else if in_folder(&at) {
            "in the folder of the output".to_owned()
        } else if let Some((flag, _)) = other {
            format!("the file of {flag}")
        } else {
            others.push((flag, at));
            continue;
        };
        return Err(OutputError::InUse { path: path.display().to_string(), flag: flag.to_owned(), by });
    }
    Ok(())
}

const STDOUT: &str = "/dev/stdout";

/// Files a run writes beside its output, with their flags.
fn written_beside(options: &Options) -> impl Iterator<Item = (&str, &Path)> {
    let errors = options.errors.as_deref().map(|path| if path == Path::new("-") { Path::new(STDOUT) } else { path });
    let logs = options.in_use.iter().map(|(flag, path)| (flag.as_str(), path.as_path()));
    errors.map(|path| ("--errors", path)).into_iter().chain(logs)
}

/// True for what is there and neither a file nor a directory.
pub(crate) fn is_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// Where a path leads once every link is followed, also to a file that is not there yet.
pub(crate) fn true_path(path: &Path) -> PathBuf {
    let path = followed(path);
    match (fs::canonicalize(directory_of(&path)), path.file_name()) {
        (Ok(directory), Some(name)) if !path.exists() => directory.join(name),
        _ => path,
    }
}

/// The same file without links in front of it; a path that is no link and leads nowhere stays as it is written.
pub(crate) fn followed(path: &Path) -> PathBuf {
    const MOST_LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        if let Ok(found) = fs::canonicalize(&path) {
            return found;
        }
        let Ok(next) = fs::read_link(&path) else { break };
        path = directory_of(&path).join(next);
    }
    path
}

/// The directory a path lies in, `.` for a bare name.
pub(crate) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_chain_of_links_to_nothing_leads_to_the_file_that_would_be_made() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir(root.join("sub")).unwrap();
        std::os::unix::fs::symlink("sub/two", root.join("one")).unwrap();
        std::os::unix::fs::symlink("../three", root.join("sub/two")).unwrap();
        assert_eq!(true_path(&root.join("one")), root.join("three"));
        assert_eq!(true_path(&root.join("sub/../one")), root.join("three"));
        assert_eq!(true_path(&root.join("sub/../three")), root.join("three"));
        std::os::unix::fs::symlink("loop", root.join("loop")).unwrap();
        true_path(&root.join("loop"));
    }
}
