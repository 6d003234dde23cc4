//! Media of prompts: files, bytes and addresses, from what a record names to what goes over the wire.

mod body;
mod desk;
mod file;
mod payload;
mod resolve;

pub use body::{Body, MediaBody};
pub(crate) use body::{Content, Part, Source};
pub(crate) use desk::Desk;
pub use file::{ContentHash, FileError, LocalFile};
pub use payload::Payload;
pub(crate) use payload::{Piece, Sending};
pub(crate) use resolve::mime_of;
pub use resolve::{MediaError, MediaSettings, Resolved, Resolver};
