//! What a rehearsal tells of a run: how long it takes, what holds it up, and what would shorten it.

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate_engine::Project;
use tidegate_engine::rehearsal::{Forecast, Stage};
use tidegate_engine::scheduler::{Settings, Timestamp};
use tidegate_gemini::models::{Limits, family};

use super::change::Change;
use super::load::Load;
use crate::commands::past::Past;

/// What holds a run up for less than this part of its time is not worth a word.
const WORTH_A_WORD: f64 = 0.05;

/// What shortens a run by less than this part is not worth a try.
const WORTH_A_TRY: f64 = 0.01;

/// What a rehearsal plays with.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// Projects with keys and limits.
    pub projects: &'a [Project],
    /// Pacing and quota rules.
    pub settings: &'a Settings,
    /// What earlier runs left.
    pub past: &'a Past,
    /// How long a call takes.
    pub latency: Duration,
}

/// What is to be expected.
#[derive(Debug)]
pub struct Outlook {
    /// The run as rehearsed.
    pub forecast: Forecast,
    /// What would make it shorter, and how long it would take then; the shortest first.
    pub shorter: Vec<(Change, Duration)>,
    /// Quota days needed where every project has a daily limit.
    pub days: Option<u64>,
}

impl Outlook {
    /// Rehearses the load, then once more for each thing that could help.
    pub fn of(load: &Load, scene: Scene<'_>) -> Outlook {
        let Scene { projects, settings, past, latency } = scene;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start = Timestamp::ZERO + wall;
        let families: Vec<&str> = load.families.iter().map(String::as_str).collect();
        let rehearse = |projects: &[Project], settings: &Settings| {
            let (calibration, remembered) = (&past.calibration, &past.remembered(projects));
            let day_anchor = past.day_anchor;
            let stage = Stage { projects, settings, start, latency, day_anchor, remembered, calibration };
            stage.rehearse(&families, load.parts.iter().copied())
        };
        let forecast = rehearse(projects, settings);
        let changes = changes(&forecast);
        let tried: Vec<(Change, Option<Duration>)> = thread::scope(|scope| {
            let (rehearse, projects, settings) = (&rehearse, projects, settings);
            let tries: Vec<_> = changes
                .iter()
                .map(|&change| {
                    let otherwise = move || {
                        let (mut projects, mut settings) = (projects.to_vec(), settings.clone());
                        change.apply(&mut projects, &mut settings);
                        rehearse(&projects, &settings).duration
                    };
                    (change, scope.spawn(otherwise))
                })
                .collect();
            tries.into_iter().map(|(change, tried)| (change, tried.join().ok())).collect()
        });
        let enough = forecast.duration.mul_f64(1.0 - WORTH_A_TRY);
        let better = tried.into_iter().filter_map(|(change, took)| Some((change, took?)));
        let mut shorter: Vec<_> = better.filter(|&(_, took)| took < enough).collect();
        shorter.sort_by_key(|&(_, took)| took);
        Outlook { forecast, shorter, days: days(load, projects) }
    }

    /// What limits the run: the reason it waited for longest, if that was worth a word.
    pub fn binding(&self) -> Option<(&'static str, Duration)> {
        self.forecast.binding().filter(|&(_, waited)| waited >= self.forecast.duration.mul_f64(WORTH_A_WORD))
    }
}

fn changes(forecast: &Forecast) -> Vec<Change> {
    let least = forecast.duration.mul_f64(WORTH_A_WORD);
    let reasons = forecast.waited.iter().filter(|(_, waited)| *waited >= least).map(|(reason, _)| *reason);
    let mut changes: Vec<Change> = Vec::new();
    for &change in reasons.flat_map(Change::against) {
        if !changes.contains(&change) {
            changes.push(change);
        }
    }
    changes
}

/// The most days any model family needs; `None` where a project has no daily limit, or none has any quota.
fn days(load: &Load, projects: &[Project]) -> Option<u64> {
    let needed = |(number, name): (usize, &String)| {
        let daily = projects.iter().map(|project| limits_of(project, name).rpd).sum::<Option<u64>>()?;
        (daily > 0).then(|| load.calls_of(number).div_ceil(daily))
    };
    load.families.iter().enumerate().map(needed).collect::<Option<Vec<_>>>()?.into_iter().max()
}

fn limits_of(project: &Project, name: &str) -> Limits {
    let last = |wanted: fn(&str, &str) -> bool| project.limits.iter().rev().find(|(model, _)| wanted(model, name));
    let own = last(|model, name| model != "*" && family(model) == name);
    own.or_else(|| last(|model, _| model == "*")).map(|(_, limits)| *limits).unwrap_or_default()
}
