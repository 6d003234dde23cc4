//! Requests go where the things live that they name; files of several projects are brought together by uploading again.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, Method};
use tidegate_engine::{Luggage, Relayed, Relaying};

use crate::error::Refusal;
use crate::names::{Named, OF_ANSWERS, OF_REQUESTS, named};
use crate::server::Gate;
use crate::spool::Spooling;

/// Sent as the type of a file that nothing tells the type of.
const UNKNOWN: &str = "application/octet-stream";
/// Under this version the API shows everything that lives in a project.
const VERSION: &str = "v1beta";
/// What the API says of one thing has not so many bytes.
const MOST_OF_A_LOOK: usize = 4 << 20;

/// A body, and the project it belongs to.
pub struct Settled {
    /// As it came, but for the addresses of files that were brought to the project.
    pub body: Bytes,
    /// Where what it names lives; `None` when any project will do.
    pub project: Option<u32>,
}

/// Finds out where a request belongs, and brings its files there.
///
/// # Errors
/// When what it names cannot be brought together.
pub async fn settle(gate: &Gate, body: Bytes) -> Result<Settled, Refusal> {
    let found = named(&body, OF_REQUESTS);
    if found.is_empty() {
        return Ok(Settled { body, project: None });
    }
    // Most requests name nothing and need not have the room for this.
    Box::pin(gather(gate, body, &found)).await
}

async fn gather(gate: &Gate, body: Bytes, found: &[Named]) -> Result<Settled, Refusal> {
    let mut homes: BTreeMap<String, u32> = BTreeMap::new();
    for named in found {
        if !homes.contains_key(&named.name)
            && let Some(project) = home(gate, &named.name).await
        {
            homes.insert(named.name.clone(), project);
        }
    }
    let Some(project) = meeting(gate, found, &homes)? else { return Ok(Settled { body, project: None }) };
    let mut brought = BTreeMap::new();
    for (name, home) in homes.iter().filter(|(_, home)| **home != project) {
        brought.insert(name.clone(), bring(gate, name, *home, project).await?);
    }
    let body = if brought.is_empty() { body } else { rewritten(&body, found, &brought) };
    Ok(Settled { body, project: Some(project) })
}

/// Forgets where the things lived that a request named: the API does not know them there.
pub fn doubt(gate: &Gate, body: &[u8]) {
    named(body, OF_REQUESTS).iter().for_each(|named| gate.engine.residence().forget(&named.name));
}

/// Where the thing of this name lives: as remembered, else as the projects say.
pub async fn home(gate: &Gate, name: &str) -> Option<u32> {
    match gate.engine.residence().home(name) {
        Some(home) => Some(home.project),
        None => search(gate, name).await,
    }
}

/// Asks every project for it, and remembers which has it.
pub async fn search(gate: &Gate, name: &str) -> Option<u32> {
    // The results of a batch lie where it does, and may not be shown by themselves.
    let asked = name.strip_prefix("files/batch-").map_or(name.to_string(), |id| format!("batches/{id}"));
    let mut projects = gate.engine.projects_to_search().ok()?;
    projects.sort_unstable();
    let looks = projects.into_iter().map(|project| look(gate, project, &asked));
    let found = join_all(looks).await.into_iter().flatten().find(|looked| looked.status == 200)?;
    gate.engine.residence().settle(name, found.project);
    Some(found.project)
}

/// Remembers the things that an answer of `project` names.
pub fn learn(gate: &Gate, project: u32, answer: &[u8]) {
    for named in named(answer, OF_ANSWERS) {
        gate.engine.residence().settle(&named.name, project);
    }
}

async fn look(gate: &Gate, project: u32, name: &str) -> Option<Relaying> {
    let path = format!("{VERSION}/{name}");
    let relayed = Relayed { method: Method::GET, path, headers: HeaderMap::new(), body: Bytes::new() };
    gate.engine.relay(project, relayed).await.ok()
}

/// The project where most of it is already. What is no file cannot be brought anywhere else.
fn meeting(gate: &Gate, found: &[Named], homes: &BTreeMap<String, u32>) -> Result<Option<u32>, Refusal> {
    let mut fixed: Option<(&str, u32)> = None;
    for (name, &project) in homes.iter().filter(|(name, _)| !name.starts_with("files/")) {
        match fixed {
            Some((other, elsewhere)) if elsewhere != project => {
                let (here, there) = (title(gate, project), title(gate, elsewhere));
                let message =
                    format!("{name} lives in project {here} and {other} in project {there}: one request cannot use both");
                return Err(Refusal::invalid(message));
            }
            _ => fixed = Some((name, project)),
        }
    }
    let files = |project: u32| homes.values().filter(|home| **home == project).count();
    let mentioned = found.iter().rev().filter_map(|named| homes.get(&named.name).copied());
    Ok(fixed.map(|(_, project)| project).or_else(|| mentioned.max_by_key(|project| files(*project))))
}

/// Uploads a file of one project to another; its name and address there.
async fn bring(gate: &Gate, name: &str, home: u32, project: u32) -> Result<(String, String), Refusal> {
    let (from, to) = (title(gate, home), title(gate, project));
    let gone = |reason: &str| {
        Refusal::invalid(format!(
            "{name} lives in project {from}, but this request goes to project {to}, and the file cannot be brought there: {reason}. \
             Upload it again together with the others."
        ))
    };
    let Some(spool) = &gate.spool else { return Err(gone("nothing that is uploaded is kept (no state folder)")) };
    let kept = gate.engine.residence().home(name).and_then(|home| Some((spool.find(home.hash?)?, home)));
    let (path, home) = match kept {
        Some(kept) => kept,
        None => {
            download(gate, name, home).await.ok_or_else(|| gone("its bytes are no longer here"))?;
            let kept = gate.engine.residence().home(name).and_then(|home| Some((spool.find(home.hash?)?, home)));
            kept.ok_or_else(|| gone("its bytes are no longer here"))?
        }
    };
    let Some(hash) = home.hash else { return Err(gone("its bytes are no longer here")) };
    let mime = home.mime.as_deref().unwrap_or(UNKNOWN);
    let luggage = Luggage { path: &path, hash, mime, name: name.strip_prefix("files/").unwrap_or(name) };
    let brought = gate.engine.bring(project, luggage).await.map_err(|reason| gone(&reason))?;
    gate.engine.residence().settle_file(&brought.name, project, hash, Some(mime));
    Ok((brought.name, brought.uri))
}

/// Fetches a file that its project lets go: one that the API made itself.
async fn download(gate: &Gate, name: &str, home: u32) -> Option<()> {
    use futures_util::StreamExt as _;
    let spool = gate.spool.as_ref()?;
    let about = look(gate, home, name).await?.whole(MOST_OF_A_LOOK).await.ok()?;
    let about: serde_json::Value = serde_json::from_slice(&about.body).ok()?;
    let mut answer = look(gate, home, &format!("{name}:download?alt=media")).await.filter(|answer| answer.status == 200)?;
    let mut spooling: Spooling = spool.begin(None)?;
    let mut at = 0;
    while let Some(piece) = answer.body.next().await {
        let piece = piece.ok()?;
        let length = piece.len() as u64;
        spooling = spooling.write(at, piece).await?;
        at += length;
    }
    let hash = spooling.keep(at, about["sha256Hash"].as_str()).await?;
    gate.engine.residence().settle_file(name, home, hash, about["mimeType"].as_str());
    Some(())
}

fn title(gate: &Gate, project: u32) -> String {
    gate.engine.projects().get(project as usize).map_or_else(|| "?".to_string(), |name| name.to_string())
}

/// The body with the new addresses in the places of the old ones, and every other byte as it was.
fn rewritten(body: &[u8], found: &[Named], brought: &BTreeMap<String, (String, String)>) -> Bytes {
    let (mut out, mut end) = (Vec::with_capacity(body.len() + 64), 0);
    for named in found {
        let Some((name, address)) = brought.get(&named.name) else { continue };
        out.extend_from_slice(&body[end..named.at.start]);
        out.extend_from_slice(if named.is_address { address } else { name }.as_bytes());
        end = named.at.end;
    }
    out.extend_from_slice(&body[end..]);
    out.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn only_the_addresses_are_changed() {
        let body =
            r#"{ "b": 1.50, "parts":[{"fileUri":"https://h/v1beta/files/x"}, {"file_uri": "files/x"},{"fileUri":"files/y"}] }"#;
        let brought = BTreeMap::from([("files/x".to_string(), ("files/n".to_string(), "https://h/v1beta/files/n".to_string()))]);
        let told = rewritten(body.as_bytes(), &named(body.as_bytes(), OF_REQUESTS), &brought);
        let wanted = body.replace("files/x", "files/n");
        assert_eq!(std::str::from_utf8(&told).unwrap(), wanted);
    }
}
