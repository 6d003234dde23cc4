//! `tidegate plan`: tokens, cost and time of the inputs under these quotas, before anything is spent.

mod change;
mod load;
mod outlook;
mod report;
mod rhythm;

use std::sync::Arc;

use tidegate_batch::{Input, Options};
use tidegate_engine::media::Resolver;
use tidegate_engine::{BuildError, Project};
use tidegate_gemini::models::Limits;
use tidegate_gemini::request::Defaults;

use super::past::Past;
use super::{Context, run};
use crate::args::PlanArgs;
use crate::exit_code::{ExitCode, Failure};
use crate::screen;
use crate::settings::Settings;
use load::{Assumed, Given, Load};
use outlook::{Outlook, Scene};
use report::Report;
use rhythm::Rhythm;

/// Plans and prints the plan.
///
/// # Errors
/// When settings or inputs cannot be used, or nothing tells which quotas there are.
pub fn run(wanted: &PlanArgs, context: &Context) -> Result<ExitCode, Failure> {
    if let Some(workers) = wanted.workers {
        let rhythm = Rhythm::new(workers, wanted.pacing.rpm.unwrap_or_default())?;
        screen::data(if wanted.json { rhythm.json() } else { rhythm.text() });
        return Ok(ExitCode::AllOk);
    }
    let settings = context.settings(wanted.layer(context.global.layer()), context.scenario()?)?;
    let past = Past::read(&settings, context.global.sim.is_some(), &context.screen);
    let projects = projects(wanted, &settings, &past, context)?;
    let assumed = Assumed { output_tokens: wanted.output_tokens, latency: wanted.latency };
    let given =
        Given { options: options(wanted, &settings)?, calibration: &past.calibration, prices: settings.prices.clone(), assumed };
    let load = Load::read(inputs(wanted)?, given)?;
    let scene = Scene { projects: &projects, settings: &settings.scheduler, past: &past, latency: assumed.latency };
    let outlook = Outlook::of(&load, scene);
    let report = Report { load: &load, outlook: &outlook, assumed, now: jiff::Zoned::now() };
    screen::data(if wanted.json { report.json() } else { report.text() });
    Ok(ExitCode::AllOk)
}

fn inputs(wanted: &PlanArgs) -> Result<Vec<Input>, Failure> {
    wanted.inputs.iter().map(|name| Input::new(name, wanted.format)).collect::<Result<_, _>>().map_err(Failure::usage)
}

fn options(wanted: &PlanArgs, settings: &Settings) -> Result<Options, Failure> {
    // A plan works out no digest, and is no reason to begin a store.
    let resolver = Resolver::new(settings.media.clone(), None);
    let resolver = resolver.map_err(|fault| Failure::new(ExitCode::Unreachable, fault))?;
    Ok(Options {
        defaults: Defaults {
            model: Some(settings.model.clone()),
            system_instruction: wanted.system.as_deref().map(run::system_instruction).transpose()?,
            temperature: None,
            max_output_tokens: wanted.max_output_tokens,
            ..Defaults::default()
        },
        template: wanted.prompt.clone(),
        pack: wanted.pack.map_or(1, |most| most as usize),
        limit: wanted.limit,
        skip_invalid: wanted.skip_invalid,
        media: Some(Arc::new(resolver)),
        ..Options::default()
    })
}

/// The projects with the keys that a run would use. Whoever has none yet may still plan, with limits of their own.
fn projects(wanted: &PlanArgs, settings: &Settings, past: &Past, context: &Context) -> Result<Vec<Project>, Failure> {
    let mut projects = settings.projects.clone();
    let count = |projects: &[Project]| projects.iter().map(|project| project.keys.len()).sum::<usize>();
    let before = count(&projects);
    projects.iter_mut().for_each(|project| project.keys.retain(|(_, key)| !past.is_dead(key)));
    projects.retain(|project| !project.keys.is_empty());
    let dead = before - count(&projects);
    if dead > 0 {
        context.screen.warn(format!("{dead} keys were put aside for good and are left out: `tidegate keys list` shows which"));
    }
    if !projects.is_empty() {
        return Ok(projects);
    }
    let pacing = &wanted.pacing;
    let limits = Limits { rpm: pacing.rpm, tpm: pacing.tpm, rpd: pacing.rpd };
    if limits == Limits::default() {
        let message = format!("{}; or plan without a key by --rpm, --tpm and --rpd", BuildError::NoKeys);
        return Err(Failure::new(ExitCode::NoKey, message));
    }
    context.screen.warn("no key was found: planned for one project of these limits");
    let keys = vec![(None, "none".to_string().into())];
    Ok(vec![Project { name: "assumed".to_string(), keys, limits: vec![("*".to_string(), limits)], account: None }])
}
