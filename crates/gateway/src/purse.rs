//! Every client's account at work: a request waits for its place, and what it used is settled and written down.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tidegate_engine::Engine;
use tidegate_engine::scheduler::Timestamp;
use tidegate_engine::store::Store;

use crate::auth::Caller;
use crate::budget::{Account, Over, Place, Used};

/// So long notes are gathered before they are written together.
const GATHER: Duration = Duration::from_millis(50);

/// The accounts of all clients, by name.
pub struct Purses {
    engine: Engine,
    accounts: Mutex<HashMap<Arc<str>, Account>>,
    ledger: Option<Ledger>,
}

impl Purses {
    /// Accounts that go on from what the local store of the engine knows of today.
    pub fn new(engine: Engine) -> Purses {
        let mut accounts = HashMap::new();
        let store = engine.store().and_then(|store| {
            store.map_err(|fault| tracing::warn!("what clients use today will not be remembered: {fault}")).ok()
        });
        if let Some(store) = &store {
            for (name, day_end, tokens) in store.client_days(engine.now()).unwrap_or_default() {
                accounts.insert(Arc::from(name), Account::with_day(day_end, tokens));
            }
        }
        Purses { engine, accounts: Mutex::new(accounts), ledger: store.map(Ledger::new) }
    }

    /// Waits for a place in the caller's own budget, if there is one by `latest`.
    ///
    /// # Errors
    /// [`Over`] at once, when there is none by then.
    pub async fn enter(self: &Arc<Purses>, caller: &Caller, tokens: u64, latest: Timestamp) -> Result<Spending, Over> {
        if caller.allowance == Default::default() {
            return Ok(Spending { open: None });
        }
        let now = self.engine.now();
        let day_end = self.engine.day_end();
        let place = self.with(&caller.name, |account| account.reserve(now, latest, tokens, &caller.allowance, day_end))?;
        let open = Open { purses: self.clone(), client: caller.name.clone(), place, tokens, day_end };
        let spending = Spending { open: Some(open) };
        if place.at > now {
            tokio::time::sleep(place.at - now).await;
        }
        Ok(spending)
    }

    /// What a client has used; nothing for one that has no account.
    pub fn used(&self, client: &str) -> Used {
        let now = self.engine.now();
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.get(client).map(|account| account.used(now)).unwrap_or_default()
    }

    fn with<T>(&self, client: &Arc<str>, act: impl FnOnce(&mut Account) -> T) -> T {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        act(accounts.entry(client.clone()).or_default())
    }
}

/// A place that is being used. Dropped before its time it is given back; dropped later it stays as it was estimated.
pub struct Spending {
    open: Option<Open>,
}

struct Open {
    purses: Arc<Purses>,
    client: Arc<str>,
    place: Place,
    tokens: u64,
    day_end: Timestamp,
}

impl Spending {
    /// When it began, where the caller has a budget.
    pub fn at(&self) -> Option<Timestamp> {
        self.open.as_ref().map(|open| open.place.at)
    }

    /// It was used, and cost `tokens`.
    pub fn settle(mut self, tokens: u64) {
        if let Some(open) = self.open.take() {
            open.purses.with(&open.client, |account| account.settle(open.place, tokens));
            open.purses.note(&open, tokens);
        }
    }

    /// Nothing was sent.
    pub fn refund(mut self) {
        if let Some(open) = self.open.take() {
            open.purses.with(&open.client, |account| account.refund(open.place));
        }
    }
}

impl Drop for Spending {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        if open.purses.engine.now() < open.place.at {
            open.purses.with(&open.client, |account| account.refund(open.place));
        } else {
            open.purses.note(&open, open.tokens);
        }
    }
}

impl Purses {
    fn note(&self, open: &Open, tokens: u64) {
        if let Some(ledger) = &self.ledger {
            ledger.note(open.client.clone(), open.day_end, tokens);
        }
    }
}

/// Writes into the local store, on a thread of its own.
struct Ledger {
    notes: Option<Sender<Note>>,
    writer: Option<JoinHandle<()>>,
}

type Note = (Arc<str>, Timestamp, u64);

impl Ledger {
    fn new(store: Store) -> Ledger {
        let (notes, incoming) = channel();
        Ledger { notes: Some(notes), writer: Some(std::thread::spawn(move || write(&store, &incoming))) }
    }

    fn note(&self, client: Arc<str>, day_end: Timestamp, tokens: u64) {
        if let Some(notes) = &self.notes {
            // Without its writer the store is only less fresh.
            let _ = notes.send((client, day_end, tokens));
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.notes = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn write(store: &Store, incoming: &Receiver<Note>) {
    while let Ok(first) = incoming.recv() {
        std::thread::sleep(GATHER);
        let mut sums: HashMap<(Arc<str>, Timestamp), u64> = HashMap::new();
        for (client, day_end, tokens) in std::iter::once(first).chain(incoming.try_iter()) {
            *sums.entry((client, day_end)).or_default() += tokens;
        }
        let put = || sums.iter().try_for_each(|((client, day_end), tokens)| store.add_client_tokens(client, *day_end, *tokens));
        if let Err(fault) = store.together(put) {
            tracing::warn!("the local store falls behind: {fault}");
        }
    }
}
