//! Which room a request is for: paths of Gemini's API, of OpenAI's, and a few of our own.

mod chat;
mod dashboard;
mod embed;
mod events;
mod generate;
mod label;
mod metrics;
mod models;
mod native;
mod openai;
mod status;
mod stream;
mod templates;

use std::borrow::Cow;
use std::sync::Arc;

use http::Method;
use http::request::Parts;
use native::Native;
use templates::Templates;

use crate::answer::Answer;
use crate::auth::bearer;
use crate::call::Call;
use crate::error::{Dialect, Refusal};
use crate::server::Gate;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `POST models/M:generateContent`.
    Generate { model: String },
    /// `POST models/M:streamGenerateContent`.
    Stream { model: String },
    /// `POST models/M:countTokens`.
    CountTokens { model: String },
    /// `POST models/M:embedContent`.
    Embed { model: String },
    /// `POST models/M:batchEmbedContents`.
    EmbedTogether { model: String },
    /// `GET models`.
    Models,
    /// `GET models/M`.
    Model { model: String },
    /// What lives in one project, and whatever else the API serves.
    Native(Native),
    /// A route of OpenAI's.
    OpenAi(OpenAi),
    /// `POST /chat`.
    Chat,
    /// Everything about filled templates.
    Templates(Templates),
    /// `GET /status`.
    Status,
    /// `GET /api/events`.
    Events,
    /// `GET /metrics`.
    Metrics,
    /// `GET /` and the files of that page.
    Dashboard(&'static dashboard::File),
    /// `GET /healthz`.
    Health,
    /// `GET /readyz`.
    Ready,
    /// The path is known, the method is another.
    OtherMethod,
    /// Nothing is there.
    Unknown,
}

/// Routes of OpenAI's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenAi {
    /// `POST chat/completions`.
    Chat,
    /// `POST embeddings`.
    Embeddings,
    /// `GET models`.
    Models,
    /// `GET models/M`.
    Model(String),
}

impl Route {
    /// The route of a request's head.
    pub fn find(head: &Parts) -> Route {
        let own = |wanted: Method, route| if head.method == wanted { route } else { Route::OtherMethod };
        if let Some(file) = dashboard::find(head.uri.path()) {
            return own(Method::GET, Route::Dashboard(file));
        }
        let path = colons(head.uri.path());
        let path = path.trim_matches('/');
        match path {
            "chat" => return own(Method::POST, Route::Chat),
            "status" => return own(Method::GET, Route::Status),
            "api/events" => return own(Method::GET, Route::Events),
            "metrics" => return own(Method::GET, Route::Metrics),
            "healthz" => return own(Method::GET, Route::Health),
            "readyz" => return own(Method::GET, Route::Ready),
            _ => {}
        }
        if let Some(rest) = path.strip_prefix("api/templates/") {
            return templates::find(&head.method, rest);
        }
        if let Some(rest) = openai_path(path) {
            return Route::of_openai(&head.method, rest);
        }
        let Some((version, rest)) = path.split_once('/').filter(|(version, _)| is_version(version)) else {
            return Route::native(head, path);
        };
        // The same paths serve both kinds of clients, which show who they are by how they show their key.
        let of_openai = version == "v1" && is_openai_client(head);
        match rest {
            "chat/completions" | "embeddings" => Route::of_openai(&head.method, rest),
            _ if of_openai && !rest.contains(':') => Route::of_openai(&head.method, rest),
            _ => match Route::of_google(&head.method, rest) {
                Route::Unknown => Route::native(head, path),
                route => route,
            },
        }
    }

    fn native(head: &Parts, path: &str) -> Route {
        Native::find(head, path).map_or(Route::Unknown, Route::Native)
    }

    fn of_google(method: &Method, rest: &str) -> Route {
        let (name, action) = rest.rsplit_once(':').unwrap_or((rest, ""));
        let model = match name.split_once('/') {
            Some(("models", id)) if !id.is_empty() => id.to_string(),
            Some(("tunedModels", id)) if !id.is_empty() => name.to_string(),
            _ if rest == "models" => return if method == Method::GET { Route::Models } else { Route::OtherMethod },
            _ => return Route::Unknown,
        };
        let posted = |route| if method == Method::POST { route } else { Route::OtherMethod };
        match action {
            "generateContent" => posted(Route::Generate { model }),
            "streamGenerateContent" => posted(Route::Stream { model }),
            "countTokens" => posted(Route::CountTokens { model }),
            "embedContent" => posted(Route::Embed { model }),
            "batchEmbedContents" => posted(Route::EmbedTogether { model }),
            "" if method == Method::GET => Route::Model { model },
            "" => Route::OtherMethod,
            _ => Route::Unknown,
        }
    }

    fn of_openai(method: &Method, rest: &str) -> Route {
        let route = match rest.split_once('/') {
            None if rest == "embeddings" => (Method::POST, OpenAi::Embeddings),
            None if rest == "models" => (Method::GET, OpenAi::Models),
            Some(("chat", "completions")) => (Method::POST, OpenAi::Chat),
            Some(("models", id)) => (Method::GET, OpenAi::Model(id.to_string())),
            _ => return Route::Unknown,
        };
        if *method == route.0 { Route::OpenAi(route.1) } else { Route::OtherMethod }
    }

    /// Whose errors its clients read; an address that is neither's belongs to who shows a Bearer token under `v1`.
    pub fn dialect(&self, head: &Parts) -> Dialect {
        let path = head.uri.path().trim_matches('/');
        match self {
            Route::OpenAi(_) => Dialect::OpenAi,
            Route::Chat => Dialect::Plain,
            _ if path == "chat" => Dialect::Plain,
            _ if openai_path(path).is_some() => Dialect::OpenAi,
            Route::Unknown | Route::OtherMethod if path.starts_with("v1/") && is_openai_client(head) => Dialect::OpenAi,
            _ => Dialect::Google,
        }
    }

    /// Whether anybody may ask.
    pub fn is_public(&self) -> bool {
        matches!(self, Route::Health | Route::Ready | Route::Dashboard(_) | Route::Native(Native::Chunk { .. }))
    }
}

/// A path whose colons stand for themselves: some clients escape them.
fn colons(path: &str) -> Cow<'_, str> {
    if path.contains('%') { path.replace("%3A", ":").replace("%3a", ":").into() } else { path.into() }
}

/// Whether the key is shown as OpenAI's clients show it.
fn is_openai_client(head: &Parts) -> bool {
    bearer(&head.headers).is_some() && !head.headers.contains_key("x-goog-api-key")
}

/// What stands behind one of the prefixes that only OpenAI's clients use.
fn openai_path(path: &str) -> Option<&str> {
    let rest = ["v1beta/openai/", "v1/openai/", "v1alpha/openai/"].iter().find_map(|prefix| path.strip_prefix(prefix));
    rest.map(|rest| rest.strip_prefix("v1/").unwrap_or(rest)).or_else(|| path.strip_prefix("openai/v1/"))
}

fn is_version(text: &str) -> bool {
    matches!(text, "v1" | "v1beta" | "v1alpha")
}

/// Answers one request.
pub async fn answer(gate: &Arc<Gate>, route: Route, mut call: Box<Call>) -> Result<Answer, Refusal> {
    // A waiting request takes the room of its own route, not that of the largest.
    match route {
        Route::Generate { model } => Box::pin(generate::generate(gate, &mut call, &model)).await,
        Route::Stream { model } => Box::pin(stream::native(gate, &mut call, &model)).await,
        Route::CountTokens { model } => Box::pin(models::count_tokens(gate, &mut call, &model)).await,
        Route::Embed { model } => Box::pin(embed::one(gate, &mut call, &model)).await,
        Route::EmbedTogether { model } => Box::pin(embed::together(gate, &mut call, &model)).await,
        Route::Native(native) => Box::pin(native::answer(gate, native, *call)).await,
        Route::Models => Box::pin(models::list(gate, &call)).await,
        Route::Model { model } => Box::pin(models::get(gate, &call, &model)).await,
        Route::OpenAi(OpenAi::Chat) => Box::pin(openai::chat(gate, &mut call)).await,
        Route::OpenAi(OpenAi::Embeddings) => Box::pin(openai::embeddings(gate, &mut call)).await,
        Route::OpenAi(OpenAi::Models) => Box::pin(openai::models(gate, &call)).await,
        Route::OpenAi(OpenAi::Model(model)) => Box::pin(openai::model(gate, &call, &model)).await,
        Route::Chat => Box::pin(chat::chat(gate, &mut call)).await,
        Route::Templates(wanted) => Box::pin(templates::answer(gate, wanted, *call)).await,
        Route::Status => Ok(status::status(gate)),
        Route::Events => events::events(gate),
        Route::Metrics => Ok(metrics::metrics(gate)),
        Route::Dashboard(file) => Ok(dashboard::answer(file)),
        Route::Health => Ok(status::health()),
        Route::Ready => status::ready(gate),
        Route::OtherMethod => Err(Refusal::new(405, "UNIMPLEMENTED", "this address takes another method")),
        Route::Unknown => Err(Refusal::not_found("there is nothing at this address")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn route(method: &str, path: &str, header: Option<(&str, &str)>) -> Route {
        let mut request = http::Request::builder().method(method).uri(path);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        Route::find(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn every_version_serves_every_route_of_google() {
        let model = || "gemini-3.8-flash".to_string();
        for version in ["v1", "v1beta", "v1alpha"] {
            let at = |method, rest: &str| route(method, &format!("/{version}/{rest}"), None);
            assert_eq!(at("POST", "models/gemini-3.8-flash:generateContent?key=a"), Route::Generate { model: model() });
            assert_eq!(at("POST", "models/gemini-3.8-flash:streamGenerateContent?alt=sse"), Route::Stream { model: model() });
            assert_eq!(at("POST", "models/gemini-3.8-flash%3AcountTokens"), Route::CountTokens { model: model() });
            assert_eq!(at("POST", "models/gemini-3.8-flash:embedContent"), Route::Embed { model: model() });
            assert_eq!(at("POST", "models/gemini-3.8-flash:batchEmbedContents"), Route::EmbedTogether { model: model() });
            assert_eq!(at("GET", "models?pageSize=3"), Route::Models);
            assert_eq!(at("GET", "models/gemini-3.8-flash"), Route::Model { model: model() });
            assert_eq!(at("GET", "models/gemini-3.8-flash:generateContent"), Route::OtherMethod);
            assert_eq!(at("POST", "models/gemini-3.8-flash:sing"), Route::Native(Native::Other));
            assert_eq!(at("GET", "files/x:download?alt=media"), Route::Native(Native::Member { name: "files/x".into() }));
        }
    }

    #[test]
    fn openai_clients_are_known_by_their_paths_and_by_their_bearer_token() {
        for prefix in ["/v1", "/v1beta/openai", "/openai/v1"] {
            assert_eq!(route("POST", &format!("{prefix}/chat/completions"), None), Route::OpenAi(OpenAi::Chat));
            assert_eq!(route("POST", &format!("{prefix}/embeddings"), None), Route::OpenAi(OpenAi::Embeddings));
        }
        let bearer = Some(("authorization", "Bearer t"));
        assert_eq!(route("GET", "/v1/models", bearer), Route::OpenAi(OpenAi::Models));
        assert_eq!(route("GET", "/v1/models/m", bearer), Route::OpenAi(OpenAi::Model("m".into())));
        assert_eq!(route("GET", "/v1/models", Some(("x-goog-api-key", "t"))), Route::Models);
        assert_eq!(route("GET", "/openai/v1/models/m", None), Route::OpenAi(OpenAi::Model("m".into())));
    }

    #[test]
    fn the_page_is_everybodys_and_its_figures_are_not() {
        for path in ["/", "/dashboard/style.css", "/dashboard/page.js"] {
            assert!(route("GET", path, None).is_public(), "{path}");
            assert_eq!(route("POST", path, None), Route::OtherMethod);
        }
        for path in ["/api/events", "/status", "/metrics", "/dashboard/secrets"] {
            assert!(!route("GET", path, None).is_public(), "{path}");
        }
    }

    #[test]
    fn what_is_not_there_is_unknown() {
        for path in ["/dashboard", "//", "//////", "/v2/models", "/v1", "/v1beta/a/../b", "/upload", "/openai/v1/audio"] {
            assert_eq!(route("GET", path, None), Route::Unknown, "{path}");
        }
        assert_eq!(route("GET", "/chat", None), Route::OtherMethod);
    }
}
