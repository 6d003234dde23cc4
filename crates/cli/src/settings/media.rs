//! `[media]`: how media are sent, and which hosts may be fetched from.

use serde::Deserialize;
use tidegate_engine::media::MediaSettings;

use super::layers::Source;
use super::values::{Written, written};
use super::{Origin, Resolver, SettingsError};

/// What one source says of media.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MediaLayer {
    /// Media of a prompt that are together at most this large go inside it.
    #[serde(deserialize_with = "written")]
    pub inline_limit: Option<Size>,
    /// Fetch every address here.
    pub fetch_urls: Option<bool>,
    /// Hosts that may be fetched from although they are private; all sources together.
    pub allow_hosts: Vec<String>,
}

/// What the API takes in one request, Base64 and the text around it left out.
const MOST_INLINE: u64 = 70_000_000;

/// A number of bytes, written `20MB`, `512KiB` or plainly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

const UNITS: [(&str, u64); 7] =
    [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("KB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000), ("B", 1)];

impl Written for Size {
    const EXPECTED: &'static str = "a size such as \"20MB\"";
    fn read(text: &str) -> Option<Size> {
        let text = text.trim();
        let unit = UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
        let (number, factor) = unit.unwrap_or((text, 1));
        let number: u64 = number.trim().replace('_', "").parse().ok()?;
        number.checked_mul(factor).map(Size)
    }
    fn show(&self) -> String {
        let whole = |(_, factor): &&(&str, u64)| self.0 > 0 && self.0.is_multiple_of(*factor);
        let (unit, factor) = UNITS.iter().filter(whole).max_by_key(|(_, factor)| *factor).unwrap_or(&("B", 1));
        format!("{}{unit}", self.0 / factor)
    }
}

impl Written for bool {
    const EXPECTED: &'static str = "true or false";
    fn read(text: &str) -> Option<bool> {
        text.trim().parse().ok()
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

/// How media are sent.
///
/// # Errors
/// When more is to go into a prompt than the API takes.
pub fn resolve(from: &mut Resolver<'_>) -> Result<MediaSettings, SettingsError> {
    let usual = MediaSettings::default();
    let limit = from.value("media.inline_limit", Size(usual.inline_limit), |layer| layer.media.inline_limit);
    if limit.0 > MOST_INLINE {
        let reason = "the API takes no more than 70MB inside a request; larger media are uploaded";
        return Err(SettingsError::Impossible { name: "media.inline_limit", value: limit.show(), reason });
    }
    let fetch_urls = from.value("media.fetch_urls", usual.fetch_urls, |layer| layer.media.fetch_urls);
    let allow_hosts = hosts(from);
    Ok(MediaSettings { inline_limit: limit.0, fetch_urls, allow_hosts })
}

/// The hosts of all sources; the highest that names one stands for them.
fn hosts(from: &mut Resolver<'_>) -> Vec<String> {
    let layers = from.stack.0.iter().filter(|(_, layer)| !layer.media.allow_hosts.is_empty());
    let source = layers.clone().next().map_or(Source::Default, |(source, _)| source.clone());
    let hosts: Vec<String> = layers.flat_map(|(_, layer)| layer.media.allow_hosts.iter().cloned()).collect();
    let value = if hosts.is_empty() { "none".to_owned() } else { hosts.join(", ") };
    from.origins.push(Origin { name: "media.allow_hosts", value, source });
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown_as_people_write_them() {
        for (text, bytes, shown) in [
            ("20MB", 20_000_000, "20MB"),
            ("8 MiB", 8 << 20, "8MiB"),
            ("1_500", 1_500, "1500B"),
            ("0", 0, "0B"),
            ("3KB", 3_000, "3KB"),
        ] {
            assert_eq!(Size::read(text), Some(Size(bytes)), "{text}");
            assert_eq!(Size(bytes).show(), shown);
        }
        for text in ["", "MB", "-1MB", "20 megabytes", "99999999999GB"] {
            assert_eq!(Size::read(text), None, "{text}");
        }
    }
}
