//! New settings while the gateway serves: on SIGHUP, and when a file that settings or keys stand in has changed.

use std::time::Duration;

use tidegate_engine::{Change, Engine};
use tidegate_gateway::Reins;

use super::gateway_settings;
use crate::commands::Context;
use crate::env_vars::Environment;
use crate::settings::difference::Difference;
use crate::settings::layers::Layer;
use crate::settings::{Settings, Watched};

/// Time between two looks at the files. A change counts when two looks have seen the same: whoever writes may not be done.
const LOOK: Duration = Duration::from_secs(1);

/// What is in force, and where it comes from.
pub struct Reload {
    pub context: Context,
    pub flags: Layer,
    pub scenario: Option<Layer>,
    pub settings: Settings,
    pub engine: Engine,
    pub reins: Reins,
}

impl Reload {
    /// Takes over what is new, for as long as the gateway serves.
    pub async fn keep(mut self, mut asked: Hangup) {
        let mut known = digest(&self.settings.watched).await;
        let mut last = known;
        loop {
            let now = tokio::select! {
                () = asked.next() => {
                    tracing::info!("settings are read again: SIGHUP");
                    known = self.reload().await;
                    last = known;
                    continue;
                }
                () = tokio::time::sleep(LOOK) => digest(&self.settings.watched).await,
            };
            if now != known && now == last {
                tracing::info!("settings are read again: a file has changed");
                known = self.reload().await;
            }
            last = now;
        }
    }

    /// Reads everything again, and gives the digest of what was read. What cannot be used changes nothing.
    async fn reload(&mut self) -> u64 {
        let (watched, before) = (self.settings.watched.clone(), digest(&self.settings.watched).await);
        match self.take() {
            Ok(lines) if lines.is_empty() => tracing::info!("nothing in the settings has changed"),
            Ok(lines) => {
                lines.iter().for_each(|line| tracing::info!("new settings: {line}"));
                self.context.screen.say(format!("new settings are in force: {}", lines.join("; ")));
            }
            Err(reason) => tracing::error!("the new settings are not used, those before stay in force: {reason}"),
        }
        if self.settings.watched == watched { before } else { digest(&self.settings.watched).await }
    }

    fn take(&mut self) -> Result<Vec<String>, String> {
        let Context { folder, global, .. } = &self.context;
        let environment = Environment::of_process(folder)?;
        let given = crate::settings::Given { flags: self.flags.clone(), scenario: self.scenario.clone() };
        let named = global.named_config(&environment);
        let new = Settings::load(given, named, folder, &environment).map_err(|error| error.to_string())?;
        if let Some(reason) = new.watched.unreadable_key() {
            return Err(reason);
        }
        if new.projects.is_empty() {
            return Err("no key is left in them: list keys in [[projects]] or GEMINI_API_KEY".to_string());
        }
        let difference = Difference::between(&self.settings, &new);
        self.reins.settings(gateway_settings(&new)).map_err(|error| error.to_string())?;
        let scheduler = new.scheduler.clone();
        let change = Change {
            pacing: Some(scheduler.pacing),
            retry: Some(scheduler.retry),
            keys: Some(scheduler.keys),
            attempt_timeout: Some(new.attempt_timeout),
            retry_on: Some(new.retry_on.clone()),
            projects: Some(new.projects.clone()),
            ..Change::default()
        };
        let told = self.engine.reconfigure(change).map_err(|error| error.to_string())?;
        for warning in new.warnings.iter().filter(|warning| !self.settings.warnings.contains(warning)) {
            tracing::warn!("{warning}");
        }
        difference.later.iter().for_each(|(_, line)| tracing::warn!("{line}"));
        let old = std::mem::replace(&mut self.settings, new);
        // What needs a restart is compared with what is in force, also the next time.
        let kept = old.origins.into_iter().filter(|origin| difference.later.iter().any(|(name, _)| *name == origin.name));
        self.settings.origins.retain(|origin| difference.later.iter().all(|(name, _)| *name != origin.name));
        self.settings.origins.extend(kept);
        Ok(difference.at_once.into_iter().chain(told.iter().map(ToString::to_string)).collect())
    }
}

async fn digest(watched: &Watched) -> u64 {
    let watched = watched.clone();
    // A look that fails found nothing new.
    tokio::task::spawn_blocking(move || watched.digest()).await.unwrap_or_default()
}

/// SIGHUP, where there is such a thing.
pub struct Hangup {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl Hangup {
    /// From now on SIGHUP does not end the program.
    pub fn listen() -> Hangup {
        #[cfg(unix)]
        {
            let signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
            Hangup { signal: signal.inspect_err(|error| tracing::warn!(%error, "SIGHUP cannot be caught")).ok() }
        }
        #[cfg(not(unix))]
        Hangup {}
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.signal
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}
