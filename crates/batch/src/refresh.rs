//! What rides along with a row, its metadata and unknown fields: compared with its record, and put in there when edited.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::identity::Digest;

/// Metadata and unknown fields.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Riders {
    #[serde(default)]
    pub(crate) metadata: Option<Value>,
    #[serde(default)]
    pub(crate) extra: Map<String, Value>,
}

impl Riders {
    /// Of a row or a record, as they stand there.
    pub(crate) fn of(metadata: Option<&RawValue>, extra: Map<String, Value>) -> Riders {
        let metadata = metadata.and_then(|raw| serde_json::from_str(raw.get()).ok());
        Riders { metadata: metadata.filter(|value: &Value| !value.is_null()), extra }
    }

    /// Equal for equal riders, however they are written.
    pub(crate) fn digest(&self) -> Digest {
        if self.metadata.is_none() && self.extra.is_empty() {
            return Digest::of("");
        }
        Digest::of(&serde_json::to_string(self).unwrap_or_default())
    }

    /// Puts them into a record in the place of its own.
    pub(crate) fn put_into(self, record: &mut Map<String, Value>) {
        record.shift_remove("metadata");
        record.shift_remove("extra");
        record.extend(self.metadata.map(|metadata| ("metadata".to_owned(), metadata)));
        if !self.extra.is_empty() {
            record.insert("extra".to_owned(), Value::Object(self.extra));
        }
    }
}

/// Riders that were edited since their record was made, kept in a file; memory holds where.
#[derive(Debug, Default)]
pub(crate) struct Edited {
    file: Option<File>,
    places: HashMap<Digest, u64>,
    end: u64,
}

impl Edited {
    /// Takes the riders a row has now.
    pub(crate) fn push(&mut self, id: &str, riders: &Riders) -> io::Result<()> {
        let mut line = serde_json::to_vec(riders)?;
        line.push(b'\n');
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile()?),
        };
        file.write_all(&line)?;
        self.places.insert(Digest::of(id), self.end);
        self.end += line.len() as u64;
        Ok(())
    }

    /// The riders of a row, if they were edited.
    pub(crate) fn of(&mut self, id: &str) -> io::Result<Option<Riders>> {
        let (Some(file), Some(place)) = (&mut self.file, self.places.get(&Digest::of(id))) else { return Ok(None) };
        file.seek(SeekFrom::Start(*place))?;
        let mut line = String::new();
        BufReader::new(file).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn riders(metadata: &str, extra: &str) -> Riders {
        let metadata = RawValue::from_string(metadata.to_owned()).unwrap();
        Riders::of(Some(&metadata), serde_json::from_str(extra).unwrap())
    }

    #[test]
    fn riders_are_equal_however_they_are_written() {
        assert_eq!(riders("{\"a\" : 1.50}", "{}").digest(), riders("{\"a\":1.50}", "{}").digest());
        assert_ne!(riders("{\"a\":1.5}", "{}").digest(), riders("{\"a\":1.50}", "{}").digest());
        assert_eq!(riders("null", "{}").digest(), Riders::default().digest());
    }

    #[test]
    fn what_was_pushed_is_found_by_its_id() {
        let mut edited = Edited::default();
        for n in 0..5 {
            edited.push(&n.to_string(), &riders(&n.to_string(), "{\"x\":1e400}")).unwrap();
        }
        assert_eq!(edited.of("3").unwrap(), Some(riders("3", "{\"x\":1e400}")));
        assert_eq!(edited.of("7").unwrap(), None);
    }
}
