//! Which HTTP statuses are nobody's fault and worth another try.

/// HTTP statuses that count as faults of the API or the network. Any other ends the prompt with the API's own error.
///
/// Keys and quotas are judged first, whatever stands here: a 429 or a bad key never ends a prompt. A status of the list
/// ends the prompt when taken out of it; 499 and pages with a status that is neither here nor in the usual list come from
/// somebody between us and the API, and stay worth another try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryOn(Vec<u16>);

/// What stands in the list when nobody says.
const USUAL: [u16; 5] = [408, 500, 502, 503, 504];

impl RetryOn {
    /// These statuses and no others.
    pub fn new(statuses: impl IntoIterator<Item = u16>) -> RetryOn {
        RetryOn(statuses.into_iter().collect())
    }

    /// Whether an error of this status is worth another try.
    pub fn covers(&self, status: u16) -> bool {
        self.0.contains(&status)
    }

    /// Whether an error that looks transient ends the prompt all the same.
    pub(crate) fn ends(&self, status: u16, is_page: bool) -> bool {
        let told = (400..600).contains(&status) && status != 499 && (!is_page || USUAL.contains(&status));
        told && !self.covers(status)
    }

    /// The statuses, as they were given.
    pub fn statuses(&self) -> &[u16] {
        &self.0
    }
}

impl Default for RetryOn {
    fn default() -> RetryOn {
        RetryOn(USUAL.to_vec())
    }
}
