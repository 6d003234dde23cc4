//! `[cache]`: which answers need no call of their own, and how long they are kept.

use std::time::Duration;

use serde::Deserialize;
use tidegate_engine::CacheBounds;

use super::Resolver;
use super::media::Size;
use super::values::written;

/// What one source says of reuse.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheLayer {
    /// Keep good answers and find them again.
    pub enabled: Option<bool>,
    /// Ask equal prompts that are on their way at the same time once.
    pub dedup: Option<bool>,
    /// The most bytes of answers that are kept.
    #[serde(deserialize_with = "written")]
    pub size: Option<Size>,
    /// How old a kept answer may be.
    #[serde(deserialize_with = "written")]
    pub age: Option<Duration>,
}

/// Which answers are reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheWish {
    /// Keep good answers and find them again.
    pub enabled: bool,
    /// Ask equal prompts that are on their way at the same time once.
    pub dedup: bool,
    /// How much is kept, and for how long.
    pub bounds: CacheBounds,
}

pub fn resolve(from: &mut Resolver<'_>) -> CacheWish {
    let usual = CacheBounds::default();
    let enabled = from.value("cache.enabled", false, |layer| layer.cache.enabled);
    let dedup = from.value("cache.dedup", false, |layer| layer.cache.dedup);
    let bytes = from.value("cache.size", Size(usual.bytes), |layer| layer.cache.size).0;
    let age = from.value("cache.age", usual.age, |layer| layer.cache.age);
    CacheWish { enabled, dedup, bounds: CacheBounds { bytes, age } }
}
