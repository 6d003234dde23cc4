//! The ledger in one process: quotas that several schedulers share, behind the same arithmetic as a quota of one's own.
//!
//! Permits are reserved ahead in the order of the questions, each for its own instant. What is refused moves nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::day::{Calendar, Span};
use crate::outcome::{Dimension, Reason, Used};
use crate::permits::{Ask, Cost, Grant, Permit, Refusal};
use crate::quota::{self, Bucket, Counting, Limits, Part, Rules};
use crate::settings::{KeyRules, QuotaRules};
use crate::sharing::{Knowledge, MachineDay};
use crate::time::Timestamp;
use crate::window::{Shape, Weight, Window};

/// Whose quota of what: the project's name and the model family.
pub type Place = (Arc<str>, Arc<str>);

/// Part of a limit that prompts which may wait leave to others.
const LEFT_BY_LOW: f64 = 0.1;
/// Part of a limit that is kept for them all the same, so that they never starve.
const KEPT_FOR_LOW: f64 = 0.05;
/// This part of a minute is no reservation, only the distance that sends keep.
const LOW_AHEAD: u32 = 300;
/// A process that says nothing for so long is taken for dead, and its calls for ended.
const SILENCE: Duration = Duration::from_secs(30);
/// For so many minutes a permit may be settled.
const SETTLED_WITHIN: u32 = 15;

/// Quotas of several processes, as one of them keeps them.
#[derive(Debug)]
pub struct Book {
    rules: Rules,
    calendar: Calendar,
    accounts: HashMap<Place, Account>,
    permits: BTreeMap<u64, Issued>,
    /// Calls under way of each process in each project, and when it was heard last.
    flights: HashMap<(Arc<str>, u64), (u32, Timestamp)>,
    last: u64,
}

#[derive(Debug)]
struct Account {
    bucket: Bucket,
    /// The latest instant promised.
    tau: Timestamp,
    /// What prompts that may wait took.
    low: Window,
    low_refused: Option<Timestamp>,
    /// Who asked, and when last.
    seen: HashMap<u64, Timestamp>,
    /// What was told of the day by those who knew of it, so that what others tell of the same is not added to it.
    told: Told,
}

/// Requests of a day that were not promised here.
#[derive(Debug, Default)]
struct Told {
    day_end: Timestamp,
    /// In all.
    requests: u64,
    /// By machines, each once.
    by_machines: u64,
    machines: HashSet<u64>,
}

#[derive(Debug)]
struct Issued {
    place: Place,
    who: u64,
    permit: quota::Permit,
}

impl Book {
    /// An empty book.
    pub fn new(rules: &QuotaRules) -> Book {
        Book {
            rules: Rules::new(rules, KeyRules::default()),
            calendar: Calendar::new(rules.day),
            accounts: HashMap::new(),
            permits: BTreeMap::new(),
            flights: HashMap::new(),
            last: 0,
        }
    }

    /// Days of a fixed length are counted from `anchor`.
    pub fn anchor_days(&mut self, anchor: Timestamp) {
        self.calendar.anchor(anchor);
    }

    /// Answers a question of the process `who` under the limits that it knows.
    pub fn reserve(&mut self, now: Timestamp, place: &Place, who: u64, known: &Knowledge, ask: &Ask) -> Grant {
        self.forget_old(now);
        let mut free = known.slots.map_or(u32::MAX, |slots| self.free_slots(now, &place.0, who, slots));
        let day = self.calendar.day(now);
        let rules = self.rules.clone();
        let account = self.accounts.entry(place.clone()).or_insert_with(|| Account::new(known.limits, &rules));
        account.bucket.turn_to(now, day, &rules);
        account.bucket.count_as(known.limits, &known.counting, &rules);
        account.count_machine(day.end, known.machine);
        account.low.advance(now, rules.shape);
        account.seen.retain(|_, at| *at + rules.minute > now);
        account.seen.insert(who, now);
        let live = u32::try_from(account.seen.len()).unwrap_or(u32::MAX);
        let part = account.part(now, ask.low, &rules);
        // Whose turn it is gets it, though others are promised something before.
        let horizon = if ask.low && part.is_some() { rules.minute / LOW_AHEAD } else { ask.horizon };
        let most = account.fair_share(ask.horizon, live, &rules);
        let mut grant = Grant { number: ask.number, live, ..Grant::default() };
        let mut tokens = 0_u64;
        for cost in ask.costs.iter() {
            tokens = tokens.saturating_add(cost.tokens);
            if !grant.permits.is_empty() && (grant.permits.len() as u64 >= most.0 || tokens > most.1) {
                break;
            }
            if free == 0 {
                grant.busy = true;
                break;
            }
            match account.place(now, *cost, horizon, part, &mut self.calendar, &rules) {
                Ok((at, permit)) => {
                    (self.last, free) = (self.last + 1, free - 1);
                    if let Some((calls, _)) = self.flights.get_mut(&(place.0.clone(), who)) {
                        *calls += 1;
                    }
                    if ask.low {
                        account.low.charge(at, Weight::new(cost.tokens, 0, 0), rules.shape);
                    }
                    self.permits.insert(self.last, Issued { place: place.clone(), who, permit });
                    let latest = at + known.counting.guard / 2;
                    grant.permits.push(Permit { id: self.last, at, latest, tokens: cost.tokens });
                }
                Err(refusal) => {
                    grant.refused = Some(refusal);
                    if ask.low {
                        account.low_refused = Some(now);
                    }
                    break;
                }
            }
        }
        let (requests, tokens, today) = account.bucket.used();
        (grant.used, grant.today) = ((requests, tokens), today);
        grant
    }

    /// Charges what a permit used in the end. A permit that is not known any more, or settled before, changes nothing.
    pub fn settle(&mut self, id: u64, used: u64) {
        let Some(Issued { place, who, permit }) = self.permits.remove(&id) else { return };
        self.landed(&place.0, who);
        if let Some(account) = self.accounts.get_mut(&place) {
            account.bucket.settle(permit, Some(Used::input(used)));
        }
    }

    /// Takes permits back that were not used.
    pub fn release(&mut self, now: Timestamp, ids: &[u64]) {
        let day = self.calendar.day(now);
        for Issued { place, who, permit } in ids.iter().filter_map(|id| self.permits.remove(id)).collect::<Vec<_>>() {
            self.landed(&place.0, who);
            if let Some(account) = self.accounts.get_mut(&place) {
                account.bucket.refund(permit, day);
            }
        }
    }

    /// Lets nothing start before `until`: the server refused one of the processes.
    pub fn hold(&mut self, now: Timestamp, place: &Place, until: Timestamp, limits: Limits) {
        let rules = self.rules.clone();
        let account = self.accounts.entry(place.clone()).or_insert_with(|| Account::new(limits, &rules));
        account.bucket.pause(until.max(now));
    }

    /// Takes in what a process sent that this book did not know of: start of a slot, requests, tokens; the oldest first.
    pub fn learn(&mut self, now: Timestamp, place: &Place, known: &Knowledge, sent: &[(Timestamp, u64, u64)]) {
        let day = self.calendar.day(now);
        let rules = self.rules.clone();
        let account = self.accounts.entry(place.clone()).or_insert_with(|| Account::new(known.limits, &rules));
        account.bucket.turn_to(now, day, &rules);
        account.bucket.add_sent(sent);
        account.told.turn_to(day.end);
        account.told.requests += sent.iter().map(|(_, requests, _)| requests).sum::<u64>();
    }

    /// Slots of a project that nobody has a call in; `who` has just been heard.
    fn free_slots(&mut self, now: Timestamp, project: &Arc<str>, who: u64, slots: u32) -> u32 {
        self.flights.entry((project.clone(), who)).or_insert((0, now)).1 = now;
        self.flights.retain(|_, (_, heard)| *heard + SILENCE >= now);
        let taken = self.flights.iter().filter(|((owner, _), _)| owner == project).map(|(_, (calls, _))| calls);
        slots.saturating_sub(taken.sum())
    }

    fn landed(&mut self, project: &Arc<str>, who: u64) {
        if let Some((calls, _)) = self.flights.get_mut(&(project.clone(), who)) {
            *calls = calls.saturating_sub(1);
        }
    }

    /// Permits older than any answer takes.
    fn forget_old(&mut self, now: Timestamp) {
        let oldest = now.before(self.rules.minute.saturating_mul(SETTLED_WITHIN));
        while let Some(first) = self.permits.first_entry().filter(|first| first.get().permit.at < oldest) {
            first.remove();
        }
    }
}

impl Told {
    /// A new day: nobody has told anything of it. Machines stay known, for what they send now is counted here.
    fn turn_to(&mut self, day_end: Timestamp) {
        if self.day_end != day_end {
            (self.day_end, self.requests, self.by_machines) = (day_end, 0, 0);
        }
    }
}

impl Account {
    fn new(limits: Limits, rules: &Rules) -> Account {
        Account {
            bucket: Bucket::new(limits, rules),
            tau: Timestamp::ZERO,
            low: Window::default(),
            low_refused: None,
            seen: HashMap::new(),
            told: Told::default(),
        }
    }

    /// Adds what a machine sent on this day before it came here, as far as nobody has told of it.
    fn count_machine(&mut self, day_end: Timestamp, machine: Option<MachineDay>) {
        self.told.turn_to(day_end);
        let Some(MachineDay { requests, .. }) = machine.filter(|day| self.told.machines.insert(day.machine)) else { return };
        self.told.by_machines += requests;
        let unheard = self.told.by_machines.saturating_sub(self.told.requests);
        self.told.requests += unheard;
        self.bucket.count_more_today(unheard);
    }

    /// The part of every limit that a question may fill.
    fn part(&self, now: Timestamp, low: bool, rules: &Rules) -> Option<Part> {
        let limits = self.bucket.limits;
        let under = |used: u64, limit: Option<u64>| limit.is_none_or(|limit| (used as f64) < limit as f64 * KEPT_FOR_LOW);
        let starves = under(self.low.requests(), limits.rpm) && under(self.low.tokens(), limits.tpm);
        let wanted = self.low_refused.is_some_and(|at| at + rules.minute > now);
        let minute = match (low, starves) {
            (true, true) => return None,
            (true, false) => 1.0 - LEFT_BY_LOW,
            (false, true) if wanted => 1.0 - KEPT_FOR_LOW,
            (false, _) => return None,
        };
        Some(Part { minute, rpd: None })
    }

    /// The most requests and tokens of one answer: four times what one of `live` processes uses in a horizon, for permits come in
    /// bursts and each question costs.
    fn fair_share(&self, horizon: Duration, live: u32, rules: &Rules) -> (u64, u64) {
        if live <= 1 {
            return (u64::MAX, u64::MAX);
        }
        let part = 4.0 * horizon.as_secs_f64() / rules.minute.as_secs_f64() / f64::from(live);
        let share = |limit: Option<u64>| limit.map_or(u64::MAX, |limit| ((limit as f64 * part) as u64).max(1));
        (share(self.bucket.limits.rpm), share(self.bucket.limits.tpm))
    }

    /// Finds the instant for a request and takes it.
    fn place(
        &mut self,
        now: Timestamp,
        cost: Cost,
        horizon: Duration,
        part: Option<Part>,
        calendar: &mut Calendar,
        rules: &Rules,
    ) -> Result<(Timestamp, quota::Permit), Refusal> {
        let weight = Weight::new(cost.tokens, cost.spread, 0);
        let mut at = now.max(self.tau);
        loop {
            if at > now + horizon {
                return Err(Refusal { dimension: None, until: at });
            }
            let day = calendar.day(at);
            self.bucket.turn_to(at, day, rules);
            match self.blocked(at, weight, part, day, rules) {
                None => {
                    self.tau = at;
                    return Ok((at, self.bucket.take(at, weight, day, rules)));
                }
                Some(refusal) if refusal.until > now + horizon => {
                    // What has left by then has left: nobody may be placed before.
                    self.tau = self.tau.max(at);
                    return Err(refusal);
                }
                Some(refusal) => at = refusal.until,
            }
        }
    }

    fn blocked(&mut self, at: Timestamp, weight: Weight, part: Option<Part>, day: Span, rules: &Rules) -> Option<Refusal> {
        self.bucket.part = part;
        let blocked = self.bucket.blocked(at, day, rules);
        let room = self.bucket.room_for_tokens(at, weight, rules).0;
        self.bucket.part = None;
        let tokens = (room > at).then_some(Refusal { dimension: Some(Dimension::Tpm), until: room });
        let other = blocked.map(|why| {
            let dimension = match why.reason {
                Reason::Quota(dimension) | Reason::Held(Some(dimension)) => Some(dimension),
                Reason::Pacing => Some(Dimension::Rpm),
                _ => None,
            };
            // The first requests after midnight count for the day before, too.
            let after = if dimension == Some(Dimension::Rpd) { rules.guard } else { Duration::ZERO };
            Refusal { dimension, until: why.until + after }
        });
        [tokens, other].into_iter().flatten().max_by_key(|refusal| refusal.until)
    }
}

impl Bucket {
    /// Takes on the limits and the way of counting that an asking process knows.
    fn count_as(&mut self, limits: Limits, counting: &Counting, rules: &Rules) {
        self.limits = limits;
        self.count_by(Shape::new(rules.minute, counting.guard), [counting.request_burst, counting.token_burst]);
    }
}
