//! `serve.otlp_endpoint`: where traces go, also by the variables that OpenTelemetry has for it.

use secrecy::SecretString;

use super::layers::Layer;
use super::{Resolver, SettingsError};
use crate::env_vars::{self, Environment};
use crate::keys;

/// What stands behind the address of a collector for its traces.
const PATH: &str = "/v1/traces";

/// The collector of traces.
#[derive(Debug)]
#[cfg_attr(not(feature = "otel"), allow(dead_code))]
pub struct Traces {
    /// The whole address that spans are sent to.
    pub endpoint: String,
    /// What it wants to see with them, as `name=value,name=value`.
    pub headers: Option<SecretString>,
    /// What this program is called there.
    pub service: String,
}

/// The collector, where one is named and traces are not turned off.
///
/// # Errors
/// When its address is none, or holds a password, which would stand in logs.
pub(super) fn resolve(from: &mut Resolver<'_>, environment: &Environment) -> Result<Option<Traces>, SettingsError> {
    let endpoint = from.stack.pick(address).map(|(endpoint, _)| endpoint).unwrap_or_default();
    let cannot = |value, reason| Err(SettingsError::Impossible { name: "serve.otlp_endpoint", value, reason });
    if endpoint.contains('@') {
        return cannot("***".to_string(), "it holds a password: a token goes into OTEL_EXPORTER_OTLP_HEADERS");
    }
    from.text("serve.otlp_endpoint", "", address);
    let off = environment.get(env_vars::OTEL_SDK_DISABLED).is_some_and(|told| told.eq_ignore_ascii_case("true"))
        || environment.get(env_vars::OTEL_TRACES_EXPORTER) == Some("none");
    if endpoint.is_empty() || off {
        return Ok(None);
    }
    let host = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"));
    if host.is_none_or(|host| host.is_empty() || host.starts_with('/') || host.contains(char::is_whitespace)) {
        return cannot(keys::shown(&endpoint), "an address is written as \"http://127.0.0.1:4318\"; gRPC is not spoken");
    }
    let headers = [env_vars::OTEL_TRACES_HEADERS, env_vars::OTEL_HEADERS].iter().find_map(|name| environment.get(name));
    let service = environment.get(env_vars::OTEL_SERVICE_NAME).unwrap_or("tidegate").to_string();
    Ok(Some(Traces { endpoint, headers: headers.map(SecretString::from), service }))
}

/// The whole address that a layer tells: one that is for traces only stands as it is.
fn address(layer: &Layer) -> Option<String> {
    let base = || layer.serve.otlp_endpoint.as_deref().filter(|base| !base.is_empty()).map(whole);
    layer.serve.otlp_traces_endpoint.clone().or_else(base)
}

fn whole(base: &str) -> String {
    let base = base.trim_end_matches('/');
    if base.ends_with(PATH) { base.to_string() } else { format!("{base}{PATH}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use secrecy::ExposeSecret;

    use super::*;
    use crate::settings::{Given, Settings};

    fn traces(toml: &str, variables: &[(&str, &str)]) -> Result<Option<Traces>, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tidegate.toml"), toml).unwrap();
        let settings = Settings::load(Given::default(), None, folder.path(), &Environment::of(variables));
        settings.map(|settings| settings.serve.traces).map_err(|error| error.to_string())
    }

    fn endpoint(toml: &str, variables: &[(&str, &str)]) -> Option<String> {
        traces(toml, variables).unwrap().map(|traces| traces.endpoint)
    }

    const FILE: &str = "[serve]\notlp_endpoint = \"http://collector:4318/\"";

    #[test]
    fn the_path_for_traces_is_put_behind_an_address_for_everything() {
        assert_eq!(endpoint("", &[]), None);
        assert_eq!(endpoint(FILE, &[]).unwrap(), "http://collector:4318/v1/traces");
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://other/otlp");
        assert_eq!(endpoint(FILE, &[base]).unwrap(), "https://other/otlp/v1/traces");
        let exact = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://third/in");
        assert_eq!(endpoint(FILE, &[base, exact]).unwrap(), "https://third/in");
    }

    #[test]
    fn the_common_variables_name_the_service_show_a_token_and_turn_traces_off() {
        let told = [("OTEL_EXPORTER_OTLP_HEADERS", "api-key=secret"), ("OTEL_SERVICE_NAME", "gate")];
        let traces = traces(FILE, &told).unwrap().unwrap();
        assert_eq!((traces.service.as_str(), traces.headers.as_ref().unwrap().expose_secret()), ("gate", "api-key=secret"));
        assert!(!format!("{traces:?}").contains("secret"));
        for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert_eq!(endpoint(FILE, &[off]), None);
        }
    }

    #[test]
    fn an_address_that_is_none_is_refused_and_a_password_is_not_shown() {
        for (wrong, reason) in [("collector:4318", "gRPC is not spoken"), ("http://", "gRPC"), ("http://me:hidden@c", "password")]
        {
            let message = traces(&format!("[serve]\notlp_endpoint = \"{wrong}\""), &[]).unwrap_err();
            assert!(message.contains(reason) && !message.contains("hidden"), "{message}");
        }
    }
}
