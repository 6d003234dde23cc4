//! A project as its owner names it, and its limits as the scheduler wants them.

use secrecy::SecretString;
use tidegate_gemini::models::{self, Limits};

/// A project and its keys: the owner of quotas.
#[derive(Debug, Clone, Default)]
pub struct Project {
    /// Its name in displays and settings.
    pub name: String,
    /// Its keys, each with a display name (`None`: `PROJECT/1`, ...).
    pub keys: Vec<(Option<String>, SecretString)>,
    /// Limits by model id or `*`, later entries win; a missing dimension is unlimited.
    pub limits: Vec<(String, Limits)>,
    /// Name of the billing account that pays for it: an unpaid bill parks all projects of one account. `None` is an account
    /// of its own.
    pub account: Option<String>,
}

/// The quota family of a model; `*` stands for itself.
pub(crate) fn family(model: &str) -> String {
    if model == "*" { model.to_string() } else { models::family(model).to_string() }
}

/// The same limits, as the scheduler has them.
pub(crate) fn scheduler_limits(Limits { rpm, tpm, rpd }: Limits) -> tidegate_scheduler::Limits {
    tidegate_scheduler::Limits { rpm, tpm, rpd }
}
