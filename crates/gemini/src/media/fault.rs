//! What can be wrong with the media of a record, said so that its author can mend it.

use super::Kind;

/// Why the media fields of a record make no sense. The field's name goes before these words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaFault {
    /// Neither a string nor a list of them.
    #[error("give a string or a list of strings, not {found}")]
    NotStrings {
        /// What stood there.
        found: &'static str,
    },
    /// An entry that says nothing.
    #[error("entry {at} is empty")]
    EmptyEntry {
        /// Its place in the list, from 1.
        at: usize,
    },
    /// Content that cannot be decoded.
    #[error("entry {at} is not base64: {reason}")]
    NotBase64 {
        /// Its place in the list, from 1.
        at: usize,
        /// What gives it away.
        reason: &'static str,
    },
    /// An address of another scheme.
    #[error("{url:?} is no http or https address: use \"{}_path\" for a file on this machine", .kind.name())]
    BadUrl {
        /// The kind of medium.
        kind: Kind,
        /// The address, shortened.
        url: String,
    },
    /// Something that is no MIME type.
    #[error("{mime:?} is no MIME type: write it like \"image/png\"")]
    BadMime {
        /// What was given, shortened.
        mime: String,
    },
    /// A list of MIME types that does not match the media.
    #[error("{given} MIME types for {items} {}: give one for all, or a list with one for each (null to find out)", files(*.kind, *.items))]
    MimeCount {
        /// The kind of media.
        kind: Kind,
        /// How many types there are.
        given: usize,
        /// How many media there are.
        items: usize,
    },
    /// More settings than films.
    #[error("{given} entries for {videos} {}: give at most one for each", files(Kind::Video, *.videos))]
    MetadataCount {
        /// How many entries there are.
        given: usize,
        /// How many films there are.
        videos: usize,
    },
    /// Settings that are no list of objects.
    #[error("give a list of objects with start_offset, end_offset and fps, not {found}")]
    NotMetadata {
        /// What stood there.
        found: &'static str,
    },
    /// A setting no film has.
    #[error("entry {at} has an unknown member {member:?}: use start_offset, end_offset and fps")]
    UnknownMember {
        /// Its place in the list, from 1.
        at: usize,
        /// The member.
        member: String,
    },
    /// An offset that is no duration.
    #[error("entry {at}: {member} {value} is no duration: write seconds like \"90s\" or \"3.5s\"")]
    BadOffset {
        /// Its place in the list, from 1.
        at: usize,
        /// The member.
        member: &'static str,
        /// What was given, as JSON.
        value: String,
    },
    /// A part that ends before it begins.
    #[error("entry {at}: it ends at {end:?}, not after its start at {start:?}")]
    NoLength {
        /// Its place in the list, from 1.
        at: usize,
        /// The start as given, or 0s.
        start: String,
        /// The end as given.
        end: String,
    },
    /// A frame rate the API does not take.
    #[error("entry {at}: fps {value} is not a number above 0 and at most 24")]
    BadFps {
        /// Its place in the list, from 1.
        at: usize,
        /// What was given, as JSON.
        value: String,
    },
    /// Position tokens and media that do not match.
    #[error("the prompt has {tokens} {} {}, the record {items} {}: give one token for each file", .kind.token(), plural(*.tokens, "token"), files(*.kind, *.items))]
    TokenCount {
        /// The kind of media.
        kind: Kind,
        /// How many tokens the prompt has.
        tokens: usize,
        /// How many media of that kind the record brings.
        items: usize,
    },
    /// Media beside a request that has its own parts.
    #[error("media fields go with \"prompt\"; beside \"{other}\" write the media as parts inside it")]
    BesideContents {
        /// The other field.
        other: &'static str,
    },
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

fn files(kind: Kind, count: usize) -> String {
    let of_kind = if kind == Kind::File { String::new() } else { format!("{} ", kind.name()) };
    of_kind + &plural(count, "file")
}
