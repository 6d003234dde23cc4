//! `keys init` and `keys add`: new keys for `.env`.

use std::fs::File;
use std::io::BufReader;

use secrecy::{ExposeSecret, SecretString};

use super::entry;
use super::env_file::{EnvFile, NAME};
use super::git::Fate;
use crate::args::{AddArgs, InitArgs};
use crate::commands::Context;
use crate::env_vars::{GEMINI_API_KEY, GEMINI_API_KEY_PREFIX, GOOGLE_API_KEY};
use crate::exit_code::{ExitCode, Failure};
use crate::keys;
use crate::settings::layers::Layer;

/// Puts the first keys into `.env`.
///
/// # Errors
/// When `.env` holds keys already, or no key was given.
pub fn init(wanted: &InitArgs, context: &Context) -> Result<ExitCode, Failure> {
    entry::refuse_typed(&wanted.stray)?;
    let file = EnvFile::open(&context.folder)?;
    if let Some(name) = file.values()?.keys().find(|name| is_found(name)) {
        return Err(Failure::usage(format!("{NAME} holds {name} already: `tidegate keys add` adds another key to it")));
    }
    let keys = match &wanted.from {
        None => entry::read("Key (it is not shown): ")?,
        Some(path) => {
            let unreadable = |error| Failure::new(ExitCode::Unreachable, format!("{}: cannot be read: {error}", path.display()));
            entry::keys_of(BufReader::new(File::open(path).map_err(unreadable)?))?
        }
    };
    put(file, &keys, None, context)
}

/// Adds keys to `.env`, each under a free name.
///
/// # Errors
/// When a key or its name is there already, or no key was given.
pub fn add(wanted: &AddArgs, context: &Context) -> Result<ExitCode, Failure> {
    let odd = wanted.name.iter().filter(|name| !entry::is_name(name));
    if wanted.stray.is_empty() && odd.clone().any(|name| name.len() < 20) {
        return Err(Failure::usage(
            "the name of a variable is written in capitals, digits and _, for example GEMINI_API_KEY_TEAM",
        ));
    }
    entry::refuse_typed(odd.chain(&wanted.stray))?;
    let file = EnvFile::open(&context.folder)?;
    if let Some(name) = wanted.name.as_deref().filter(|name| context.environment.get(name).is_some()) {
        return Err(Failure::usage(format!(
            "{name} is set already: choose another name, or `tidegate keys remove {name}` first"
        )));
    }
    put(file, &entry::read("Key (it is not shown): ")?, wanted.name.as_deref(), context)
}

fn put(mut file: EnvFile, keys: &[SecretString], name: Option<&str>, context: &Context) -> Result<ExitCode, Failure> {
    if name.is_some() && keys.len() > 1 {
        return Err(Failure::usage("several keys were given and one name: leave the name out, or give one key"));
    }
    let mut known = known(context)?;
    let mut added = Vec::new();
    for key in keys {
        let secret = key.expose_secret();
        if let Some((known, _)) = known.iter().find(|(_, other)| other.expose_secret() == secret) {
            let masked = keys::mask(secret);
            return Err(Failure::usage(format!("this key is there already, as {known} ({masked}): nothing was added")));
        }
        let name = match name {
            Some(name) => name.to_string(),
            None => free_name(&file, context)?,
        };
        file.set(&name, secret)?;
        added.push(format!("{name} ({})", keys::mask(secret)));
        known.push((name, key.clone()));
    }
    file.save()?;
    context.screen.say(format!("added to {NAME}: {}", added.join(", ")));
    advise(&file, &known, name, context)?;
    Ok(ExitCode::AllOk)
}

/// Every key there is, whether a run would use it or not, under its name.
fn known(context: &Context) -> Result<Vec<(String, SecretString)>, Failure> {
    let mut all: Vec<(String, SecretString)> = keys::discover(&context.environment, &mut Vec::new())
        .into_iter()
        .map(|key| (key.name.unwrap_or_default(), key.secret))
        .collect();
    for project in context.settings_unsaid(Layer::default(), None)?.projects {
        let named = project.keys.into_iter().enumerate();
        all.extend(named.map(|(nth, (name, secret))| (name.unwrap_or_else(|| format!("{}/{}", project.name, nth + 1)), secret)));
    }
    Ok(all)
}

fn free_name(file: &EnvFile, context: &Context) -> Result<String, Failure> {
    let taken = file.values()?;
    let names = (1_u64..).map(|n| format!("{GEMINI_API_KEY_PREFIX}{n}"));
    let free =
        |name: &String| taken.get(name).is_none_or(|value| value.trim().is_empty()) && context.environment.get(name).is_none();
    Ok(names.into_iter().find(free).unwrap_or_default())
}

/// Whether a variable of this name is searched for keys.
fn is_found(name: &str) -> bool {
    name == GEMINI_API_KEY || name == GOOGLE_API_KEY || name.starts_with(GEMINI_API_KEY_PREFIX)
}

/// What could go wrong with the file as it is now.
fn advise(file: &EnvFile, known: &[(String, SecretString)], name: Option<&str>, context: &Context) -> Result<(), Failure> {
    if let Some(warning) = Fate::of(&context.folder).warning() {
        context.screen.warn(warning);
    }
    if file.is_open_to_others() {
        context.screen.warn(format!("{NAME} can be read by others on this machine: run `chmod 600 {NAME}`"));
    }
    if context.settings_unsaid(Layer::default(), None)?.projects_are_listed {
        context.screen.warn("tidegate.toml names its keys, and others are not used: add \"env:NAME\" to the keys of a project");
    } else if let Some(name) = name.filter(|name| !is_found(name)) {
        context.screen.warn(format!(
            "{name} is not searched for keys: name it in tidegate.toml as \"env:{name}\", or call it {GEMINI_API_KEY_PREFIX}..."
        ));
    } else if known.len() > 1 {
        context
            .screen
            .say("keys of one Google project share its quota: list such keys together under [[projects]] in tidegate.toml");
    }
    Ok(())
}
