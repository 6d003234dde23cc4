//! `keys remove`: takes a key out of `.env`.

use super::env_file::{EnvFile, NAME};
use crate::args::NameArgs;
use crate::commands::Context;
use crate::exit_code::{ExitCode, Failure};
use crate::keys;

/// Removes the key of that name: a whole variable, or the nth of a list (`NAME/2`).
///
/// # Errors
/// When `.env` holds no key of that name.
pub fn remove(wanted: &NameArgs, context: &Context) -> Result<ExitCode, Failure> {
    let mut file = EnvFile::open(&context.folder)?;
    let values = file.values()?;
    let (variable, nth) = match wanted.name.rsplit_once('/') {
        Some((variable, nth)) if !values.contains_key(&wanted.name) => (variable, nth.parse::<usize>().ok()),
        _ => (wanted.name.as_str(), None),
    };
    let value = values.get(variable).filter(|value| !value.trim().is_empty()).ok_or_else(|| not_here(variable, context))?;
    let mut parts: Vec<&str> = value.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    let gone = match nth {
        None => std::mem::take(&mut parts),
        Some(nth) if (1..=parts.len()).contains(&nth) => vec![parts.remove(nth - 1)],
        Some(_) => return Err(Failure::usage(format!("{variable} in {NAME} holds {} keys: no such number", parts.len()))),
    };
    if parts.is_empty() {
        file.remove(variable)?
    } else {
        file.set(variable, &parts.join(","))?
    }
    file.save()?;
    let gone: Vec<String> = gone.into_iter().map(keys::mask).collect();
    context.screen.say(format!("removed from {NAME}: {} ({})", wanted.name, gone.join(", ")));
    if std::env::var_os(variable).is_some() {
        context.screen.warn(format!("{variable} is set in the environment too, and still used: unset it there"));
    }
    Ok(ExitCode::AllOk)
}

/// Where the key may be instead. A name that is none is not repeated: it may be a key.
fn not_here(variable: &str, context: &Context) -> Failure {
    if context.environment.get(variable).is_some() {
        return Failure::usage(format!("{variable} comes from the environment, not from {NAME}: unset it there"));
    }
    Failure::usage(format!(
        "{NAME} holds no key of this name; a key in tidegate.toml is removed there. `tidegate keys list` shows all names"
    ))
}
