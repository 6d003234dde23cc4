//! How a template is filled: how many fields a call, how many calls at once, how far apart.

use std::str::FromStr;
use std::time::Duration;

use crate::chunk::ChunkSize;

/// Settings of one filling.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// So many calls are under way at once, at most.
    pub max_concurrent_api_calls: usize,
    /// From the start of one call to the start of the next.
    pub min_delay_between_calls: Duration,
    /// The most fields of one call.
    pub max_batch_size: usize,
    /// Tokens of text from the documents that one call is shown, at most. Documents that fit in whole are shown whole.
    pub context_tokens: u64,
    /// Chunks that are looked for each field.
    pub hits_per_field: usize,
    /// How documents are cut.
    pub chunks: ChunkSize,
    /// Whether meanings are searched, too, where vectors are to be had.
    pub embed: bool,
    /// Whether the model is asked for search questions first; one more generation call.
    pub propose_questions: bool,
    /// Whether kept answers are used; new ones are kept in any case.
    pub use_cache: bool,
    /// Whether scans and photos are shown to a model that can see them.
    pub send_media: bool,
    /// A pause that the API asks for is kept if it is no longer; beyond it the quota counts as used up.
    pub max_pause: Duration,
}

/// Settings that go together, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// 15 fields a call, one call at a time, 2 s apart.
    Conservative,
    /// 10 fields a call, two at a time, 1 s apart.
    #[default]
    Balanced,
    /// 8 fields a call, four at a time, 0.5 s apart.
    Aggressive,
}

/// A name that is no profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown profile {0:?}: one of conservative, balanced, aggressive")]
pub struct UnknownProfile(pub String);

impl Profile {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Conservative => "conservative",
            Profile::Balanced => "balanced",
            Profile::Aggressive => "aggressive",
        }
    }

    /// What it stands for.
    pub fn settings(self) -> Settings {
        let (max_concurrent_api_calls, delay, max_batch_size) = match self {
            Profile::Conservative => (1, 2000, 15),
            Profile::Balanced => (2, 1000, 10),
            Profile::Aggressive => (4, 500, 8),
        };
        Settings {
            max_concurrent_api_calls,
            min_delay_between_calls: Duration::from_millis(delay),
            max_batch_size,
            context_tokens: 12_000,
            hits_per_field: 6,
            chunks: ChunkSize::default(),
            embed: true,
            propose_questions: false,
            use_cache: true,
            send_media: true,
            max_pause: Duration::from_secs(120),
        }
    }
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Profile, UnknownProfile> {
        let all = [Profile::Conservative, Profile::Balanced, Profile::Aggressive];
        all.into_iter().find(|profile| profile.name() == name).ok_or_else(|| UnknownProfile(name.to_owned()))
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Profile::default().settings()
    }
}
