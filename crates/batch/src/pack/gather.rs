//! Rows that wait for company: the same model and settings, the same priority.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_gemini::pack::Common;
use tokio::time::Instant;

use super::{Going, MOST_TOKENS, Pack, Rider};

/// Where rows come together until they are enough, or nobody else comes.
#[derive(Debug)]
pub(crate) struct Gather {
    /// So many share a call.
    most: usize,
    /// How long one waits when nobody comes.
    quiet: Duration,
    open: Vec<Open>,
    /// Calls under way, by model.
    under_way: HashMap<String, usize>,
}

/// So many kinds wait side by side; another one sends off the oldest.
const MOST_KINDS: usize = 64;

#[derive(Debug)]
struct Open {
    pack: Pack,
    tokens: u64,
    /// When the last of them came.
    latest: Instant,
}

impl Gather {
    pub(crate) fn new(most: usize, quiet: Duration) -> Gather {
        Gather { most, quiet, open: Vec::new(), under_way: HashMap::new() }
    }

    /// Takes a row in; packs that leave at once come back.
    pub(crate) fn put(&mut self, common: Arc<Common>, rider: Rider, now: Instant) -> Option<Pack> {
        let fits = |open: &Open| open.pack.common == common && open.pack.riders[0].request.priority == rider.request.priority;
        let Some(at) = self.open.iter().position(fits) else {
            let crowd = (self.open.len() >= MOST_KINDS).then(|| self.open.remove(0).pack);
            self.open.push(Open { tokens: rider.tokens, latest: now, pack: Pack { common, riders: vec![rider] } });
            return crowd;
        };
        let open = &mut self.open[at];
        open.latest = now;
        if open.tokens + rider.tokens > MOST_TOKENS {
            open.tokens = rider.tokens;
            return Some(Pack { common, riders: std::mem::replace(&mut open.pack.riders, vec![rider]) });
        }
        open.tokens += rider.tokens;
        open.pack.riders.push(rider);
        (open.pack.riders.len() >= self.most).then(|| self.open.remove(at).pack)
    }

    /// When the next pack leaves although it is not full. With `is_full` nobody can come before a call has ended: then only those
    /// leave for whose model none is under way.
    pub(crate) fn due(&self, is_full: bool) -> Option<Instant> {
        self.open.iter().filter(|open| !(is_full && self.is_busy(open))).map(|open| open.latest + self.quiet_if(is_full)).min()
    }

    /// The packs that are due.
    pub(crate) fn take_due(&mut self, is_full: bool, now: Instant) -> Vec<Pack> {
        let quiet = self.quiet_if(is_full);
        let (due, waiting) = std::mem::take(&mut self.open)
            .into_iter()
            .partition::<Vec<Open>, _>(|open| !(is_full && self.is_busy(open)) && open.latest + quiet <= now);
        self.open = waiting;
        due.into_iter().map(|open| open.pack).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// All of them.
    pub(crate) fn take_all(&mut self) -> Vec<Pack> {
        self.open.drain(..).map(|open| open.pack).collect()
    }

    /// Sends a pack off.
    pub(crate) fn send(&mut self, pack: Pack) -> Option<Going> {
        let going = Going::of(pack)?;
        if let Going::Pack(pack, _) = &going {
            *self.under_way.entry(pack.common.model().to_owned()).or_default() += 1;
        }
        Some(going)
    }

    /// A call has ended.
    pub(crate) fn landed(&mut self, model: &str) {
        if let Some(calls) = self.under_way.get_mut(model) {
            *calls = calls.saturating_sub(1);
        }
    }

    /// There is room again for others, who are waited for anew.
    pub(crate) fn has_room(&mut self, now: Instant) {
        self.open.iter_mut().for_each(|open| open.latest = now);
    }

    fn is_busy(&self, open: &Open) -> bool {
        self.under_way.get(open.pack.common.model()).is_some_and(|calls| *calls > 0)
    }

    /// Nobody is waited for who cannot come.
    fn quiet_if(&self, is_full: bool) -> Duration {
        if is_full { Duration::ZERO } else { self.quiet }
    }
}
