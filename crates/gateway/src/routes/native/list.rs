//! Lists of all projects as one: the projects one after the other in the order of the settings, their members as they came.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::value::RawValue;
use tidegate_engine::{PassageError, Relayed};

use super::COLLECTIONS;
use super::headers::{is_token, of_request};
use super::member::collected;
use crate::affinity::learn;
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::error::Refusal;
use crate::server::Gate;

/// Members of a page when the client does not say: as the API does it for files, which are its smallest pages.
const USUAL: usize = 10;
/// The longest page.
const MOST: usize = 1_000;

/// `GET files`, `GET batches`, ...
pub async fn list(gate: &Gate, call: &Call, version: &str, collection: &'static str) -> Result<Answer, Refusal> {
    let field = COLLECTIONS.iter().find(|(name, _)| *name == collection).map_or(collection, |(_, field)| field);
    let query = Query::read(call.query());
    let (mut project, mut token) = query.from(gate)?;
    let projects = u32::try_from(gate.engine.projects().len()).unwrap_or(u32::MAX);
    let (mut members, mut answered, mut last): (Vec<String>, bool, Option<Refusal>) = (Vec::new(), false, None);
    while project < projects && members.len() < query.size {
        let page = one(gate, call, &query, (version, collection, field), project, &token, query.size - members.len()).await;
        token = match page {
            Ok(page) => {
                answered = true;
                members.extend(page.members);
                page.next
            }
            // A project without a good key hides its own things only.
            Err(Missing::NoKey) => {
                tracing::warn!(
                    "the list of {collection} lacks project {}: it has no usable key",
                    gate.engine.projects()[project as usize]
                );
                last = Some(PassageError::NoKey.into());
                String::new()
            }
            Err(Missing::Refused(refusal)) => return Err(refusal),
        };
        if token.is_empty() {
            project += 1;
        }
    }
    match last {
        Some(refusal) if !answered => Err(refusal),
        _ => {
            let next = (project < projects).then(|| written(gate, project, &token));
            Ok(answer::json(200, page(field, &members, next.as_deref())))
        }
    }
}

/// What a client asks for.
struct Query<'a> {
    size: usize,
    token: Option<&'a str>,
    /// Everything else, a filter for example.
    rest: Vec<&'a str>,
}

/// The page of one project.
struct Page {
    members: Vec<String>,
    next: String,
}

enum Missing {
    NoKey,
    Refused(Refusal),
}

async fn one(
    gate: &Gate,
    call: &Call,
    query: &Query<'_>,
    (version, collection, field): (&str, &str, &str),
    project: u32,
    token: &str,
    size: usize,
) -> Result<Page, Missing> {
    let mut pairs: Vec<String> = query.rest.iter().map(ToString::to_string).collect();
    pairs.push(format!("pageSize={size}"));
    if !token.is_empty() {
        pairs.push(format!("pageToken={token}"));
    }
    let path = format!("{version}/{collection}?{}", pairs.join("&"));
    let headers: HeaderMap = of_request(&call.head);
    let relayed = Relayed { method: Method::GET, path, headers, body: Bytes::new() };
    let answer = match gate.engine.relay(project, relayed).await {
        Ok(answer) => answer,
        Err(PassageError::NoKey) => return Err(Missing::NoKey),
        Err(fault) => return Err(Missing::Refused(fault.into())),
    };
    let (_, reply) = collected(gate, answer).await.map_err(Missing::Refused)?;
    if reply.status != 200 {
        return Err(Missing::Refused(Refusal::of_api(reply.status, reply.body)));
    }
    learn(gate, project, &reply.body);
    read(&reply.body, field).ok_or_else(|| Missing::Refused(Refusal::unusable("the API's list is not JSON")))
}

/// The members as they were written, and the token of the next page.
fn read(body: &[u8], field: &str) -> Option<Page> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(body).ok()?;
    let members = match fields.get(field) {
        Some(list) => serde_json::from_str::<Vec<&RawValue>>(list.get()).ok()?,
        None => Vec::new(),
    };
    let next = fields.get("nextPageToken").and_then(|token| serde_json::from_str(token.get()).ok());
    Some(Page { members: members.into_iter().map(|member| member.get().to_string()).collect(), next: next.unwrap_or_default() })
}

/// An empty list is `{}`, as the API writes it.
fn page(field: &str, members: &[String], next: Option<&str>) -> String {
    let list = (!members.is_empty()).then(|| format!("\"{field}\": [{}]", members.join(", ")));
    let next = next.map(|next| format!("\"nextPageToken\": \"{next}\""));
    let fields: Vec<String> = list.into_iter().chain(next).collect();
    format!("{{{}}}\n", fields.join(", "))
}

impl<'a> Query<'a> {
    fn read(query: &'a str) -> Query<'a> {
        let (mut size, mut token, mut rest) = (USUAL, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty() && !is_token(pair)) {
            match pair.split_once('=') {
                Some(("pageSize" | "page_size", told)) => {
                    size = told.parse().ok().filter(|size| *size > 0).unwrap_or(USUAL).min(MOST);
                }
                Some(("pageToken" | "page_token", told)) => token = Some(told).filter(|told| !told.is_empty()),
                _ => rest.push(pair),
            }
        }
        Query { size, token, rest }
    }

    /// Where the page begins: a project, and its own token.
    fn from(&self, gate: &Gate) -> Result<(u32, String), Refusal> {
        let Some(token) = self.token else { return Ok((0, String::new())) };
        let wrong = || Refusal::of_field("pageToken", "this page token is none of ours, or its project is no longer here");
        let text = hidden(token).ok_or_else(wrong)?;
        let (name, own) = text.split_once('\n').ok_or_else(wrong)?;
        let at = gate.engine.projects().iter().position(|project| **project == *name).ok_or_else(wrong)?;
        Ok((u32::try_from(at).map_err(|_| wrong())?, own.to_string()))
    }
}

/// A token of our own, of letters and digits: the project by its name, and the project's own token.
fn written(gate: &Gate, project: u32, token: &str) -> String {
    let projects = gate.engine.projects();
    let name = projects.get(project as usize).map_or("", |name| name);
    format!("{name}\n{}", escaped(token)).bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn hidden(token: &str) -> Option<String> {
    let digits = token.as_bytes();
    if !token.is_ascii() || !digits.len().is_multiple_of(2) {
        return None;
    }
    let bytes = digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
    String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()
}

/// A text as it stands in a query.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn members_stay_as_they_were_written() {
        let body = br#"{"files": [{"b" : 1.50, "a":123456789012345678901}, {"c":{}}], "nextPageToken": "p\u002b1"}"#;
        let Page { members, next } = read(body, "files").unwrap();
        assert_eq!(next, "p+1");
        assert_eq!(page("files", &members, None), "{\"files\": [{\"b\" : 1.50, \"a\":123456789012345678901}, {\"c\":{}}]}\n");
        assert_eq!(page("files", &[], None), "{}\n");
        assert!(read(b"[]", "files").is_none());
        assert_eq!(escaped("a+b/é"), "a%2Bb%2F%C3%A9");
    }

    #[test]
    fn what_is_no_token_is_none() {
        assert_eq!(hidden("610a62").as_deref(), Some("a\nb"));
        for wrong in ["6", "zz", "é", "ff"] {
            assert_eq!(hidden(wrong), None, "{wrong}");
        }
    }
}
