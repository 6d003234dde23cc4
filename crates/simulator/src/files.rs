//! The files a server keeps: whose they are, when they can be used and when they are gone; of their bytes only facts.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bodies::{self, ErrorBody};
use crate::media::{Facts, Kind};

/// How a server treats uploaded files.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileRules {
    /// How long audio and video stay in `PROCESSING`, milliseconds.
    pub processing_ms: u64,
    /// Files whose display name holds this end as `FAILED`.
    pub fail_contains: Option<String>,
    /// How long a file is kept, milliseconds; 48 hours at the real API.
    pub keep_ms: u64,
    /// The most bytes of a project's files; 20 GB at the real API.
    pub storage_bytes: u64,
    /// The most bytes of one file; 2 GB at the real API.
    pub max_file_bytes: u64,
}

impl Default for FileRules {
    fn default() -> Self {
        Self {
            processing_ms: 200,
            fail_contains: None,
            keep_ms: 48 * 3_600_000,
            storage_bytes: 20 << 30,
            max_file_bytes: 2 << 30,
        }
    }
}

/// All files of all projects.
#[derive(Debug)]
pub(crate) struct Files {
    rules: FileRules,
    files: BTreeMap<String, StoredFile>,
    order: u64,
}

/// One file without its bytes, unless it may be the input of a batch.
#[derive(Clone, Debug)]
pub(crate) struct StoredFile {
    pub(crate) id: String,
    pub(crate) project: usize,
    pub(crate) display_name: String,
    pub(crate) mime: String,
    pub(crate) sha256: String,
    pub(crate) version: String,
    pub(crate) facts: Facts,
    /// The bytes of a file of JSON lines.
    pub(crate) lines: Option<Vec<u8>>,
    pub(crate) created: u64,
    ready: u64,
    fails: bool,
    order: u64,
}

/// The files one project can see at one instant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shelf<'a> {
    files: &'a Files,
    project: usize,
    now: u64,
}

type Answer<T> = Result<T, (&'static str, ErrorBody)>;

impl Files {
    pub(crate) fn new(rules: FileRules) -> Self {
        Self { rules, files: BTreeMap::new(), order: 0 }
    }

    pub(crate) fn rules(&self) -> &FileRules {
        &self.rules
    }

    pub(crate) fn shelf(&self, project: usize, now: u64) -> Shelf<'_> {
        Shelf { files: self, project, now }
    }

    /// Whether any project's file has this name.
    pub(crate) fn is_taken(&self, id: &str, now: u64) -> bool {
        self.files.get(id).is_some_and(|file| self.is_kept(file, now))
    }

    /// Bytes of a project's files that are kept.
    pub(crate) fn stored(&self, project: usize, now: u64) -> u64 {
        let kept = self.files.values().filter(|file| file.project == project && self.is_kept(file, now));
        kept.map(|file| file.facts.bytes).sum()
    }

    /// Puts a file on the shelf and shows it.
    pub(crate) fn keep(&mut self, mut file: StoredFile, now: u64) -> Value {
        self.files.retain(|_, file| now < file.created + self.rules.keep_ms * 1_000);
        let processed = Kind::of(&file.mime).is_some_and(Kind::is_processed);
        self.order += 1;
        file.order = self.order;
        file.ready = now + if processed { self.rules.processing_ms * 1_000 } else { 0 };
        file.fails = self.rules.fail_contains.as_ref().is_some_and(|mark| file.display_name.contains(mark));
        let shown = self.show(&file, now);
        self.files.insert(file.id.clone(), file);
        shown
    }

    pub(crate) fn delete(&mut self, id: &str, project: usize, now: u64) -> Answer<Value> {
        self.shelf(project, now).get(id)?;
        self.files.remove(id);
        Ok(json!({}))
    }

    fn is_kept(&self, file: &StoredFile, now: u64) -> bool {
        now < file.created + self.rules.keep_ms * 1_000
    }

    fn show(&self, file: &StoredFile, now: u64) -> Value {
        let hash = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &file.sha256);
        let mut shown = json!({
            "name": format!("files/{}", file.id),
            "displayName": file.display_name,
            "mimeType": file.mime,
            "sizeBytes": file.facts.bytes.to_string(),
            "createTime": time(file.created),
            "updateTime": time(if now < file.ready { file.created } else { file.ready }),
            "expirationTime": time(file.created + self.rules.keep_ms * 1_000),
            "sha256Hash": hash,
            "uri": format!("https://generativelanguage.googleapis.com/{}/files/{}", file.version, file.id),
            "state": file.state(now),
            "source": "UPLOADED",
        });
        if file.display_name.is_empty() {
            remove(&mut shown, "displayName");
        }
        if let (Some(seconds), "video", true) = (file.facts.seconds, file.kind(), now >= file.ready) {
            shown["videoMetadata"] = json!({"videoDuration": format!("{}s", seconds.round())});
        }
        if file.state(now) == "FAILED" {
            shown["error"] = json!({"code": 3, "message": "The file could not be processed."});
        }
        shown
    }
}

fn remove(shown: &mut Value, name: &str) {
    if let Some(fields) = shown.as_object_mut() {
        fields.shift_remove(name);
    }
}

impl StoredFile {
    pub(crate) fn new(id: String, project: usize, display_name: String, mime: String, version: String) -> Self {
        let (sha256, facts) = (String::new(), Facts::default());
        let lines = mime.contains("jsonl").then(Vec::new);
        Self { id, project, display_name, mime, sha256, version, facts, lines, created: 0, ready: 0, fails: false, order: 0 }
    }

    fn kind(&self) -> &'static str {
        Kind::of(&self.mime).map_or("", Kind::name)
    }

    fn state(&self, now: u64) -> &'static str {
        match (now < self.ready, self.fails) {
            (true, _) => "PROCESSING",
            (false, true) => "FAILED",
            (false, false) => "ACTIVE",
        }
    }
}

impl<'a> Shelf<'a> {
    /// The file as a resource.
    pub(crate) fn show(&self, id: &str) -> Answer<Value> {
        self.get(id).map(|file| self.files.show(file, self.now))
    }

    /// One page of the project's files, the latest first; `from` is `None` when the page token made no sense.
    pub(crate) fn page(&self, size: usize, from: Option<usize>) -> Answer<Value> {
        let from = from.ok_or_else(|| ("invalid_argument", bodies::invalid(bodies::GENERIC)))?;
        let mut mine: Vec<_> = self.files.files.values().filter(|file| self.sees(file)).collect();
        mine.sort_by_key(|file| std::cmp::Reverse(file.order));
        let shown: Vec<_> = mine.iter().skip(from).take(size).map(|file| self.files.show(file, self.now)).collect();
        let (next, mut page) = (from + shown.len(), json!({}));
        if !shown.is_empty() {
            page["files"] = shown.into();
        }
        if next < mine.len() {
            page["nextPageToken"] = format!("page-{next}").into();
        }
        Ok(page)
    }

    /// The file of a URI that names one of this service's files, for use in a prompt.
    pub(crate) fn take(&self, uri: &str) -> Answer<&'a StoredFile> {
        let file = self.get(id_of(uri).unwrap_or_default())?;
        if file.state(self.now) == "ACTIVE" { Ok(file) } else { Err(("file_not_active", bodies::file_not_active(&file.id))) }
    }

    /// The hash of the file behind a URI: what it is, whichever project's copy is meant.
    pub(crate) fn content(&self, uri: &str) -> Option<&'a str> {
        self.get(id_of(uri)?).ok().map(|file| file.sha256.as_str())
    }

    fn get(&self, id: &str) -> Answer<&'a StoredFile> {
        let found = self.files.files.get(id).filter(|file| self.sees(file));
        found.ok_or_else(|| ("file_forbidden", bodies::file_forbidden(id)))
    }

    fn sees(&self, file: &StoredFile) -> bool {
        file.project == self.project && self.files.is_kept(file, self.now)
    }
}

/// The id in `files/ID` or `https://HOST/VERSION/files/ID`; `None` for a URI of something else.
pub(crate) fn id_of(uri: &str) -> Option<&str> {
    if let Some(id) = uri.strip_prefix("files/") {
        return Some(id);
    }
    let (_, rest) = uri.split_once("://")?;
    let mut steps = rest.splitn(4, '/').skip(1);
    let is_version = matches!(steps.next(), Some("v1" | "v1beta" | "v1alpha"));
    (is_version && steps.next() == Some("files")).then(|| steps.next()).flatten()
}

/// RFC 3339 with microseconds.
pub(crate) fn time(micros: u64) -> String {
    let stamp = i64::try_from(micros).ok().and_then(|micros| Timestamp::from_microsecond(micros).ok());
    stamp.unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn stored(name: &str, mime: &str, fail: Option<&str>) -> (Files, Value) {
        let mut files =
            Files::new(FileRules { fail_contains: fail.map(str::to_owned), processing_ms: 3_000, ..FileRules::default() });
        let mut file = StoredFile::new("abc".to_owned(), 0, name.to_owned(), mime.to_owned(), "v1beta".to_owned());
        file.sha256 = "00ff".to_owned();
        file.facts.bytes = 7;
        file.created = 100 * SECOND;
        let shown = files.keep(file, 100 * SECOND);
        (files, shown)
    }

    #[test]
    fn a_film_is_processed_and_then_active_and_gone_after_two_days() {
        let (files, shown) = stored("clip.mp4", "video/mp4", None);
        assert_eq!(
            (&shown["state"], &shown["sizeBytes"], &shown["sha256Hash"]),
            (&json!("PROCESSING"), &json!("7"), &json!("MDBmZg=="))
        );
        assert_eq!(shown["createTime"], "1970-01-01T00:01:40.000000Z");
        assert_eq!(shown["expirationTime"], "1970-01-03T00:01:40.000000Z");
        assert_eq!(files.shelf(0, 102 * SECOND).take("files/abc").unwrap_err().0, "file_not_active");
        let uri = shown["uri"].as_str().unwrap();
        assert_eq!(files.shelf(0, 103 * SECOND).take(uri).unwrap().id, "abc");
        assert_eq!(files.shelf(0, 103 * SECOND).show("abc").unwrap()["state"], "ACTIVE");
        let gone = files.shelf(0, (172_800 + 100) * SECOND).show("abc").unwrap_err().1;
        assert_eq!((gone.code, gone.status), (403, "PERMISSION_DENIED"));
    }

    #[test]
    fn a_text_is_active_at_once_and_a_scripted_file_fails() {
        assert_eq!(stored("a.txt", "text/plain", None).1["state"], "ACTIVE");
        let (files, shown) = stored("bad.txt", "text/plain", Some("bad"));
        assert_eq!(shown["state"], "FAILED");
        assert!(shown["error"]["message"].is_string() && files.shelf(0, 101 * SECOND).take("files/abc").is_err());
    }

    #[test]
    fn other_projects_see_nothing_of_a_file() {
        let (mut files, _) = stored("a.txt", "text/plain", None);
        let now = 101 * SECOND;
        assert!(files.shelf(1, now).show("abc").is_err() && files.delete("abc", 1, now).is_err());
        assert_eq!(files.shelf(1, now).page(10, Some(0)).unwrap(), json!({}));
        assert_eq!((files.stored(0, now), files.stored(1, now)), (7, 0));
        assert_eq!(files.delete("abc", 0, now).unwrap(), json!({}));
        assert!(!files.is_taken("abc", now));
    }

    #[test]
    fn only_addresses_of_files_are_files() {
        assert_eq!(id_of("https://generativelanguage.googleapis.com/v1beta/files/q1"), Some("q1"));
        assert_eq!(id_of("files/q1"), Some("q1"));
        assert_eq!(id_of("https://example.org/files/q1"), None);
        assert_eq!(id_of("https://www.youtube.com/watch?v=x"), None);
    }
}
