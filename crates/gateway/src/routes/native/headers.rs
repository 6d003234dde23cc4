//! What is handed on of a request and of an answer: headers that are safe to, and the query without the client's token.

use futures_util::{StreamExt, TryStreamExt};
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use tidegate_engine::{Relaying, Reply};

use crate::answer::{Answer, Body};
use crate::error::Refusal;

/// Headers of requests that are handed on: none that names a caller, a key or a connection.
const OF_REQUESTS: [&str; 16] = [
    "accept",
    "accept-language",
    "api-revision",
    "content-encoding",
    "content-language",
    "content-type",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "range",
    "x-goog-api-client",
    "x-goog-fieldmask",
    "x-goog-request-params",
    "x-http-method-override",
    "x-server-timeout",
];
/// Headers of answers that are handed on: none that names another address.
const OF_ANSWERS: [&str; 10] = [
    "accept-ranges",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-range",
    "content-type",
    "etag",
    "last-modified",
    "retry-after",
    "vary",
];
/// Those of the upload protocol, but for its addresses.
const OF_UPLOADS: &str = "x-goog-upload-";

/// The headers of a request that go along.
pub fn of_request(head: &Parts) -> HeaderMap {
    let goes = |name: &HeaderName| OF_REQUESTS.contains(&name.as_str()) || name.as_str().starts_with(OF_UPLOADS);
    head.headers.iter().filter(|(name, _)| goes(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Path and query without the client's token, for the API.
pub fn target(head: &Parts) -> String {
    let path = head.uri.path().trim_matches('/');
    let kept: Vec<&str> =
        head.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && !is_token(pair)).collect();
    if kept.is_empty() { path.to_string() } else { format!("{path}?{}", kept.join("&")) }
}

/// Whether a parameter says who asks.
pub fn is_token(pair: &str) -> bool {
    let name = pair.split('=').next().unwrap_or_default();
    // A name in disguise is no name that the API serves.
    name.contains('%') || ["key", "access_token", "oauth_token"].iter().any(|token| name.eq_ignore_ascii_case(token))
}

/// An answer whose body is here.
pub fn whole(headers: &HeaderMap, reply: Reply) -> Answer {
    let mut answer = Response::new(Body::Whole(Full::new(reply.body)));
    dressed(&mut answer, reply.status, headers, |_| true);
    answer
}

/// An answer whose body comes as the API sends it.
pub fn streamed(relaying: Relaying) -> Answer {
    let (status, headers) = (relaying.status, relaying.headers.clone());
    let safe: Vec<HeaderName> = headers
        .iter()
        .filter(|(_, value)| !value.to_str().is_ok_and(|text| relaying.tells_key(text)))
        .map(|(name, _)| name.clone())
        .collect();
    let mut answer = Response::new(Body::Relayed(relaying.body.map_err(std::io::Error::other).boxed()));
    dressed(&mut answer, status, &headers, |name| safe.contains(name));
    if let Some(length) = headers.get(CONTENT_LENGTH) {
        answer.headers_mut().insert(CONTENT_LENGTH, length.clone());
    }
    answer
}

fn dressed(answer: &mut Answer, status: u16, headers: &HeaderMap, is_safe: impl Fn(&HeaderName) -> bool) {
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    for (name, value) in headers.iter().filter(|(name, _)| is_safe(name)) {
        let text = name.as_str();
        if OF_ANSWERS.contains(&text) || text.starts_with(OF_UPLOADS) && !text.ends_with("url") {
            answer.headers_mut().append(name.clone(), value.clone());
        }
    }
}

/// Our own address, as the client wrote it: that of its `Host` header, under the scheme that a proxy before us says.
pub fn own_address(head: &Parts) -> Result<String, Refusal> {
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_string);
    let host = head.headers.get("host").and_then(text).or_else(|| head.uri.authority().map(ToString::to_string));
    let sound =
        |host: &String| !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte));
    let host = host.filter(sound).ok_or_else(|| Refusal::invalid("the Host header names no host"))?;
    let forwarded = head.headers.get("x-forwarded-proto").and_then(text);
    let scheme = forwarded.as_deref().map_or("http", |told| told.split(',').next().unwrap_or_default().trim());
    Ok(format!("{}://{host}", if scheme.eq_ignore_ascii_case("https") { "https" } else { "http" }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn head(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_clients_token_goes_nowhere() {
        let head = head(
            "/v1beta/files/x?alt=media&key=t&Key=t&%6bey=t&access_token=t&a=b%20c",
            &[("x-goog-api-key", "t"), ("authorization", "Bearer t"), ("cookie", "t"), ("range", "bytes=0-1"), ("host", "h")],
        );
        assert_eq!(target(&head), "v1beta/files/x?alt=media&a=b%20c");
        let names: Vec<String> = of_request(&head).keys().map(ToString::to_string).collect();
        assert_eq!(names, ["range"]);
    }

    #[test]
    fn our_address_is_the_one_the_client_came_by() {
        assert_eq!(own_address(&head("/", &[("host", "h:1")])).unwrap(), "http://h:1");
        let behind = [("host", "gate.example"), ("x-forwarded-proto", "https, http")];
        assert_eq!(own_address(&head("/", &behind)).unwrap(), "https://gate.example");
        assert!(own_address(&head("/", &[("host", "h/x?y")])).is_err());
    }
}
