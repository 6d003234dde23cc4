//! Profiles: presets for pacing, retries and caution, by name.

use std::time::Duration;

use tidegate_engine::scheduler::{KeyRules, WindowKind};

use super::layers::{KeysLayer, Layer, PacingLayer, QuotaLayer, RetryLayer};
use super::values::{AutoSpan, Written};

/// A preset. What a settings file, a variable or a flag says stands above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Profile {
    /// Never more than the steady flow of the quota, at most 16 calls at once, patient retries (2 s up to 2 m)
    Conservative,
    /// The full rate of the quota without provoking refusals (the default)
    #[default]
    Balanced,
    /// A whole minute's quota at once, short pauses after faults (250 ms up to 15 s), ten tries
    Aggressive,
    /// A key rests 30 s after each use, a worker 5 s, any two calls are 2 s apart; 120 s after a refusal, 12 h after three in a row
    Classic,
    /// Four slots a key, each starting a call every 12 s at most
    Slots,
}

impl Profile {
    /// The preset as a layer of settings.
    pub fn layer(self) -> Layer {
        match self {
            Profile::Balanced => Layer::default(),
            Profile::Conservative => conservative(),
            Profile::Aggressive => aggressive(),
            Profile::Classic => classic(),
            Profile::Slots => paced(PacingLayer {
                slots_per_key: Some(4),
                slot_interval: Some(Duration::from_secs(12)),
                ..PacingLayer::default()
            }),
        }
    }

    /// The name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Conservative => "conservative",
            Profile::Balanced => "balanced",
            Profile::Aggressive => "aggressive",
            Profile::Classic => "classic",
            Profile::Slots => "slots",
        }
    }
}

impl Written for Profile {
    const EXPECTED: &'static str = "\"conservative\", \"balanced\", \"aggressive\", \"classic\" or \"slots\"";
    fn read(text: &str) -> Option<Profile> {
        [Profile::Conservative, Profile::Balanced, Profile::Aggressive, Profile::Classic, Profile::Slots]
            .into_iter()
            .find(|profile| profile.name() == text.trim())
    }
    fn show(&self) -> String {
        self.name().to_string()
    }
}

fn paced(pacing: PacingLayer) -> Layer {
    Layer { pacing, ..Layer::default() }
}

fn classic() -> Layer {
    let rules = KeyRules::classic();
    let pacing = PacingLayer {
        key_cooldown: Some(Duration::from_secs(30)),
        worker_cooldown: Some(Duration::from_secs(5)),
        call_interval: Some(Duration::from_secs(2)),
        ..PacingLayer::default()
    };
    let keys = KeysLayer {
        exhausted_wait: Some(AutoSpan(rules.exhausted_wait)),
        fully_exhausted_wait: Some(AutoSpan(rules.fully_exhausted_wait)),
        max_exhausted_retries: rules.max_exhausted_retries,
    };
    Layer { pacing, keys, ..Layer::default() }
}

fn conservative() -> Layer {
    Layer {
        pacing: PacingLayer { max_concurrency: Some(16), ..PacingLayer::default() },
        retry: RetryLayer {
            initial_backoff: Some(Duration::from_secs(2)),
            max_backoff: Some(Duration::from_secs(120)),
            ..RetryLayer::default()
        },
        quota: QuotaLayer { window: Some(WindowKind::Bucket), ..QuotaLayer::default() },
        ..Layer::default()
    }
}

fn aggressive() -> Layer {
    Layer {
        retry: RetryLayer {
            max_transient_attempts: Some(10),
            initial_backoff: Some(Duration::from_millis(250)),
            max_backoff: Some(Duration::from_secs(15)),
            ..RetryLayer::default()
        },
        quota: QuotaLayer { window: Some(WindowKind::Sliding), ..QuotaLayer::default() },
        ..Layer::default()
    }
}
