//! Other gateways: how they are installed, started and measured.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::common::{PATH, Server};
use crate::{Dialect, KEY, Proxy, Way, free_port, latencies, on, title_of_latencies, title_of_rows, until_open};

/// Compares all of them, or the one of this name, with our own ways.
pub fn compare(folder: &Path, only: Option<&str>, upstream: &str, beside: &[&Way<'_>]) {
    let is_wanted = |name| only.is_none_or(|only| only == name);
    if is_wanted("portkey") {
        compare_one(&portkey(folder), "Portkey", Dialect::Portkey, beside);
    }
    if is_wanted("litellm") {
        compare_one(&litellm(folder, upstream), "LiteLLM", Dialect::OpenAi, beside);
    }
}

/// The same figures of another gateway, and ours once more beside it at half of the rate that it reaches.
fn compare_one(peer: &Proxy, name: &str, dialect: Dialect, beside: &[&Way<'_>]) {
    let way = Way { name, url: &peer.url, dialect, upstream: beside[0].upstream };
    title_of_rows();
    let most = peer.row(&way, 1_000).rate;
    title_of_latencies();
    latencies(&[beside, &[&way]].concat(), most / 2.0);
}

fn portkey(folder: &Path) -> Proxy {
    let script = folder.join("node_modules/@portkey-ai/gateway/build/start-server.js");
    if !script.exists() {
        run(Command::new("npm").args(["install", "--no-audit", "--no-fund", "@portkey-ai/gateway@1.15.2"]).current_dir(folder));
    }
    let port = free_port();
    start(on(0, "node").arg(script).args([&format!("--port={port}"), "--headless"]), port)
}

fn litellm(folder: &Path, upstream: &str) -> Proxy {
    let program = folder.join("venv/bin/litellm");
    if !program.exists() {
        run(Command::new("python3").args(["-m", "venv", "venv"]).current_dir(folder));
        run(Command::new(folder.join("venv/bin/pip")).args(["install", "-q", "litellm[proxy]==1.106.2"]));
    }
    let config = folder.join("litellm.yaml");
    let model = format!(
        "{{model_name: gemini-3.8-flash, litellm_params: {{model: gemini/gemini-3.8-flash, api_key: {KEY}, api_base: \"{upstream}{}\"}}}}",
        PATH.trim_end_matches(":generateContent")
    );
    std::fs::write(&config, format!("model_list: [{model}]\n")).unwrap();
    let port = free_port();
    let mut command = on(0, program.to_str().unwrap());
    // It asks nobody who they are, which is the least work for it.
    command.env("LITELLM_LOCAL_MODEL_COST_MAP", "True").env("LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY", "true");
    start(command.arg("--config").arg(config).args(["--port", &port.to_string(), "--num_workers", "1"]), port)
}

fn start(command: &mut Command, port: u16) -> Proxy {
    let begun = Instant::now();
    let child: Child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let ready = until_open(&url, begun);
    Proxy { pid: child.id(), url: url.clone(), process: Some(Server { process: child, url }), ready: Some(ready) }
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?} failed");
}
