//! What lives in one project: files, caches, batches, interactions; and whatever else the API serves.

mod headers;
mod list;
mod member;
pub(super) mod multipart;
mod other;
mod upload;

use http::Method;
use http::request::Parts;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Refusal;
use crate::names;
use crate::server::Gate;
pub use member::told;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Native {
    /// `POST /upload/V/files`: an upload begins.
    Upload,
    /// The same with our name for an upload that was begun.
    Chunk { session: String },
    /// `GET` of a collection that every project has its own of.
    List { version: String, collection: &'static str },
    /// Something is done with a thing that lives in a project.
    Member { name: String },
    /// Anything else.
    Other,
}

/// Collections that are put together, and the field their members stand in.
pub const COLLECTIONS: [(&str, &str); 5] = [
    ("files", "files"),
    ("cachedContents", "cachedContents"),
    ("batches", "operations"),
    ("fileSearchStores", "fileSearchStores"),
    ("tunedModels", "tunedModels"),
];

impl Native {
    /// The route of a path of the API (without a slash at its ends) that has no room of its own; `None` for what is no such path.
    pub fn find(head: &Parts, path: &str) -> Option<Native> {
        let rest = names::after_version(path).filter(|rest| !rest.is_empty() && is_plain(path))?;
        let version = path.split('/').find(|step| matches!(*step, "v1" | "v1beta" | "v1alpha"))?.to_string();
        if path.starts_with("upload/") && rest == "files" {
            let session = head.uri.query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("upload_id=")));
            return Some(session.map_or(Native::Upload, |session| Native::Chunk { session: session.to_string() }));
        }
        let collection = COLLECTIONS.iter().find(|(collection, _)| *collection == rest && head.method == Method::GET);
        if let Some((collection, _)) = collection {
            return Some(Native::List { version, collection });
        }
        Some(names::resource(rest).map_or(Native::Other, |name| Native::Member { name }))
    }
}

/// Whether a path leads where it says: nothing that a server on the way could read as a step upwards or as another path.
fn is_plain(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    !["..", "//", "%2e", "%2f", "%5c", "\\", "%00"].iter().any(|trick| lower.contains(trick))
}

/// Answers one request.
pub async fn answer(gate: &Gate, native: Native, call: Call) -> Result<Answer, Refusal> {
    match native {
        Native::Upload => upload::begin(gate, call).await,
        Native::Chunk { session } => upload::go_on(gate, call, &session).await,
        Native::List { version, collection } => list::list(gate, &call, &version, collection).await,
        Native::Member { name } => member::ask(gate, call, &name).await,
        Native::Other => other::pass(gate, call).await,
    }
}
