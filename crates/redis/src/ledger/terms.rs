//! The words of the limiter: what is asked, under which limits, and what comes back.

use std::time::Duration;

/// What one quota is kept for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bucket {
    /// Whose quota it is; keys of one project share it.
    pub project: String,
    /// The models that share it.
    pub family: String,
}

/// What a bucket allows and how it is counted. All processes of a bucket name the same minute and slot; where the rest
/// differs, each is served by its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Requests in any minute.
    pub rpm: Option<u64>,
    /// Tokens in any minute; what is above 2^32 is as good as none.
    pub tpm: Option<u64>,
    /// Requests in a quota day.
    pub rpd: Option<u64>,
    /// Calls under way in the whole project, whatever the family: permits handed out and not given back. A process that says
    /// nothing for 30 s is taken for dead and its calls for ended; [`peek`](crate::Ledger::peek) is a sign of life.
    pub concurrency: Option<u32>,
    /// The length of a minute: 60 s, except in scaled worlds.
    pub minute: Duration,
    /// How much later than sent a call may be counted, compared with others; the longest of all processes rules.
    pub guard: Duration,
    /// The width of a slot, a 600th of the minute. Guard and horizon together stay under a sixth of the minute.
    pub slot: Duration,
    /// The share of a minute's limits that may go at once: 1 is all, what a server with a small bucket bears is less.
    pub burst: f64,
    /// How far ahead permits are promised.
    pub horizon: Duration,
    /// How long a bucket whose state is new waits for what others remember of it.
    pub learning: Duration,
    /// When the quota day ends, in milliseconds since 1970.
    pub day_end: u64,
    /// When the one after it ends.
    pub next_day_end: u64,
}

impl Default for Limits {
    /// No limits, a plain minute, guard 0.5 s, horizon 2 s, learning 1 s; the day ends have to be set.
    fn default() -> Limits {
        Limits {
            rpm: None,
            tpm: None,
            rpd: None,
            concurrency: None,
            minute: Duration::from_secs(60),
            guard: Duration::from_millis(500),
            slot: Duration::from_millis(100),
            burst: 1.0,
            horizon: Duration::from_secs(2),
            learning: Duration::from_secs(1),
            day_end: 0,
            next_day_end: 0,
        }
    }
}

/// The weight of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Tokens it is expected to be charged.
    pub tokens: u32,
    /// By how much that is usually off (one standard deviation); 0 when it is known.
    pub spread: u32,
}

/// How much of a bucket a caller may take before others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Class {
    /// The share of every limit it may fill, from 0 to 1.
    pub share: f64,
    /// Promises ahead. A class that does not gets what is free now, and a twentieth of the limit whatever the others take.
    pub ahead: bool,
}

impl Class {
    /// Takes all there is.
    pub const FULL: Class = Class { share: 1.0, ahead: true };
    /// Leaves a tenth free for the others and never reserves ahead of them.
    pub const LOW: Class = Class { share: 0.9, ahead: false };
}

/// One request for permits, with what is given back in the same call.
#[derive(Debug, Default)]
pub struct Reserve {
    /// The permits wanted, in order; the first that does not fit ends the grant. At most [`Reserve::MOST`].
    pub costs: Vec<Cost>,
    /// Whose permits they are; [`Class::FULL`] unless told.
    pub class: Option<Class>,
    /// Permits that are over.
    pub returns: Vec<Return>,
    /// What the caller's machine has written down of the day: counted once in each life of the bucket's state.
    pub machine: Option<MachineDay>,
}

/// Requests that one machine sent on the present quota day before it came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineDay {
    /// A number that no other machine has.
    pub machine: u64,
    /// Its requests.
    pub requests: u64,
}

/// Calls that went out without a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// How long ago.
    pub ago: Duration,
    /// How many of them.
    pub requests: u64,
    /// Tokens of all.
    pub tokens: u64,
}

impl Reserve {
    /// Permits that one call may ask for; what is beyond is not looked at.
    pub const MOST: usize = 64;
}

/// What became of a permit.
#[derive(Debug)]
pub enum Return {
    /// Its call is over and was charged this many tokens.
    Used {
        /// The permit.
        permit: Permit,
        /// Tokens the server charged.
        tokens: u64,
    },
    /// Its call never went out, or was counted by nobody.
    Unused(Permit),
}

/// The right to send one call at one instant. It cannot be copied: it is given back once.
///
/// ```compile_fail
/// fn twice(permit: tidegate_redis::Permit) -> [tidegate_redis::Return; 2] {
///     [tidegate_redis::Return::Unused(permit), tidegate_redis::Return::Unused(permit)]
/// }
/// ```
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that is not used is given back with Return::Unused"]
pub struct Permit {
    /// How long to wait from when the grant was handed over; zero when it may go at once.
    pub wait: Duration,
    /// How much too late it already came, by the way to Redis and back. Beyond the guard it has to be given back unused.
    pub late: Duration,
    /// Tokens it was charged.
    pub tokens: u32,
    /// The uncertainty it was charged with.
    pub spread: u32,
    pub(crate) entry: u64,
}

/// What the limiter answered.
#[derive(Debug, Default, PartialEq)]
pub struct Grant {
    /// Permits for the first of the costs, in their order and in the order of their instants.
    pub permits: Vec<Permit>,
    /// Why the next one was not granted.
    pub refused: Option<Refusal>,
    /// How long the bucket stays held for everybody; zero when it is not.
    pub held: Duration,
    /// The life of the bucket's state; a new one means Redis had lost it.
    pub epoch: u64,
    /// Processes that asked within the last seconds, this one included.
    pub live: u32,
    /// Requests promised in the minute up to the latest promise.
    pub requests: u64,
    /// Tokens likewise.
    pub tokens: u64,
    /// Requests of the quota day.
    pub today: u64,
    /// Another process has another end of the day in mind; the later one rules.
    pub disputed: bool,
    /// Limits somebody learned from the server; the smaller of these and one's own rules already.
    pub learned: Learned,
    /// Version of the project's facts, not older than a second.
    pub facts: u64,
}

/// Limits learned from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Learned {
    /// Requests in a minute.
    pub rpm: Option<u64>,
    /// Tokens in a minute.
    pub tpm: Option<u64>,
    /// Requests in the present quota day.
    pub rpd: Option<u64>,
}

/// Why a permit was not granted, and when it could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// What stood in the way last.
    pub dimension: Dimension,
    /// When it could go, if nobody else takes it before; none when it never can.
    pub after: Option<Duration>,
}

/// What stands in the way of a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// The server said no to somebody, or the state is new.
    Held,
    /// The pacer: so many at once is too much for the server's bucket.
    Pace,
    /// Requests in a minute.
    Requests,
    /// Tokens in a minute.
    Tokens,
    /// Requests in a day.
    Day,
    /// This process has its fair share of the next moments; ask again when it is used.
    Share,
    /// Calls under way in the project. When one ends is not known; the time told is when to ask again.
    Concurrency,
    /// Others have reserved ahead of this class.
    Turn,
    /// It is above a limit as a whole.
    Never,
}

/// Stops a bucket for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hold {
    /// From now on, as long as the server said.
    pub length: Duration,
    /// What its answer told about the limits.
    pub learned: Learned,
    /// How long that holds.
    pub learned_for: Duration,
    /// Everybody who listens to [`Ledger::news`](crate::Ledger::news) is told.
    pub urgent: bool,
}
