//! Rows that wait for company: the same model and settings, the same priority.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_gemini::pack::Common;
use tokio::time::Instant;

use super::{Going, MOST_TOKENS, Pack, Rider};

/// Where rows come together until they are enough, or nobody else comes.
#[derive(Debug)]
pub(crate) struct Gather<R = Rider> {
    /// So many share a call.
    most: usize,
    /// How long one waits when nobody comes.
    quiet: Duration,
    open: Vec<Open<R>>,
    /// Calls under way, by model.
    under_way: HashMap<String, usize>,
}

/// So many kinds wait side by side; another one sends off the oldest.
const MOST_KINDS: usize = 64;

#[derive(Debug)]
struct Open<R> {
    pack: Pack<R>,
    priority: i32,
    tokens: u64,
    /// When the last of them came.
    latest: Instant,
}

impl<R> Gather<R> {
    pub(crate) fn new(most: usize, quiet: Duration) -> Gather<R> {
        Gather { most, quiet, open: Vec::new(), under_way: HashMap::new() }
    }

    /// Takes a row of so many tokens in; a pack that leaves at once comes back.
    pub(crate) fn put(&mut self, rider: R, (common, tokens): (Arc<Common>, u64), priority: i32, now: Instant) -> Option<Pack<R>> {
        let fits = |open: &Open<R>| open.priority == priority && open.pack.common == common;
        let Some(at) = self.open.iter().position(fits) else {
            let crowd = (self.open.len() >= MOST_KINDS).then(|| self.open.remove(0).pack);
            self.open.push(Open { pack: Pack { common, riders: vec![rider] }, priority, tokens, latest: now });
            return crowd;
        };
        let open = &mut self.open[at];
        open.latest = now;
        if open.tokens + tokens > MOST_TOKENS {
            open.tokens = tokens;
            return Some(Pack { common, riders: std::mem::replace(&mut open.pack.riders, vec![rider]) });
        }
        open.tokens += tokens;
        open.pack.riders.push(rider);
        (open.pack.riders.len() >= self.most).then(|| self.open.remove(at).pack)
    }

    /// When the next pack leaves although it is not full. With `is_full` nobody can come before a call has ended: then only those
    /// leave for whose model none is under way.
    pub(crate) fn due(&self, is_full: bool) -> Option<Instant> {
        self.open.iter().filter(|open| !(is_full && self.is_busy(open))).map(|open| open.latest + self.quiet_if(is_full)).min()
    }

    /// The packs that are due.
    pub(crate) fn take_due(&mut self, is_full: bool, now: Instant) -> Vec<Pack<R>> {
        let quiet = self.quiet_if(is_full);
        let (due, waiting) = std::mem::take(&mut self.open)
            .into_iter()
            .partition::<Vec<Open<R>>, _>(|open| !(is_full && self.is_busy(open)) && open.latest + quiet <= now);
        self.open = waiting;
        due.into_iter().map(|open| open.pack).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// All of them.
    pub(crate) fn take_all(&mut self) -> Vec<Pack<R>> {
        self.open.drain(..).map(|open| open.pack).collect()
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

    fn is_busy(&self, open: &Open<R>) -> bool {
        self.under_way.get(open.pack.common.model()).is_some_and(|calls| *calls > 0)
    }

    /// Nobody is waited for who cannot come.
    fn quiet_if(&self, is_full: bool) -> Duration {
        if is_full { Duration::ZERO } else { self.quiet }
    }
}

impl Gather {
    /// Sends a pack off.
    pub(crate) fn send(&mut self, pack: Pack) -> Option<Going> {
        let going = Going::of(pack)?;
        if let Going::Pack(pack, _) = &going {
            *self.under_way.entry(pack.common.model().to_owned()).or_default() += 1;
        }
        Some(going)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use tidegate_gemini::pack::Item;
    use tidegate_gemini::prompt::Prompt;
    use tidegate_gemini::request::{Defaults, build};

    use super::*;
    use crate::pack::QUIET;
    use crate::record::tests::asked;

    fn row(model: &str) -> (Arc<Common>, Rider) {
        let prompt = Prompt::text("hi");
        let request = build(&prompt, &Defaults { model: Some(model.to_owned()), ..Defaults::default() }).unwrap();
        let Item { common, text, .. } = Item::of(&prompt, &request).unwrap();
        let request = tidegate_engine::Request::new(request);
        (common, Rider { asked: Box::new(asked()), request, text })
    }

    fn put(gather: &mut Gather, model: &str, tokens: u64, now: Instant) -> Option<usize> {
        let (common, rider) = row(model);
        gather.put(rider, (common, tokens), 0, now).map(|pack| pack.riders.len())
    }

    #[test]
    fn a_full_pack_leaves_at_once_and_a_lone_row_after_a_moment_without_company() {
        let now = Instant::now();
        let mut gather: Gather = Gather::new(3, QUIET);
        assert_eq!([1, 2, 3, 4].map(|_| put(&mut gather, "m", 1, now)), [None, None, Some(3), None]);
        assert_eq!(gather.due(false), Some(now + QUIET));
        assert!(gather.take_due(false, now + QUIET / 2).is_empty());
        assert_eq!(gather.take_due(false, now + QUIET)[0].riders.len(), 1);
        assert_eq!((gather.due(false), gather.is_empty()), (None, true));
    }

    #[test]
    fn company_that_would_be_too_much_for_one_call_goes_in_the_next() {
        let now = Instant::now();
        let mut gather: Gather = Gather::new(10, QUIET);
        let most = MOST_TOKENS / 2;
        assert_eq!([most, most, 1].map(|tokens| put(&mut gather, "m", tokens, now)), [None, None, Some(2)]);
        assert_eq!(gather.take_all()[0].riders.len(), 1);
    }

    #[test]
    fn with_no_room_for_others_a_row_waits_only_while_a_call_of_its_model_is_under_way() {
        let now = Instant::now();
        let mut gather: Gather = Gather::new(2, QUIET);
        put(&mut gather, "m", 1, now);
        let (common, rider) = row("m");
        let full = gather.put(rider, (common, 1), 0, now).unwrap();
        assert!(matches!(gather.send(full), Some(Going::Pack(..))));
        put(&mut gather, "m", 1, now);
        assert_eq!(gather.due(true), None, "its turn comes with the next room");
        put(&mut gather, "other", 1, now);
        assert_eq!(gather.due(true), Some(now));
        assert_eq!(gather.take_due(true, now).len(), 1);
        gather.landed("m");
        assert_eq!(gather.due(true), Some(now));
        gather.has_room(now + QUIET);
        assert_eq!(gather.due(false), Some(now + QUIET * 2), "others may come now");
    }

    #[test]
    fn no_more_than_so_many_kinds_wait() {
        let now = Instant::now();
        let mut gather: Gather = Gather::new(2, QUIET);
        let gone = (0..100).filter_map(|n| put(&mut gather, &format!("m{n}"), 1, now)).count();
        assert_eq!((gone, gather.take_all().len()), (100 - MOST_KINDS, MOST_KINDS));
    }
}
