//! The model as one client may ask it: its own budget stands before every question.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, try_join_all};
use tidegate_engine::Engine;
use tidegate_template::{Answered, Ask, EngineModel, Model, ModelError, Purpose};

use crate::auth::Caller;
use crate::purse::{Purses, Spending};

/// Bytes of a token, about: what a question costs is settled when its answer is there.
const TOKEN: usize = 4;

/// Asks for one client.
pub struct Asker {
    pub model: EngineModel,
    pub engine: Engine,
    pub purses: Arc<Purses>,
    pub caller: Caller,
    /// How long a question waits for its place in the budget.
    pub patience: Duration,
}

impl Asker {
    async fn enter(&self, bytes: usize) -> Result<Spending, ModelError> {
        let latest = self.engine.now() + self.patience;
        let over = |limit| ModelError::Exhausted { reason: format!("the budget of client {:?} is {limit}", self.caller.name) };
        let tokens = bytes.div_ceil(TOKEN) as u64;
        self.purses.enter(&self.caller, tokens, latest).await.map_err(|refused| over(refused.limit))
    }
}

impl Model for Asker {
    fn name(&self) -> &str {
        self.model.name()
    }

    fn output_limit(&self) -> u64 {
        self.model.output_limit()
    }

    fn generate(&self, ask: Ask) -> BoxFuture<'_, Result<Answered, ModelError>> {
        async move {
            let media: usize = ask.media.iter().map(|medium| medium.bytes.len()).sum();
            let spending = self.enter(ask.system.len() + ask.prompt.len() + media / TOKEN).await?;
            let answered = self.model.generate(ask).await;
            match &answered {
                Ok(answer) => spending.settle(answer.input_tokens + answer.output_tokens),
                Err(ModelError::Exhausted { .. } | ModelError::Unavailable { .. }) => spending.refund(),
                Err(ModelError::Limited { .. } | ModelError::Refused { .. } | ModelError::Failed { .. }) => drop(spending),
            }
            answered
        }
        .boxed()
    }

    fn embedding(&self) -> Option<&str> {
        Model::embedding(&self.model)
    }

    fn embed<'a>(&'a self, texts: &'a [String], purpose: Purpose) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>> {
        async move {
            let spendings = try_join_all(texts.iter().map(|text| self.enter(text.len()))).await?;
            let vectors = self.model.embed(texts, purpose).await;
            if let Err(ModelError::Exhausted { .. } | ModelError::Unavailable { .. }) = &vectors {
                spendings.into_iter().for_each(Spending::refund);
            }
            vectors
        }
        .boxed()
    }

    fn sees(&self, mime: &str) -> bool {
        self.model.sees(mime)
    }
}
