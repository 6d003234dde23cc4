//! Where the store lies by default, and what of a base URL tells one service from another.

use std::fs::DirBuilder;
use std::path::{Path, PathBuf};

use super::StoreError;

/// The state folder where settings name none: `TIDEGATE_STATE_DIR`, else the user's own folder for state.
///
/// That is `$XDG_STATE_HOME/tidegate`, else `~/.local/state/tidegate`; on macOS `~/Library/Application Support/tidegate`,
/// on Windows `%LOCALAPPDATA%\tidegate`. `variable` looks up an environment variable; an empty one counts as unset.
/// `None` when there is nothing to go by.
///
/// ```
/// use std::path::PathBuf;
/// use tidegate_engine::store::default_state_dir;
/// let environment = |name: &str| (name == "TIDEGATE_STATE_DIR").then(|| "/var/lib/tidegate".to_owned());
/// assert_eq!(default_state_dir(environment), Some(PathBuf::from("/var/lib/tidegate")));
/// ```
pub fn default_state_dir(variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    state_dir_on(std::env::consts::OS, variable)
}

fn state_dir_on(system: &str, variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(told) = set("TIDEGATE_STATE_DIR") {
        return Some(told);
    }
    // The XDG specification wants relative paths to be passed over.
    let xdg = set("XDG_STATE_HOME").filter(|path| path.is_absolute());
    let base = match system {
        "windows" => set("LOCALAPPDATA").or_else(|| set("USERPROFILE").map(|home| home.join("AppData").join("Local"))),
        "macos" => xdg.or_else(|| set("HOME").map(|home| home.join("Library").join("Application Support"))),
        _ => xdg.or_else(|| set("HOME").map(|home| home.join(".local").join("state"))),
    };
    base.map(|base| base.join("tidegate"))
}

/// Makes the folder, for its owner alone, where it is missing.
pub(crate) fn create(folder: &Path) -> Result<(), StoreError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let made = builder.create(folder);
    made.map_err(|fault| StoreError::Unwritable { path: folder.to_path_buf(), reason: fault.to_string() })
}

/// What `base_url` is known by: scheme, host and path. Without credentials, query, a slash or an API version at the end,
/// which change how the service is addressed and not which quotas it keeps.
pub(super) fn scope(base_url: &str) -> String {
    let url = base_url.trim().split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let scheme = scheme.to_ascii_lowercase();
    let host = authority.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
    let usual_port = if scheme == "http" { ":80" } else { ":443" };
    let host = host.strip_suffix(usual_port).unwrap_or(&host);
    let path = path.trim_end_matches('/');
    let versions = ["/v1", "/v1beta", "/v1alpha"];
    let path = versions.iter().find_map(|version| path.strip_suffix(version)).unwrap_or(path);
    format!("{scheme}://{host}{}", path.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(system: &str, variables: &[(&str, &str)]) -> Option<String> {
        let look_up = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        state_dir_on(system, look_up).map(|path| path.display().to_string().replace('\\', "/"))
    }

    #[test]
    fn the_told_folder_goes_before_the_users_own() {
        let all = [("TIDEGATE_STATE_DIR", "here"), ("XDG_STATE_HOME", "/xdg"), ("HOME", "/home/ann")];
        assert_eq!(folder("linux", &all).as_deref(), Some("here"));
        assert_eq!(folder("linux", &all[1..]).as_deref(), Some("/xdg/tidegate"));
        assert_eq!(folder("linux", &all[2..]).as_deref(), Some("/home/ann/.local/state/tidegate"));
    }

    #[test]
    fn each_system_has_its_own_place() {
        let home = [("HOME", "/Users/ann")];
        assert_eq!(folder("macos", &home).as_deref(), Some("/Users/ann/Library/Application Support/tidegate"));
        assert_eq!(folder("windows", &[("LOCALAPPDATA", "C:/L")]).as_deref(), Some("C:/L/tidegate"));
        assert_eq!(folder("windows", &[("USERPROFILE", "C:/U")]).as_deref(), Some("C:/U/AppData/Local/tidegate"));
    }

    #[test]
    fn empty_and_relative_variables_are_passed_over() {
        let odd = [("TIDEGATE_STATE_DIR", ""), ("XDG_STATE_HOME", "relative"), ("HOME", "/home/ann")];
        assert_eq!(folder("linux", &odd).as_deref(), Some("/home/ann/.local/state/tidegate"));
        assert_eq!(folder("linux", &[]), None);
    }

    #[test]
    fn one_service_has_one_scope_however_it_is_written() {
        let google = "https://generativelanguage.googleapis.com";
        for written in ["", "/", "/v1beta", "/v1beta/", "/v1", "?key=abc", ":443"] {
            assert_eq!(scope(&format!("{google}{written}")), google, "{written}");
        }
        assert_eq!(scope(" HTTPS://ann:secret@GenerativeLanguage.googleapis.com "), google);
        assert_eq!(scope("http://localhost:8787/proxy/V1/v1alpha"), "http://localhost:8787/proxy/V1");
    }

    #[test]
    fn different_services_have_different_scopes() {
        let urls = ["http://a", "https://a", "http://a:81", "http://b", "http://a/one", "http://a/One"];
        let scopes: std::collections::BTreeSet<String> = urls.iter().map(|url| scope(url)).collect();
        assert_eq!(scopes.len(), urls.len());
    }
}
