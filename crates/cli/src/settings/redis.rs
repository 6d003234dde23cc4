//! `[redis]`: where machines meet, and what goes on without it.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tidegate_redis::Address;

use super::values::{Written, written};
use super::{Origin, Resolver, SettingsError};
use crate::env_vars::Environment;
use crate::settings::layers::Source;

/// What one source says of Redis.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisLayer {
    /// Its address.
    pub url: Option<RedisUrl>,
    /// The part of the limits that `serve` goes on with while Redis is away.
    #[serde(deserialize_with = "written")]
    pub local_share: Option<LocalShare>,
}

/// An address that may hold a password, or `env:NAME`; `Debug` shows neither.
#[derive(Clone, Deserialize)]
#[serde(from = "String")]
pub struct RedisUrl(SecretString);

impl From<String> for RedisUrl {
    fn from(url: String) -> RedisUrl {
        RedisUrl(url.into())
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisUrl(..)")
    }
}

/// A part from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LocalShare(pub f64);

impl Written for LocalShare {
    const EXPECTED: &'static str = "a number from 0 to 1";
    fn read(text: &str) -> Option<LocalShare> {
        text.trim().parse().ok().filter(|part| (0.0..=1.0).contains(part)).map(LocalShare)
    }
    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// How Redis is used.
#[derive(Debug, Clone)]
pub struct Redis {
    /// Its address; `None` where nothing is shared.
    pub url: Option<SecretString>,
    /// The part of the limits that all gateways together go on with while it is away.
    pub local_share: f64,
}

/// Part of the limits that is used without Redis, when nobody says.
const LOCAL_SHARE: f64 = 0.5;

pub(super) fn resolve(from: &mut Resolver<'_>, environment: &Environment) -> Result<Redis, SettingsError> {
    let found = from.stack.pick(|layer| layer.redis.url.clone());
    let source = found.as_ref().map_or(&Source::Default, |(_, source)| source).clone();
    let url = found.map(|(url, _)| named(url, environment)).transpose()?;
    let place = |url: &SecretString| Address::parse(url.expose_secret()).map_or("…".to_owned(), |at| at.place().to_owned());
    let value = url.as_ref().map_or("none".to_owned(), place);
    from.origins.push(Origin { name: "redis.url", value, source });
    let local_share = from.value("redis.local_share", LocalShare(LOCAL_SHARE), |layer| layer.redis.local_share).0;
    Ok(Redis { url, local_share })
}

/// The address itself, where a variable is named.
fn named(RedisUrl(url): RedisUrl, environment: &Environment) -> Result<SecretString, SettingsError> {
    let Some(name) = url.expose_secret().strip_prefix("env:") else { return Ok(url) };
    let value = environment.get(name).map(|value| SecretString::from(value.to_owned()));
    value.ok_or_else(|| SettingsError::Impossible {
        name: "redis.url",
        value: format!("env:{name}"),
        reason: "that environment variable is not set",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_number_from_nothing_to_all() {
        assert_eq!(LocalShare::read("0"), Some(LocalShare(0.0)));
        assert_eq!(LocalShare::read(" 0.5 "), Some(LocalShare(0.5)));
        assert_eq!(LocalShare::read("1.1"), None);
    }

    #[test]
    fn an_address_is_never_shown() {
        let layer = RedisLayer { url: Some("redis://:secret@host".to_owned().into()), ..RedisLayer::default() };
        assert!(!format!("{layer:?}").contains("secret"));
    }
}
