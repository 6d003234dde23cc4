//! The bodies that tell a caller its key is no good.

use serde_json::{Value, json};

use crate::bodies::ErrorBody;
use crate::keys::KeyState;

const SERVICE: &str = "generativelanguage.googleapis.com";

/// The error of a key in this state, and the name under which the report counts it; `None` for a valid one.
///
/// `project_number` stands where the API names the consumer.
pub(crate) fn of_state(state: KeyState, project_number: u64) -> Option<(&'static str, ErrorBody)> {
    let denied = |message: String| ErrorBody::new(403, "PERMISSION_DENIED", message);
    let consumer = format!("projects/{project_number}");
    Some(match state {
        KeyState::Valid => return None,
        KeyState::Invalid => ("key_invalid", invalid("API key not valid. Please pass a valid API key.")),
        KeyState::Expired => ("key_expired", invalid("API key expired. Please renew the API key.")),
        KeyState::Leaked => ("key_leaked", denied("Your API key was reported as leaked. Please use another API key.".to_owned())),
        KeyState::Suspended => {
            let message = "Permission denied: Consumer 'api_key:...' has been suspended.".to_owned();
            let metadata = json!({"consumer": consumer, "service": SERVICE, "containerInfo": consumer});
            ("key_suspended", denied(message).with(reason("CONSUMER_SUSPENDED", &metadata)))
        }
        KeyState::ServiceDisabled => ("service_disabled", service_disabled(project_number)),
        KeyState::Blocked => {
            let method = "google.ai.generativelanguage.v1beta.GenerativeService.GenerateContent";
            let message = format!("Requests to this API {SERVICE} method {method} are blocked.");
            let metadata = json!({"consumer": consumer, "service": SERVICE, "apiName": SERVICE, "methodName": method});
            ("key_blocked", denied(message).with(reason("API_KEY_SERVICE_BLOCKED", &metadata)))
        }
        KeyState::Forbidden => ("key_forbidden", denied("The caller does not have permission".to_owned())),
        KeyState::Location => {
            ("location", ErrorBody::new(400, "FAILED_PRECONDITION", "User location is not supported for the API use."))
        }
    })
}

/// A request without any key.
pub(crate) fn missing() -> ErrorBody {
    ErrorBody::new(
        403,
        "PERMISSION_DENIED",
        "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of API consumer identity to call this API.",
    )
}

/// A Bearer token on a route where it means OAuth.
pub(crate) fn bearer() -> ErrorBody {
    let message = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.";
    let metadata = json!({"service": SERVICE});
    ErrorBody::new(401, "UNAUTHENTICATED", message).with(reason("ACCESS_TOKEN_TYPE_UNSUPPORTED", &metadata))
}

fn invalid(message: &str) -> ErrorBody {
    ErrorBody::new(400, "INVALID_ARGUMENT", message).with(reason("API_KEY_INVALID", &json!({"service": SERVICE}))).with(json!({
        "@type": "type.googleapis.com/google.rpc.LocalizedMessage",
        "locale": "en-US",
        "message": message,
    }))
}

fn service_disabled(number: u64) -> ErrorBody {
    let url = format!("https://console.developers.google.com/apis/api/{SERVICE}/overview?project={number}");
    let message = format!(
        "Generative Language API has not been used in project {number} before or it is disabled. Enable it by visiting {url} then retry."
    );
    let consumer = format!("projects/{number}");
    let metadata = json!({
        "activationUrl": url, "service": SERVICE, "consumer": consumer,
        "containerInfo": number.to_string(), "serviceTitle": "Generative Language API",
    });
    ErrorBody::new(403, "PERMISSION_DENIED", message).with(reason("SERVICE_DISABLED", &metadata)).with(json!({
        "@type": "type.googleapis.com/google.rpc.Help",
        "links": [{"description": "Google developers console API activation", "url": url}],
    }))
}

fn reason(reason: &str, metadata: &Value) -> Value {
    json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": metadata,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn body(state: KeyState) -> Value {
        of_state(state, 42).unwrap().1.to_json()["error"].clone()
    }

    #[test]
    fn a_bad_key_is_a_400_with_its_reason() {
        let error = body(KeyState::Invalid);
        assert_eq!((&error["code"], &error["status"]), (&json!(400), &json!("INVALID_ARGUMENT")));
        assert_eq!(error["message"], "API key not valid. Please pass a valid API key.");
        assert_eq!(
            error["details"],
            json!([
                {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com",
                 "metadata": {"service": "generativelanguage.googleapis.com"}},
                {"@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "en-US",
                 "message": "API key not valid. Please pass a valid API key."}
            ])
        );
        assert_eq!(body(KeyState::Expired)["message"], "API key expired. Please renew the API key.");
        assert_eq!(body(KeyState::Expired)["details"][0]["reason"], "API_KEY_INVALID");
    }

    #[test]
    fn a_leaked_key_is_a_403_without_details() {
        let leaked = json!({"code": 403, "message": "Your API key was reported as leaked. Please use another API key.", "status": "PERMISSION_DENIED"});
        assert_eq!(body(KeyState::Leaked), leaked);
    }

    #[test]
    fn denied_keys_name_their_reason() {
        let check = |state, reason: &str, keys: &[&str]| {
            let error = body(state);
            assert_eq!((&error["code"], &error["status"]), (&json!(403), &json!("PERMISSION_DENIED")));
            assert_eq!(error["details"][0]["reason"], reason);
            let metadata = error["details"][0]["metadata"].as_object().unwrap();
            assert!(keys.iter().all(|key| metadata.contains_key(*key)), "{metadata:?}");
        };
        check(KeyState::Suspended, "CONSUMER_SUSPENDED", &["consumer", "service", "containerInfo"]);
        check(
            KeyState::ServiceDisabled,
            "SERVICE_DISABLED",
            &["activationUrl", "service", "consumer", "containerInfo", "serviceTitle"],
        );
        check(KeyState::Blocked, "API_KEY_SERVICE_BLOCKED", &["consumer", "service", "apiName", "methodName"]);
        assert_eq!(body(KeyState::Forbidden)["message"], "The caller does not have permission");
    }

    #[test]
    fn a_closed_country_is_a_failed_precondition() {
        let error = body(KeyState::Location);
        assert_eq!(
            error,
            json!({"code": 400, "message": "User location is not supported for the API use.", "status": "FAILED_PRECONDITION"})
        );
    }

    #[test]
    fn no_key_is_a_403_and_a_bearer_token_a_401() {
        assert_eq!((missing().code, missing().details.len()), (403, 0));
        assert_eq!((bearer().code, bearer().status), (401, "UNAUTHENTICATED"));
    }
}
