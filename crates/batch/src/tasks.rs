//! Rows that travel: checked and named here, asked on another machine, recorded there as a run would record them.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tidegate_engine::media::Resolver;
use tidegate_engine::{Error, Request, Response, Structured};
use tidegate_gemini::media::Kind;
use tidegate_gemini::request::Defaults;

use crate::compile::{BadRow, Compiled, Compiler};
use crate::feed::Walk;
use crate::identity::{Fingerprint, Identities};
use crate::input::{self, Body, Input, InputError, Row};
use crate::options::Options;
use crate::record::{self, Asked, Done, Status, Style};
use crate::run::RunError;

/// What the rows of one submission share: everything that shapes what is asked and recorded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskSettings {
    /// The model for rows that name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The system instruction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_instruction: Option<String>,
    /// The sampling temperature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The most tokens of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u32>,
    /// Whether answers are to be JSON.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub expect_json: bool,
    /// The JSON Schema of answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_schema: Option<Value>,
    /// The template over a row's fields that makes the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Tokens all attempts may use before a row is asked again for better JSON; 0 = no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_json_tokens: Option<u64>,
    /// Whether records hold the API's whole answer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub full_response: bool,
}

impl TaskSettings {
    /// Those of a run with these options.
    pub fn of(options: &Options) -> TaskSettings {
        let Defaults { model, system_instruction, temperature, max_output_tokens, expect_json, json_schema } =
            options.defaults.clone();
        TaskSettings {
            model,
            system_instruction,
            temperature,
            max_output_tokens,
            expect_json,
            json_schema,
            prompt: options.template.clone(),
            max_json_tokens: (options.max_json_tokens != Structured::MAX_TOKENS).then_some(options.max_json_tokens),
            full_response: options.full_response,
        }
    }

    fn options(self, media: Option<Arc<Resolver>>) -> Options {
        Options {
            defaults: Defaults {
                model: self.model,
                system_instruction: self.system_instruction,
                temperature: self.temperature,
                max_output_tokens: self.max_output_tokens,
                expect_json: self.expect_json,
                json_schema: self.json_schema,
            },
            template: self.prompt,
            max_json_tokens: self.max_json_tokens.unwrap_or(Structured::MAX_TOKENS),
            full_response: self.full_response,
            media,
            ..Options::default()
        }
    }
}

/// A row about to travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departing {
    /// Its id, its own or derived from its content.
    pub id: String,
    /// From 0, over all inputs.
    pub index: u64,
    /// Of what it asks, the content of its media included.
    pub fingerprint: String,
    /// Higher goes first.
    pub priority: i32,
    /// The row as one line of JSON; paths of media in it are absolute.
    pub row: String,
}

/// All rows of the inputs, each about to travel. The first pass is over when this is made: files hold no bad row.
pub struct Departures {
    walk: Walk<'static>,
    compiler: Compiler,
    ids: Identities,
    skip_invalid: bool,
    skipped: u64,
    folder: std::path::PathBuf,
}

impl Departures {
    /// Checks every row of the files: one that cannot be read, or whose media cannot be, is told before anything travels.
    ///
    /// # Errors
    /// As those of [`crate::run()`] before the first call.
    pub fn new(inputs: Vec<Input>, options: &Options) -> Result<Departures, RunError> {
        input::check(&inputs)?;
        let compiler = Compiler::new(options)?;
        let folder = std::env::current_dir().map_err(|error| RunError::Broken(error.to_string()))?;
        let (mut walk, mut ids) = (Walk::over(&inputs), Identities::default());
        while let Some(at) = walk.next() {
            let at = at?;
            match ready(&compiler, &at.row) {
                Ok(compiled) => walk.identify(&compiled, &at, &mut ids).map(|_| ())?,
                Err(_) if options.skip_invalid => {}
                Err(bad) => return Err(walk.malformed(&bad).into()),
            }
        }
        drop(walk);
        let skip_invalid = options.skip_invalid;
        let ids = Identities::default();
        Ok(Departures { walk: Walk::through(inputs), compiler, ids, skip_invalid, skipped: 0, folder })
    }

    /// Bad rows that were left out so far.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}

impl Iterator for Departures {
    type Item = Result<Departing, InputError>;

    fn next(&mut self) -> Option<Result<Departing, InputError>> {
        loop {
            let at = match self.walk.next()? {
                Ok(at) => at,
                Err(error) => return Some(Err(error)),
            };
            let compiled = match ready(&self.compiler, &at.row) {
                Ok(compiled) => compiled,
                Err(_) if self.skip_invalid => {
                    self.skipped += 1;
                    continue;
                }
                Err(bad) => return Some(Err(self.walk.malformed(&bad))),
            };
            return Some(self.walk.identify(&compiled, &at, &mut self.ids).map(|(id, _)| Departing {
                id,
                index: at.index,
                fingerprint: compiled.fingerprint().to_string(),
                priority: compiled.prompt.priority,
                row: anchored(at.row.original(), &self.folder),
            }));
        }
    }
}

/// A row that can be asked, with media that are here.
fn ready(compiler: &Compiler, row: &Row) -> Result<Compiled, BadRow> {
    let compiled = compiler.compile(row)?;
    match &compiled.media {
        Some(Err(reason)) => {
            let fingerprint = Fingerprint::of(&row.original());
            Err(BadRow { line: row.line, column: None, reason: reason.clone(), fingerprint })
        }
        Some(Ok(_)) | None => Ok(compiled),
    }
}

/// The same row with absolute paths: it is read in another folder.
fn anchored(row: String, folder: &Path) -> String {
    if !row.contains("_path\"") && !row.contains("Path\"") {
        return row;
    }
    let Ok(mut fields) = serde_json::from_str::<Map<String, Value>>(&row) else { return row };
    let names = Kind::ALL.map(Kind::name).into_iter().flat_map(|kind| [format!("{kind}_path"), format!("{kind}Path")]);
    for name in names {
        match fields.get_mut(&name) {
            Some(Value::String(path)) => *path = absolute(path, folder),
            Some(Value::Array(paths)) => {
                for path in paths {
                    if let Value::String(path) = path {
                        *path = absolute(path, folder);
                    }
                }
            }
            Some(_) | None => {}
        }
    }
    serde_json::to_string(&fields).unwrap_or(row)
}

fn absolute(path: &str, folder: &Path) -> String {
    folder.join(path).display().to_string()
}

/// Where rows arrive: makes requests of them and records of what comes of those.
#[derive(Debug)]
pub struct Station {
    compiler: Compiler,
    style: Style,
}

/// A row that has arrived.
#[derive(Debug)]
pub struct Arrival {
    asked: Asked,
    style: Arc<Style>,
}

/// What has to happen to a row that has arrived.
#[derive(Debug)]
pub enum Arrived {
    /// It is to be asked.
    Ask(Box<Arrival>, Box<Request>),
    /// It cannot be asked here: something it names cannot be had.
    Broken(Box<Arrival>, Box<Error>),
    /// It is no row at all: this is its record.
    Bad(Finished),
}

/// The record of a row that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// What became of it.
    pub status: Status,
    /// Without success, and asking again may help.
    pub retryable: bool,
    /// One line of JSON, without its end.
    pub line: String,
}

impl Station {
    /// A station for rows of these settings; `media` looks at what they name: that of the engine which is asked.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub fn new(settings: TaskSettings, media: Option<Arc<Resolver>>) -> Result<Station, RunError> {
        let style = Style { full: settings.full_response, attachments: None };
        Ok(Station { compiler: Compiler::new(&settings.options(media))?, style })
    }

    /// Makes a request of a row. `fingerprint` is the one it left with, empty where nobody told one.
    pub fn arrive(&self, id: &str, index: u64, fingerprint: &str, row: &str) -> Arrived {
        let row = Row { line: 1, body: Body::Json { text: row.to_owned(), start: 1 } };
        let mut compiled = match self.compiler.compile(&row) {
            Ok(compiled) => compiled,
            Err(bad) => {
                let done = record::skipped(id, index, &bad.fingerprint.to_string(), &bad.reason, Timestamp::now());
                return Arrived::Bad(done.into());
            }
        };
        let found = compiled.fingerprint().to_string();
        let is_changed = !fingerprint.is_empty() && fingerprint != found && compiled.media.is_some();
        let media = compiled.placed();
        let Compiled { prompt, request, structured, .. } = compiled;
        let asked = Asked {
            id: id.to_owned(),
            index,
            fingerprint: if fingerprint.is_empty() { found } else { fingerprint.to_owned() },
            model: request.model.clone(),
            metadata: prompt.metadata,
            extra: prompt.extra,
            line: None,
            berth: None,
            earlier: Default::default(),
        };
        let style = Arc::new(Style { full: self.style.full, attachments: None });
        let arrival = Box::new(Arrival { asked, style });
        let media = match media {
            Err(reason) => return Arrived::Broken(arrival, Box::new(Error::input("media", reason, true))),
            Ok(_) if is_changed => {
                let reason = "a file it names has other content here than where it was submitted".to_owned();
                return Arrived::Broken(arrival, Box::new(Error::input("media_changed", reason, true)));
            }
            Ok(media) => media,
        };
        let mut request = Request::new(request).labelled(id);
        if let Some(media) = media {
            request = request.with_media(media);
        }
        request.priority = prompt.priority;
        request.identity = Some(arrival.asked.fingerprint.as_str().into());
        request.structured = structured;
        Arrived::Ask(arrival, Box::new(request))
    }
}

impl Arrival {
    /// The record of how it ended; `None` when it was not touched: no key could serve it, or nobody wanted it any more.
    pub fn record(&self, result: &Result<Response, Error>) -> Option<Finished> {
        record::ended(&self.asked, result, &self.style, Timestamp::now()).map(Finished::from)
    }

    /// Its metadata, if it has any.
    pub fn metadata(&self) -> Option<&RawValue> {
        self.asked.metadata.as_deref()
    }
}

impl From<Done> for Finished {
    fn from(done: Done) -> Finished {
        let line = String::from_utf8_lossy(&done.line).trim_end().to_owned();
        Finished { status: done.status, retryable: done.retryable, line }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::fs;

    use super::*;

    fn options() -> Options {
        let mut options = Options { template: Some("Say {{ text }}".to_owned()), ..Options::default() };
        options.defaults.model = Some("gemini-x".to_owned());
        options.defaults.temperature = Some(0.5);
        options
    }

    fn rows(text: &str, options: &Options) -> Result<Vec<Departing>, RunError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        fs::write(&path, text).unwrap();
        let departures = Departures::new(vec![Input::new(&path, None).unwrap()], options)?;
        departures.collect::<Result<_, _>>().map_err(RunError::Input)
    }

    #[test]
    fn a_row_is_asked_where_it_arrives_as_it_would_have_been_where_it_left() {
        let rows = rows("{\"id\":7,\"text\":\"a\",\"priority\":3,\"metadata\":{\"m\":1}}\n\"b\"\n\"b\"\n", &options()).unwrap();
        let settings = serde_json::to_string(&TaskSettings::of(&options())).unwrap();
        let station = Station::new(serde_json::from_str(&settings).unwrap(), None).unwrap();
        assert_eq!((rows[0].id.as_str(), rows[0].priority, rows[1].index), ("7", 3, 1));
        assert_ne!(rows[1].id, rows[2].id, "equal rows are kept apart");
        assert_eq!(rows[1].fingerprint, rows[2].fingerprint);
        for row in &rows {
            let Arrived::Ask(arrival, request) = station.arrive(&row.id, row.index, &row.fingerprint, &row.row) else {
                panic!("{row:?}")
            };
            assert_eq!(request.identity.as_deref(), Some(row.fingerprint.as_str()));
            let body = String::from_utf8(request.body.ready().unwrap().to_vec()).unwrap();
            assert!(body.contains("Say ") && body.contains("0.5"), "{body}");
            let end = arrival.record(&Err(Error::input("x", "y".to_owned(), false))).unwrap();
            assert!(
                end.line.starts_with(&format!(r#"{{"id":"{}","index":{},"status":"failed""#, row.id, row.index)),
                "{}",
                end.line
            );
            assert!(!end.line.contains('\n'));
        }
    }

    #[test]
    fn a_bad_row_is_told_before_anything_travels_or_is_left_out() {
        let text = "\"a\"\n{\"prompt\":5}\n";
        assert!(rows(text, &options()).unwrap_err().to_string().contains("rows.jsonl:2"));
        assert_eq!(rows(text, &Options { skip_invalid: true, ..options() }).unwrap().len(), 1);
        let media = "{\"text\":\"a\",\"image_path\":\"nowhere.png\"}\n";
        assert!(rows(media, &options()).unwrap_err().to_string().contains("nowhere.png"));
    }

    #[test]
    fn paths_of_media_are_absolute_when_they_travel() {
        let folder = Path::new("/data");
        let row = anchored(r#"{"image_path":["a.png","/b.png"],"note_path":"c"}"#.to_owned(), folder);
        assert_eq!(row, r#"{"image_path":["/data/a.png","/b.png"],"note_path":"c"}"#);
        assert_eq!(anchored("\"about image_path\"".to_owned(), folder), "\"about image_path\"");
    }

    #[test]
    fn a_file_that_is_another_one_where_the_row_arrives_is_not_asked() {
        let folder = tempfile::tempdir().unwrap();
        let picture = folder.path().join("a.png");
        fs::write(&picture, b"\x89PNG\r\n\x1a\none").unwrap();
        let text = format!("{{\"text\":\"a\",\"image_path\":{:?}}}\n", picture.display().to_string());
        let row = rows(&text, &options()).unwrap().remove(0);
        let station = || Station::new(TaskSettings::of(&options()), None).unwrap();
        assert!(matches!(station().arrive(&row.id, 0, &row.fingerprint, &row.row), Arrived::Ask(..)));
        fs::write(&picture, b"\x89PNG\r\n\x1a\nother").unwrap();
        let Arrived::Broken(_, error) = station().arrive(&row.id, 0, &row.fingerprint, &row.row) else { panic!("asked") };
        assert_eq!(error.code, "media_changed");
        fs::remove_file(&picture).unwrap();
        let Arrived::Broken(_, error) = station().arrive(&row.id, 0, &row.fingerprint, &row.row) else { panic!("asked") };
        assert!(error.code == "media" && error.message.contains("a.png"), "{error}");
    }
}
