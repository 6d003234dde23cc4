//! `[serve]`: where the gateway listens, how long its callers wait, who they are.

use std::net::SocketAddr;
use std::time::Duration;

use tidegate_gateway::{Allowance, Client, Settings as GatewaySettings};

use super::layers::{ClientEntry, Layer, Stack};
use super::media::Size;
use super::traces::{self, Traces};
use super::{Resolver, SettingsError};
use crate::env_vars::Environment;
use crate::keys;

/// Where the gateway listens when nobody says: for this machine only.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8787);
/// How long a request waits when nobody says.
const MAX_WAIT: Duration = Duration::from_secs(300);
/// How long requests under way may go on when nobody says.
const GRACE: Duration = Duration::from_secs(10);

/// How many requests wait when nobody says.
const MAX_QUEUE: usize = 10_000;

/// What the gateway is told.
#[derive(Debug)]
pub struct Serve {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// How long a request waits for its permit.
    pub max_wait: Duration,
    /// How long requests under way may go on at the end.
    pub grace: Duration,
    /// Origins of web pages that may call, or `*`.
    pub cors: Vec<String>,
    /// The most requests that wait for a permit.
    pub max_queue: usize,
    /// The most bytes of a request's body.
    pub max_body: usize,
    /// The most bytes that the bodies of all requests under way hold together.
    pub max_bodies_in_flight: usize,
    /// Who may call.
    pub clients: Vec<Client>,
    /// Where traces go.
    pub traces: Option<Traces>,
}

/// The settings of `[serve]` from all sources.
///
/// # Errors
/// When a client's token is missing: without it a door that was to be locked would stand open.
pub(super) fn resolve(
    from: &mut Resolver<'_>,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<Serve, SettingsError> {
    let usual = GatewaySettings::default();
    let listen = from.value("serve.listen", LISTEN, |layer| layer.serve.listen);
    let max_wait = from.value("serve.max_wait", MAX_WAIT, |layer| layer.serve.max_wait);
    let max_queue = from.value("serve.max_queue", MAX_QUEUE, |layer| layer.serve.max_queue);
    let max_body = size(from.value("serve.max_body", Size(usual.max_body as u64), |layer| layer.serve.max_body));
    let bodies = Size(usual.max_bodies_in_flight as u64);
    let max_bodies_in_flight = size(from.value("serve.max_bodies_in_flight", bodies, |layer| layer.serve.max_bodies_in_flight));
    let grace = from.value("serve.grace", GRACE, |layer| layer.serve.grace);
    let cors = cors(from)?;
    let traces = traces::resolve(from, environment)?;
    let clients = clients(from.stack, environment, warnings)?;
    Ok(Serve { listen, max_wait, max_queue, max_body, max_bodies_in_flight, grace, cors, clients, traces })
}

/// What does not fit into a number of this machine's is as good as endless.
fn size(Size(bytes): Size) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn cors(from: &mut Resolver<'_>) -> Result<Vec<String>, SettingsError> {
    let origins = from.stack.pick(|layer| layer.serve.cors.clone()).map(|(origins, _)| origins).unwrap_or_default();
    from.text("serve.cors", "", |layer| layer.serve.cors.as_ref().map(|origins| origins.join(", ")));
    let is_origin =
        |text: &str| text.split_once("://").is_some_and(|(_, host)| !host.is_empty() && !host.contains(['/', '?', '#', '@']));
    match origins.iter().find(|origin| *origin != "*" && !is_origin(origin)) {
        Some(other) => {
            let reason = "an origin is written as \"https://app.example\", without a path; \"*\" stands for all";
            Err(SettingsError::Impossible { name: "serve.cors", value: keys::shown(other), reason })
        }
        None => Ok(origins),
    }
}

fn clients(stack: &Stack, environment: &Environment, warnings: &mut Vec<String>) -> Result<Vec<Client>, SettingsError> {
    let told = stack.0.iter().find_map(|(_, layer)| layer.serve.clients.as_ref().map(|clients| (clients, layer)));
    let Some((entries, layer)) = told else { return Ok(Vec::new()) };
    entries.iter().map(|entry| client(entry, layer, environment, warnings)).collect()
}

fn client(
    entry: &ClientEntry,
    layer: &Layer,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<Client, SettingsError> {
    let sources = entry.token.iter();
    let mut tokens: Vec<_> = sources.flat_map(|source| source.keys(environment, &layer.folder, warnings)).collect();
    match (tokens.pop(), tokens.is_empty()) {
        (Some(token), true) => Ok(Client {
            priority: entry.priority.unwrap_or(Client::PRIORITY),
            allowance: Allowance { rpm: entry.rpm, tpm: entry.tpm, tokens_per_day: entry.tokens_per_day },
            models: entry.models.clone(),
            ..Client::new(entry.name.clone(), token.secret)
        }),
        (token, _) => {
            let reason = if token.is_some() { "it has several tokens: give one" } else { "its token is not set" };
            Err(SettingsError::Impossible { name: "serve.clients", value: keys::shown(&entry.name), reason })
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use secrecy::ExposeSecret;

    use super::*;
    use crate::settings::{Given, Settings, file};

    fn serve(toml: &str, variables: &[(&str, &str)]) -> Result<Serve, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(file::NAME), toml).unwrap();
        Settings::load(Given::default(), None, folder.path(), &Environment::of(variables)).map(|settings| settings.serve)
    }

    #[test]
    fn the_gateway_listens_on_this_machine_unless_told_otherwise() {
        let usual = serve("", &[]).unwrap();
        assert_eq!((usual.listen.to_string().as_str(), usual.max_wait), ("127.0.0.1:8787", MAX_WAIT));
        let told = serve("[serve]\nlisten = \"0.0.0.0:80\"\nmax_wait = \"9s\"", &[("TIDEGATE_MAX_WAIT", "1s")]).unwrap();
        assert_eq!((told.listen.to_string().as_str(), told.max_wait), ("0.0.0.0:80", Duration::from_secs(1)));
    }

    #[test]
    fn origins_are_written_without_a_path() {
        let told = serve("[serve]\ncors = [\"https://app.example\", \"*\"]\ngrace = \"3s\"", &[]).unwrap();
        assert_eq!((told.cors.len(), told.grace), (2, Duration::from_secs(3)));
        for wrong in ["app.example", "https://app.example/", "https://"] {
            let message = serve(&format!("[serve]\ncors = [\"{wrong}\"]"), &[]).unwrap_err().to_string();
            assert!(message.starts_with(&format!("serve.cors = {wrong} cannot be: an origin is written as")), "{message}");
        }
    }

    #[test]
    fn clients_have_a_token_or_nothing_is_served() {
        let toml = "[[serve.clients]]\nname = \"notebook\"\ntoken = \"env:NOTEBOOK_TOKEN\"";
        let more = format!("{toml}\npriority = 3\nrpm = 60\ntpm = 1000\ntokens_per_day = 5_000\nmodels = [\"gemini-*\"]");
        let client = serve(&more, &[("NOTEBOOK_TOKEN", "t-1")]).unwrap().clients.remove(0);
        let allowance = Allowance { rpm: Some(60), tpm: Some(1_000), tokens_per_day: Some(5_000) };
        assert_eq!((client.priority, client.allowance, &client.models[..]), (3, allowance, &["gemini-*".to_string()][..]));
        let clients = serve(toml, &[("NOTEBOOK_TOKEN", "t-1")]).unwrap().clients;
        assert_eq!((clients[0].priority, clients[0].token.expose_secret()), (10, "t-1"));
        let message = serve(toml, &[]).unwrap_err().to_string();
        assert_eq!(message, "serve.clients = notebook cannot be: its token is not set");
        assert!(serve(toml, &[("NOTEBOOK_TOKEN", "a,b")]).is_err());
    }
}
