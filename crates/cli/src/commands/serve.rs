//! `tidegate serve`: the gateway, until a signal ends it.

mod prompts;
mod reload;
#[cfg(feature = "otel")]
mod traces;
#[cfg(not(feature = "otel"))]
#[path = "serve/no_traces.rs"]
mod traces;

use std::time::{Duration, Instant};

use tidegate_engine::Engine;
use tidegate_gateway::{Gateway, ServeError, Settings as GatewaySettings};
use tokio::sync::mpsc;

use self::prompts::Prompts;
use self::reload::{Hangup, Reload};
use self::traces::Traces;
use super::run::{build_code, builder};
use super::sharing::shared;
use super::{Context, fill};
use crate::args::ServeArgs;
use crate::descriptors;
use crate::embedded::{self, Embedded};
use crate::exit_code::{ExitCode, Failure};
use crate::listener;
use crate::screen::{self, Screen};
use crate::settings::Settings;
use crate::signals::{self, Signal};

/// How long traces on their way may take at least, when all of the grace was used up by requests.
const LAST_TRACES: Duration = Duration::from_secs(1);

/// Serves until Ctrl-C or SIGTERM; requests under way then have some seconds to end, and a second signal ends them at once.
///
/// # Errors
/// When there is no key, or the address is taken or open to strangers.
pub async fn run(wanted: ServeArgs, context: Context) -> Result<ExitCode, Failure> {
    let simulator = match &context.global.sim {
        Some(named) => Some((embedded::scenario(named)?, Embedded::start(embedded::scenario(named)?).await?)),
        None => None,
    };
    let told = simulator.as_ref().map(|(scenario, server)| embedded::layer(scenario, server.base_url()));
    let flags = wanted.layer(context.global.layer());
    let settings = context.settings(flags.clone(), told.clone())?;
    descriptors::check(&settings, 2, &context.screen);
    let engine = engine(&settings, simulator.is_some()).await?;
    let mut signals = signals::listen();
    let listen = settings.serve.listen;
    let taken =
        |error: &dyn std::fmt::Display| Failure::new(ExitCode::Unreachable, format!("cannot listen on {listen}: {error}"));
    let listener = listener::bind(listen).map_err(|error| taken(&error))?;
    let address = listener.local_addr().map_err(|error| taken(&error))?;
    let grace = settings.serve.grace;
    let template_store = fill::store::folder(&settings).filter(|_| simulator.is_none());
    let gateway = Gateway::new(engine.clone(), GatewaySettings { template_store, ..gateway_settings(&settings) });
    let mut traces = settings.serve.traces.as_ref().map(Traces::start).transpose()?.flatten();
    if let Some(traces) = &mut traces {
        traces.follow(&engine, &gateway);
    }
    let screen = context.screen.clone();
    let (reins, engine_of_reload) = (gateway.reins(), engine.clone());
    let reload = Reload { context, flags, scenario: told, settings, engine: engine_of_reload, reins };
    let reloading = tokio::spawn(reload.keep(Hangup::listen()));
    screen::data(format!("http://{address}"));
    let mut asked_to_end = None;
    let end = async {
        first(&mut signals, &screen).await;
        asked_to_end = Some(Instant::now());
    };
    let served = gateway.serve(listener, end).await;
    reloading.abort();
    served.map_err(|error| match error {
        ServeError::Open(_) => Failure::usage(error),
        ServeError::Listener(_) => Failure::new(ExitCode::Unreachable, error),
    })?;
    engine.shutdown(grace).await;
    if let Some(traces) = traces {
        let used = asked_to_end.map_or(Duration::ZERO, |asked| asked.elapsed());
        traces.stop(grace.saturating_sub(used).max(LAST_TRACES)).await;
    }
    Ok(ExitCode::AllOk)
}

/// The first signal; from then on a second one ends the program.
async fn first(signals: &mut mpsc::UnboundedReceiver<Signal>, screen: &Screen) {
    if signals.recv().await.is_some() {
        screen.say("no further request is taken, those under way may end; the same again ends them");
    }
    let (_, rest) = mpsc::unbounded_channel();
    let mut rest = std::mem::replace(signals, rest);
    tokio::spawn(async move {
        if let Some(signal) = rest.recv().await {
            std::process::exit(i32::from(signal.exit_code() as u8));
        }
    });
}

fn gateway_settings(settings: &Settings) -> GatewaySettings {
    let serve = &settings.serve;
    GatewaySettings {
        model: settings.model.clone(),
        max_wait: serve.max_wait,
        max_queue: serve.max_queue,
        max_body: serve.max_body,
        max_bodies_in_flight: serve.max_bodies_in_flight,
        clients: serve.clients.clone(),
        cors: serve.cors.clone(),
        grace: serve.grace,
        spool: settings.state_dir.as_ref().map(|folder| folder.join("spool")),
        template: settings.template.filling.clone(),
        template_answers: settings.template.cache_size,
        embedding_model: settings.template.embedding_model.clone(),
        ..GatewaySettings::default()
    }
}

async fn engine(settings: &Settings, simulated: bool) -> Result<Engine, Failure> {
    let builder = builder(settings, simulated)?;
    let builder = Prompts::start().into_iter().fold(builder, |builder, prompts| builder.observer(prompts));
    let builder = shared(builder, settings, simulated, settings.redis.local_share).await?;
    builder.build().map_err(|error| Failure::new(build_code(&error), error))
}
