//! Templates that clients have filled: each client has a desk with its own settings and figures, and jobs only it can see.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use tidegate_template::{Store, Throttle, Totals};

use crate::settings::Settings;

mod asker;
mod form;
mod job;
mod jobs;
mod order;
mod wishes;
mod work;

pub use form::form;
pub use job::{End, Job};
pub use jobs::Jobs;
pub use order::Order;
pub use wishes::{Config, Wishes};
pub use work::begin;

/// What filling keeps, whatever settings the gateway has.
pub struct Fillings {
    /// Answers and vectors; none where not even memory for them is to be had.
    pub store: Option<Arc<Store>>,
    /// Everybody's jobs.
    pub jobs: Jobs,
    desks: Mutex<HashMap<Arc<str>, Arc<Desk>>>,
}

/// One client's settings and figures.
pub struct Desk {
    config: Mutex<Config>,
    /// The gate before the calls of all its jobs.
    pub throttle: Arc<Throttle>,
    /// What its jobs took.
    pub totals: Totals,
}

impl Fillings {
    pub fn new(settings: &Settings) -> Fillings {
        let store =
            store(settings.template_store.as_deref()).map(|store| Arc::new(store.most_answers(settings.template_answers)));
        Fillings { store, jobs: Jobs::default(), desks: Mutex::default() }
    }

    /// The desk of a client, made when it first asks; `settings` are those of a new one.
    pub fn desk(&self, client: &Arc<str>, settings: &Settings) -> Arc<Desk> {
        let new = || {
            let config = Config { settings: settings.template.clone(), model: None };
            let throttle = Arc::new(Throttle::new(&config.settings));
            Arc::new(Desk { config: Mutex::new(config), throttle, totals: Totals::default() })
        };
        self.desks.lock().entry(client.clone()).or_insert_with(new).clone()
    }
}

impl Desk {
    /// Its settings as they are now.
    pub fn config(&self) -> Config {
        self.config.lock().clone()
    }

    /// Other settings from now on; calls of jobs under way keep to the new bounds, too.
    pub fn configure(&self, wishes: &Wishes) -> Config {
        let mut config = self.config.lock();
        *config = wishes.on(&config);
        let settings = &config.settings;
        self.throttle.configure(settings.max_concurrent_api_calls, settings.min_delay_between_calls);
        config.clone()
    }
}

/// The store of a folder; where that cannot be had, one that lasts as long as the gateway.
fn store(folder: Option<&Path>) -> Option<Store> {
    let lasting = folder.and_then(|folder| {
        Store::open(folder).inspect_err(|fault| tracing::warn!("filled templates are kept in memory only: {fault}")).ok()
    });
    lasting.or_else(|| Store::in_memory().inspect_err(|fault| tracing::warn!("filled templates are not kept: {fault}")).ok())
}
