//! What leaves and what lands: a row alone, or several together.

use tidegate_engine::{Error, Request, Response};

use super::{Pack, Rider};
use crate::record::Asked;
use crate::run::Ask;

/// About to be asked.
pub(crate) enum Going {
    Row(Box<Asked>, Request),
    Pack(Pack, Box<Request>),
}

/// Answered.
pub(crate) enum Landed {
    Row(Box<Asked>, Result<Response, Error>),
    Pack(Pack, Result<Response, Error>),
}

impl Going {
    /// Rows that go together; the only one of a pack goes alone.
    pub(crate) fn of(mut pack: Pack) -> Option<Going> {
        if let Some(request) = pack.request() {
            return Some(Going::Pack(pack, Box::new(request)));
        }
        pack.riders.pop().map(|Rider { asked, request, .. }| Going::Row(asked, request))
    }

    /// Takes it to its end.
    pub(crate) async fn ask<A: Ask>(self, ask: &A) -> Landed {
        match self {
            Going::Row(asked, request) => Landed::Row(asked, ask.ask(request).await),
            Going::Pack(pack, request) => Landed::Pack(pack, ask.ask(*request).await),
        }
    }
}
