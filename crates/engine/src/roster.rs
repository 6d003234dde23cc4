//! Who is there: projects and keys by number, and what has to happen when others take their place.
//!
//! Numbers are never given twice: a key that moves to another project leaves under its old number and joins under a new one, so
//! that calls under way end where they began.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;
use secrecy::SecretString;
use tidegate_gemini::models::Limits;
use tidegate_scheduler::{KeyId, ProjectSpec};

use crate::project::{Project, family, scheduler_limits};
use crate::store::Fingerprint;

/// A key as the driver holds it.
pub(crate) struct KeyCard {
    pub project: u32,
    pub name: Arc<str>,
    pub secret: Arc<SecretString>,
    pub fingerprint: Fingerprint,
    /// Whether it gets no further call.
    pub left: bool,
}

/// A project as the driver knows it.
#[derive(Clone)]
struct Member {
    name: Arc<str>,
    limits: Vec<(String, Limits)>,
    account: Option<u32>,
}

/// All projects and keys that ever were there, by number.
#[derive(Clone, Default)]
pub(crate) struct Roster {
    keys: Vec<Arc<KeyCard>>,
    projects: Vec<Member>,
    accounts: Vec<String>,
}

/// The roster of now, for all who look names and keys up.
pub(crate) type SharedRoster = Arc<RwLock<Arc<Roster>>>;

/// Something that changed among projects and keys, by their names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RosterChange {
    /// A key is new.
    #[error("key {key} joins project {project}")]
    KeyJoined {
        /// Its name.
        key: String,
        /// Its project.
        project: String,
    },
    /// A key is no longer listed.
    #[error("key {key} leaves project {project}: no further call, those under way end")]
    KeyLeft {
        /// Its name.
        key: String,
        /// Its project.
        project: String,
    },
    /// A key is listed under another project.
    #[error("key {key} moves from project {from} to project {to}")]
    KeyMoved {
        /// Its name.
        key: String,
        /// Its project so far.
        from: String,
        /// Its project from now on.
        to: String,
    },
    /// A key has another name.
    #[error("key {from} is called {to}")]
    KeyRenamed {
        /// Its name so far.
        from: String,
        /// Its name from now on.
        to: String,
    },
    /// The keys of a project stand under another name.
    #[error("project {from} is called {to}")]
    ProjectRenamed {
        /// Its name so far.
        from: String,
        /// Its name from now on.
        to: String,
    },
    /// A project has other limits.
    #[error("project {0} has other limits")]
    Limits(String),
    /// A project has another billing account.
    #[error("project {0} has another billing account")]
    Account(String),
}

/// What the scheduler is told of a change.
#[derive(Default)]
pub(crate) struct Turnover {
    pub projects: Vec<ProjectSpec>,
    /// Project of each key that joins.
    pub keys: Vec<u32>,
    pub leaving: Vec<KeyId>,
    pub tables: Vec<(u32, Vec<(String, tidegate_scheduler::Limits)>)>,
    pub accounts: Vec<(u32, Option<u32>)>,
    pub told: Vec<RosterChange>,
}

impl Roster {
    /// The first projects of an engine, and what the scheduler is told of them.
    pub(crate) fn new(projects: &[Project]) -> (Roster, Vec<ProjectSpec>) {
        let mut roster = Roster::default();
        let mut specs = Vec::new();
        for project in projects {
            let number = roster.add_project(project);
            for (nth, (name, secret)) in project.keys.iter().enumerate() {
                roster.add_key(number, key_name(project, nth, name), secret);
            }
            let keys = u32::try_from(project.keys.len()).unwrap_or(u32::MAX);
            specs.push(ProjectSpec { keys, ..roster.spec(number) });
        }
        (roster, specs)
    }

    pub(crate) fn key(&self, key: KeyId) -> &Arc<KeyCard> {
        &self.keys[key.0 as usize]
    }

    pub(crate) fn keys(&self) -> &[Arc<KeyCard>] {
        &self.keys
    }

    /// The name of a project.
    pub(crate) fn project(&self, number: u32) -> &Arc<str> {
        &self.projects[number as usize].name
    }

    /// How many projects ever were there.
    pub(crate) fn projects(&self) -> u32 {
        u32::try_from(self.projects.len()).unwrap_or(u32::MAX)
    }

    /// The number of the project of this name that has keys.
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        let present: HashSet<u32> = self.present().map(|(_, card)| card.project).collect();
        (0..self.projects()).find(|number| present.contains(number) && **self.project(*number) == *name)
    }

    /// The roster with these projects in place of the present ones, and what changes by that.
    pub(crate) fn exchanged(&self, wanted: &[Project]) -> (Roster, Turnover) {
        let mut next = self.clone();
        let mut turnover = Turnover::default();
        let numbers = self.places_of(wanted);
        let numbers: Vec<u32> =
            numbers.into_iter().zip(wanted).map(|(known, project)| next.take_project(known, project, &mut turnover)).collect();
        let before: HashMap<Fingerprint, KeyId> = self.present().map(|(id, card)| (card.fingerprint, id)).collect();
        let mut seen = HashSet::new();
        for (project, &number) in wanted.iter().zip(&numbers) {
            for (nth, (name, secret)) in project.keys.iter().enumerate() {
                let fingerprint = Fingerprint::of(secret);
                if seen.insert(fingerprint) {
                    let name = key_name(project, nth, name);
                    next.take_key(before.get(&fingerprint).copied(), number, name, secret, &mut turnover);
                }
            }
        }
        for (id, card) in self.present().filter(|(_, card)| !seen.contains(&card.fingerprint)) {
            let (key, project) = (card.name.to_string(), self.project(card.project).to_string());
            turnover.told.push(RosterChange::KeyLeft { key, project });
            next.dismiss(id, &mut turnover);
        }
        (next, turnover)
    }

    fn present(&self) -> impl Iterator<Item = (KeyId, &Arc<KeyCard>)> {
        (0..).map(KeyId).zip(&self.keys).filter(|(_, card)| !card.left)
    }

    /// Which of the known projects each of `wanted` is: the one that most of its keys belong to, for quotas are the keys'
    /// project's, whatever it is called; else the one of its name.
    fn places_of(&self, wanted: &[Project]) -> Vec<Option<u32>> {
        let homes: HashMap<Fingerprint, u32> = self.keys.iter().map(|card| (card.fingerprint, card.project)).collect();
        let mut likeness: HashMap<(usize, u32), (usize, bool)> = HashMap::new();
        for (place, project) in wanted.iter().enumerate() {
            for home in project.keys.iter().filter_map(|(_, secret)| homes.get(&Fingerprint::of(secret))) {
                likeness.entry((place, *home)).or_default().0 += 1;
            }
            if let Some(number) = (0..self.projects()).find(|number| **self.project(*number) == *project.name) {
                likeness.entry((place, number)).or_default().1 = true;
            }
        }
        let mut likeness: Vec<_> = likeness.into_iter().collect();
        likeness.sort_unstable_by_key(|&((place, number), alike)| (std::cmp::Reverse(alike), place, number));
        let mut places = vec![None; wanted.len()];
        let mut taken = HashSet::new();
        for ((place, number), _) in likeness {
            if places[place].is_none() && taken.insert(number) {
                places[place] = Some(number);
            }
        }
        places
    }

    fn take_project(&mut self, known: Option<u32>, project: &Project, turnover: &mut Turnover) -> u32 {
        let Some(number) = known else {
            let number = self.add_project(project);
            turnover.projects.push(self.spec(number));
            return number;
        };
        let account = self.account(project);
        let member = &mut self.projects[number as usize];
        if *member.name != *project.name {
            let (from, to) = (member.name.to_string(), project.name.clone());
            member.name = to.as_str().into();
            turnover.told.push(RosterChange::ProjectRenamed { from, to });
        }
        if member.limits != project.limits {
            member.limits = project.limits.clone();
            turnover.tables.push((number, table(&project.limits)));
            turnover.told.push(RosterChange::Limits(project.name.clone()));
        }
        if member.account != account {
            member.account = account;
            turnover.accounts.push((number, account));
            turnover.told.push(RosterChange::Account(project.name.clone()));
        }
        number
    }

    fn take_key(&mut self, known: Option<KeyId>, project: u32, name: String, secret: &SecretString, turnover: &mut Turnover) {
        let home = self.project(project).to_string();
        let Some(id) = known else {
            self.add_key(project, name.clone(), secret);
            turnover.keys.push(project);
            turnover.told.push(RosterChange::KeyJoined { key: name, project: home });
            return;
        };
        let card = self.key(id).clone();
        if card.project != project {
            let from = self.project(card.project).to_string();
            self.dismiss(id, turnover);
            self.add_key(project, name.clone(), secret);
            turnover.keys.push(project);
            turnover.told.push(RosterChange::KeyMoved { key: name, from, to: home });
        } else if *card.name != *name {
            turnover.told.push(RosterChange::KeyRenamed { from: card.name.to_string(), to: name.clone() });
            self.keys[id.0 as usize] = Arc::new(KeyCard { name: name.into(), ..card.copy() });
        }
    }

    fn dismiss(&mut self, id: KeyId, turnover: &mut Turnover) {
        let card = self.key(id).copy();
        self.keys[id.0 as usize] = Arc::new(KeyCard { left: true, ..card });
        turnover.leaving.push(id);
    }

    fn add_project(&mut self, project: &Project) -> u32 {
        let account = self.account(project);
        self.projects.push(Member { name: project.name.as_str().into(), limits: project.limits.clone(), account });
        self.projects() - 1
    }

    fn add_key(&mut self, project: u32, name: String, secret: &SecretString) {
        let fingerprint = Fingerprint::of(secret);
        let secret = Arc::new(secret.clone());
        self.keys.push(Arc::new(KeyCard { project, name: name.into(), secret, fingerprint, left: false }));
    }

    /// The number of a project's billing account.
    fn account(&mut self, project: &Project) -> Option<u32> {
        let account = project.account.as_ref()?;
        let known = self.accounts.iter().position(|known| known == account);
        let number = known.unwrap_or_else(|| {
            self.accounts.push(account.clone());
            self.accounts.len() - 1
        });
        u32::try_from(number).ok()
    }

    /// A project without its keys.
    fn spec(&self, number: u32) -> ProjectSpec {
        let member = &self.projects[number as usize];
        ProjectSpec { keys: 0, limits: table(&member.limits), account: member.account }
    }
}

impl KeyCard {
    fn copy(&self) -> KeyCard {
        let KeyCard { project, name, secret, fingerprint, left } = self;
        KeyCard { project: *project, name: name.clone(), secret: secret.clone(), fingerprint: *fingerprint, left: *left }
    }
}

fn table(limits: &[(String, Limits)]) -> Vec<(String, tidegate_scheduler::Limits)> {
    limits.iter().map(|(model, limits)| (family(model), scheduler_limits(*limits))).collect()
}

fn key_name(project: &Project, nth: usize, name: &Option<String>) -> String {
    name.clone().unwrap_or_else(|| format!("{}/{}", project.name, nth + 1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn project(name: &str, keys: &[&str]) -> Project {
        let keys = keys.iter().map(|key| (Some(key.to_string()), format!("secret-{key}").into())).collect();
        Project { name: name.into(), keys, ..Project::default() }
    }

    fn told(before: &[Project], after: &[Project]) -> (Vec<String>, Turnover) {
        let (roster, _) = Roster::new(before);
        let (_, turnover) = roster.exchanged(after);
        (turnover.told.iter().map(ToString::to_string).collect(), turnover)
    }

    #[test]
    fn the_same_again_changes_nothing() {
        let same = [project("a", &["1", "2"]), project("b", &["3"])];
        let (told, turnover) = told(&same, &[same[1].clone(), same[0].clone()]);
        assert!(told.is_empty() && turnover.keys.is_empty() && turnover.leaving.is_empty(), "{told:?}");
    }

    #[test]
    fn a_key_that_moves_leaves_under_one_number_and_joins_under_another() {
        let (told, turnover) = told(
            &[project("a", &["1", "2"]), project("b", &["3"])],
            &[project("a", &["1"]), project("b", &["2", "3"]), project("c", &["4"])],
        );
        assert_eq!(told, ["key 2 moves from project a to project b", "key 4 joins project c"]);
        assert_eq!((turnover.leaving, turnover.keys, turnover.projects.len()), (vec![KeyId(1)], vec![1, 2], 1));
    }

    #[test]
    fn keys_under_another_name_keep_their_quota_and_a_name_with_other_keys_too() {
        let (renamed, turnover) = told(&[project("a", &["1"]), project("b", &["2"])], &[project("a", &["2"])]);
        assert_eq!(renamed, ["project b is called a", "key 1 leaves project a: no further call, those under way end"]);
        assert!(turnover.keys.is_empty() && turnover.projects.is_empty());
        let (exchanged, turnover) = told(&[project("a", &["1"])], &[project("a", &["9"])]);
        assert_eq!(exchanged, ["key 9 joins project a", "key 1 leaves project a: no further call, those under way end"]);
        assert!(turnover.projects.is_empty() && turnover.keys == [0]);
    }

    #[test]
    fn a_key_that_comes_back_finds_its_project_again() {
        let (roster, _) = Roster::new(&[project("a", &["1"]), project("b", &["2"])]);
        let (roster, _) = roster.exchanged(&[project("a", &["1"])]);
        assert_eq!(roster.find("b"), None);
        let (roster, turnover) = roster.exchanged(&[project("a", &["1"]), project("new name", &["2"])]);
        assert_eq!((turnover.projects.len(), turnover.keys), (0, vec![1]));
        assert_eq!(roster.find("new name"), Some(1));
    }
}
