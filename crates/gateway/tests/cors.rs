//! Pages of other sites: none may call, unless its origin is named.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{GENERATE, House, prompt};
use tidegate_gateway::{Client, Settings};
use tidegate_gemini::Limits;

const APP: &str = "https://app.example";

async fn house(cors: &[&str]) -> House {
    let client = Client::new("page", "the-token".to_string().into());
    let cors = cors.iter().map(ToString::to_string).collect();
    House::simulated("", Limits::default(), Settings { clients: vec![client], cors, ..Settings::default() }).await
}

async fn ask(house: &House, origin: &str) -> common::Told {
    house.send("POST", GENERATE, &[("origin", origin), ("x-goog-api-key", "the-token")], prompt("a").to_string()).await
}

async fn preflight(house: &House, origin: &str) -> common::Told {
    let wanted = "content-type,x-goog-api-client,x-goog-api-key,authorization,x-stainless-lang";
    let headers = [("origin", origin), ("access-control-request-method", "POST"), ("access-control-request-headers", wanted)];
    house.send("OPTIONS", GENERATE, &headers, "").await
}

fn about_cors(told: &common::Told) -> usize {
    told.0.headers().keys().filter(|name| name.as_str().starts_with("access-control")).count()
}

#[tokio::test]
async fn without_a_word_about_it_no_answer_speaks_of_origins() {
    let house = house(&[]).await;
    let told = ask(&house, APP).await;
    told.json(200);
    assert_eq!(about_cors(&told), 0);
    let told = preflight(&house, APP).await;
    assert_eq!((told.status() >= 400, about_cors(&told)), (true, 0));
}

#[tokio::test]
async fn a_named_origin_may_send_what_libraries_send_and_read_what_comes_back() {
    let house = house(&[APP]).await;
    let told = preflight(&house, APP).await;
    assert_eq!((told.status(), told.0.body().len()), (204, 0));
    assert_eq!(told.header("access-control-allow-origin"), Some(APP));
    assert!(told.header("access-control-allow-headers").unwrap().contains("x-stainless-lang"));
    assert!(told.header("access-control-allow-methods").unwrap().contains("POST"));
    let told = ask(&house, APP).await;
    told.json(200);
    assert_eq!((told.header("access-control-allow-origin"), told.header("vary")), (Some(APP), Some("origin")));
    let exposed = told.header("access-control-expose-headers").unwrap();
    for header in ["x-tidegate-request-id", "x-tidegate-eta", "x-tidegate-waited", "retry-after"] {
        assert!(exposed.split(", ").any(|name| name == header), "{header} is hidden from pages: {exposed}");
    }
    let stranger = house.send("POST", GENERATE, &[("origin", APP)], "{}").await;
    assert_eq!((stranger.status(), stranger.header("access-control-allow-origin")), (401, Some(APP)));
}

#[tokio::test]
async fn other_origins_get_no_permission() {
    let house = house(&[APP]).await;
    for other in ["https://app.example.evil", "http://app.example", "null"] {
        assert_eq!(about_cors(&preflight(&house, other).await), 0, "{other}");
        assert_eq!(about_cors(&ask(&house, other).await), 0, "{other}");
    }
    assert_eq!(about_cors(&house.get("/healthz").await), 0, "no page, no permission");
}

#[tokio::test]
async fn a_star_stands_for_every_origin() {
    let house = house(&["*"]).await;
    assert_eq!(preflight(&house, APP).await.header("access-control-allow-origin"), Some("*"));
    assert_eq!(ask(&house, "null").await.header("access-control-allow-origin"), Some("*"));
}
