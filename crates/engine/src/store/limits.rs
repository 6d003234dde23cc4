//! What was learned of a server: its limits, and how it counts a minute.

use std::time::Duration;

use rusqlite::{Row, params};
use tidegate_scheduler::{Dimension, Timestamp, WindowKind};

use super::columns::{count, instant, micros, number};
use super::{Store, StoreError};

/// How a limit became known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitSource {
    /// The `quotaValue` of a refusal.
    QuotaValue,
    /// The `limit:` in a refusal's message.
    Message,
    /// Our own trying: the server took more, or refused earlier, than was known.
    Probe,
}

impl LimitSource {
    /// `quotaValue`, `message` or `probe`.
    pub fn name(self) -> &'static str {
        match self {
            LimitSource::QuotaValue => "quotaValue",
            LimitSource::Message => "message",
            LimitSource::Probe => "probe",
        }
    }
}

/// A limit that a server told or let us find out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LearnedLimit {
    /// The project's name.
    pub project: String,
    /// The model family.
    pub model: String,
    /// What is limited.
    pub dimension: Dimension,
    /// Requests or tokens a minute or a day; 0 means there is no quota at all.
    pub value: u64,
    /// When it was learned.
    pub learned_at: Timestamp,
    /// How.
    pub source: LimitSource,
}

/// How a server turned out to count one dimension.
#[derive(Debug, Clone, PartialEq)]
pub struct LearnedWindow {
    /// The project's name.
    pub project: String,
    /// The model family.
    pub model: String,
    /// What is counted.
    pub dimension: Dimension,
    /// The kind of window; [`WindowKind::Auto`] while it is not known.
    pub kind: WindowKind,
    /// The part of a minute's limit that the server takes at once, above 0 and at most 1.
    pub burst: f64,
    /// How late a request may be counted after we sent it.
    pub guard: Duration,
    /// The tokens of answers count too.
    pub counts_total: bool,
    /// When this was learned.
    pub learned_at: Timestamp,
}

impl Store {
    /// Keeps a limit; it takes the place of what was learned before.
    pub fn learn_limit(&self, limit: &LearnedLimit) -> Result<(), StoreError> {
        self.write(
            "INSERT OR REPLACE INTO limits (scope, project, model, dimension, value, learned_at_us, source)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                self.scope,
                limit.project,
                limit.model,
                limit.dimension.name(),
                number(limit.value),
                micros(limit.learned_at),
                limit.source.name()
            ],
        )?;
        Ok(())
    }

    /// All learned limits, by project and model.
    pub fn learned_limits(&self) -> Result<Vec<LearnedLimit>, StoreError> {
        let rows = self.rows(
            "SELECT project, model, dimension, value, learned_at_us, source FROM limits WHERE scope = ?1
             ORDER BY project, model, dimension",
            params![self.scope],
            limit,
        )?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// Forgets one limit, as if it had never been learned.
    pub fn forget_limit(&self, project: &str, model: &str, dimension: Dimension) -> Result<(), StoreError> {
        self.write(
            "DELETE FROM limits WHERE scope = ?1 AND project = ?2 AND model = ?3 AND dimension = ?4",
            params![self.scope, project, model, dimension.name()],
        )?;
        Ok(())
    }

    /// Keeps how a server counts; it takes the place of what was learned before.
    pub fn learn_window(&self, window: &LearnedWindow) -> Result<(), StoreError> {
        self.write(
            "INSERT OR REPLACE INTO windows (scope, project, model, dimension, kind, burst, guard_us, learned_at_us, counts_total)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                self.scope,
                window.project,
                window.model,
                window.dimension.name(),
                kind_name(window.kind),
                if window.burst.is_finite() { window.burst } else { 1.0 },
                micros(Timestamp::ZERO + window.guard),
                micros(window.learned_at),
                window.counts_total
            ],
        )?;
        Ok(())
    }

    /// All that was learned of windows, by project and model.
    pub fn learned_windows(&self) -> Result<Vec<LearnedWindow>, StoreError> {
        let rows = self.rows(
            "SELECT project, model, dimension, kind, burst, guard_us, learned_at_us, counts_total FROM windows WHERE scope = ?1
             ORDER BY project, model, dimension",
            params![self.scope],
            window,
        )?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// Forgets how one dimension is counted, as if it had never been learned.
    pub fn forget_window(&self, project: &str, model: &str, dimension: Dimension) -> Result<(), StoreError> {
        self.write(
            "DELETE FROM windows WHERE scope = ?1 AND project = ?2 AND model = ?3 AND dimension = ?4",
            params![self.scope, project, model, dimension.name()],
        )?;
        Ok(())
    }
}

/// `None` for a row with a word that this program does not know: it can do nothing with it.
fn limit(row: &Row<'_>) -> rusqlite::Result<Option<LearnedLimit>> {
    let (dimension, source): (String, String) = (row.get(2)?, row.get(5)?);
    let (Some(dimension), Some(source)) = (dimension_named(&dimension), source_named(&source)) else {
        return Ok(None);
    };
    let (project, model) = (row.get(0)?, row.get(1)?);
    Ok(Some(LearnedLimit { project, model, dimension, value: count(row, 3)?, learned_at: instant(row, 4)?, source }))
}

/// `None` as for [`limit`].
fn window(row: &Row<'_>) -> rusqlite::Result<Option<LearnedWindow>> {
    let (dimension, kind): (String, String) = (row.get(2)?, row.get(3)?);
    let (Some(dimension), Some(kind)) = (dimension_named(&dimension), kind_named(&kind)) else {
        return Ok(None);
    };
    Ok(Some(LearnedWindow {
        project: row.get(0)?,
        model: row.get(1)?,
        dimension,
        kind,
        burst: row.get(4)?,
        guard: Duration::from_micros(count(row, 5)?),
        learned_at: instant(row, 6)?,
        counts_total: row.get(7)?,
    }))
}

fn dimension_named(name: &str) -> Option<Dimension> {
    [Dimension::Rpm, Dimension::Tpm, Dimension::Rpd, Dimension::Tpd].into_iter().find(|dimension| dimension.name() == name)
}

fn source_named(name: &str) -> Option<LimitSource> {
    [LimitSource::QuotaValue, LimitSource::Message, LimitSource::Probe].into_iter().find(|source| source.name() == name)
}

/// The words of `quota.window` in the settings.
fn kind_name(kind: WindowKind) -> &'static str {
    match kind {
        WindowKind::Auto => "auto",
        WindowKind::Sliding => "sliding",
        WindowKind::Fixed => "fixed",
        WindowKind::Bucket => "bucket",
    }
}

fn kind_named(name: &str) -> Option<WindowKind> {
    let kinds = [WindowKind::Auto, WindowKind::Sliding, WindowKind::Fixed, WindowKind::Bucket];
    kinds.into_iter().find(|kind| kind_name(*kind) == name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn rpm(value: u64, source: LimitSource) -> LearnedLimit {
        let learned_at = Timestamp::from_secs(value);
        LearnedLimit { project: "p".into(), model: "m".into(), dimension: Dimension::Rpm, value, learned_at, source }
    }

    fn counted(kind: WindowKind, dimension: Dimension) -> LearnedWindow {
        let guard = Duration::from_millis(350);
        let learned_at = Timestamp::from_secs(9);
        LearnedWindow {
            project: "p".into(),
            model: "m".into(),
            dimension,
            kind,
            burst: 0.125,
            guard,
            counts_total: true,
            learned_at,
        }
    }

    #[test]
    fn every_dimension_source_and_kind_comes_back_as_it_was() {
        let store = Store::in_memory("http://a").unwrap();
        for source in [LimitSource::QuotaValue, LimitSource::Message, LimitSource::Probe] {
            for dimension in [Dimension::Rpm, Dimension::Tpm, Dimension::Rpd, Dimension::Tpd] {
                let limit = LearnedLimit { dimension, ..rpm(5, source) };
                store.learn_limit(&limit).unwrap();
                assert!(store.learned_limits().unwrap().contains(&limit));
            }
        }
        for kind in [WindowKind::Auto, WindowKind::Sliding, WindowKind::Fixed, WindowKind::Bucket] {
            store.learn_window(&counted(kind, Dimension::Rpm)).unwrap();
            assert_eq!(store.learned_windows(), Ok(vec![counted(kind, Dimension::Rpm)]));
        }
    }

    #[test]
    fn what_is_learned_later_takes_the_place_of_the_earlier() {
        let store = Store::in_memory("http://a").unwrap();
        store.learn_limit(&rpm(5, LimitSource::QuotaValue)).unwrap();
        store.learn_limit(&rpm(0, LimitSource::Message)).unwrap();
        assert_eq!(store.learned_limits(), Ok(vec![rpm(0, LimitSource::Message)]));
    }

    #[test]
    fn only_the_named_one_is_forgotten() {
        let store = Store::in_memory("http://a").unwrap();
        let tpm = LearnedLimit { dimension: Dimension::Tpm, ..rpm(6, LimitSource::Probe) };
        store.learn_limit(&rpm(5, LimitSource::QuotaValue)).unwrap();
        store.learn_limit(&tpm).unwrap();
        store.forget_limit("p", "m", Dimension::Rpm).unwrap();
        assert_eq!(store.learned_limits(), Ok(vec![tpm]));

        store.learn_window(&counted(WindowKind::Fixed, Dimension::Rpm)).unwrap();
        store.learn_window(&counted(WindowKind::Fixed, Dimension::Tpm)).unwrap();
        store.forget_window("p", "m", Dimension::Tpm).unwrap();
        assert_eq!(store.learned_windows(), Ok(vec![counted(WindowKind::Fixed, Dimension::Rpm)]));
    }

    #[test]
    fn words_of_a_later_program_are_passed_over() {
        let store = Store::in_memory("http://a").unwrap();
        store.learn_limit(&rpm(5, LimitSource::QuotaValue)).unwrap();
        store.learn_window(&counted(WindowKind::Fixed, Dimension::Rpm)).unwrap();
        store.connection.execute_batch("UPDATE limits SET source = 'header'; UPDATE windows SET kind = 'leaky'").unwrap();
        assert_eq!(store.learned_limits(), Ok(vec![]));
        assert_eq!(store.learned_windows(), Ok(vec![]));
    }
}
