//! Uploads under way: what our address of an upload stands for. Whoever knows the address may go on with the upload, also after a
//! restart: the local store remembers it, only the copy of its bytes is given up.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::rand;

use crate::spool::Spooling;

/// The API forgets an upload that nobody went on with for so long.
const KEPT: Duration = Duration::from_secs(7 * 86_400);
/// More uploads are not under way at once; the longest silent one is forgotten.
const MOST: usize = 10_000;

/// What is written of an upload, one piece after the other.
pub type Copy = Arc<tokio::sync::Mutex<Option<Spooling>>>;

/// An upload under way.
pub struct Session {
    /// The service's own address for it. Tells its own secret, never a key of ours.
    pub url: String,
    /// Whose storage it goes to.
    pub project: u32,
    /// What is written of it; empty once it cannot be kept.
    pub copy: Copy,
    touched: Mutex<Instant>,
}

/// All uploads under way, by our name for them.
#[derive(Default)]
pub struct Sessions {
    open: Mutex<HashMap<String, Arc<Session>>>,
}

impl Sessions {
    /// Takes an upload in again that an earlier run began.
    pub fn resume(&self, id: &str, project: u32, url: String) -> Arc<Session> {
        self.insert(id.to_string(), url, project, None)
    }

    /// Takes an upload in and gives it a name that nobody can guess; `None` where chance cannot be had.
    pub fn begin(&self, url: String, project: u32, spooling: Option<Spooling>) -> Option<String> {
        let mut chance = [0_u8; 24];
        rand::fill(&mut chance).ok()?;
        let id = chance.iter().fold(String::new(), |mut id, byte| {
            let _ = write!(id, "{byte:02x}");
            id
        });
        self.insert(id.clone(), url, project, spooling);
        Some(id)
    }

    fn insert(&self, id: String, url: String, project: u32, spooling: Option<Spooling>) -> Arc<Session> {
        let copy = Arc::new(tokio::sync::Mutex::new(spooling));
        let session = Arc::new(Session { url, project, copy, touched: Mutex::new(Instant::now()) });
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, session| session.silent() < KEPT);
        if open.len() >= MOST
            && let Some(oldest) = open.iter().max_by_key(|(_, session)| session.silent()).map(|(id, _)| id.clone())
        {
            open.remove(&oldest);
        }
        open.insert(id, session.clone());
        session
    }

    /// The upload of this name.
    pub fn find(&self, id: &str) -> Option<Arc<Session>> {
        let session = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()?;
        *session.touched.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        Some(session)
    }
}

impl Session {
    fn silent(&self) -> Duration {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn an_upload_is_found_by_the_name_it_was_given_and_by_no_other() {
        let sessions = Sessions::default();
        let first = sessions.begin("http://a".into(), 1, None).unwrap();
        let second = sessions.begin("http://b".into(), 2, None).unwrap();
        assert!(first != second && first.len() == 48);
        assert_eq!(sessions.find(&second).unwrap().project, 2);
        assert!(sessions.find("0").is_none());
    }
}
