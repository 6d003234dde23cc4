//! Pictures and sound of answers, written to files of their own beside the output before the record that names them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tidegate_gemini::media;
use tidegate_gemini::response::Inline;

use crate::identity::Fingerprint;
use crate::output::sync_directory_of;

/// The most characters of an id that go into a file's name.
const NAME: usize = 80;

/// A file still to be written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Attachment {
    path: PathBuf,
    content: Vec<u8>,
}

/// How a record names one.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Named {
    /// The path, seen from the folder of the output.
    path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    mime_type: String,
}

impl Attachment {
    /// The files of one answer under `folder`, the `OUT.files` beside the output. Content that is no base64 is left out.
    pub(crate) fn of(folder: &Path, id: &str, inline: &[Inline<'_>]) -> Vec<(Named, Attachment)> {
        let beside = folder.file_name().unwrap_or_default().to_string_lossy();
        let stem = stem(id);
        let content = inline.iter().filter_map(|inline| Some((inline, inline.bytes()?)));
        let file = |(at, (inline, content)): (usize, (&Inline<'_>, Vec<u8>))| {
            let name = format!("{stem}-{}.{}", at + 1, media::extension(&inline.mime));
            let named = Named { path: format!("{beside}/{name}"), mime_type: inline.mime.to_string() };
            (named, Attachment { path: folder.join(name), content })
        };
        content.enumerate().map(file).collect()
    }

    /// Writes the file in one step and returns once it is safe. An earlier one of that name is of the same row, and goes.
    pub(crate) fn write(&self) -> io::Result<()> {
        if let Some(folder) = self.path.parent()
            && !folder.is_dir()
        {
            fs::create_dir_all(folder)?;
            sync_directory_of(folder)?;
        }
        let mut scratch = self.path.clone().into_os_string();
        scratch.push(".part");
        let mut file = File::create(&scratch)?;
        file.write_all(&self.content)?;
        file.sync_all()?;
        fs::rename(&scratch, &self.path)?;
        sync_directory_of(&self.path)
    }
}

/// The id as the beginning of a file's name: what could lead elsewhere or upset a system is replaced, and a digest then keeps
/// ids apart that look alike.
fn stem(id: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if !id.is_empty() && id.len() <= NAME && id.chars().all(plain) {
        return id.to_owned();
    }
    let keep = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
    let name: String = id.chars().take(NAME).map(keep).collect();
    format!("{name}-{}", Fingerprint::of(id).derived_id(1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use tidegate_gemini::response::extras;

    const BODY: &[u8] = br#"{"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":"QUJD"}},
        {"inlineData":{"mimeType":"image/png","data":"***"}},{"inlineData":{"mimeType":"audio/L16;rate=24000","data":"REVG"}}]}}]}"#;

    #[test]
    fn each_picture_is_a_file_named_after_its_row() {
        let folder = tempfile::tempdir().unwrap();
        let made = Attachment::of(&folder.path().join("out.jsonl.files"), "task_1", &extras(BODY).inline);
        let named: Vec<_> = made.iter().map(|(named, _)| serde_json::to_string(named).unwrap()).collect();
        assert_eq!(
            named,
            [
                r#"{"path":"out.jsonl.files/task_1-1.png","mime_type":"image/png"}"#,
                r#"{"path":"out.jsonl.files/task_1-2.pcm","mime_type":"audio/L16;rate=24000"}"#
            ]
        );
        for (_, file) in &made {
            file.write().unwrap();
            file.write().unwrap();
        }
        let content = |name: &str| fs::read(folder.path().join("out.jsonl.files").join(name)).unwrap();
        assert_eq!((content("task_1-1.png"), content("task_1-2.pcm")), (b"ABC".to_vec(), b"DEF".to_vec()));
        assert_eq!(fs::read_dir(folder.path().join("out.jsonl.files")).unwrap().count(), 2, "no scratch is left");
    }

    #[test]
    fn no_id_leads_out_of_the_folder_and_no_two_meet() {
        let ids = ["../../etc/x", "a/b", "a_b", "a:b", "A", "a", "", ".", "..", "é", &"x".repeat(300), &"x".repeat(301)];
        let stems: std::collections::HashSet<String> = ids.iter().map(|id| stem(id).to_ascii_lowercase()).collect();
        assert_eq!(stems.len(), ids.len());
        assert!(stems.iter().all(|stem| !stem.contains(['/', '\\', '.', ':']) && stem.len() < 120), "{stems:?}");
    }
}
