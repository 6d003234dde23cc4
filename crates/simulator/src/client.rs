//! What a scenario tells the client side: projects, keys and limits, true or not.

use std::fmt;

use crate::keys::SimKey;
use crate::model::Limits;
use crate::scenario::{Project, Scenario};

/// One project as the client should be configured for it.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientProject {
    /// The project's name; made from the key's number when projects are not told.
    pub name: String,
    /// `"free"` or the name of a paid tier.
    pub tier: String,
    /// Its keys in full.
    pub keys: Vec<String>,
    /// The told limits by model id or `"*"`.
    pub limits: Vec<(String, Limits)>,
}

impl fmt::Debug for ClientProject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientProject")
            .field("name", &self.name)
            .field("tier", &self.tier)
            .field("keys", &self.keys.len())
            .field("limits", &self.limits)
            .finish()
    }
}

pub(crate) fn projects_of(scenario: &Scenario) -> Vec<ClientProject> {
    let of = |project: &Project, name: String, keys: &[SimKey]| ClientProject {
        name,
        tier: if project.tier.is_empty() { "free".to_owned() } else { project.tier.clone() },
        keys: keys.iter().map(|key| key.as_str().to_owned()).collect(),
        limits: told_limits(scenario, project),
    };
    if scenario.quota.tell_projects {
        return scenario.projects.iter().map(|p| of(p, p.name.clone(), &p.keys)).collect();
    }
    let each = scenario.projects.iter().flat_map(|p| p.keys.chunks(1).map(move |key| (p, key)));
    each.enumerate().map(|(n, (p, key))| of(p, format!("key-{}", n + 1), key)).collect()
}

fn told_limits(scenario: &Scenario, project: &Project) -> Vec<(String, Limits)> {
    let told = project.told.clone().unwrap_or_else(|| scenario.limits_of(project));
    told.into_iter().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const TEXT: &str = "
        [limits.m]
        rpm = 5
        [[projects]]
        name = 'a'
        keys = ['k1-0123456789', 'k2-0123456789']
        [[projects]]
        name = 'b'
        tier = 'tier1'
        keys = ['k3-0123456789']
        [projects.limits.m]
        rpm = 7
        [projects.told.m]
        rpm = 100
    ";

    #[test]
    fn the_client_is_told_what_the_scenario_wants_it_to_believe() {
        let projects = Scenario::from_toml(TEXT).unwrap().client_projects();
        let rpm = |n: usize| projects[n].limits[0].1.rpm;
        assert_eq!((rpm(0), rpm(1)), (Some(5), Some(100)));
        assert_eq!((projects[0].tier.as_str(), projects[1].tier.as_str()), ("free", "tier1"));
        assert_eq!(projects[0].keys.len(), 2);
    }

    #[test]
    fn hidden_projects_look_like_one_for_each_key() {
        let text = format!("quota = {{ tell_projects = false }}\n{TEXT}");
        let projects = Scenario::from_toml(&text).unwrap().client_projects();
        let names: Vec<_> = projects.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["key-1", "key-2", "key-3"]);
    }

    #[test]
    fn keys_are_not_shown_when_debugged() {
        let shown = format!("{:?}", Scenario::from_toml(TEXT).unwrap().client_projects());
        assert!(!shown.contains("0123456789"), "{shown}");
    }
}
