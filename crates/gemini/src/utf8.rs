//! Bytes as text, whatever they are.

use std::borrow::Cow;

/// The bytes as text, with a mark in the place of what is none.
pub(crate) fn text(bytes: &[u8]) -> Cow<'_, str> {
    // The standard library's repairing reader goes character by character; nearly every body needs no repair.
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}
