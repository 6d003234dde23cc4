//! Requests go where the things live that they name; files of several projects are brought together.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod places;

use places::{Door, GENERATE, World, about};
use serde_json::{Value, json};

/// Two files in two projects, and where they lie.
async fn two_files(world: &World, door: &Door) -> (Value, Value) {
    let first = door.upload("first.txt", "the tide comes in").await;
    let second = door.upload("second.txt", "the tide goes out").await;
    let homes = [world.owner(name(&first)).await, world.owner(name(&second)).await];
    assert_ne!(homes[0], homes[1], "uploads take turns");
    (first, second)
}

fn name(file: &Value) -> &str {
    file["name"].as_str().unwrap()
}

fn uri(file: &Value) -> &str {
    file["uri"].as_str().unwrap()
}

fn uploads(world: &World) -> u64 {
    world.simulator.lock().unwrap().report(0).uploads.finished
}

/// How often a project was asked for a file that is another's, by whomever.
fn forbidden(world: &World) -> u64 {
    world.simulator.lock().unwrap().report(0).errors.get("file_forbidden").copied().unwrap_or(0)
}

#[tokio::test]
async fn a_prompt_about_a_file_goes_to_its_project_also_after_a_restart() {
    let (world, folder) = (World::new(3, "").await, tempfile::tempdir().unwrap());
    let door = world.gateway(folder.path()).await;
    let (first, second) = two_files(&world, &door).await;
    let before = forbidden(&world);
    for door in [door, world.gateway(folder.path()).await] {
        for file in [&first, &second, &first, &second] {
            door.post(GENERATE, &about(&[uri(file)])).await.json(200);
            assert_eq!(door.get(&format!("/v1beta/{}", name(file))).await.json(200)["name"], file["name"]);
        }
        let stream = door.post(&GENERATE.replace(":generate", ":streamGenerate"), &about(&[uri(&first)])).await;
        assert_eq!(stream.status(), 200);
    }
    assert_eq!(forbidden(&world), before, "nobody was asked in vain");
    assert_eq!(uploads(&world), 2, "nothing was uploaded again");
}

#[tokio::test]
async fn files_of_two_projects_are_brought_together_once() {
    let (world, folder) = (World::new(2, "").await, tempfile::tempdir().unwrap());
    let door = world.gateway(folder.path()).await;
    let (first, second) = two_files(&world, &door).await;
    for _ in 0..3 {
        door.post(GENERATE, &about(&[uri(&first), uri(&second)])).await.json(200);
    }
    assert_eq!(uploads(&world), 3, "one of them was uploaded to the other's project, and that once");
    let door = world.gateway(folder.path()).await;
    door.post(GENERATE, &about(&[uri(&second), uri(&first)])).await.json(200);
}

#[tokio::test]
async fn files_that_cannot_be_brought_together_are_told_with_both_projects() {
    let (world, folder) = (World::new(2, "").await, tempfile::tempdir().unwrap());
    let door = world.gateway(folder.path()).await;
    let (first, second) = two_files(&world, &door).await;
    std::fs::remove_dir_all(folder.path().join("spool")).unwrap();
    let error = door.post(GENERATE, &about(&[uri(&first), uri(&second)])).await.json(400)["error"].clone();
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("p0") && message.contains("p1") && message.contains("files/"), "{message}");
    assert_eq!(error["status"], "INVALID_ARGUMENT");
}

#[tokio::test]
async fn a_cache_is_used_where_it_was_made_and_one_that_nobody_remembers_is_found() {
    let (world, folder) = (World::new(3, "min_cached_tokens = 1").await, tempfile::tempdir().unwrap());
    let door = world.gateway(folder.path()).await;
    let cache = json!({"model": "models/gemini-3.8-flash", "contents": [{"role": "user", "parts": [{"text": "a long manual"}]}]});
    let of_others = world.said(2, "POST", "/v1beta/cachedContents", &cache.to_string()).await.json(200);
    let mut own = Vec::new();
    for _ in 0..3 {
        own.push(door.post("/v1beta/cachedContents", &cache).await.json(200));
    }
    for made in own.iter().chain([&of_others]) {
        let mut prompt = about(&[]);
        prompt["cachedContent"] = made["name"].clone();
        door.post(GENERATE, &prompt).await.json(200);
        let path = format!("/v1beta/{}", made["name"].as_str().unwrap());
        let headers = [("content-type", "application/json")];
        door.send("PATCH", &path, &headers, r#"{"ttl":"600s"}"#).await.json(200);
    }
    let listed = door.get("/v1beta/cachedContents?pageSize=50").await.json(200);
    assert_eq!(listed["cachedContents"].as_array().unwrap().len(), 4);
    let path = format!("/v1beta/{}", of_others["name"].as_str().unwrap());
    assert_eq!(door.delete(&path).await.json(200), json!({}));
    assert_eq!(door.get(&path).await.status(), 403);
}
