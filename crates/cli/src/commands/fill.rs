//! `tidegate fill`: the fields of a template from documents, many fields a call.

mod form;
mod left;
mod model;
mod outputs;
mod plan;
mod progress;
mod sets;
mod spending;
pub(super) mod store;
mod summary;

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tidegate_batch::{Control, StopReason};
use tidegate_engine::{BuildError, Engine};
use tidegate_gemini::tokens::Estimate;
use tidegate_template::{Documents, EngineModel, Filled, Filler, Model, Store, Throttle};

use self::form::Form;
use self::left::Left;
use self::model::{Keyless, Steered};
use self::outputs::Outputs;
use self::progress::Progress;
use self::sets::DocumentSet;
use self::spending::Spending;
use self::summary::{Account, Outcome};
use super::Context;
use super::run::{Watch, budget, build_code, builder, command_again};
use super::sharing::shared;
use crate::args::{FillArgs, WhenExhausted};
use crate::embedded::{self, Embedded};
use crate::exit_code::{ExitCode, Failure};
use crate::screen::{self, Screen};
use crate::settings::Settings;
use crate::signals;

/// Nobody waits longer for a permit, not even for the next quota day.
const LONGEST_WAIT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Fills the template once, or once for each set of documents.
///
/// # Errors
/// When the template or a named document cannot be read, Redis cannot be reached, or a result cannot be written.
pub async fn run(wanted: FillArgs, context: Context) -> Result<ExitCode, Failure> {
    let form = Form::read(&wanted.template)?;
    let outputs = Outputs::of(&wanted, &form)?;
    let sets = sets::of(&wanted)?;
    if wanted.dry_run {
        return plan::show(&wanted, &context, &form, &sets).await;
    }
    let simulator = match &context.global.sim {
        Some(named) => Some((embedded::scenario(named)?, Embedded::start(embedded::scenario(named)?).await?)),
        None => None,
    };
    let told = simulator.as_ref().map(|(scenario, server)| embedded::layer(scenario, server.base_url()));
    let settings = context.settings(wanted.layer(context.global.layer()), told)?;
    let control = Control::new();
    let watch = Arc::new(Watch::new(control.clone()));
    let most = wanted.max_cost.map(|most| budget(most, &settings)).transpose()?.map(|budget| budget.most);
    let spending = Arc::new(Spending::new(settings.prices.clone(), most, control.clone()));
    let builder = builder(&settings, simulator.is_some())?.observer(watch.clone()).observer(spending.clone());
    let engine = match shared(builder, &settings, simulator.is_some(), 0.0).await?.build() {
        Ok(engine) => Some(engine),
        // Kept answers and patterns need no key.
        Err(BuildError::NoKeys) => None,
        Err(error) => return Err(Failure::new(build_code(&error), error)),
    };
    let model: Box<dyn Model> = match &engine {
        Some(engine) => Box::new(asked(engine, &settings, wanted.when_exhausted)),
        None => Box::new(Keyless(settings.model.clone())),
    };
    let watching = engine.clone().map(|engine| {
        // A used up day is told with the answer of the question that it concerns, so that vectors may be exhausted alone.
        [tokio::spawn(watch.keep(engine.clone(), false)), tokio::spawn(close(engine, control.clone()))]
    });
    let helpers = [
        tokio::spawn(signals::steer(signals::listen(), control.clone(), context.screen.clone())),
        tokio::spawn(stop_in_time(wanted.deadline.map(|deadline| deadline.time_left(&jiff::Zoned::now())), control.clone())),
    ];
    let steered = match wanted.when_exhausted {
        // Calls under way end within their own bound.
        Some(WhenExhausted::Stop) => Steered::new(model, control.clone()).until_exhausted(settings.attempt_timeout),
        Some(WhenExhausted::Wait) | None => Steered::new(model, control.clone()),
    };
    let store = store::open(&settings, simulator.is_some(), &context.screen)?;
    let work = Work {
        model: steered,
        throttle: Arc::new(Throttle::new(&settings.template.filling)),
        left: Left::beside(&outputs),
        form: &form,
        outputs: &outputs,
        settings: &settings,
        store,
        control: &control,
        screen: &context.screen,
        verbose: context.global.verbose > 0,
        many: wanted.each.is_some(),
    };
    let outcomes = work.fill_all(&sets).await?;
    helpers.iter().chain(watching.iter().flatten()).for_each(tokio::task::JoinHandle::abort);
    let account = Account {
        outcomes,
        sets: sets.len(),
        stopped: control.reason(),
        more_in: engine.as_ref().and_then(|engine| more_in(engine, &settings.model)),
        cost: spending.cost(),
        outputs: outputs.names(),
        again: command_again(std::env::args()),
    };
    if !account.has_work_left() {
        work.left.clear();
    }
    account.lines().iter().for_each(|line| context.screen.say(line));
    if wanted.json {
        screen::data(account.json());
    }
    Ok(account.exit_code())
}

fn asked(engine: &Engine, settings: &Settings, when_exhausted: Option<WhenExhausted>) -> EngineModel {
    let model = EngineModel::new(engine.clone(), settings.model.clone());
    let model = match &settings.template.embedding_model {
        Some(embedding) => model.embedding(embedding.clone(), tidegate_template::DIMENSIONS),
        None => model.without_embedding(),
    };
    match when_exhausted {
        Some(WhenExhausted::Stop) | None => model,
        Some(WhenExhausted::Wait) => model.patience(LONGEST_WAIT),
    }
}

/// How long it takes until the model can be asked again.
fn more_in(engine: &Engine, model: &str) -> Option<Duration> {
    let due = engine.due(model, Estimate::default(), 0, None)?;
    Some(due.since(engine.now()))
}

/// Whoever waits for a permit when asking stops need not wait any longer.
async fn close(engine: Engine, control: Control) {
    let grace = control.stopped().await;
    engine.shutdown(grace).await;
}

async fn stop_in_time(time_left: Option<Duration>, control: Control) {
    if let Some(time_left) = time_left {
        tokio::time::sleep(time_left).await;
        control.stop(StopReason::Deadline, Duration::ZERO);
    }
}

/// Everything that the filling of one set needs.
struct Work<'a> {
    form: &'a Form,
    outputs: &'a Outputs,
    settings: &'a Settings,
    model: Steered,
    throttle: Arc<Throttle>,
    store: Option<Arc<Store>>,
    left: Left,
    control: &'a Control,
    screen: &'a Screen,
    verbose: bool,
    many: bool,
}

impl Work<'_> {
    /// Fills the sets, as many side by side as calls may be under way. A set that cannot be read costs itself alone, unless
    /// it is the only one.
    async fn fill_all(&self, sets: &[DocumentSet]) -> Result<Vec<Outcome>, Failure> {
        let most = if self.many { self.throttle.most() } else { 1 };
        let mut outcomes: Vec<Outcome> = Vec::new();
        let mut waiting = sets.iter().enumerate();
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < most
                && let Some((number, set)) = waiting.next()
            {
                under_way.push(self.numbered(number, set).boxed());
            }
            let Some((number, set, filled)) = under_way.next().await else { break };
            let outcome = match filled {
                Ok(None) => continue,
                Ok(Some(filled)) => Outcome { number, name: set.name.clone(), filled: Ok(filled) },
                Err(failure) if self.many => {
                    self.screen.error(&failure.message);
                    Outcome { number, name: set.name.clone(), filled: Err(failure.message) }
                }
                Err(failure) => return Err(failure),
            };
            outcomes.push(outcome);
        }
        outcomes.sort_by_key(|outcome| outcome.number);
        let each = outcomes.iter().filter_map(|outcome| Some((outcome.name.as_str(), outcome.filled.as_ref().ok()?)));
        self.outputs.write_table(self.form.template(), &each.collect::<Vec<_>>())?;
        Ok(outcomes)
    }

    async fn numbered<'s>(
        &self,
        number: usize,
        set: &'s DocumentSet,
    ) -> (usize, &'s DocumentSet, Result<Option<Filled>, Failure>) {
        (number, set, self.fill(set).await)
    }

    /// Fills one set and writes its result; `None` when asking has stopped before.
    async fn fill(&self, set: &DocumentSet) -> Result<Option<Filled>, Failure> {
        if self.many && self.control.reason().is_some() {
            return Ok(None);
        }
        let documents = Documents::read(&set.paths).map_err(sets::unreadable)?;
        let mut builder = Filler::builder(self.form.template().clone(), documents)
            .settings(self.settings.template.filling.clone())
            .throttle(self.throttle.clone());
        if let Some(store) = &self.store {
            builder = builder.store(store.clone());
        }
        if let Some(before) = self.left.read(&set.name) {
            builder = builder.resume(before);
        }
        let prefix = if self.many { format!("{}: ", set.name) } else { String::new() };
        let progress = Progress::new(self.screen.clone(), prefix, self.verbose);
        let filled = builder.build().fill(&self.model, &progress).await;
        // What is left first: a result that cannot be written must not cost its answers.
        if self.many || !filled.pending().is_empty() {
            self.left.keep(&set.name, &filled)?;
        }
        self.outputs.write(self.form, &set.name, &filled)?;
        Ok(Some(filled))
    }
}
