//! How a route is called in figures.

use super::native::Native;
use super::templates::Templates;
use super::{OpenAi, Route};

impl Route {
    /// Its name; `None` for what is only about the gateway itself and counts as nobody's request.
    pub fn label(&self) -> Option<&'static str> {
        Some(match self {
            Route::Generate { .. } => "generateContent",
            Route::Stream { .. } => "streamGenerateContent",
            Route::CountTokens { .. } => "countTokens",
            Route::Embed { .. } => "embedContent",
            Route::EmbedTogether { .. } => "batchEmbedContents",
            Route::Models | Route::Model { .. } | Route::OpenAi(OpenAi::Models | OpenAi::Model(_)) => "models",
            Route::OpenAi(OpenAi::Chat) => "chat/completions",
            Route::OpenAi(OpenAi::Embeddings) => "embeddings",
            Route::Native(Native::Upload | Native::Chunk { .. }) => "upload",
            Route::Native(Native::List { .. }) => "list",
            Route::Native(Native::Member { .. }) => "member",
            Route::Native(Native::Other) => "other",
            Route::Templates(Templates::Fill) => "templates/fill",
            Route::Templates(_) => return None,
            Route::Chat => "chat",
            Route::Status | Route::Events | Route::Metrics | Route::Dashboard(_) | Route::Health | Route::Ready => return None,
            Route::OtherMethod | Route::Unknown => "unknown",
        })
    }
}
