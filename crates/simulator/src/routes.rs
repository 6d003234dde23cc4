//! Which call a request is: version, method, model, and the key it shows.

use std::borrow::Cow;

use crate::exchange::SimRequest;

/// A request line taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Call<'a> {
    pub(crate) version: &'a str,
    pub(crate) openai: bool,
    pub(crate) target: Target,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Generate {
        model: String,
        form: Form,
    },
    CountTokens {
        model: String,
    },
    Models {
        size: usize,
        from: Option<usize>,
    },
    Model(String),
    Embed {
        model: String,
        batch: bool,
    },
    /// Without an id the start of an upload.
    Upload {
        upload: Option<String>,
    },
    Files {
        size: usize,
        from: Option<usize>,
    },
    File {
        id: String,
        deletes: bool,
    },
    /// The content of a file that the server made.
    Download {
        id: String,
    },
    CreateBatch {
        model: String,
        embeds: bool,
    },
    Interact,
    Interaction {
        id: String,
        streams: bool,
        deletes: bool,
    },
    Batches {
        size: usize,
        from: Option<usize>,
    },
    Batch {
        id: String,
        act: Act,
    },
    CreateCache,
    Caches {
        size: usize,
        from: Option<usize>,
    },
    Cache {
        id: String,
        verb: Verb,
    },
    Unknown,
}

/// What is done to a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Patch,
    Delete,
}

/// What is done to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Get,
    Cancel,
    Delete,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Whole,
    Sse,
    Array,
}

/// How a caller names itself; without `Debug`, for it holds the key.
#[derive(PartialEq, Eq)]
pub(crate) enum Credential<'a> {
    Key(Cow<'a, str>),
    Bearer,
    None,
}

impl<'a> Call<'a> {
    pub(crate) fn parse(request: &SimRequest<'a>) -> Self {
        let (path, query) = request.path.split_once('?').unwrap_or((request.path, ""));
        let path = path.trim_start_matches('/');
        let (uploads, path) = path.strip_prefix("upload/").map_or((false, path), |path| (true, path));
        // Contents are also served under a prefix of their own.
        let path = path.strip_prefix("download/").filter(|path| path.contains(":download")).unwrap_or(path);
        let (version, rest) = path.split_once('/').unwrap_or((path, ""));
        let target = match (version, uploads) {
            ("v1" | "v1beta" | "v1alpha", false) => target(request.method, rest, query),
            ("v1" | "v1beta" | "v1alpha", true) => upload(request.method, rest, query),
            _ => None,
        };
        Self { version, openai: rest.starts_with("openai/"), target: target.unwrap_or(Target::Unknown) }
    }

    /// The key in the header, else in the query; a Bearer token counts only on OpenAI's routes.
    pub(crate) fn credential(&self, request: &SimRequest<'a>) -> Credential<'a> {
        let bearer = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let query = request.path.split_once('?').map_or("", |(_, query)| query);
        let key = request.header("x-goog-api-key").map(|key| Cow::Borrowed(key.trim()));
        match (key.or_else(|| parameter(query, "key")).filter(|key| !key.is_empty()), bearer) {
            (Some(key), _) => Credential::Key(key),
            (None, Some(token)) if self.openai => Credential::Key(Cow::Borrowed(token.trim())),
            (None, Some(_)) => Credential::Bearer,
            (None, None) => Credential::None,
        }
    }
}

fn target(method: &str, rest: &str, query: &str) -> Option<Target> {
    let rest = decode(rest);
    let (name, action) = rest.rsplit_once(':').unwrap_or((&rest, ""));
    match (method, action) {
        ("GET", "") if name.trim_end_matches('/') == "models" => {
            let (size, from) = page(query, 50, 1_000);
            Some(Target::Models { size, from })
        }
        ("GET", "") if name == "files" => {
            let (size, from) = page(query, 10, 100);
            Some(Target::Files { size, from })
        }
        ("GET" | "DELETE", "") if name.starts_with("files/") => {
            Some(Target::File { id: name.strip_prefix("files/")?.to_owned(), deletes: method == "DELETE" })
        }
        ("GET", "download") if parameter(query, "alt").is_some_and(|alt| alt == "media") => {
            Some(Target::Download { id: name.strip_prefix("files/")?.to_owned() })
        }
        ("POST", "batchGenerateContent") => Some(Target::CreateBatch { model: model(name)?, embeds: false }),
        ("POST", "asyncBatchEmbedContent") => Some(Target::CreateBatch { model: model(name)?, embeds: true }),
        ("POST", "") if name == "interactions" => Some(Target::Interact),
        ("GET" | "DELETE", "") if name.starts_with("interactions/") => {
            let streams = parameter(query, "stream").is_some_and(|stream| stream == "true");
            Some(Target::Interaction { id: name.strip_prefix("interactions/")?.to_owned(), streams, deletes: method == "DELETE" })
        }
        ("GET", "") if name == "batches" => {
            let (size, from) = page(query, 50, 1_000);
            Some(Target::Batches { size, from })
        }
        ("GET" | "DELETE", "") if name.starts_with("batches/") => {
            let act = if method == "GET" { Act::Get } else { Act::Delete };
            Some(Target::Batch { id: name.strip_prefix("batches/")?.to_owned(), act })
        }
        ("POST", "cancel") => Some(Target::Batch { id: name.strip_prefix("batches/")?.to_owned(), act: Act::Cancel }),
        ("POST", "") if name == "cachedContents" => Some(Target::CreateCache),
        ("GET", "") if name == "cachedContents" => {
            let (size, from) = page(query, 50, 1_000);
            Some(Target::Caches { size, from })
        }
        ("GET" | "PATCH" | "DELETE", "") if name.starts_with("cachedContents/") => {
            let verb = [("GET", Verb::Get), ("PATCH", Verb::Patch), ("DELETE", Verb::Delete)];
            let verb = verb.iter().find(|(name, _)| *name == method).map(|(_, verb)| *verb)?;
            Some(Target::Cache { id: name.strip_prefix("cachedContents/")?.to_owned(), verb })
        }
        ("POST", "embedContent") => Some(Target::Embed { model: model(name)?, batch: false }),
        ("POST", "batchEmbedContents") => Some(Target::Embed { model: model(name)?, batch: true }),
        ("GET", "") => Some(Target::Model(name.strip_prefix("models/")?.to_owned())),
        ("POST", "countTokens") => Some(Target::CountTokens { model: model(name)? }),
        ("POST", "generateContent") => Some(Target::Generate { model: model(name)?, form: Form::Whole }),
        ("POST", "streamGenerateContent") => {
            let sse = parameter(query, "alt").is_some_and(|alt| alt == "sse");
            let form = if sse { Form::Sse } else { Form::Array };
            Some(Target::Generate { model: model(name)?, form })
        }
        _ => None,
    }
}

fn upload(method: &str, rest: &str, query: &str) -> Option<Target> {
    let upload = parameter(query, "upload_id").map(Cow::into_owned);
    (matches!(method, "POST" | "PUT") && rest.trim_end_matches('/') == "files").then_some(Target::Upload { upload })
}

/// The size of a page, and where it begins: `None` for a token that makes no sense.
fn page(query: &str, usual: usize, most: usize) -> (usize, Option<usize>) {
    let size = parameter(query, "pageSize").and_then(|size| size.parse().ok()).filter(|size| *size > 0);
    let token = parameter(query, "pageToken");
    let from = token.map_or(Some(0), |token| token.strip_prefix("page-").and_then(|from| from.parse().ok()));
    (size.unwrap_or(usual).min(most), from)
}

fn model(name: &str) -> Option<String> {
    let prefixes = ["models/", "tunedModels/", "dynamic/"];
    let id = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix))?;
    (!id.is_empty()).then(|| id.to_owned())
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| decode(value))
}

/// Undoes percent encoding; what is not valid stays as it is.
fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let (b'%', Some(code)) = (byte, code) {
            bytes.push(code);
            rest = &tail[2..];
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn target_of(method: &str, path: &str) -> Target {
        Call::parse(&SimRequest { method, path, headers: &[], body: &[] }).target
    }

    #[test]
    fn every_version_serves_every_route() {
        for version in ["v1", "v1beta", "v1alpha"] {
            let at = |method, rest: &str| target_of(method, &format!("/{version}/{rest}"));
            let model = "gemini-3.8-flash".to_owned();
            let generate = |form| Target::Generate { model: model.clone(), form };
            assert_eq!(at("POST", "models/gemini-3.8-flash:generateContent"), generate(Form::Whole));
            assert_eq!(at("POST", "models/gemini-3.8-flash:streamGenerateContent?alt=sse"), generate(Form::Sse));
            assert_eq!(at("POST", "models/gemini-3.8-flash:streamGenerateContent?key=a"), generate(Form::Array));
            assert_eq!(at("POST", "models/gemini-3.8-flash%3AgenerateContent"), generate(Form::Whole));
            assert_eq!(at("POST", "models/gemini-3.8-flash:countTokens"), Target::CountTokens { model: model.clone() });
            assert_eq!(at("GET", "models"), Target::Models { size: 50, from: Some(0) });
            assert_eq!(at("GET", "models?pageSize=3&pageToken=page-6"), Target::Models { size: 3, from: Some(6) });
            assert_eq!(at("GET", "models/gemini-3.8-flash"), Target::Model(model.clone()));
        }
    }

    #[test]
    fn other_paths_and_methods_are_unknown() {
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/v2/models"),
            ("GET", "/v1beta/models/x:generateContent"),
            ("POST", "/v1beta/models/x:sing"),
            ("POST", "/v1beta/models/:generateContent"),
            ("POST", "/v1beta/models"),
        ] {
            assert_eq!(target_of(method, path), Target::Unknown, "{method} {path}");
        }
    }

    #[test]
    fn a_key_comes_by_header_or_query_and_bearer_only_for_openai() {
        let credential = |path: &str, headers: &[(&str, &str)]| {
            let headers: Vec<_> = headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let request = SimRequest { method: "GET", path, headers: &headers, body: &[] };
            match Call::parse(&request).credential(&request) {
                Credential::Key(key) => key.into_owned(),
                Credential::Bearer => "a Bearer token".to_owned(),
                Credential::None => "nothing".to_owned(),
            }
        };
        assert_eq!(credential("/v1/models", &[("X-Goog-Api-Key", " k ")]), "k");
        assert_eq!(credential("/v1/models?pageSize=1&key=k%2B", &[]), "k+");
        assert_eq!(credential("/v1/models", &[("authorization", "Bearer k")]), "a Bearer token");
        assert_eq!(credential("/v1beta/openai/models", &[("Authorization", "Bearer k")]), "k");
        assert_eq!(credential("/v1/models", &[]), "nothing");
    }
}
