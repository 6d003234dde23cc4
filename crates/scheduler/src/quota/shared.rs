//! A quota whose permits come from a ledger that other processes use too.
//!
//! The windows here go on counting what this process sent: they are what an empty ledger is told, and what a process lives
//! on while nobody can be asked. Whether a prompt may go is the permit's word alone.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Bucket, Hold, Limits, Probe, Rules};
use crate::day::Span;
use crate::outcome::{Blocked, Reason};
use crate::permits::{Hearsay, Permit, Refusal};
use crate::time::Timestamp;
use crate::window::{Shape, Weight};

/// The most permits asked for at once.
const MOST_ASKED: usize = 64;
/// An expectation of answers moves while a permit is on its way: it may be this part short.
const DRIFT: u64 = 16;

/// What a process holds of a shared quota.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    /// Permits not used yet, the first to start first.
    pub permits: VecDeque<Permit>,
    /// The question under way.
    pub asked: Option<Asked>,
    /// When the next question may be put; [`Timestamp::NEVER`] while nothing waits that has none.
    pub ask_at: Timestamp,
    /// So few permits are left when more are asked for.
    pub low_water: usize,
    /// As many permits as were used lately before they were too late.
    pub most: usize,
    /// Why the last question was not answered in full.
    pub refused: Option<Refusal>,
    /// The tokens that were refused: smaller prompts are asked for in the meantime.
    pub too_large: Option<u64>,
    /// When the prompt that was refused first is asked for again.
    pub resume_at: Timestamp,
    /// Since when smaller ones pass it.
    pub passed_since: Option<Timestamp>,
    /// Processes that share the quota, this one included; and the most that ever did.
    pub live: u32,
    pub most_live: u32,
    /// What ended and was not told to the ledger yet.
    pub returns: Returns,
    /// What was sent without a permit: when, requests, tokens.
    pub unpermitted: Vec<(Timestamp, u64, u64)>,
    /// Nobody can be asked: permits at hand are used up.
    pub alone: bool,
}

/// A question under way.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub number: u64,
    /// For prompts that may wait.
    pub low: bool,
    /// For a large prompt that smaller ones have passed for long enough.
    pub starving: bool,
    /// Tokens of each prompt.
    pub tokens: Vec<u64>,
}

/// What ended: permits with what they used, and permits that were not used.
#[derive(Debug, Clone, Default)]
pub(crate) struct Returns {
    pub settled: Vec<(u64, u64)>,
    pub released: Vec<u64>,
    /// Until then nobody is to be promised anything.
    pub room: Option<Timestamp>,
}

impl Shared {
    pub(crate) fn new(alone: bool) -> Shared {
        Shared {
            permits: VecDeque::new(),
            asked: None,
            ask_at: Timestamp::ZERO,
            low_water: 0,
            most: MOST_ASKED,
            refused: None,
            too_large: None,
            resume_at: Timestamp::ZERO,
            passed_since: None,
            live: 1,
            most_live: 1,
            returns: Returns::default(),
            unpermitted: Vec::new(),
            alone,
        }
    }

    /// Permits at hand or asked for.
    pub(crate) fn promised(&self) -> usize {
        self.permits.len() + self.asked.as_ref().map_or(0, |asked| asked.tokens.len())
    }

    /// Tokens of every permit at hand or asked for.
    pub(crate) fn promises(&self) -> impl Iterator<Item = u64> {
        let asked = self.asked.iter().flat_map(|asked| asked.tokens.iter().copied());
        self.permits.iter().map(|permit| permit.tokens).chain(asked)
    }

    /// Takes in a permit.
    pub(crate) fn hold(&mut self, permit: Permit) {
        let at = self.permits.partition_point(|other| other.at <= permit.at);
        self.permits.insert(at, permit);
    }

    /// Gives back what can no longer be used in time; true when there was something.
    pub(crate) fn drop_late(&mut self, now: Timestamp) -> bool {
        let before = self.permits.len();
        let released = &mut self.returns.released;
        self.permits.retain(|permit| {
            let usable = permit.latest >= now;
            if !usable {
                released.push(permit.id);
            }
            usable
        });
        let late = self.permits.len() < before;
        if late {
            self.most = (self.most / 2).max(1);
            self.ask_at = self.ask_at.min(now);
        }
        late
    }

    /// Gives back the last permits, so that `keep` are left.
    pub(crate) fn keep_first(&mut self, keep: usize) {
        let spare = self.permits.drain(keep.min(self.permits.len())..).map(|permit| permit.id);
        self.returns.released.extend(spare);
        // Who comes next asks anew for what has just been given back.
        self.ask_at = Timestamp::ZERO;
    }

    /// The smallest permit that may start now and takes `amount`.
    fn find(&self, now: Timestamp, amount: u64, drift: bool) -> Option<usize> {
        let amount = if drift { amount - amount / DRIFT } else { amount };
        let due = self.permits.iter().enumerate().take_while(|(_, permit)| permit.at <= now);
        let fitting = due.filter(|(_, permit)| permit.latest >= now && permit.tokens >= amount);
        fitting.min_by_key(|(_, permit)| permit.tokens).map(|(place, _)| place)
    }

    /// Notes what went without a permit.
    fn send_alone(&mut self, now: Timestamp, tokens: u64) {
        match self.unpermitted.last_mut() {
            Some((at, requests, sum)) if *at + SAME > now => (*requests, *sum) = (*requests + 1, *sum + tokens),
            _ => self.unpermitted.push((now, 1, tokens)),
        }
        if self.unpermitted.len() > MOST_NOTED {
            self.unpermitted.drain(..MOST_NOTED / 2);
        }
    }

    /// When a question is due, given what is at hand.
    pub(crate) fn next_ask(&self) -> Timestamp {
        if self.asked.is_some() || self.alone || self.permits.len() > self.low_water { Timestamp::NEVER } else { self.ask_at }
    }

    /// The last word of the ledger, while it holds.
    pub(crate) fn refusal(&self, now: Timestamp) -> Option<Blocked> {
        let refused = self.refused.filter(|refused| refused.until > now)?;
        Some(Blocked { reason: refused.dimension.map_or(Reason::Permit, Reason::Quota), until: refused.until })
    }

    /// What keeps any request from going, as far as permits tell.
    pub(super) fn without_permit(&self, now: Timestamp) -> Option<Blocked> {
        let refusal = self.refusal(now);
        match self.permits.front() {
            Some(permit) if permit.at <= now => None,
            Some(permit) => Some(Blocked { reason: refusal.map_or(Reason::Pacing, |why| why.reason), until: permit.at }),
            None => refusal.or(Some(Blocked { reason: Reason::Permit, until: Timestamp::NEVER })),
        }
    }

    /// When the quota is to be looked at, whatever else may happen: a permit starts or ends, a question is due.
    pub(crate) fn next_look(&self, now: Timestamp) -> Timestamp {
        let starts = self.permits.iter().map(|permit| permit.at).find(|&at| at > now);
        starts.unwrap_or(Timestamp::NEVER).min(self.next_ask())
    }

    /// The part of the limits that is left for one process when all take the same.
    pub(super) fn ordinary_part(&self) -> Part {
        Part { minute: 1.0 / f64::from(self.live.max(1)), rpd: None }
    }
}

impl Bucket {
    /// From now on its permits come from the ledger.
    pub(crate) fn share(&mut self, alone: bool) {
        self.shared.get_or_insert_with(|| Box::new(Shared::new(alone)));
    }

    /// When it is to be looked at again for the sake of permits.
    pub(crate) fn next_look(&self, now: Timestamp) -> Timestamp {
        self.ledger().map_or(Timestamp::NEVER, |shared| shared.next_look(now))
    }

    /// The ledger whose word counts now; `None` for a quota of one's own, and while nobody can be asked but part of the
    /// limits may be used up.
    pub(crate) fn ledger(&self) -> Option<&Shared> {
        self.shared.as_deref().filter(|_| self.part.is_none())
    }

    /// When a permit that takes `weight` starts.
    pub(super) fn permit_at(&self, shared: &Shared, now: Timestamp, weight: Weight) -> Timestamp {
        let amount = self.amount(weight);
        let fitting = shared.permits.iter().find(|permit| permit.tokens >= amount && permit.latest >= now);
        fitting.map_or(Timestamp::NEVER, |permit| permit.at.max(now))
    }

    /// True when a permit at hand takes `weight` now.
    pub(super) fn is_permitted(&self, shared: &Shared, now: Timestamp, weight: Weight) -> bool {
        shared.find(now, self.amount(weight), self.window.counts_total).is_some()
    }

    /// Uses a permit up; 0 where none is needed.
    pub(super) fn spend_permit(&mut self, now: Timestamp, amount: u64) -> u64 {
        let drift = self.window.counts_total;
        let Some(shared) = &mut self.shared else { return 0 };
        let Some(permit) = shared.find(now, amount, drift).and_then(|place| shared.permits.remove(place)) else {
            shared.send_alone(now, amount);
            return 0;
        };
        if shared.permits.is_empty() {
            shared.most = (shared.most * 2).min(MOST_ASKED);
        }
        permit.id
    }

    /// What a permit used in the end.
    pub(super) fn settle_permit(&mut self, id: u64, used: u64) {
        if let (Some(shared), true) = (&mut self.shared, id != 0) {
            shared.returns.settled.push((id, used));
        }
    }

    /// The server counted nothing for a permit.
    pub(super) fn release_permit(&mut self, id: u64) {
        if let (Some(shared), true) = (&mut self.shared, id != 0) {
            shared.returns.released.push(id);
        }
    }

    /// The limits to keep: all, or the part of them that is one's own.
    pub(crate) fn bounds(&self) -> Limits {
        let Some(part) = self.part else { return self.limits };
        let cut = |limit: u64| if limit == 0 { 0 } else { ((limit as f64 * part.minute) as u64).max(1) };
        Limits { rpm: self.limits.rpm.map(cut), tpm: self.limits.tpm.map(cut), rpd: part.rpd.or(self.limits.rpd) }
    }

    /// Goes on with this part of every limit for want of a ledger.
    pub(crate) fn go_alone(&mut self, share: f64) {
        let Some(shared) = &mut self.shared else { return };
        shared.alone = true;
        shared.asked = None;
        if share > 0.0 {
            let today = self.day.today();
            let rpd = self.limits.rpd.map(|limit| today + (limit.saturating_sub(today) as f64 * share) as u64);
            self.part = Some(Part { minute: share, rpd });
        }
    }

    /// The ledger answers again.
    pub(crate) fn rejoin(&mut self) {
        self.part = None;
        if let Some(shared) = &mut self.shared {
            (shared.alone, shared.ask_at) = (false, Timestamp::ZERO);
        }
    }

    /// Takes in what others have found out; true when it changes anything.
    pub(crate) fn heed(&mut self, now: Timestamp, heard: &Hearsay, rules: &Rules) -> bool {
        let span = rules.shape.span();
        let mut news = false;
        let told = [(super::REQUESTS, heard.learned.rpm), (super::TOKENS, heard.learned.tpm)];
        for (kind, told) in told.into_iter().filter_map(|(kind, told)| Some((kind, told?))) {
            let told = self.learned[kind].heard(now, told, span);
            let limit = if kind == super::REQUESTS { &mut self.limits.rpm } else { &mut self.limits.tpm };
            news |= *limit != Some(told);
            *limit = Some(told);
        }
        if let Some(told) = heard.learned.rpd {
            let lower = self.learned_day.heard(self.limits.rpd, told, self.day.end());
            news |= self.limits.rpd != Some(lower);
            self.limits.rpd = Some(lower);
        }
        if self.limits.hold_nothing() && !self.parked {
            (self.parked, self.none_by_word, news) = (true, true, true);
        }
        let longer = heard.held.filter(|&until| until > now && self.hold.is_none_or(|hold| hold.until < until));
        if let Some(until) = longer {
            self.hold = Some(Hold { until, dimension: None, fully: heard.fully });
            self.probe = Probe::Due;
            self.clean_since = None;
        }
        if let (Some(hold), Some(shared)) = (self.hold, &mut self.shared) {
            shared.keep_from(hold.until);
        }
        news || longer.is_some()
    }

    /// What others did in the window and the day, by the ledger's word.
    pub(crate) fn told_use(&mut self, now: Timestamp, used: (u64, u64), today: u64) {
        let promised = self.shared.as_ref().map_or(0, |shared| shared.permits.len() as u64);
        let own = (self.window.requests() + promised, self.window.tokens());
        self.others = (used.0.saturating_sub(own.0), used.1.saturating_sub(own.1));
        self.others_until = now + self.shape.span();
        // What is promised counts when it goes out.
        self.day.set_today(today.saturating_sub(promised));
    }

    /// What this machine itself has written down of the day.
    pub(crate) fn machine_today(&self) -> u64 {
        let (end, requests) = self.machine_today;
        if end == self.day.end() { requests } else { 0 }
    }

    /// Requests and tokens of all processes in the window, as far as known.
    pub(super) fn seen(&self, now: Timestamp) -> (u64, u64) {
        let others = if now < self.others_until { self.others } else { (0, 0) };
        (self.window.requests() + others.0, self.window.tokens() + others.1)
    }

    /// Limits that refusals told.
    pub(crate) fn learned_limits(&self) -> Limits {
        let told = |kind: usize, limit: Option<u64>| limit.filter(|_| self.learned[kind].is_active());
        let rpd = self.limits.rpd.filter(|_| self.learned_day.is_active());
        Limits { rpm: told(super::REQUESTS, self.limits.rpm), tpm: told(super::TOKENS, self.limits.tpm), rpd }
    }

    /// What this process sent in the last minute, for a ledger that lost it: start of each slot, requests, tokens.
    pub(crate) fn sent(&self) -> Vec<(Timestamp, u64, u64)> {
        self.window.contents(self.shape)
    }
}

impl Bucket {
    /// Counts as another process says: for a quota that is kept for several.
    pub(crate) fn count_by(&mut self, shape: Shape, bursts: [f64; 2]) {
        (self.shape, self.bursts, self.most_in_flight) = (shape, bursts, u32::MAX);
    }

    /// Brings windows and days up to `at`. Whether a new day has begun over there is for those to try who send.
    pub(crate) fn turn_to(&mut self, at: Timestamp, day: Span, rules: &Rules) {
        self.advance(at, day, rules);
        self.probe = Probe::NotNeeded;
    }

    /// Pauses until then.
    pub(crate) fn pause(&mut self, until: Timestamp) {
        if self.hold.is_none_or(|hold| hold.until < until) {
            self.hold = Some(Hold { until, dimension: None, fully: false });
        }
    }

    /// Counts requests of the day that are not in any window.
    pub(crate) fn count_more_today(&mut self, requests: u64) {
        self.day.set_today(self.day.today() + requests);
    }

    /// Takes in what somebody sent that was not counted here.
    pub(crate) fn add_sent(&mut self, sent: &[(Timestamp, u64, u64)]) {
        for &(start, requests, tokens) in sent {
            self.window.remember(start, requests, tokens, self.shape);
            self.day.set_today(self.day.today() + requests);
        }
    }
}

impl Shared {
    /// Gives back permits that would start before `until`.
    fn keep_from(&mut self, until: Timestamp) {
        let released = &mut self.returns.released;
        self.permits.retain(|permit| {
            let usable = permit.latest >= until;
            if !usable {
                released.push(permit.id);
            }
            usable
        });
    }

    /// How long before the first refused instant, or before the last permit, the next question is put: by `chance` a
    /// different part of the horizon each time, so that no process always comes after the same other.
    pub(crate) fn lead(horizon: Duration, chance: f64) -> Duration {
        horizon.mul_f64(0.04 + 0.26 * chance.clamp(0.0, 1.0))
    }

    /// Plans the next question after an answer that brought `granted` permits of those asked for: so long before more are
    /// there, or a little after for prompts that nothing is promised to ahead.
    pub(crate) fn plan(&mut self, now: Timestamp, granted: usize, refused: Option<Refusal>, lead: Option<Duration>) {
        let later = now + LEAST_PAUSE;
        let ahead = |at: Timestamp| lead.map_or(at + GATHER, |lead| at.before(lead));
        let Some(refusal) = refused else {
            self.low_water = granted / 4;
            self.ask_at = self.permits.back().map_or(later, |last| ahead(last.at).max(now));
            return;
        };
        self.low_water = usize::MAX;
        let resume = ahead(refusal.until).max(later);
        if self.too_large.is_none() {
            (self.refused, self.resume_at) = (refused, resume);
        }
        self.ask_at = resume.min(self.resume_at);
    }
}

impl Shared {
    /// Others have every slot of the project: asks again after a while, and `chance` sees to it that not all do at once.
    pub(crate) fn wait_for_a_slot(&mut self, now: Timestamp, chance: f64) {
        (self.low_water, self.ask_at) = (usize::MAX, now + SLOT_PAUSE.mul_f64(0.5 + chance.clamp(0.0, 1.0)));
    }
}

/// How long, on the mean, until the next look for a slot that has come free.
const SLOT_PAUSE: Duration = Duration::from_millis(200);
/// What goes without a permit is noted in steps of so much, of which the last ones are kept.
const SAME: Duration = Duration::from_millis(100);
const MOST_NOTED: usize = 4_000;
/// Where nothing is promised ahead, what has come free is asked for together.
const GATHER: Duration = Duration::from_millis(300);
/// Least time between two questions of which the first was refused something.
const LEAST_PAUSE: Duration = Duration::from_millis(10);

/// The part of a shared quota that one process may use by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Part {
    /// Of every limit a minute.
    pub minute: f64,
    /// The day's limit that holds until the ledger is back.
    pub rpd: Option<u64>,
}
