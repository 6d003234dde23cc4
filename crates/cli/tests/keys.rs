//! `tidegate keys` as its users meet it; no key is ever shown.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::process::Command;

use secrecy::SecretString;
use tidegate_engine::scheduler::{Dimension, Scheduler, Settings, Timestamp};
use tidegate_engine::store::{Fingerprint, KeyEvent, KeyRecord, LearnedLimit, LimitSource, Redacted, Store};

use common::{Ended, KEY, QUICK, Simulator, TestDir, always_answering, end, end_with_input};

const ONE: &str = "AIzaSyTESTTESTTESTTEST-one-0123456789aaaa";
const TWO: &str = "AIzaSyTESTTESTTESTTEST-two-0123456789bbbb";
const SHORT: &str = "short-secret";

/// Keys in every state the API has a word for, one a project.
const STATES: &str = r#"
name = "states"
[[projects]]
name = "one"
keys = ["SIM-states-valid-key-0123456789abcdef", "SIM-states-invalid-key-0123456789abcd", "SIM-states-expired-key-0123456789abcd", "SIM-states-leaked-key-0123456789abcde", "SIM-states-suspended-key-0123456789ab", "SIM-states-disabled-key-0123456789abc", "SIM-states-blocked-key-0123456789abcd", "SIM-states-location-key-0123456789abc"]
[[projects.key_changes]]
key = "SIM-states-invalid-key-0123456789abcd"
becomes = "invalid"
[[projects.key_changes]]
key = "SIM-states-expired-key-0123456789abcd"
becomes = "expired"
[[projects.key_changes]]
key = "SIM-states-leaked-key-0123456789abcde"
becomes = "leaked"
[[projects.key_changes]]
key = "SIM-states-suspended-key-0123456789ab"
becomes = "suspended"
[[projects.key_changes]]
key = "SIM-states-disabled-key-0123456789abc"
becomes = "service-disabled"
[[projects.key_changes]]
key = "SIM-states-blocked-key-0123456789abcd"
becomes = "blocked"
[[projects.key_changes]]
key = "SIM-states-location-key-0123456789abc"
becomes = "location"
"#;

/// Nothing of any key but its four letters at each end.
#[track_caller]
fn shows_no_key(ended: &Ended) {
    for secret in ["TESTTEST", "0123456789", SHORT, "SIM-states"] {
        assert!(!ended.stdout.contains(secret) && !ended.stderr.contains(secret), "{secret} is shown\n{ended}");
    }
}

#[track_caller]
fn keys(dir: &TestDir, words: &[&str], input: &str) -> Ended {
    let ended = end_with_input(&mut dir.command(["keys"].iter().chain(words)), input);
    shows_no_key(&ended);
    ended
}

#[test]
fn init_puts_the_first_keys_into_a_file_of_ones_own() {
    let dir = TestDir::new();
    keys(&dir, &["init"], &format!("{ONE}\n{TWO}\n"))
        .expect(0)
        .says("added to .env: GEMINI_API_KEY_1 (AIza…aaaa), GEMINI_API_KEY_2 (AIza…bbbb)");
    assert_eq!(dir.read(".env"), format!("GEMINI_API_KEY_1={ONE}\nGEMINI_API_KEY_2={TWO}\n"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(dir.path(".env")).unwrap().permissions().mode() & 0o777, 0o600);
    }
    keys(&dir, &["init"], SHORT).expect(2).mentions(".env holds GEMINI_API_KEY_1 already");
}

#[test]
fn init_reads_a_file_of_keys_and_leaves_other_variables_alone() {
    let dir = TestDir::new();
    dir.write("keys.txt", format!("# team\n{ONE}\n"));
    dir.write(".env", "# mine\nPORT=80\n");
    keys(&dir, &["init", "--from", "keys.txt"], "").expect(0);
    assert_eq!(dir.read(".env"), format!("# mine\nPORT=80\nGEMINI_API_KEY_1={ONE}\n"));
    let empty = TestDir::new();
    keys(&empty, &["init"], "").expect(2).mentions("no key was given");
    keys(&empty, &["init", "--from", "none.txt"], "").expect(4).mentions("none.txt: cannot be read");
    assert!(!empty.path(".env").exists());
}

#[test]
fn a_key_is_added_under_the_next_free_name_and_never_twice() {
    let dir = TestDir::new();
    dir.write(".env", format!("GEMINI_API_KEY_1={ONE}\nGEMINI_API_KEY_3={SHORT}\n"));
    keys(&dir, &["add"], TWO).expect(0).says("added to .env: GEMINI_API_KEY_2 (AIza…bbbb)");
    keys(&dir, &["add"], TWO).expect(2).mentions("this key is there already, as GEMINI_API_KEY_2 (AIza…bbbb)");
    keys(&dir, &["add", "GEMINI_API_KEY_TEAM"], "another-secret").expect(0).says("added to .env: GEMINI_API_KEY_TEAM ((hidden))");
    keys(&dir, &["add", "GEMINI_API_KEY_1"], "yet-another").expect(2).mentions("GEMINI_API_KEY_1 is set already");
    keys(&dir, &["add"], "two words").expect(2).mentions("line 1 is no key");
    assert_eq!(dir.read(".env").lines().count(), 4);
}

#[test]
fn a_key_on_the_command_line_is_refused_and_not_repeated() {
    let dir = TestDir::new();
    for words in [
        &["add", ONE][..],
        &["add", "GEMINI_API_KEY_1", ONE],
        &["init", ONE],
        &["add", "--key", ONE],
        &["remove", ONE],
        &["explain", ONE],
        &["list", ONE],
        &["check", ONE],
        &[ONE],
    ] {
        let ended = keys(&dir, words, SHORT);
        assert!(matches!(ended.code, Some(2 | 3)), "{words:?}: {ended}");
        assert!(!dir.path(".env").exists(), "{words:?}");
    }
}

#[test]
fn a_key_is_removed_by_its_name_also_out_of_a_list() {
    let dir = TestDir::new();
    dir.write(".env", format!("# mine\nGEMINI_API_KEY={SHORT}\nGEMINI_API_KEY_TEAM={ONE},{TWO}\n"));
    keys(&dir, &["remove", "GEMINI_API_KEY_TEAM/2"], "").expect(0).says("removed from .env: GEMINI_API_KEY_TEAM/2 (AIza…bbbb)");
    assert_eq!(dir.read(".env"), format!("# mine\nGEMINI_API_KEY={SHORT}\nGEMINI_API_KEY_TEAM={ONE}\n"));
    keys(&dir, &["remove", "GEMINI_API_KEY"], "").expect(0);
    assert_eq!(dir.read(".env"), format!("# mine\nGEMINI_API_KEY_TEAM={ONE}\n"));
    keys(&dir, &["remove", "GEMINI_API_KEY"], "").expect(2).mentions("holds no key of this name");
    let mut elsewhere = dir.command(["keys", "remove", "GEMINI_API_KEY_9"]);
    end(elsewhere.env("GEMINI_API_KEY_9", TWO)).expect(2).mentions("comes from the environment");
}

#[test]
fn git_is_asked_whether_it_would_commit_the_keys() {
    let dir = TestDir::new();
    let git =
        |words: &[&str]| Command::new("git").args(words).current_dir(dir.path("")).status().is_ok_and(|ended| ended.success());
    if !git(&["init", "-q"]) {
        return;
    }
    keys(&dir, &["init"], ONE).expect(0).mentions("git would commit .env, and with it the keys");
    dir.write(".gitignore", ".env\n");
    let ended = keys(&dir, &["add"], TWO).expect(0);
    assert!(!ended.stderr.contains("git would"), "{ended}");
    assert!(git(&["add", "-f", ".env"]));
    keys(&dir, &["add"], "third-secret-key").expect(0).mentions(".env is in the git repository");
}

#[test]
fn the_list_shows_the_pool_masked_with_tier_and_limits() {
    let dir = TestDir::new();
    dir.write(".env", format!("GEMINI_API_KEY_1={ONE}\nGEMINI_API_KEY_2={TWO}\n"));
    let settings =
        "[[projects]]\nname = \"main\"\ntier = \"free\"\nkeys = [\"env:GEMINI_API_KEY_1\", \"env:GEMINI_API_KEY_2\"]\n";
    dir.write("tidegate.toml", settings);
    let text = keys(&dir, &["list"], "").expect(0).stdout;
    let first = text.lines().nth(1).unwrap();
    for part in ["GEMINI_API_KEY_1", "AIza…aaaa", "main", "free", "RPM 5, TPM 250,000, RPD 20", "AVAILABLE"] {
        assert!(first.contains(part), "{part}: {text}");
    }
    let json = keys(&dir, &["list", "--json"], "").expect(0).json();
    assert_eq!((&json[1]["key"], &json[1]["masked"]), (&"GEMINI_API_KEY_2".into(), &"AIza…bbbb".into()));
    assert_eq!(json[0]["limits"]["gemini-3.8-flash"]["rpd"], 20);
    assert_eq!(keys(&dir, &["list", "--sim", "--json"], "").expect(0).json().as_array().unwrap().len(), 4);
    let explained = keys(&dir, &["explain", "GEMINI_API_KEY_1"], "").expect(0).stdout;
    assert_eq!(explained, "GEMINI_API_KEY_1 (AIza…aaaa) of project main\nAVAILABLE: nothing is known against it\n");
    keys(&dir, &["explain", "GEMINI_API_KEY_7"], "").expect(2).mentions("did you mean GEMINI_API_KEY_1");
    keys(&TestDir::new(), &["list"], "").expect(3).mentions("No valid API keys found");
}

#[test]
fn a_check_tells_each_key_apart_and_the_exit_code_sums_up() {
    let simulator = Simulator::start(STATES);
    let dir = TestDir::new();
    let named = ["valid", "invalid", "expired", "leaked", "suspended", "disabled", "blocked", "location"];
    let text: String = STATES.lines().filter(|line| line.starts_with("keys = ")).collect();
    let all: Vec<&str> = text.split('"').skip(1).step_by(2).collect();
    let check = |which: &[&str]| {
        let env: String = named
            .iter()
            .zip(&all)
            .filter(|(name, _)| which.contains(name))
            .map(|(name, key)| format!("GEMINI_API_KEY_{}={key}\n", name.to_uppercase()))
            .collect();
        dir.write(".env", env);
        keys(&dir, &["check", "--json", "--base-url", &simulator.base_url], "")
    };
    let ended = check(&named).expect(1).says(&format!("1 of 8 keys work at {}", simulator.base_url));
    for key in ended.json().as_array().unwrap() {
        let expected = key["key"].as_str().unwrap().trim_start_matches("GEMINI_API_KEY_").to_lowercase();
        assert_eq!(key["standing"], expected, "{key}");
        assert_eq!(key["usable"], expected == "valid");
        assert_eq!(key["message"].is_string(), expected != "valid", "{key}");
    }
    check(&["valid"]).expect(0);
    check(&["leaked", "expired"]).expect(3);
    let text = keys(&dir, &["check", "--base-url", &simulator.base_url], "").expect(3).stdout;
    assert!(text.contains("API_KEY_INVALID") && text.contains("reported as leaked"), "{text}");
}

#[test]
fn a_check_works_with_the_embedded_simulator_and_tells_an_api_that_is_not_there() {
    let dir = TestDir::new();
    let json = keys(&dir, &["check", "--sim", "--json"], "").expect(0).json();
    assert_eq!(json.as_array().unwrap().len(), 4);
    dir.write(".env", format!("GEMINI_API_KEY_1={ONE}\n"));
    let json = keys(&dir, &["check", "--json", "--base-url", "http://127.0.0.1:9"], "").expect(4).json();
    assert_eq!(json[0]["standing"], "unreachable");
    keys(&dir, &["check", "--base-url", "ftp://nowhere"], "").expect(2).mentions("base URL");
}

#[test]
fn a_server_that_repeats_the_key_does_not_get_it_shown() {
    let body = "HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n\
        {\"error\":{\"code\":403,\"status\":\"PERMISSION_DENIED\",\"message\":\"key short-secret and AIzaSyTESTTESTTESTTEST-one-0123456789aaaa\"}}";
    let base_url = always_answering(body.as_bytes());
    let dir = TestDir::new();
    for key in [ONE, SHORT] {
        dir.write(".env", format!("GEMINI_API_KEY_1={key}\n"));
        let ended = end(&mut dir.command(["keys", "check", "--base-url", &base_url])).expect(3).mentions("0 of 1 keys work");
        assert!(!ended.stdout.contains(key) && !ended.stderr.contains(key), "{ended}");
    }
}

#[test]
fn what_earlier_runs_learned_is_listed_and_explained() {
    let dir = TestDir::new();
    dir.write(
        ".env",
        format!("GEMINI_API_KEY_1={ONE}\nGEMINI_API_KEY_2={TWO}\nTIDEGATE_STATE_DIR={}\n", dir.path("state").display()),
    );
    let later = Timestamp::from_secs(4_000_000_000);
    let (since, model) = (Timestamp::from_secs(1_795_000_000), "gemini-3.8-flash");
    let store = Store::open(&dir.path("state"), "https://generativelanguage.googleapis.com").unwrap();
    let (one, two) = (SecretString::from(ONE), SecretString::from(TWO));
    let record = |key: &SecretString, model: &str, state: &str, until, reason: &str| KeyRecord {
        key: Fingerprint::of(key),
        model: model.into(),
        state: state.into(),
        until,
        reason: reason.into(),
        since,
    };
    store.set_key_state(&record(&one, "", "FAILED_INIT", None, "API_KEY_INVALID")).unwrap();
    store.set_key_state(&record(&two, model, "FULLY_EXHAUSTED", Some(later), "RPD")).unwrap();
    store.set_key_state(&record(&two, "gemini-2.5-pro", "TEMPORARILY_EXHAUSTED", Some(since), "over long ago")).unwrap();
    let (project, dimension, source) = ("GEMINI_API_KEY_2".to_string(), Dimension::Rpd, LimitSource::QuotaValue);
    store.learn_limit(&LearnedLimit { project, model: model.into(), dimension, value: 20, learned_at: since, source }).unwrap();
    let now = Timestamp::ZERO + std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let day_end = Scheduler::new(Vec::new(), Settings::default()).day_end(now);
    store.reserve_day("GEMINI_API_KEY_2", model, day_end, 17).unwrap();
    store
        .append_key_event(&KeyEvent {
            at: since,
            key: Fingerprint::of(&one),
            name: "GEMINI_API_KEY_1".into(),
            project: "GEMINI_API_KEY_1".into(),
            model: String::new(),
            from: "AVAILABLE".into(),
            to: "FAILED_INIT".into(),
            cause: "API_KEY_INVALID".into(),
            http_status: Some(400),
            body: Some(Redacted::new("{\n \"error\": \"API key not valid\"}", [&one])),
        })
        .unwrap();
    drop(store);

    let text = keys(&dir, &["list"], "").expect(0).stdout;
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[1].contains("FAILED_INIT") && lines[1].ends_with("never"), "{text}");
    for part in ["RPD 20 (2026-11-18)", "17/20", "FULLY_EXHAUSTED", "2096-10-02 07:06"] {
        assert!(lines[2].contains(part), "{part}: {text}");
    }
    let json = keys(&dir, &["list", "--json"], "").expect(0).json();
    assert_eq!((&json[1]["learned"][0]["value"], &json[1]["learned"][0]["source"]), (&20.into(), &"quotaValue".into()));
    assert_eq!(json[1]["today"][0]["requests"], 17);
    assert_eq!(json[1]["states"].as_array().unwrap().len(), 1, "a state that is over is not told");

    let text = keys(&dir, &["explain", "GEMINI_API_KEY_1"], "").expect(0).stdout;
    assert_eq!(
        text,
        "GEMINI_API_KEY_1 (AIza…aaaa) of project GEMINI_API_KEY_1\n\
         FAILED_INIT since 2026-11-18 11:06, for good: API_KEY_INVALID\n\
         2026-11-18 11:06  AVAILABLE -> FAILED_INIT: API_KEY_INVALID (HTTP 400)\n    \
         { \"error\": \"API key not valid\"}\n"
    );
    let json = keys(&dir, &["explain", "GEMINI_API_KEY_1", "--json"], "").expect(0).json();
    assert_eq!((&json["states"][0]["state"], &json["journal"][0]["http_status"]), (&"FAILED_INIT".into(), &400.into()));
    let elsewhere = keys(&dir, &["explain", "GEMINI_API_KEY_1", "--base-url", "http://127.0.0.1:9"], "").expect(0).stdout;
    assert!(elsewhere.ends_with("AVAILABLE: nothing is known against it\n"), "another server knows nothing of it: {elsewhere}");
}

#[test]
fn a_store_that_cannot_be_read_is_a_warning_with_its_name() {
    let dir = TestDir::new();
    dir.write(".env", format!("GEMINI_API_KEY_1={ONE}\n"));
    std::fs::create_dir(dir.path("state")).unwrap();
    dir.write("state/tidegate.db", "this is no database, and long enough to be seen as none".repeat(40));
    let mut command = dir.command(["keys", "list"]);
    let ended = end(command.env("TIDEGATE_STATE_DIR", dir.path("state"))).expect(0).mentions("tidegate.db");
    assert!(ended.stdout.contains("AVAILABLE"), "{ended}");
}

/// A key once refused stays aside over runs, until a check finds that it works again.
#[test]
fn a_key_that_works_again_is_used_again_after_a_check() {
    let dir = TestDir::new();
    let simulator = Simulator::start(QUICK);
    let store = Store::open(&dir.path("state"), &simulator.base_url).unwrap();
    let key = Fingerprint::of(&KEY.to_string().into());
    let (state, reason, since) = ("FAILED_INIT".to_string(), "SERVICE_DISABLED".to_string(), Timestamp::from_secs(1_795_000_000));
    store.set_key_state(&KeyRecord { key, model: String::new(), state, until: None, reason, since }).unwrap();
    dir.prompts(2);
    let run = || {
        let words = ["run", "in.jsonl", "-o", "out.jsonl", "--base-url", &simulator.base_url];
        end(dir.command(words).env("GEMINI_API_KEY", KEY).env("TIDEGATE_STATE_DIR", dir.path("state")))
    };
    run().expect(3).mentions("SERVICE_DISABLED");
    let words = ["keys", "check", "--base-url", &simulator.base_url];
    let checked = end(dir.command(words).env("GEMINI_API_KEY", KEY).env("TIDEGATE_STATE_DIR", dir.path("state")));
    checked.expect(0).mentions("1 that had been put aside will be used again");
    run().expect(0);
}

#[test]
fn projects_that_are_probably_one_are_listed_with_the_remedy() {
    let dir = TestDir::new();
    let store = Store::open(&dir.path("state"), "https://generativelanguage.googleapis.com").unwrap();
    let now = Timestamp::ZERO + std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let kin = |one: &str, other: &str| tidegate_engine::Kin { one: one.into(), other: other.into() };
    store.add_kin(&kin("GEMINI_API_KEY_1", "GEMINI_API_KEY_2"), now).unwrap();
    store.add_kin(&kin("GEMINI_API_KEY_1", "gone"), now).unwrap();
    let list = |words: &[&str]| {
        let mut command = dir.command(["keys", "list"].iter().chain(words));
        command.env("TIDEGATE_STATE_DIR", dir.path("state"));
        end(command.env("GEMINI_API_KEY_1", "first-secret-key").env("GEMINI_API_KEY_2", "second-secret-key")).expect(0)
    };
    let remedy = "probably one project: GEMINI_API_KEY_1, GEMINI_API_KEY_2 run into limits together; put their keys into one";
    list(&[]).mentions(remedy);
    assert_eq!(list(&["--json"]).json()[1]["probably_one_project_with"], serde_json::json!(["GEMINI_API_KEY_1"]));
}
