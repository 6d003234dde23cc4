//! Opening a connection: what goes wrong is told within seconds, with place, reason and remedy.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod server;

use std::time::{Duration, Instant};

use server::{Cluster, Server};
use tidegate_redis::connection::OPENING;
use tidegate_redis::{Address, Connection, OpenError};

async fn refused(url: &str) -> OpenError {
    let begun = Instant::now();
    let error = Connection::open(&Address::parse(url).unwrap()).await.unwrap_err();
    assert!(begun.elapsed() < OPENING + Duration::from_secs(2), "{error}");
    assert!(!error.to_string().contains("secret") && !format!("{error:?}").contains("secret"), "{error}");
    error
}

#[tokio::test]
async fn nobody_there_is_told_with_the_place() {
    let mut server = Server::start();
    server.kill();
    let error = refused(&server.url()).await;
    assert!(matches!(&error, OpenError::Unreachable { place, .. } if place.ends_with(&server.port().to_string())), "{error:?}");
}

#[tokio::test]
async fn a_wrong_or_missing_password_is_told_and_not_shown() {
    let server = Server::with(&["--requirepass", "right"]);
    let port = server.port();
    for url in [format!("redis://127.0.0.1:{port}"), format!("redis://:secret@127.0.0.1:{port}")] {
        let error = refused(&url).await;
        assert!(matches!(error, OpenError::Password { .. }), "{error:?}");
    }
    let right = Connection::open(&Address::parse(&format!("redis://:right@127.0.0.1:{port}")).unwrap()).await;
    assert!(right.is_ok());
}

#[tokio::test]
async fn a_server_that_speaks_plainly_fails_tls_with_a_remedy() {
    let server = Server::start();
    let error = refused(&format!("rediss://:secret@127.0.0.1:{}", server.port())).await;
    // It answers as soon as the random bytes of a greeting happen to hold an end of line, else it waits for one.
    assert!(matches!(error, OpenError::Tls { .. } | OpenError::Silent { .. }), "{error:?}");
    assert!(error.to_string().contains("redis://"), "{error}");
}

#[tokio::test]
async fn a_silent_server_ends_the_wait_after_five_seconds() {
    let server = Server::start();
    server.freeze();
    let error = refused(&server.url()).await;
    server.thaw();
    assert!(matches!(error, OpenError::Silent { .. }), "{error:?}");
}

#[tokio::test]
async fn a_connection_outlives_its_server() {
    let mut server = Server::start();
    let connection = server.connect().await;
    server.kill();
    let ping = redis::cmd("PING");
    assert!(connection.call::<String>(&ping, Duration::from_millis(300)).await.is_err());
    server.restart();
    let until = Instant::now() + Duration::from_secs(10);
    while connection.call::<String>(&ping, Duration::from_secs(1)).await.is_err() {
        assert!(Instant::now() < until, "it did not come back");
    }
}

#[tokio::test]
async fn a_cluster_is_recognised_from_any_of_its_nodes() {
    let cluster = Cluster::start();
    let connection = Connection::open(&Address::parse(&cluster.url()).unwrap()).await.unwrap();
    assert!(connection.is_cluster());
}
