//! From a row to a request, and to what the row is known by.

use std::cell::OnceCell;
use std::sync::Arc;

use serde_json::{Map, Value};
use tidegate_engine::media::{MediaSettings, Resolved, Resolver};
use tidegate_engine::{Structured, Wishes};
use tidegate_gemini::embedding::{self, EmbeddingError};
use tidegate_gemini::media::{Kind, MediaFault};
use tidegate_gemini::prompt::{Content, Prompt, PromptError};
use tidegate_gemini::request::{self, Request, RequestError};

use crate::identity::Fingerprint;
use crate::input::{Body, Row};
use crate::options::{Options, Task};
use crate::run::RunError;
use crate::template::Template;

/// Makes requests of rows. Clones share the template.
#[derive(Debug, Clone)]
pub(crate) struct Compiler {
    task: Task,
    template: Option<Arc<Template>>,
    defaults: Arc<request::Defaults>,
    wishes: Arc<Wishes>,
    media: Arc<Resolver>,
}

/// A row that can be asked.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) prompt: Prompt,
    pub(crate) request: Request,
    /// How its answer is to look, where it is wanted as JSON.
    pub(crate) structured: Option<Arc<Structured>>,
    /// Its media, where it has any: looked at, or what is wrong with them. Such a row is asked nothing, others go on.
    pub(crate) media: Option<Result<Resolved, String>>,
    resolver: Arc<Resolver>,
    fingerprint: OnceCell<Fingerprint>,
}

/// A row that cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadRow {
    pub(crate) line: u64,
    pub(crate) column: Option<u64>,
    pub(crate) reason: String,
    pub(crate) fingerprint: Fingerprint,
}

impl Compiled {
    /// What is asked, in short. Worked out when first needed: a check of new rows with ids of their own never does.
    pub(crate) fn fingerprint(&self) -> &Fingerprint {
        self.fingerprint.get_or_init(|| match &self.media {
            Some(Ok(media)) => match self.resolver.names(&self.request, media) {
                Ok(names) => Fingerprint::of(&self.request.canonical_with(|at, _| names[at].clone())),
                Err(error) => Fingerprint::of(&format!("{} {error}", self.request.canonical())),
            },
            Some(Err(_)) | None => Fingerprint::of(&self.request.canonical()),
        })
    }

    /// Its media as they are sent, or what is wrong with them.
    pub(crate) fn placed(&mut self) -> Result<Option<Resolved>, String> {
        let Some(looked) = self.media.take().transpose()? else { return Ok(None) };
        self.resolver.place(&self.request, looked).map(Some).map_err(|error| error.to_string())
    }
}

impl Compiler {
    /// Checks the template and the settings for every row, so that no row is blamed for them.
    pub(crate) fn new(options: &Options) -> Result<Compiler, RunError> {
        let named = Some(options.defaults.model.clone().unwrap_or_else(|| "any".to_owned()));
        let any = request::build(&Prompt::text("any"), &request::Defaults { model: named, ..options.defaults.clone() })?;
        let wishes = Arc::new(Wishes::new(options.max_json_tokens));
        any.json.as_ref().map(|wish| wishes.get(wish)).transpose()?;
        let template = options.template.as_deref().map(Template::new).transpose()?.map(Arc::new);
        let by_default = || Resolver::new(MediaSettings::default(), None).map(Arc::new);
        let media = options.media.clone().map_or_else(by_default, Ok).map_err(|fault| RunError::Broken(fault.to_string()))?;
        Ok(Compiler { task: options.task, template, defaults: Arc::new(options.defaults.clone()), wishes, media })
    }

    pub(crate) fn compile(&self, row: &Row) -> Result<Compiled, BadRow> {
        let prompt = match self.prompt(row) {
            Err(Fault::Media(field, fault)) => return self.without_media(row, field, &fault),
            Err(Fault::Row(bad)) => return Err(bad),
            Ok(prompt) => prompt,
        };
        let built = match &self.task {
            Task::Answer => request::build(&prompt, &self.defaults).map_err(EmbeddingError::from),
            Task::Embed(settings) => embedding::build(&prompt, &self.defaults, settings),
        };
        match built {
            Ok(request) => self.compiled(row, prompt, request),
            Err(EmbeddingError::Request(RequestError::Media(fault))) => {
                self.broken(row, Prompt { media: Vec::new(), ..prompt }, fault.to_string())
            }
            Err(error) => Err(bad(row, None, &error)),
        }
    }

    fn compiled(&self, row: &Row, prompt: Prompt, request: Request) -> Result<Compiled, BadRow> {
        let structured = request.json.as_ref().map(|wish| self.wishes.get(wish)).transpose();
        let structured = structured.map_err(|error| bad(row, None, &format!("the schema for the answer: {error}")))?;
        let media = (!request.media.is_empty()).then(|| self.media.look(&request).map_err(|error| error.to_string()));
        let fingerprint = match &media {
            Some(Err(_)) => OnceCell::from(Fingerprint::of(&row.original())),
            Some(Ok(_)) | None => OnceCell::new(),
        };
        Ok(Compiled { prompt, request, structured, media, resolver: self.media.clone(), fingerprint })
    }

    /// A row whose media fields make no sense: what else it says is read without them.
    fn without_media(&self, row: &Row, field: &str, fault: &MediaFault) -> Result<Compiled, BadRow> {
        let mut fields: Map<String, Value> = serde_json::from_str(&row.original()).unwrap_or_default();
        fields.retain(|name, _| !is_media_field(name));
        let prompt = Prompt::from_fields(fields).unwrap_or_else(|_| Prompt::text(""));
        self.broken(row, prompt, format!("\"{field}\": {fault}"))
    }

    /// A row that is known by its line and asked nothing.
    fn broken(&self, row: &Row, mut prompt: Prompt, reason: String) -> Result<Compiled, BadRow> {
        prompt.content = Content::Text(vec!["media".to_owned()]);
        let request = request::build(&prompt, &self.defaults).map_err(|error| bad(row, None, &error))?;
        let fingerprint = OnceCell::from(Fingerprint::of(&row.original()));
        Ok(Compiled { prompt, request, structured: None, media: Some(Err(reason)), resolver: self.media.clone(), fingerprint })
    }

    fn prompt(&self, row: &Row) -> Result<Prompt, Fault> {
        match (&row.body, &self.template) {
            (Body::Bad { column, reason, .. }, _) => Err(bad(row, *column, reason).into()),
            (Body::Json { text, .. }, None) => Prompt::from_json(text).map_err(|error| faulty(row, error)),
            (Body::Fields(fields), None) => Prompt::from_fields(fields.clone()).map_err(|error| faulty(row, error)),
            (Body::Text(text), None) => Ok(Prompt::text(text.as_str())),
            (_, Some(template)) => self.filled(row, template),
        }
    }

    fn filled(&self, row: &Row, template: &Template) -> Result<Prompt, Fault> {
        let (mut fields, is_bare) = match &row.body {
            Body::Fields(fields) => (fields.clone(), false),
            Body::Json { text, .. } => match serde_json::from_str(text) {
                Ok(Value::Object(fields)) => (fields, false),
                Ok(Value::String(text)) => (bare(&text), true),
                Ok(_) => return Err(bad(row, None, &"expected a JSON string or object").into()),
                Err(_) => {
                    return Err(Prompt::from_json(text).map_or_else(
                        |error| faulty(row, error),
                        |_| bad(row, None, &"expected a JSON string or object").into(),
                    ));
                }
            },
            Body::Text(text) | Body::Bad { raw: text, .. } => (bare(text), true),
        };
        let prompt = template.render(&fields).map_err(|error| bad(row, None, &error))?;
        if is_bare {
            fields.clear();
        }
        fields.insert("prompt".to_owned(), Value::from(prompt));
        Prompt::from_fields(fields).map_err(|error| faulty(row, error))
    }
}

/// Why no prompt can be made of a row.
enum Fault {
    /// The line itself.
    Row(BadRow),
    /// Only what it says of its media: the field, and what is wrong.
    Media(&'static str, MediaFault),
}

impl From<BadRow> for Fault {
    fn from(bad: BadRow) -> Fault {
        Fault::Row(bad)
    }
}

fn faulty(row: &Row, error: PromptError) -> Fault {
    match error {
        PromptError::Media { field, fault, .. } => Fault::Media(field, fault),
        error => Fault::Row(bad_at(row, error.line(), error.column(), &error)),
    }
}

/// `image_path`, `imagePath`, `video_metadata`, ...
fn is_media_field(name: &str) -> bool {
    let rest = Kind::ALL.into_iter().find_map(|kind| name.strip_prefix(kind.name())).unwrap_or("");
    let plain: String = rest.chars().filter(|c| *c != '_').collect::<String>().to_ascii_lowercase();
    matches!(plain.as_str(), "path" | "bytes" | "url" | "mimetype" | "metadata")
}

/// The fields of a row that is nothing but a text: a template may call it by either name.
fn bare(text: &str) -> Map<String, Value> {
    ["prompt", "text"].into_iter().map(|name| (name.to_owned(), Value::from(text))).collect()
}

fn bad(row: &Row, column: Option<u64>, reason: &impl ToString) -> BadRow {
    let fingerprint = Fingerprint::of(&row.original());
    BadRow { line: row.line, column, reason: reason.to_string(), fingerprint }
}

fn bad_at(row: &Row, line: Option<usize>, column: Option<usize>, reason: &impl ToString) -> BadRow {
    let mut bad = bad(row, None, reason);
    if let (Body::Json { start, .. }, Some(line), Some(column)) = (&row.body, line, column) {
        let first = if line == 1 { start - 1 } else { 0 };
        (bad.line, bad.column) = (row.line + line.saturating_sub(1) as u64, Some(first + column as u64));
    }
    bad
}

/// The same JSON on one line: a line break can stand between its parts only, where a blank means the same.
pub(crate) fn one_line(json: &str) -> String {
    json.replace(['\n', '\r'], " ")
}

impl Row {
    /// The row as a line of JSON that can be run again; a bad row as it stands.
    pub(crate) fn original(&self) -> String {
        match &self.body {
            Body::Json { text, .. } => one_line(text),
            Body::Fields(fields) => serde_json::to_string(fields).unwrap_or_default(),
            Body::Text(text) => Value::from(text.as_str()).to_string(),
            Body::Bad { raw, .. } => raw.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use serde_json::json;

    use super::*;

    fn compiler(template: Option<&str>) -> Compiler {
        let mut options = Options { template: template.map(str::to_owned), ..Options::default() };
        options.defaults.model = Some("gemini-x".to_owned());
        Compiler::new(&options).unwrap()
    }

    fn json_row(text: &str) -> Row {
        Row { line: 4, body: Body::Json { text: text.to_owned(), start: 3 } }
    }

    fn fields(value: Value) -> Row {
        Row { line: 2, body: Body::Fields(value.as_object().unwrap().clone()) }
    }

    fn asked(compiler: &Compiler, row: &Row) -> String {
        String::from_utf8(compiler.compile(row).unwrap().request.body.text().to_vec()).unwrap()
    }

    #[test]
    fn a_fault_is_placed_by_line_and_column_of_the_file() {
        let bad = compiler(None).compile(&json_row("{\"prompt\": 5}")).unwrap_err();
        assert_eq!((bad.line, bad.column), (4, Some(14)), "{}", bad.reason);
        let bad = compiler(None).compile(&json_row("{\n \"prompt\": oops}")).unwrap_err();
        assert_eq!(bad.line, 5);
        assert_eq!(bad.column, Some(12), "{}", bad.reason);
        let bad = compiler(Some("{{ text }}")).compile(&json_row("{\"text\": oops}")).unwrap_err();
        assert_eq!(bad.line, 4);
        assert!(bad.reason.starts_with("not valid JSON"), "{}", bad.reason);
    }

    #[test]
    fn a_fault_of_the_settings_is_no_fault_of_a_row() {
        let mut options = Options::default();
        assert!(Compiler::new(&options).is_ok(), "each row may name its model");
        options.defaults.temperature = Some(f64::NAN);
        let error = Compiler::new(&options).unwrap_err().to_string();
        assert_eq!(error, "the settings of this run: the temperature NaN is not a number");
    }

    #[test]
    fn a_row_with_a_bad_schema_is_refused_and_schemas_are_shared() {
        let compiler = compiler(None);
        let row = |schema: &str| {
            let config = format!(r#"{{"response_mime_type":"application/json","response_schema":{schema}}}"#);
            json_row(&format!(r#"{{"prompt":"a","generation_config":{config}}}"#))
        };
        let bad = compiler.compile(&row(r#"{"type":"WORD"}"#)).unwrap_err();
        assert!(bad.reason.starts_with("the schema for the answer: /type: "), "{}", bad.reason);
        let structured = || compiler.compile(&row(r#"{"type":"OBJECT"}"#)).unwrap().structured.unwrap();
        assert!(Arc::ptr_eq(&structured(), &structured()));
        assert!(compiler.compile(&json_row("\"a\"")).unwrap().structured.is_none());
    }

    #[test]
    fn a_template_makes_the_prompt_and_other_fields_ride_along() {
        let compiler = compiler(Some("Say {{ text }}"));
        let compiled = compiler.compile(&fields(json!({"id": "7", "text": "hi"}))).unwrap();
        assert_eq!(compiled.prompt.id.as_deref(), Some("7"));
        assert_eq!(compiled.prompt.extra["text"], "hi");
        for row in [json_row("\"hi\""), Row { line: 1, body: Body::Text("hi".to_owned()) }] {
            let compiled = compiler.compile(&row).unwrap();
            assert!(String::from_utf8(compiled.request.body.text().to_vec()).unwrap().contains("Say hi"));
            assert!(compiled.prompt.extra.is_empty());
        }
    }

    #[test]
    fn the_same_question_has_the_same_fingerprint_in_every_format() {
        let compiler = compiler(None);
        let rows = [
            json_row("\"hi\""),
            json_row("{\n\"prompt\":\n\"hi\", \"id\": 3, \"metadata\": {\"a\": 1}}"),
            fields(json!({"prompt": "hi", "other": "x"})),
            Row { line: 1, body: Body::Text("hi".to_owned()) },
        ];
        let prints: Vec<Fingerprint> = rows.iter().map(|row| *compiler.compile(row).unwrap().fingerprint()).collect();
        assert!(prints.iter().all(|print| *print == prints[0]));
        assert_eq!(asked(&compiler, &rows[0]), asked(&compiler, &rows[3]));
    }

    #[test]
    fn the_original_of_a_row_can_be_run_again() {
        let compiler = compiler(Some("Say {{ text }}"));
        for row in [json_row("{\n\"text\": \"hi\"}"), fields(json!({"text": "hi"})), json_row("\"hi\"")] {
            let original = row.original();
            assert!(!original.contains('\n'));
            assert_eq!(asked(&compiler, &json_row(&original)), asked(&compiler, &row));
        }
    }
}
