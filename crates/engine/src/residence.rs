//! Who lives where: files, caches and batches belong to the project that made them, also after a restart.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::media::ContentHash;
use crate::roster::SharedRoster;
use crate::store::{Resident, Store, StoreError};

/// Names at hand; with more the store is asked again.
const AT_HAND: usize = 16_384;
/// Files are kept by the API for 48 hours.
const OF_FILES: Duration = Duration::from_secs(48 * 3600);
/// An upload that nobody went on with for so long is forgotten by the API.
const OF_UPLOADS: Duration = Duration::from_secs(7 * 86_400);
/// Caches, batches and the like have an end of their own; then the API is asked again where they are.
const OF_OTHERS: Duration = Duration::from_secs(60 * 86_400);

/// Remembers which project the things of the API live in. A store that fails costs only what a restart forgets.
pub struct Residence {
    roster: SharedRoster,
    clock: Clock,
    store: Mutex<Store>,
    at_hand: Mutex<HashMap<Arc<str>, Home>>,
}

/// Where something lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// Number of the project among those of the engine.
    pub project: u32,
    /// What is in it, where its bytes went through here.
    pub hash: Option<ContentHash>,
    /// Its type, where that is known.
    pub mime: Option<Arc<str>>,
    expires: tidegate_scheduler::Timestamp,
}

impl Residence {
    pub(crate) fn new(store: Store, clock: Clock, roster: SharedRoster) -> Residence {
        Residence { roster, clock, store: Mutex::new(store), at_hand: Mutex::default() }
    }

    /// Where `name` lives; `None` when nobody remembers, or its project is not among those of today.
    pub fn home(&self, name: &str) -> Option<Home> {
        let now = self.clock.now();
        if let Some(home) = self.at_hand.lock().get(name).filter(|home| home.expires > now) {
            return Some(home.clone());
        }
        let Resident { project, hash, mime, expires, .. } = told(self.store.lock().resident(name, now)).flatten()?;
        let project = self.roster.read().find(&project)?;
        let home = Home { project, hash, mime: mime.map(Arc::from), expires };
        self.take_at_hand(name, home.clone());
        Some(home)
    }

    /// `name` lives in a project.
    pub fn settle(&self, name: &str, project: u32) {
        if self.at_hand.lock().get(name).is_none_or(|home| home.project != project) {
            self.keep(name, project, None, None);
        }
    }

    /// A file lives in a project, and this is what is in it.
    pub fn settle_file(&self, name: &str, project: u32, hash: ContentHash, mime: Option<&str>) {
        self.keep(name, project, Some(hash), mime);
    }

    fn keep(&self, name: &str, project: u32, hash: Option<ContentHash>, mime: Option<&str>) {
        let owner = self.roster.read().project(project).clone();
        let now = self.clock.now();
        let expires = now + if name.starts_with("files/") { OF_FILES } else { OF_OTHERS };
        let (name, project_name) = (name.to_string(), owner.to_string());
        let resident = Resident { name, project: project_name, hash, mime: mime.map(str::to_string), expires };
        told(self.store.lock().keep_resident(&resident, now));
        self.take_at_hand(&resident.name, Home { project, hash, mime: mime.map(Arc::from), expires });
    }

    /// `name` is gone, or is not where it was.
    pub fn forget(&self, name: &str) {
        self.at_hand.lock().remove(name);
        told(self.store.lock().forget_resident(name));
    }

    /// An upload is under way in a project, at the service's own address.
    pub fn begin_upload(&self, id: &str, project: u32, url: &str) {
        let owner = self.roster.read().project(project).clone();
        let now = self.clock.now();
        told(self.store.lock().keep_session(id, &owner, url, now, now + OF_UPLOADS));
    }

    /// The project and the address of an upload under way, also of one that was begun before a restart.
    pub fn upload(&self, id: &str) -> Option<(u32, String)> {
        let (project, url) = told(self.store.lock().session(id, self.clock.now())).flatten()?;
        Some((self.roster.read().find(&project)?, url))
    }

    /// An upload has come to its end.
    pub fn end_upload(&self, id: &str) {
        told(self.store.lock().end_session(id));
    }

    fn take_at_hand(&self, name: &str, home: Home) {
        let mut at_hand = self.at_hand.lock();
        if at_hand.len() >= AT_HAND {
            at_hand.clear();
        }
        at_hand.insert(name.into(), home);
    }
}

fn told<T>(result: Result<T, StoreError>) -> Option<T> {
    result.map_err(|fault| tracing::warn!("where things live is not remembered: {fault}")).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use parking_lot::RwLock;

    use super::*;
    use crate::project::Project;
    use crate::roster::Roster;

    fn residence(folder: &std::path::Path, projects: &[&str]) -> Residence {
        let store = Store::open(folder, "http://a").unwrap();
        let project = |name: &&str| Project {
            name: (*name).to_string(),
            keys: vec![(None, format!("key-of-{name}").into())],
            ..Project::default()
        };
        let projects: Vec<Project> = projects.iter().map(project).collect();
        let roster = Arc::new(RwLock::new(Arc::new(Roster::new(&projects).0)));
        Residence::new(store, Clock::new(None), roster)
    }

    #[tokio::test]
    async fn a_restart_forgets_nothing_and_projects_are_known_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let hash = ContentHash::of(b"film");
        let before = residence(folder.path(), &["a", "b"]);
        before.settle_file("files/x", 1, hash, Some("video/mp4"));
        before.settle("cachedContents/y", 0);
        before.settle("cachedContents/z", 0);
        before.forget("cachedContents/z");
        let after = residence(folder.path(), &["b", "c"]);
        let home = after.home("files/x").unwrap();
        assert_eq!((home.project, home.hash, home.mime.as_deref()), (0, Some(hash), Some("video/mp4")));
        assert_eq!(after.home("cachedContents/y"), None, "its project is gone");
        assert_eq!(after.home("cachedContents/z"), None);
    }

    #[tokio::test]
    async fn seeing_a_file_again_does_not_forget_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let hash = ContentHash::of(b"film");
        let residence = residence(folder.path(), &["a"]);
        residence.settle_file("files/x", 0, hash, None);
        residence.settle("files/x", 0);
        assert_eq!(residence.home("files/x").unwrap().hash, Some(hash));
    }
}
