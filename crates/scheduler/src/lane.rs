//! A lane: the queue of one model, and the quotas that serve it in the order in which they become free.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::breaker::{Breaker, RetryBudget};
use crate::company::Company;
use crate::day::Span;
use crate::forecast::Forecast;
use crate::job::{JobId, Place};
use crate::key::KeyId;
use crate::outcome::{Blocked, Dimension, Reason};
use crate::quota::{Bucket, Rules};
use crate::time::Timestamp;
use crate::turns::Turns;
use crate::window::Weight;

/// How far behind the head of the queue a prompt may be picked to fill a hole that the head does not fit.
pub(crate) const LOOK_AHEAD: usize = 64;

/// A queued prompt, with what choosing needs at hand.
#[derive(Debug)]
pub(crate) struct Entry {
    pub job: JobId,
    pub weight: Weight,
    /// What the breaker's account of held time showed when it came, less what it had been held before.
    pub held_from: i32,
    history: Option<Box<History>>,
}

/// What few queued prompts have behind them.
#[derive(Debug, Default)]
struct History {
    avoid: Option<(KeyId, Timestamp)>,
    /// Since when smaller prompts pass it.
    passed_since: Option<Timestamp>,
    kept_by: Option<u32>,
    /// The quota it is to be served from while that can be soon.
    bound_to: Option<u32>,
    /// The only quota that can serve it.
    only: Option<u32>,
}

impl Entry {
    pub(crate) fn new(job: JobId, weight: Weight, avoid: Option<(KeyId, Timestamp)>, held_from: i32) -> Entry {
        let history = avoid.map(|avoid| Box::new(History { avoid: Some(avoid), ..History::default() }));
        Entry { job, weight, held_from, history }
    }

    /// The same prompt, to be served from this quota only.
    pub(crate) fn confined_to(mut self, bucket: Option<u32>) -> Entry {
        if bucket.is_some() {
            self.history().only = bucket;
        }
        self
    }

    /// The only quota that can serve it.
    pub(crate) fn only(&self) -> Option<u32> {
        self.history.as_ref().and_then(|history| history.only)
    }

    /// The key to be spared, and until when.
    fn avoid(&self) -> Option<(KeyId, Timestamp)> {
        self.history.as_ref().and_then(|history| history.avoid)
    }

    /// The quota that keeps room for it.
    pub(crate) fn kept_by(&self) -> Option<u32> {
        self.history.as_ref().and_then(|history| history.kept_by)
    }

    /// Has it served from this quota while that can be soon.
    pub(crate) fn bind(&mut self, bucket: Option<u32>) {
        if bucket.is_some() || self.history.is_some() {
            self.history().bound_to = bucket;
        }
    }

    /// The quota it is to be served from while that can be soon.
    pub(crate) fn bound_to(&self) -> Option<u32> {
        self.history.as_ref().and_then(|history| history.bound_to)
    }

    fn history(&mut self) -> &mut History {
        self.history.get_or_insert_default()
    }
}

/// Where a bucket stands in its lane.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Standing {
    listed: Option<(Timestamp, u64)>,
    /// Why it cannot serve now.
    pub why: Option<Blocked>,
}

impl Standing {
    /// When it is to be looked at again.
    pub(crate) fn listed_at(&self) -> Timestamp {
        self.listed.map_or(Timestamp::NEVER, |(at, _)| at)
    }
}

#[derive(Debug)]
pub(crate) struct Lane {
    pub name: Arc<str>,
    /// Whether an answer has shown that there is such a model, or the settings name it.
    pub proven: bool,
    /// Whether its number is free.
    pub vacant: bool,
    /// Prompts that have not come to their end, wherever they are.
    pub prompts: usize,
    pub queue: BTreeMap<Place, Entry>,
    /// Prompts of the queue that only one of the buckets can serve.
    pub confined: usize,
    pub breaker: Breaker,
    pub budget: RetryBudget,
    pub company: Company,
    pub turns: Turns,
    /// Its quotas run ahead, where somebody has asked a moment ago.
    pub forecast: Option<Box<Forecast>>,
    /// Buckets that can still serve, ever.
    pub live: usize,
    /// The most tokens a prompt may have; `None` when some bucket has no such limit.
    pub most_tokens: Option<u64>,
    /// Buckets by the instant at which they may serve again.
    ready: BTreeSet<(Timestamp, u64, u32)>,
    /// The first of them, at hand for those who look at every lane.
    first: Option<(Timestamp, u64, u32)>,
    /// Buckets that found nothing to take in their reach.
    starved: BTreeSet<u32>,
    stamp: u64,
}

/// What a free bucket finds in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// This prompt, with this key.
    Take(Place, KeyId),
    /// Nothing before then.
    Wait(Blocked),
}

/// The two readiest keys of a bucket's project.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys {
    pub first: Option<KeyId>,
    pub second: Option<KeyId>,
    /// When there will be a second.
    pub second_at: Timestamp,
    /// Whether the project has a single key left.
    pub lone: bool,
}

/// What a bucket asks of the others of its lane.
pub(crate) struct Others<K, S> {
    /// Whether this one still keeps room for a prompt of so many tokens.
    pub keeps: K,
    /// Whether this one can serve within a minute.
    pub soon: S,
}

impl Lane {
    pub(crate) fn new(name: Arc<str>) -> Lane {
        Lane {
            name,
            proven: true,
            vacant: false,
            prompts: 0,
            queue: BTreeMap::new(),
            confined: 0,
            breaker: Breaker::default(),
            budget: RetryBudget::default(),
            company: Company::default(),
            turns: Turns::default(),
            forecast: None,
            live: 0,
            most_tokens: Some(0),
            ready: BTreeSet::new(),
            first: None,
            starved: BTreeSet::new(),
            stamp: 0,
        }
    }

    /// Puts a prompt into the queue.
    pub(crate) fn insert(&mut self, place: Place, entry: Entry) {
        self.confined += usize::from(entry.only().is_some());
        self.queue.insert(place, entry);
    }

    /// Takes a prompt out of the queue.
    pub(crate) fn remove(&mut self, place: Place) -> Option<Entry> {
        let entry = self.queue.remove(&place)?;
        self.confined -= usize::from(entry.only().is_some());
        Some(entry)
    }

    /// What keeps all buckets from serving: the breaker of the model, until its next probe or somebody has waited enough.
    pub(crate) fn gate(&self) -> Option<Blocked> {
        let probe = self.breaker.holds_until()?;
        let reach = self.queue.values().take(LOOK_AHEAD);
        let until = reach.filter_map(|entry| self.breaker.lets_go(entry.held_from)).min().unwrap_or(probe);
        Some(Blocked { reason: Reason::Breaker, until })
    }

    /// The run ahead, while it is worth telling it what happens.
    pub(crate) fn foreseen(&mut self, now: Timestamp) -> Option<&mut Forecast> {
        self.forecast = self.forecast.take().filter(|forecast| forecast.is_fresh(now));
        self.forecast.as_deref_mut()
    }

    /// The bucket that may serve first, and when.
    pub(crate) fn first(&self) -> Option<(Timestamp, u32)> {
        self.first.map(|(at, _, bucket)| (at, bucket))
    }

    /// Puts a bucket into its place; at [`Timestamp::NEVER`] it waits to be woken.
    pub(crate) fn list(&mut self, bucket: u32, standing: &mut Standing, at: Timestamp, why: Option<Blocked>) {
        self.unlist(bucket, standing);
        standing.why = why;
        if !at.is_never() {
            self.stamp += 1;
            let place = (at, self.stamp, bucket);
            self.ready.insert(place);
            self.first = Some(self.first.map_or(place, |first| first.min(place)));
            standing.listed = Some((at, self.stamp));
        }
    }

    /// Notes that a bucket found nothing in its reach.
    pub(crate) fn starve(&mut self, bucket: u32) {
        self.starved.insert(bucket);
    }

    fn unlist(&mut self, bucket: u32, standing: &mut Standing) {
        if let Some((at, stamp)) = standing.listed.take() {
            self.ready.remove(&(at, stamp, bucket));
            if self.first == Some((at, stamp, bucket)) {
                self.first = self.ready.first().copied();
            }
        }
        self.starved.remove(&bucket);
    }

    /// True when this bucket found nothing in its reach.
    pub(crate) fn is_starved(&self, bucket: u32) -> bool {
        self.starved.contains(&bucket)
    }

    /// True when some bucket found nothing in its reach.
    pub(crate) fn has_starved(&self) -> bool {
        !self.starved.is_empty()
    }

    /// Every bucket that found nothing in its reach.
    pub(crate) fn all_starved(&self) -> Vec<u32> {
        self.starved.iter().copied().collect()
    }

    /// Some buckets that found nothing in their reach: as many as are worth a look when the queue changes.
    pub(crate) fn starved(&self) -> Vec<u32> {
        self.starved.iter().copied().take(LOOK_AHEAD).collect()
    }

    /// The next prompt for a free bucket.
    ///
    /// The head goes first. When it does not fit, the largest prompt behind it that does may pass, for a while; after that
    /// this bucket keeps room for the head, and only those pass that do not delay it.
    pub(crate) fn choose(
        &mut self,
        now: Timestamp,
        id: u32,
        bucket: &Bucket,
        keys: Keys,
        rules: &Rules,
        others: &Others<impl Fn(u32, u64) -> bool, impl Fn(u32) -> bool>,
    ) -> Choice {
        let mut head: Option<(u64, bool)> = None;
        let mut filler: Option<(u64, Place, KeyId)> = None;
        let mut wait = Blocked { reason: Reason::Quota(Dimension::Tpm), until: Timestamp::NEVER };
        let mut smallest: Option<Weight> = None;
        // What only others can serve is not in this one's way, and does not shorten its reach.
        let mine = self.queue.iter_mut().filter(|(_, entry)| entry.only().is_none_or(|only| only == id));
        for (place, entry) in mine.take(LOOK_AHEAD) {
            if let Some(at) = self.breaker.lets_go(entry.held_from).filter(|&at| at > now) {
                wait = sooner(wait, Reason::Breaker, at);
                continue;
            }
            if entry.bound_to().is_some_and(|bound| bound != id && (others.soon)(bound)) {
                // Looked at again when "soon" may be over: its own quota may have been closed meanwhile.
                wait = sooner(wait, Reason::Backoff, now + rules.minute);
                continue;
            }
            let elsewhere =
                entry.kept_by().is_some_and(|keeper| keeper != id && (others.keeps)(keeper, u64::from(entry.weight.tokens)));
            let Some(key) = pick_key(entry, keys, now) else {
                let spared = entry.avoid().map_or(Timestamp::NEVER, |(_, until)| until);
                wait = sooner(wait, Reason::Backoff, spared.min(keys.second_at));
                continue;
            };
            let amount = bucket.amount(entry.weight);
            if bucket.fits(now, entry.weight, rules) {
                let Some((slack, strict)) = head else { return Choice::Take(*place, key) };
                if (!strict || amount <= slack) && filler.is_none_or(|(tokens, ..)| amount > tokens) {
                    filler = Some((amount, *place, key));
                }
                continue;
            }
            if head.is_none() && !elsewhere {
                let (at, slack) = bucket.room_for_tokens(now, entry.weight, rules);
                if at.is_never() {
                    continue;
                }
                let strict = now >= *entry.history().passed_since.get_or_insert(now) + rules.bypass();
                if strict {
                    entry.history().kept_by = Some(id);
                }
                head = Some((slack, strict));
                wait = sooner(wait, Reason::Quota(Dimension::Tpm), at);
            } else if head.is_none_or(|(slack, strict)| !strict || amount <= slack) {
                smallest = smallest.filter(|least| bucket.amount(*least) <= amount).or(Some(entry.weight));
            }
        }
        if let Some((_, place, key)) = filler {
            return Choice::Take(place, key);
        }
        if let Some(smallest) = smallest {
            wait = sooner(wait, Reason::Quota(Dimension::Tpm), bucket.room_for_tokens(now, smallest, rules).0);
        }
        Choice::Wait(wait)
    }
}

fn sooner(wait: Blocked, reason: Reason, until: Timestamp) -> Blocked {
    if until < wait.until { Blocked { reason, until } } else { wait }
}

/// The readiest key, or the one after it when the prompt has just failed with the first.
fn pick_key(entry: &Entry, Keys { first, second, lone, .. }: Keys, now: Timestamp) -> Option<KeyId> {
    match entry.avoid() {
        Some((avoid, until)) if Some(avoid) == first && now < until && !(lone && entry.only().is_some()) => second,
        _ => first,
    }
}

/// What keeps a bucket from serving, permits and limits apart.
pub(crate) fn obstacle_apart(
    bucket: &Bucket,
    keys: Option<Blocked>,
    parked: Option<Blocked>,
    now: Timestamp,
    rules: &Rules,
) -> Option<Blocked> {
    let owner = Blocked::later(keys, parked.filter(|parked| parked.until > now));
    Blocked::later(bucket.closed(now, rules), owner)
}

/// What keeps a bucket from serving, whatever the queue holds.
pub(crate) fn obstacle(bucket: &Bucket, keys: Option<Blocked>, now: Timestamp, day: Span, rules: &Rules) -> Option<Blocked> {
    Blocked::later(bucket.blocked(now, day, rules), keys)
}
