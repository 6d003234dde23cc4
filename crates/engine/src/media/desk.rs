//! Where prompts get their media: what is fetched before they are handed on, what is uploaded before they are sent.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use futures_util::future::try_join_all;
use parking_lot::Mutex;

use super::body::{Body, Content, MediaBody, Part};
use super::file::LocalFile;
use super::payload::Payload;
use super::resolve::Resolver;
use crate::fetch::{FetchError, Fetcher};
use crate::request::Error;
use crate::uploads::{Owner, Setback, Uploads};

/// Distinct addresses remembered before those that nobody uses any more are dropped.
const REMEMBERED: usize = 4096;

/// Uploads and fetches of an engine.
pub(crate) struct Desk {
    pub uploads: Arc<Uploads>,
    pub resolver: Arc<Resolver>,
    fetcher: Fetcher,
    fetched: Mutex<HashMap<Arc<str>, Fetched>>,
}

/// What an address gave, while a prompt uses it; locked while it is being fetched.
type Fetched = Arc<tokio::sync::Mutex<Option<(Option<Arc<str>>, Weak<LocalFile>)>>>;

impl Desk {
    pub(crate) fn new(uploads: Arc<Uploads>, resolver: Arc<Resolver>, fetcher: Fetcher) -> Desk {
        Desk { uploads, resolver, fetcher, fetched: Mutex::default() }
    }

    /// What goes over the wire with a key of `project`; `None` while a file of it is not in the project's storage.
    pub(crate) fn payload(&self, project: u32, body: &Body) -> Option<Payload> {
        match body {
            Body::Ready(bytes) => Some(bytes.clone().into()),
            Body::Media(media) => media.payload(|hash| self.uploads.ready(project, hash)),
        }
    }

    /// Brings all files of a prompt into a project's storage.
    pub(crate) async fn provide(&self, owner: Owner, body: &Body) -> Result<(), Setback> {
        let Body::Media(media) = body else { return Ok(()) };
        try_join_all(media.uploads().into_iter().map(|source| self.uploads.provide(owner.clone(), source))).await.map(drop)
    }

    /// A prompt was refused for one of its files: they are looked at before their next use. False when it has none.
    pub(crate) fn doubt(&self, project: u32, body: &Body) -> bool {
        let Body::Media(media) = body else { return false };
        let sources = media.uploads();
        sources.iter().for_each(|source| self.uploads.doubt(project, source.hash));
        !sources.is_empty()
    }

    /// The body with what its addresses give, where they are opened here.
    ///
    /// # Errors
    /// The prompt's own: it names an address that gives nothing.
    pub(crate) async fn fetch(&self, body: Body) -> Result<Body, Error> {
        let Body::Media(media) = &body else { return Ok(body) };
        let wanted = media.parts.iter().enumerate().filter_map(|(at, part)| match &part.content {
            Content::Fetch(url) => Some((at, url.clone(), part.mime.clone())),
            _ => None,
        });
        let fetching = wanted.map(|(at, url, given)| async move { Ok((at, self.one(url, given.as_deref()).await?)) });
        let fetched: Vec<(usize, Part)> = try_join_all(fetching).await.map_err(|fault: FetchError| unfetched(&fault))?;
        if fetched.is_empty() {
            return Ok(body);
        }
        let (resolver, media) = (self.resolver.clone(), media.clone());
        let filled = tokio::task::spawn_blocking(move || resolver.with_fetched(&media, fetched)).await;
        let filled = filled
            .map_err(|fault| fault.to_string())
            .and_then(|filled: Result<MediaBody, _>| filled.map_err(|fault| fault.to_string()));
        filled.map(|media| Body::Media(Arc::new(media))).map_err(|message| Error::input("unreadable_media", message, false))
    }

    /// Prompts that name the same address share what it gives.
    async fn one(&self, url: Arc<str>, given: Option<&str>) -> Result<Part, FetchError> {
        let place = {
            let mut fetched = self.fetched.lock();
            if fetched.len() > REMEMBERED {
                fetched.retain(|_, kept| Arc::strong_count(kept) > 1 || kept.try_lock().is_ok_and(|kept| is_used(kept.as_ref())));
            }
            fetched.entry(url.clone()).or_default().clone()
        };
        let mut kept = place.lock().await;
        if let Some((mime, file)) = &*kept
            && let Some(file) = file.upgrade()
        {
            let mime = given.map(Arc::from).or_else(|| mime.clone());
            return Ok(Part { mime, content: Content::File(file), upload: false });
        }
        let part = self.fetcher.fetch(&url, given).await?;
        if let Content::File(file) = &part.content {
            *kept = Some((part.mime.clone(), Arc::downgrade(file)));
        }
        Ok(part)
    }
}

fn is_used(kept: Option<&(Option<Arc<str>>, Weak<LocalFile>)>) -> bool {
    kept.is_some_and(|(_, file)| file.strong_count() > 0)
}

fn unfetched(fault: &FetchError) -> Error {
    Error::input("unreachable_media", fault.to_string(), fault.retryable())
}
