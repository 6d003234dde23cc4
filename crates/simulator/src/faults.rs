//! What goes wrong on purpose: the kinds of fault, and which one a request meets.

use std::collections::HashMap;

use serde::Deserialize;

use crate::chance::Chance;

/// One line of the script of faults.
///
/// A fault hits a request that fits every condition named, with the probability `rate`.
/// The first line that hits decides.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What happens.
    pub kind: FaultKind,
    /// How often, 0 to 1; without it always.
    #[serde(default = "always")]
    pub rate: f64,
    /// Not before this time since the first request, milliseconds.
    #[serde(default)]
    pub from_ms: u64,
    /// Not from this time on.
    pub to_ms: Option<u64>,
    /// Only this model.
    pub model: Option<String>,
    /// Only keys of this project.
    pub project: Option<String>,
    /// Only prompts whose text holds this.
    pub contains: Option<String>,
    /// How long `hang` and `deadline` keep the client waiting, milliseconds.
    #[serde(default = "ten_minutes")]
    pub hold_ms: u64,
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// 503, the older wording.
    Overloaded,
    /// 503, the newer wording.
    HighDemand,
    /// 500.
    Internal,
    /// 504, after `hold_ms`.
    Deadline,
    /// 400 without a reason.
    InvalidArgument,
    /// 502 with a page of HTML.
    BadGateway,
    /// 429 without any details.
    QuotaBare,
    /// 429 of a quota shared by many customers.
    SharedQuota,
    /// 429: the project's monthly spending cap.
    SpendCap,
    /// 429: the model has no free tier.
    NoFreeTier,
    /// 402: the prepaid credit is used up.
    PrepayDepleted,
    /// 429 with a page of HTML, against the client's address.
    SorryPage,
    /// The connection is closed before any answer.
    Reset,
    /// No answer for `hold_ms`, then the connection is closed.
    Hang,
    /// The answer breaks off halfway, without a proper end.
    CutStream,
    /// A declared length that is never reached.
    TruncatedBody,
    /// A complete answer that is not JSON.
    MalformedBody,
    /// An error as an event of a running stream; 503 for a request without a stream.
    StreamError,
    /// The same without the `data:` in front, over many lines.
    StreamErrorRaw,
    /// Success, `STOP`, no text.
    EmptyStop,
    /// Success, `MAX_TOKENS`, all of them spent on thoughts.
    ThoughtsOnly,
    /// Success, stopped by the safety filter.
    Safety,
    /// Success, stopped for reciting.
    Recitation,
    /// Success, but the JSON that was asked for lacks its end.
    BrokenJson,
    /// Success without candidates: the prompt was blocked.
    PromptBlocked,
    /// Success, the JSON within a fence of Markdown.
    JsonFences,
    /// Success, the JSON between sentences.
    JsonProse,
    /// Success, the JSON with a comma before its end.
    JsonTrailingComma,
    /// Success, the JSON with single quotes.
    JsonSingleQuotes,
    /// Success, `MAX_TOKENS`, the JSON cut off.
    JsonTruncated,
    /// Success, JSON that its schema does not accept; a prompt that asks again is spared.
    JsonWrongType,
    /// Success, but of several numbered prompts every third has no answer.
    ItemsMissing,
    /// Success, but of several numbered prompts the second answer bears the number of the first.
    ItemsDoubled,
    /// Success, but the answers to numbered prompts are counted from nought.
    ItemsMisnumbered,
    /// The connection breaks within a chunk of an upload; half of it was kept.
    UploadCut,
    /// 503 for a chunk of an upload, which was not kept.
    UploadUnavailable,
    /// The answer to a chunk lacks its status header, and the chunk was not kept.
    UploadNoStatus,
}

/// When a fault comes: before the quota is charged, after it, or with a chunk of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Uncharged,
    Charged,
    /// A chunk of an upload, which knows no quota.
    Upload,
}

/// What a fault's conditions look at.
#[derive(Debug)]
pub(crate) struct Circumstances<'a> {
    pub(crate) elapsed_ms: u64,
    pub(crate) model: &'a str,
    pub(crate) project: &'a str,
    pub(crate) text: &'a str,
    pub(crate) identity: u128,
}

/// The script, and how often each prompt met one of its chances.
#[derive(Debug)]
pub(crate) struct FaultBook {
    faults: Vec<Fault>,
    bound: Option<u32>,
    met: HashMap<u128, u32>,
}

impl FaultBook {
    pub(crate) fn new(faults: Vec<Fault>, bound: Option<u32>) -> Self {
        Self { faults, bound, met: HashMap::new() }
    }

    /// The fault this request meets in this phase.
    pub(crate) fn pick(&mut self, phase: Phase, now: &Circumstances<'_>, chance: &mut Chance) -> Option<(FaultKind, u64)> {
        let spared = self.bound.is_some_and(|bound| self.met.get(&now.identity).is_some_and(|met| *met >= bound));
        let hit = self.faults.iter().find(|fault| {
            fault.kind.phase() == phase && fault.fits(now) && (fault.rate >= 1.0 || !spared) && chance.happens(fault.rate)
        })?;
        if self.bound.is_some() && hit.rate < 1.0 {
            *self.met.entry(now.identity).or_default() += 1;
        }
        Some((hit.kind, hit.hold_ms))
    }
}

impl Fault {
    fn fits(&self, now: &Circumstances<'_>) -> bool {
        now.elapsed_ms >= self.from_ms
            && self.to_ms.is_none_or(|to| now.elapsed_ms < to)
            && self.model.as_ref().is_none_or(|model| model == now.model)
            && self.project.as_ref().is_none_or(|project| project == now.project)
            && self.contains.as_ref().is_none_or(|mark| now.text.contains(mark))
    }
}

impl FaultKind {
    /// Refusals consume no quota, and what never reached the model cannot.
    pub(crate) fn phase(self) -> Phase {
        match self {
            Self::BadGateway
            | Self::QuotaBare
            | Self::SharedQuota
            | Self::SpendCap
            | Self::NoFreeTier
            | Self::PrepayDepleted
            | Self::SorryPage
            | Self::Reset => Phase::Uncharged,
            Self::Overloaded
            | Self::HighDemand
            | Self::Internal
            | Self::Deadline
            | Self::InvalidArgument
            | Self::Hang
            | Self::CutStream
            | Self::TruncatedBody
            | Self::MalformedBody
            | Self::StreamError
            | Self::StreamErrorRaw
            | Self::EmptyStop
            | Self::ThoughtsOnly
            | Self::Safety
            | Self::Recitation
            | Self::BrokenJson
            | Self::PromptBlocked
            | Self::JsonFences
            | Self::JsonProse
            | Self::JsonTrailingComma
            | Self::JsonSingleQuotes
            | Self::JsonTruncated
            | Self::JsonWrongType
            | Self::ItemsMissing
            | Self::ItemsDoubled
            | Self::ItemsMisnumbered => Phase::Charged,
            Self::UploadCut | Self::UploadUnavailable | Self::UploadNoStatus => Phase::Upload,
        }
    }

    /// The name under which the report counts it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Overloaded => "overloaded",
            Self::HighDemand => "high_demand",
            Self::Internal => "internal",
            Self::Deadline => "deadline",
            Self::InvalidArgument => "invalid_argument",
            Self::BadGateway => "bad_gateway",
            Self::QuotaBare => "quota_bare",
            Self::SharedQuota => "shared_quota",
            Self::SpendCap => "spend_cap",
            Self::NoFreeTier => "no_free_tier",
            Self::PrepayDepleted => "prepay_depleted",
            Self::SorryPage => "sorry_page",
            Self::Reset => "reset",
            Self::Hang => "hang",
            Self::CutStream => "cut_stream",
            Self::TruncatedBody => "truncated_body",
            Self::MalformedBody => "malformed_body",
            Self::StreamError => "stream_error",
            Self::StreamErrorRaw => "stream_error_raw",
            Self::EmptyStop => "empty_stop",
            Self::ThoughtsOnly => "thoughts_only",
            Self::Safety => "safety",
            Self::Recitation => "recitation",
            Self::BrokenJson => "broken_json",
            Self::PromptBlocked => "prompt_blocked",
            Self::JsonFences => "json_fences",
            Self::JsonProse => "json_prose",
            Self::JsonTrailingComma => "json_trailing_comma",
            Self::JsonSingleQuotes => "json_single_quotes",
            Self::JsonTruncated => "json_truncated",
            Self::JsonWrongType => "json_wrong_type",
            Self::ItemsMissing => "items_missing",
            Self::ItemsDoubled => "items_doubled",
            Self::ItemsMisnumbered => "items_misnumbered",
            Self::UploadCut => "upload_cut",
            Self::UploadUnavailable => "upload_unavailable",
            Self::UploadNoStatus => "upload_no_status",
        }
    }
}

fn always() -> f64 {
    1.0
}

fn ten_minutes() -> u64 {
    600_000
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn fault(toml: &str) -> Fault {
        toml::from_str(toml).unwrap()
    }

    fn at(elapsed_ms: u64, text: &str) -> Circumstances<'_> {
        Circumstances { elapsed_ms, model: "m", project: "p", text, identity: 1 }
    }

    #[test]
    fn a_marked_prompt_fails_each_time_and_others_never() {
        let mut book = FaultBook::new(vec![fault("kind='safety'\ncontains='POISON'")], Some(1));
        let mut chance = Chance::new(1);
        for _ in 0..5 {
            let hit = book.pick(Phase::Charged, &at(0, "a POISON b"), &mut chance);
            assert_eq!(hit.unwrap().0, FaultKind::Safety);
            assert_eq!(book.pick(Phase::Charged, &at(0, "fine"), &mut chance), None);
        }
    }

    #[test]
    fn an_outage_lasts_its_span() {
        let mut book = FaultBook::new(vec![fault("kind='overloaded'\nfrom_ms=10\nto_ms=20")], None);
        let mut chance = Chance::new(1);
        let mut down = |ms| book.pick(Phase::Charged, &at(ms, ""), &mut chance).is_some();
        assert_eq!([9, 10, 19, 20].map(&mut down), [false, true, true, false]);
    }

    #[test]
    fn chances_spare_a_prompt_that_met_enough_of_them() {
        let mut book = FaultBook::new(vec![fault("kind='internal'\nrate=0.9")], Some(2));
        let mut chance = Chance::new(1);
        let hits = (0..100).filter(|_| book.pick(Phase::Charged, &at(0, ""), &mut chance).is_some());
        assert_eq!(hits.count(), 2);
    }
}
