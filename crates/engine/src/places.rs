//! The engine's projects as places: calls that go to one of them, and what lives there.

use std::path::Path;
use std::sync::Arc;

use crate::engine::Engine;
use crate::errand::{self, Recipient};
use crate::media::{ContentHash, LocalFile, Source};
use crate::passage::PassageError;
use crate::relay::{self, RelayBody, Relayed, Relaying};
use crate::request::{Error, Request, Trace};
use crate::residence::Residence;
use crate::uploads::{Owner, Setback};

/// A file on this machine that is to lie in a project's storage.
#[derive(Debug, Clone)]
pub struct Luggage<'a> {
    /// Where it is.
    pub path: &'a Path,
    /// What is in it, as its name says.
    pub hash: ContentHash,
    /// Its type.
    pub mime: &'a str,
    /// What the service is to show.
    pub name: &'a str,
}

/// Where a file lies in a project's storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brought {
    /// `files/...`.
    pub name: String,
    /// The address prompts refer to it by.
    pub uri: String,
}

impl Engine {
    /// The names of all projects; elsewhere they go by their place in this list.
    pub fn projects(&self) -> Vec<Arc<str>> {
        let roster = self.driver().roster();
        (0..roster.projects()).map(|number| roster.project(number).clone()).collect()
    }

    /// Projects that can be asked, the freest first. Those that are equally free take turns.
    ///
    /// # Errors
    /// When the engine was shut down. Without any good key the list is empty.
    pub fn freest_projects(&self) -> Result<Vec<u32>, PassageError> {
        relay::freest(self.driver(), true)
    }

    /// Projects that can be asked where something is. Nobody's turn passes by that.
    ///
    /// # Errors
    /// As [`Engine::freest_projects`].
    pub fn projects_to_search(&self) -> Result<Vec<u32>, PassageError> {
        relay::freest(self.driver(), false)
    }

    /// Who lives where.
    pub fn residence(&self) -> &Residence {
        &self.driver().residence
    }

    /// Hands a call to the API with a key of one project, whatever it asks. No quota counts it.
    ///
    /// # Errors
    /// When no answer came, or the project has no key left to ask with.
    pub async fn relay(&self, project: u32, relayed: Relayed) -> Result<Relaying, PassageError> {
        relay::relay(self.driver(), project, relayed).await
    }

    /// The same for a call that a quota counts: it waits for its permit like the prompt that `request` describes, and goes with
    /// the key that it is for, again where a prompt would. The call is under way until the answer's body has come, or is
    /// dropped, and is charged what was estimated. Returns with the head of the answer.
    ///
    /// # Errors
    /// As [`Engine::submit`]; of an answer that is an error the body is told.
    pub async fn relay_counted(&self, request: impl Into<Box<Request>>, relayed: Relayed) -> Result<(Relaying, Trace), Error> {
        let request = request.into();
        errand::run(relayed, |errand| self.driver().submit(request, None, Some(Recipient::Errand(errand)))).await
    }

    /// As [`Engine::relay`] for a body that comes as a stream, and instead of that of `relayed`. It is sent once.
    ///
    /// # Errors
    /// As [`Engine::relay`].
    pub async fn relay_stream(&self, project: u32, relayed: Relayed, body: RelayBody) -> Result<Relaying, PassageError> {
        relay::relay_stream(self.driver(), project, relayed, body).await
    }

    /// Sends what belongs to an upload that `project` began at `url`, the service's own address for it. No key goes along.
    ///
    /// # Errors
    /// When no answer came.
    pub async fn continue_upload(
        &self,
        project: u32,
        url: &str,
        headers: http::HeaderMap,
        body: RelayBody,
    ) -> Result<Relaying, PassageError> {
        relay::upload(self.driver(), project, url, headers, body).await
    }

    /// Sees to it that a project has the file: uploads it, unless this was done before.
    ///
    /// # Errors
    /// In words: the file cannot be read, or the service does not take it.
    pub async fn bring(&self, project: u32, luggage: Luggage<'_>) -> Result<Brought, String> {
        let driver = self.driver();
        let file = LocalFile::open(luggage.path).map_err(|fault| fault.to_string())?;
        file.remember_hash(luggage.hash);
        let key = relay::keys_of(driver, project).map_err(|fault| fault.to_string())?.into_iter().next();
        let key = key.ok_or_else(|| PassageError::NoKey.to_string())?;
        let owner = Owner { number: project, name: driver.project(project), key };
        let (mime, name) = (luggage.mime.into(), luggage.name.into());
        let source = Source { file: Arc::new(file), hash: luggage.hash, mime, name };
        let provided = driver.desk.uploads.provide(owner, source).await;
        let file = provided.map_err(|setback| match setback {
            Setback::Refused(reply) => format!("the upload was refused with HTTP {}", reply.status),
            Setback::Lost(fault) => fault.to_string(),
        })?;
        Ok(Brought { name: file.name.clone(), uri: file.uri.clone() })
    }
}
