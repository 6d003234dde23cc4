//! Files in the storage of projects: each content once a project, shared by all prompts, remembered across runs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use secrecy::SecretString;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::backend::{Reply, TransportError};
use crate::clock::Clock;
use crate::media::{ContentHash, Source};
use crate::store::{RemoteFile, Store};

mod client;

pub(crate) use client::{FilesClient, Patience};
use client::{Remote, RemoteState};

/// Uploads that go on at the same time; each holds some hundred KiB of its file.
pub(crate) const AT_ONCE: usize = 16;
/// How long an upload is counted on: the API keeps files for 48 hours.
const KEPT: Duration = Duration::from_secs(47 * 3600);
/// Looks at a file that fail in a row before it is given up.
const LOOKS: u32 = 6;

/// A project as uploads see it: its name and the key that speaks for it now.
#[derive(Clone)]
pub(crate) struct Owner {
    pub number: u32,
    pub name: Arc<str>,
    pub key: Arc<SecretString>,
}

/// Why a file is not there: an answer of the service or a fault on the way, as a prompt's own attempt could meet it.
#[derive(Debug, Clone)]
pub(crate) enum Setback {
    Refused(Reply),
    Lost(TransportError),
}

impl Setback {
    /// True when sending the same bytes again cannot help.
    fn is_final(&self) -> bool {
        match self {
            Setback::Refused(reply) => reply.status < 500 && reply.status != 408,
            Setback::Lost(fault) => matches!(fault, TransportError::Media { .. } | TransportError::Key),
        }
    }

    /// The same as the result of an attempt.
    pub(crate) fn into_result(self) -> Result<Reply, TransportError> {
        match self {
            Setback::Refused(reply) => Ok(reply),
            Setback::Lost(fault) => Err(fault),
        }
    }
}

/// What becomes of one upload, step by step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadStep {
    /// So many bytes have arrived.
    Sent(u64),
    /// All bytes are there; the service looks through them.
    Processing,
    /// Prompts may use it.
    Ready,
    /// It did not succeed.
    Failed,
    /// It was deleted at the end of the run.
    Deleted,
}

/// One step of an upload as it is told to displays.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Whose storage it goes to.
    pub project: Arc<str>,
    /// The file's name, or what stands for it.
    pub file: Arc<str>,
    /// Its size in bytes.
    pub size: u64,
    /// What became of it.
    pub step: UploadStep,
}

/// Who hears of uploads.
pub(crate) type Listener = Arc<dyn Fn(Upload) + Send + Sync>;

type Outcome = Result<Arc<RemoteFile>, Setback>;
type Place = (u32, ContentHash);

/// All uploads of an engine.
pub(crate) struct Uploads {
    client: FilesClient,
    clock: Clock,
    store: Mutex<Store>,
    places: Mutex<HashMap<Place, State>>,
    tasks: Mutex<JoinSet<()>>,
    seats: Semaphore,
    listener: Listener,
    /// What this run uploaded, for the deletion at its end.
    own: Mutex<Vec<Own>>,
}

enum State {
    Ready(Arc<RemoteFile>),
    /// A prompt was refused for it: it is looked at before the next use.
    Doubtful(Arc<RemoteFile>),
    /// On its way; everybody who needs it waits for the same end.
    Coming(watch::Receiver<Option<Outcome>>),
}

struct Own {
    owner: Owner,
    place: Place,
    name: String,
    told: Upload,
}

impl Uploads {
    pub(crate) fn new(client: FilesClient, store: Store, clock: Clock, listener: Listener) -> Uploads {
        Uploads {
            client,
            clock,
            store: Mutex::new(store),
            places: Mutex::default(),
            tasks: Mutex::default(),
            seats: Semaphore::new(AT_ONCE),
            listener,
            own: Mutex::default(),
        }
    }

    /// The file, if prompts of the project may use it right now.
    pub(crate) fn ready(&self, project: u32, hash: ContentHash) -> Option<Arc<RemoteFile>> {
        match self.places.lock().get(&(project, hash)) {
            Some(State::Ready(file)) if file.expires > self.clock.now() => Some(file.clone()),
            _ => None,
        }
    }

    /// Sees to it that the project has the file. Whoever asks for the same meanwhile waits for the same upload, which
    /// goes on when all of them have gone away: the next prompt may need it.
    pub(crate) async fn provide(self: &Arc<Uploads>, owner: Owner, source: Source) -> Outcome {
        let place = (owner.number, source.hash);
        let mut end = {
            let mut places = self.places.lock();
            let doubtful = match places.get(&place) {
                Some(State::Ready(file)) if file.expires > self.clock.now() => return Ok(file.clone()),
                Some(State::Coming(end)) => Err(end.clone()),
                Some(State::Doubtful(file)) => Ok(Some(file.clone())),
                Some(State::Ready(_)) | None => Ok(None),
            };
            match doubtful {
                Err(end) => end,
                Ok(doubtful) => {
                    let (tell, end) = watch::channel(None);
                    places.insert(place, State::Coming(end.clone()));
                    self.spawn(place, tell, self.clone().bring(owner, source, doubtful));
                    end
                }
            }
        };
        let ended = end.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        ended.unwrap_or_else(|| Err(Setback::Lost(TransportError::Cut { reason: "the upload was stopped".to_string() })))
    }

    /// Runs an upload to its end beside whoever waits for it.
    fn spawn(
        self: &Arc<Uploads>,
        place: Place,
        tell: watch::Sender<Option<Outcome>>,
        bring: impl Future<Output = Outcome> + Send + 'static,
    ) {
        let uploads = self.clone();
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let outcome = bring.await;
            match &outcome {
                Ok(file) => uploads.places.lock().insert(place, State::Ready(file.clone())),
                Err(_) => uploads.places.lock().remove(&place),
            };
            let _ = tell.send(Some(outcome));
        });
    }

    /// Ends all uploads where they are.
    pub(crate) fn stop(&self) {
        self.tasks.lock().abort_all();
    }

    /// A prompt of the project was refused because of one of its files: each is looked at before the next use.
    pub(crate) fn doubt(&self, project: u32, hash: ContentHash) {
        let mut places = self.places.lock();
        if let Some(state) = places.get_mut(&(project, hash))
            && let State::Ready(file) = state
        {
            *state = State::Doubtful(file.clone());
        }
    }

    /// Deletes what this run uploaded; what cannot be deleted now expires by itself.
    pub(crate) async fn delete_own(&self) {
        let own = std::mem::take(&mut *self.own.lock());
        for Own { owner, place, name, told } in own {
            match self.client.delete(&owner.key, &name).await {
                Ok(()) => {
                    self.forget(&owner, &name);
                    self.places.lock().remove(&place);
                    (self.listener)(Upload { step: UploadStep::Deleted, ..told });
                }
                Err(_) => {
                    tracing::warn!("{}: could not be deleted from project {}; it expires within 48 hours", told.file, owner.name);
                }
            }
        }
    }

    /// From the store if it is there and well, else by an upload.
    async fn bring(self: Arc<Uploads>, owner: Owner, source: Source, doubtful: Option<Arc<RemoteFile>>) -> Outcome {
        let kept = doubtful.or_else(|| self.recall(&owner, source.hash).map(Arc::new));
        if let Some(kept) = kept {
            match self.client.look(&owner.key, &kept.name).await {
                Ok(remote) if !matches!(remote.state, RemoteState::Failed(_)) => {
                    return self.processed(&owner, &source, remote, kept).await;
                }
                // Expired, deleted, or of another project that went by this name.
                Ok(_) => self.forget(&owner, &kept.name),
                Err(Setback::Refused(reply)) if matches!(reply.status, 403 | 404) => self.forget(&owner, &kept.name),
                Err(setback) => return Err(setback),
            }
        }
        let uploaded = self.upload(&owner, &source).await;
        if uploaded.is_err() {
            self.tell(&owner, &source, UploadStep::Failed);
        }
        uploaded
    }

    async fn upload(&self, owner: &Owner, source: &Source) -> Outcome {
        let remote = {
            let _seat = self.seats.acquire().await;
            self.tell(owner, source, UploadStep::Sent(0));
            let progress = |sent| self.tell(owner, source, UploadStep::Sent(sent));
            self.client.upload(&owner.key, source, &progress).await?
        };
        let expires = self.clock.now() + KEPT;
        let file = RemoteFile { hash: source.hash, name: remote.name.clone(), uri: remote.uri.clone(), expires };
        // Written down before it is processed: whoever is killed now finds it there and does not send it again.
        if let Err(fault) = self.store.lock().keep_file(&owner.name, &file) {
            tracing::warn!("an upload will not be remembered: {fault}");
        }
        let (place, name) = ((owner.number, source.hash), remote.name.clone());
        self.own.lock().push(Own { owner: owner.clone(), place, name, told: told(owner, source, UploadStep::Ready) });
        self.processed(owner, source, remote, Arc::new(file)).await
    }

    /// Waits until the service has looked through the file.
    async fn processed(&self, owner: &Owner, source: &Source, first: Remote, file: Arc<RemoteFile>) -> Outcome {
        let patience = self.client.patience;
        let end = tokio::time::Instant::now() + patience.processing;
        let (mut state, mut pause, mut failures) = (first.state, patience.look, 0);
        if state != RemoteState::Active {
            self.tell(owner, source, UploadStep::Processing);
        }
        loop {
            match state {
                RemoteState::Active => break,
                RemoteState::Failed(reason) => {
                    self.forget(owner, &file.name);
                    let reason = format!("{}: the API could not process it: {reason}", source.name);
                    return Err(Setback::Lost(TransportError::Media { reason }));
                }
                RemoteState::Untold | RemoteState::Processing if tokio::time::Instant::now() >= end => {
                    return Err(Setback::Lost(TransportError::Timeout { seconds: patience.processing.as_secs() }));
                }
                RemoteState::Untold | RemoteState::Processing => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause.mul_f64(1.6)).min(patience.longest);
            state = match self.client.look(&owner.key, &file.name).await {
                // A file that is described without a state when asked for has none to wait for.
                Ok(Remote { state: RemoteState::Untold, .. }) => RemoteState::Active,
                Ok(remote) => remote.state,
                Err(setback) => {
                    failures += 1;
                    if setback.is_final() || failures >= LOOKS {
                        return Err(setback);
                    }
                    RemoteState::Processing
                }
            };
        }
        self.tell(owner, source, UploadStep::Ready);
        Ok(file)
    }

    fn tell(&self, owner: &Owner, source: &Source, step: UploadStep) {
        (self.listener)(told(owner, source, step));
    }

    fn recall(&self, owner: &Owner, hash: ContentHash) -> Option<RemoteFile> {
        let found = self.store.lock().file(&owner.name, hash, self.clock.now());
        found.unwrap_or_else(|fault| {
            tracing::warn!("earlier uploads are not known: {fault}");
            None
        })
    }

    fn forget(&self, owner: &Owner, name: &str) {
        if let Err(fault) = self.store.lock().forget_file(&owner.name, name, self.clock.now()) {
            tracing::warn!("an upload that is gone could not be forgotten: {fault}");
        }
    }
}

fn told(owner: &Owner, source: &Source, step: UploadStep) -> Upload {
    Upload { project: owner.name.clone(), file: source.name.clone(), size: source.file.size(), step }
}

#[cfg(test)]
mod tests;
