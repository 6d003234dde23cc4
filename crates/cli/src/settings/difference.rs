//! What is otherwise in new settings: what may change while it runs, and what needs a restart. Names only, never secrets.

use secrecy::ExposeSecret;
use tidegate_gateway::Client;

use super::{Origin, Settings};

/// Settings that a running gateway takes over.
const AT_ONCE: [&str; 10] =
    ["model", "profile", "rpm", "tpm", "rpd", "serve.cors", "serve.grace", "serve.max_body", "serve.max_queue", "serve.max_wait"];
/// Groups of such settings.
const GROUPS: [&str; 3] = ["pacing.", "keys.", "retry."];

/// What is otherwise, a line each.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// What changes at once.
    pub at_once: Vec<String>,
    /// What stays as it is until a restart, with the name of the setting.
    pub later: Vec<(&'static str, String)>,
}

impl Difference {
    /// What of `new` is not as in `old`, apart from projects and keys.
    pub fn between(old: &Settings, new: &Settings) -> Difference {
        let mut difference = Difference::default();
        for origin in &new.origins {
            let before = old.origins.iter().find(|before| before.name == origin.name);
            let Some(before) = before.filter(|before| before.value != origin.value) else { continue };
            difference.add(before, origin);
        }
        difference.at_once.extend(clients(&old.serve.clients, &new.serve.clients));
        difference
    }

    fn add(&mut self, before: &Origin, after: &Origin) {
        let Origin { name, value, .. } = after;
        if AT_ONCE.contains(name) || GROUPS.iter().any(|group| name.starts_with(group)) {
            self.at_once.push(format!("{name} = {value}, was {}", before.value));
        } else {
            self.later.push((name, format!("{name} = {value} needs a restart; until then {} holds", before.value)));
        }
    }
}

fn clients(old: &[Client], new: &[Client]) -> Vec<String> {
    let find = |list: &'_ [Client], name: &str| list.iter().position(|client| client.name == name);
    let mut lines: Vec<String> = old
        .iter()
        .filter(|client| find(new, &client.name).is_none())
        .map(|client| format!("client {} is gone", client.name))
        .collect();
    for client in new {
        match find(old, &client.name).map(|at| &old[at]) {
            None => lines.push(format!("client {} is new", client.name)),
            Some(before) if before.token.expose_secret() != client.token.expose_secret() => {
                lines.push(format!("client {} has another token", client.name));
            }
            // What Debug shows is everything but the token.
            Some(before) if format!("{before:?}") != format!("{client:?}") => {
                lines.push(format!("client {} has other rules", client.name))
            }
            Some(_) => {}
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::env_vars::Environment;
    use crate::settings::{Given, file};

    fn settings(toml: &str) -> Settings {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(file::NAME), toml).unwrap();
        Settings::load(Given::default(), None, folder.path(), &Environment::of(&[])).unwrap()
    }

    fn between(old: &str, new: &str) -> Difference {
        Difference::between(&settings(old), &settings(new))
    }

    #[test]
    fn what_may_change_and_what_needs_a_restart_is_told_apart() {
        let told = between("", "[pacing]\nmax_concurrency = 7\n[serve]\nlisten = \"127.0.0.1:1\"\nmax_wait = \"9s\"");
        assert_eq!(told.at_once, ["pacing.max_concurrency = 7, was 0", "serve.max_wait = 9s, was 5m"]);
        let later = "serve.listen = 127.0.0.1:1 needs a restart; until then 127.0.0.1:8787 holds";
        assert_eq!(told.later, [("serve.listen", later.to_string())]);
        let told = between("", "[retry]\nattempt_timeout = \"9s\"\nretry_on = [500]\n[serve]\nmax_bodies_in_flight = \"1GiB\"");
        assert_eq!((told.at_once.len(), told.later.len()), (2, 1), "{told:?}");
        assert_eq!(between("model = \"a\"", "model = \"a\""), Difference::default());
    }

    #[test]
    fn clients_are_told_by_name_and_never_by_token() {
        let client = |name: &str, token: &str, priority: i32| {
            format!("[[serve.clients]]\nname = \"{name}\"\ntoken = \"{token}-token-of-a-client\"\npriority = {priority}\n")
        };
        let old = [client("a", "one", 1), client("b", "two", 1), client("c", "three", 1)].concat();
        let new = [client("a", "other", 1), client("b", "two", 2), client("d", "four", 1)].concat();
        let told = between(&old, &new).at_once;
        assert_eq!(told, ["client c is gone", "client a has another token", "client b has other rules", "client d is new"]);
    }
}
