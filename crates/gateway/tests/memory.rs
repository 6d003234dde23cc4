//! What requests cost while they wait, by the bytes that the allocator has given out: nothing of it depends on the machine.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::alloc::System;

use common::until;
use common::world::{World, numbered};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::io::AsyncWriteExt as _;

#[global_allocator]
static BYTES: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const WAITING: usize = 1_000;
/// The two pipes of a connection within the process, of which a socket has none.
const PIPES: usize = 2 * 1_024;
/// Allocated. 16 kB of it are the HTTP library's buffers for reading and writing, of which a page each is ever touched: so many
/// bytes are some 18 kB of memory, and 10,000 requests stay below 200 MB with what the allocator needs besides.
const MOST: usize = 24_000;

fn live() -> usize {
    let stats = BYTES.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

#[tokio::test(start_paused = true)]
async fn a_waiting_request_costs_little_and_one_that_left_nothing() {
    let project = "[[projects]]\nname = 'one'\nkeys = ['SIM-memory-key-1-0123456789abcdef0123']\n";
    let world = World::new(&format!("name = 'wait'\n[limits.'*']\nrpm = 2\n{project}"));
    let paths =
        ["/v1beta/models/gemini-3.8-flash:generateContent", "/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse"];
    let mut after = Vec::new();
    for _ in 0..4 {
        let before = live();
        let mut waiting = Vec::with_capacity(WAITING);
        for n in 0..WAITING {
            let body = numbered(n, "Say").to_string();
            let path = paths[n % 2];
            let request = format!(
                "POST {path} HTTP/1.1\r\nhost: a\r\nx-tidegate-max-wait: 24h\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let mut connection = world.connect_narrow(PIPES / 2);
            connection.write_all(request.as_bytes()).await.unwrap();
            waiting.push(connection);
        }
        until(|| world.engine.status().queued >= WAITING as u64 - 2).await;
        let each = (live() - before) / WAITING - PIPES;
        assert!(each < MOST, "{each} bytes each");
        drop(waiting);
        until(|| world.engine.status().queued == 0 && world.engine.status().active == 0).await;
        world.at_rest();
        after.push(live());
    }
    // Tables that grew stay as they are; what grows with every round is a leak.
    let grown = after[3].saturating_sub(after[1]);
    assert!(grown < 2 * WAITING * 16, "{after:?}");
}
