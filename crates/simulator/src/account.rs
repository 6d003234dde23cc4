//! What the report tells beside prompts and quotas: uploads by content and project, texts embedded, parts by kind.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

/// All uploads of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UploadReport {
    /// Uploads that were given an address.
    pub started: u64,
    /// Uploads that became a file.
    pub finished: u64,
    /// Uploads given up by their client.
    pub cancelled: u64,
    /// Bytes of all chunks that arrived whole, kept or not.
    pub bytes: u64,
    /// The files that were made, by project and content; one that stands with `times` above 1 was sent twice.
    pub files: Vec<UploadedFile>,
}

/// One content in one project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UploadedFile {
    /// The project's name.
    pub project: String,
    /// SHA-256 in hexadecimal digits.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
    /// How often it was uploaded.
    pub times: u64,
}

/// Texts made into vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EmbeddingReport {
    /// Calls answered well.
    pub calls: u64,
    /// Texts of those calls.
    pub texts: u64,
    /// Texts that had been answered before: work paid for twice.
    pub texts_again: u64,
}

/// The counters behind them.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) uploads: UploadReport,
    pub(crate) embeddings: EmbeddingReport,
    pub(crate) parts: BTreeMap<&'static str, u64>,
    pub(crate) json_damage: BTreeMap<&'static str, u64>,
    embedded: HashSet<u128>,
}

impl Account {
    /// Notes a file that was made.
    pub(crate) fn uploaded(&mut self, project: &str, sha256: &str, bytes: u64) {
        self.uploads.finished += 1;
        let files = &mut self.uploads.files;
        match files.iter_mut().find(|file| file.project == project && file.sha256 == sha256) {
            Some(file) => file.times += 1,
            None => files.push(UploadedFile { project: project.to_owned(), sha256: sha256.to_owned(), bytes, times: 1 }),
        }
    }

    /// Notes one call whose texts have these identities.
    pub(crate) fn embedded(&mut self, texts: &[u128]) {
        self.embeddings.calls += 1;
        self.embeddings.texts += texts.len() as u64;
        let again = texts.iter().filter(|text| !self.embedded.insert(**text)).count();
        self.embeddings.texts_again += again as u64;
    }

    /// Notes the parts of a prompt that was answered.
    pub(crate) fn parts(&mut self, parts: &BTreeMap<&'static str, u64>) {
        for (kind, count) in parts {
            *self.parts.entry(kind).or_default() += count;
        }
    }

    pub(crate) fn damaged(&mut self, kind: &'static str) {
        *self.json_damage.entry(kind).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_same_content_is_counted_for_each_project() {
        let mut account = Account::default();
        for project in ["a", "b", "a"] {
            account.uploaded(project, "00ff", 5);
        }
        let times: Vec<_> = account.uploads.files.iter().map(|file| (file.project.as_str(), file.times)).collect();
        assert_eq!((times, account.uploads.finished), (vec![("a", 2), ("b", 1)], 3));
    }

    #[test]
    fn a_text_embedded_again_is_told() {
        let mut account = Account::default();
        account.embedded(&[1, 2]);
        account.embedded(&[2, 3]);
        assert_eq!(account.embeddings, EmbeddingReport { calls: 2, texts: 4, texts_again: 1 });
    }
}
