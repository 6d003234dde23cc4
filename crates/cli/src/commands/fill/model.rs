//! A model that can be stopped: after Ctrl-C, a deadline or a quota that is used up nothing more is asked, and the filling ends with what there is.
//! Without a key there is only its name, by which kept answers are found.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tidegate_batch::{Control, StopReason};
use tidegate_engine::BuildError;
use tidegate_template::{Answered, Ask, Model, ModelError, Purpose};

/// A model under a control.
pub struct Steered {
    model: Box<dyn Model>,
    control: Control,
    /// A used up quota stops everything; calls under way have so long to end.
    grace: Option<Duration>,
}

impl Steered {
    /// This model, until the control stops it.
    pub fn new(model: Box<dyn Model>, control: Control) -> Steered {
        Steered { model, control, grace: None }
    }

    /// The first question that the quota has no room for stops all; calls under way have `grace` to end.
    pub fn until_exhausted(mut self, grace: Duration) -> Steered {
        self.grace = Some(grace);
        self
    }

    async fn unless_stopped<T>(&self, asking: impl Future<Output = Result<T, ModelError>>) -> Result<T, ModelError> {
        if self.control.reason().is_some() {
            return Err(self.stopped());
        }
        let answer = tokio::select! {
            answer = asking => answer,
            () = self.control.ended() => Err(self.stopped()),
        };
        // What waited for a permit is given back without one.
        let is_given_back =
            |error: &ModelError| matches!(error, ModelError::Unavailable { .. }) && self.control.reason().is_some();
        answer.map_err(|error| if is_given_back(&error) { self.stopped() } else { error })
    }

    fn stopped(&self) -> ModelError {
        ModelError::Unavailable { reason: self.control.reason().map_or("stopped", in_words).to_owned() }
    }
}

/// Why asking stopped, for people.
pub fn in_words(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Interrupted => "stopped by Ctrl-C",
        StopReason::Terminated => "stopped by SIGTERM",
        StopReason::Exhausted => "the quota is used up",
        StopReason::Deadline => "the deadline has passed",
        StopReason::Budget | StopReason::Cost => "the money is spent",
        StopReason::TooManyErrors => "too many errors",
        StopReason::NoKey => "no key is left",
        StopReason::Unreachable => "the API cannot be reached",
    }
}

impl Model for Steered {
    fn name(&self) -> &str {
        self.model.name()
    }

    fn output_limit(&self) -> u64 {
        self.model.output_limit()
    }

    fn unavailable(&self) -> Option<String> {
        self.control.reason().map(|reason| in_words(reason).to_owned()).or_else(|| self.model.unavailable())
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        self.control.stopped().map(drop).boxed()
    }

    fn generate(&self, ask: Ask) -> BoxFuture<'_, Result<Answered, ModelError>> {
        async move {
            let answer = self.unless_stopped(self.model.generate(ask)).await;
            // Vectors may be used up alone: words still find.
            if let (Err(ModelError::Exhausted { .. }), Some(grace)) = (&answer, self.grace) {
                self.control.stop(StopReason::Exhausted, grace);
            }
            answer
        }
        .boxed()
    }

    fn embedding(&self) -> Option<&str> {
        self.model.embedding()
    }

    fn embed<'a>(&'a self, texts: &'a [String], purpose: Purpose) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>> {
        self.unless_stopped(self.model.embed(texts, purpose)).boxed()
    }

    fn sees(&self, mime: &str) -> bool {
        self.model.sees(mime)
    }
}

/// A model nobody has a key for.
pub struct Keyless(pub String);

impl Model for Keyless {
    fn name(&self) -> &str {
        &self.0
    }

    fn unavailable(&self) -> Option<String> {
        Some(BuildError::NoKeys.to_string())
    }

    fn generate(&self, _: Ask) -> BoxFuture<'_, Result<Answered, ModelError>> {
        async { Err(ModelError::Unavailable { reason: BuildError::NoKeys.to_string() }) }.boxed()
    }
}
