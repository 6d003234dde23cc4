//! Picks each setting from the highest source that names it, and remembers which that was.

use std::fmt;

use super::layers::{Layer, Source, Stack};
use super::values::Written;

/// Picks settings from a stack and remembers where each came from.
pub struct Resolver<'a> {
    pub(super) stack: &'a Stack,
    pub(super) origins: Vec<Origin>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(stack: &'a Stack) -> Resolver<'a> {
        Resolver { stack, origins: Vec::new() }
    }

    pub(super) fn text(&mut self, name: &'static str, default: &str, of: impl Fn(&Layer) -> Option<String>) -> String {
        let (value, source) = self.stack.pick(of).unwrap_or_else(|| (default.to_string(), &Source::Default));
        self.origins.push(Origin { name, value: value.clone(), source: source.clone() });
        value
    }

    /// Limits for every project and model, where somebody gave one.
    pub(super) fn limits(&mut self) {
        self.limit("rpm", |layer| layer.limits.rpm);
        self.limit("tpm", |layer| layer.limits.tpm);
        self.limit("rpd", |layer| layer.limits.rpd);
    }

    fn limit(&mut self, name: &'static str, of: impl Fn(&Layer) -> Option<u64>) {
        let found = self.stack.pick(of);
        let (value, source) = found.map_or(("none".to_string(), &Source::Default), |(value, source)| (value.show(), source));
        self.origins.push(Origin { name, value, source: source.clone() });
    }

    pub(super) fn value<T: Written>(&mut self, name: &'static str, default: T, of: impl Fn(&Layer) -> Option<T>) -> T {
        let (value, source) = self.stack.pick(of).unwrap_or((default, &Source::Default));
        self.origins.push(Origin { name, value: value.show(), source: source.clone() });
        value
    }
}

/// One setting in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its name in the settings file.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// Where that comes from.
    pub source: Source,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} ({})", self.name, self.value, self.source)
    }
}
