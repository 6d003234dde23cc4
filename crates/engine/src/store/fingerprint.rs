//! The name under which a key is kept: a digest that tells keys apart and tells nothing of the key.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// The first 64 bits of BLAKE3 over the key's text; shown and stored as 16 hexadecimal digits.
///
/// ```
/// use secrecy::SecretString;
/// use tidegate_engine::store::Fingerprint;
/// let fingerprint = Fingerprint::of(&SecretString::from("AIzaSy-one-key-of-some-project"));
/// assert_eq!(fingerprint.to_string().len(), 16);
/// assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(u64);

/// Not a fingerprint: 16 hexadecimal digits were expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no key fingerprint: 16 hexadecimal digits were expected")]
pub struct NotAFingerprint;

impl Fingerprint {
    /// The fingerprint of `key`.
    pub fn of(key: &SecretString) -> Fingerprint {
        let digest = blake3::hash(key.expose_secret().as_bytes());
        Fingerprint(digest.as_bytes().iter().take(8).fold(0, |bits, byte| bits << 8 | u64::from(*byte)))
    }
}

impl std::str::FromStr for Fingerprint {
    type Err = NotAFingerprint;
    fn from_str(text: &str) -> Result<Fingerprint, NotAFingerprint> {
        if text.len() != 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NotAFingerprint);
        }
        u64::from_str_radix(text, 16).map(Fingerprint).map_err(|_| NotAFingerprint)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_head_of_the_known_digest() {
        // BLAKE3 of the empty input, from the algorithm's published test vectors.
        assert_eq!(Fingerprint::of(&SecretString::from("")).to_string(), "af1349b9f5f9a1a6");
    }

    #[test]
    fn only_sixteen_hexadecimal_digits_are_read() {
        for wrong in ["", "af1349b9f5f9a1a", "af1349b9f5f9a1a67", "+f1349b9f5f9a1a6", "xf1349b9f5f9a1a6"] {
            assert_eq!(wrong.parse::<Fingerprint>(), Err(NotAFingerprint), "{wrong:?}");
        }
        assert_eq!("00000000000000ff".parse(), Ok(Fingerprint(255)));
    }
}
