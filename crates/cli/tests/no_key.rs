//! When no key can ever serve the rest, a run says so within ten seconds, keeps its answers and ends with code 3.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Ended, TestDir};

const PROMPTS: usize = 60;
const ANSWERED_FIRST: usize = 10;

/// Two projects of one key each that answer some calls, and then what `lines` makes of them.
fn scenario(lines: impl Fn(&str) -> String) -> String {
    let project = |name: &str| {
        let key = format!("SIM-none-{name}-key-0123456789abcdef0123");
        format!("[[projects]]\nname = \"{name}\"\nkeys = [\"{key}\"]\n{}", lines(&key))
    };
    format!("name = \"none\"\n[latency]\nbase = {{ constant = 3 }}\nper_output_token = 0.0\n{}{}", project("one"), project("two"))
}

fn all_become(state: &str) -> String {
    scenario(|key| {
        let after = ANSWERED_FIRST / 2;
        format!("[[projects.key_changes]]\nkey = \"{key}\"\nbecomes = \"{state}\"\nafter_requests = {after}\n")
    })
}

/// Runs it, and checks what all flavours have in common.
#[track_caller]
fn ends_for_want_of_a_key(scenario: &str, answered: usize) -> Ended {
    let dir = TestDir::new();
    dir.write("none.toml", scenario);
    dir.prompts(PROMPTS);
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "--sim=none.toml", "--json", "--progress", "none"];
    let ended = dir.run(&words).expect(3).mentions("no usable key is left").mentions("to go on: tidegate run in.jsonl");
    let account = ended.json();
    assert_eq!(account["stopped"], "no_key", "{account}");
    assert!(account["elapsed_ms"].as_u64().unwrap() < 10_000, "{account}");
    let ok = dir.records("out.jsonl").iter().filter(|record| record["status"] == "ok").count();
    assert_eq!(ok, answered, "what was answered is saved\n{ended}");
    assert_eq!(account["counts"]["left"], PROMPTS - answered, "what was not is asked again later\n{ended}");
    ended
}

#[test]
fn keys_refused_for_good_end_the_run_with_their_reasons() {
    for (state, reason) in [
        ("invalid", "API_KEY_INVALID"),
        ("expired", "API_KEY_INVALID"),
        ("leaked", "API_KEY_LEAKED"),
        ("suspended", "CONSUMER_SUSPENDED"),
        ("service-disabled", "SERVICE_DISABLED"),
        ("blocked", "API_KEY_SERVICE_BLOCKED"),
        ("forbidden", "PERMISSION_DENIED"),
    ] {
        let ended = ends_for_want_of_a_key(&all_become(state), ANSWERED_FIRST);
        ended.mentions(&format!("one/1: {reason}")).mentions(&format!("two/1: {reason}"));
    }
}

/// What the last lines say of projects on hold.
const ON_HOLD: &str = "no usable key is left; projects on hold (one: REASON, two: REASON): settle this with the provider";

#[test]
fn a_place_that_is_not_served_ends_the_run() {
    let on_hold = ON_HOLD.replace("REASON", "LOCATION_NOT_SUPPORTED");
    ends_for_want_of_a_key(&all_become("location"), ANSWERED_FIRST).mentions(&on_hold);
}

#[test]
fn credit_used_up_everywhere_ends_the_run() {
    let prepaid = scenario(|_| format!("tier = \"prepaid\"\ncredit_requests = {}\n", ANSWERED_FIRST / 2));
    ends_for_want_of_a_key(&prepaid, ANSWERED_FIRST).mentions(&ON_HOLD.replace("REASON", "CREDIT_DEPLETED"));
}

#[test]
fn a_spending_cap_reached_everywhere_ends_the_run() {
    let capped = format!("{}[[faults]]\nkind = \"spend-cap\"\n", scenario(|_| String::new()));
    ends_for_want_of_a_key(&capped, 0).mentions(&ON_HOLD.replace("REASON", "SPEND_CAP"));
}

#[test]
fn a_model_without_quota_everywhere_ends_the_run_and_names_the_model() {
    let without = scenario(|_| "limits.\"*\" = { rpm = 0, rpd = 0 }\ntold.\"*\" = { rpm = 600 }\n".to_string());
    ends_for_want_of_a_key(&without, 0).mentions("no quota for gemini-3.8-flash in one, two: choose another model");
    let no_free_tier = format!("{}[[faults]]\nkind = \"no-free-tier\"\n", scenario(|_| String::new()));
    // Several calls are under way when the first refusal comes.
    let no_free_tier = no_free_tier.replace("[latency]\n", "[latency]\nerror = { constant = 50 }\n");
    let ended = ends_for_want_of_a_key(&no_free_tier, 0).mentions("no quota for gemini-3.8-flash in one, two");
    assert_eq!(ended.stderr.matches("has no quota for this model").count(), 2, "once for each project: {ended}");
}

#[test]
fn each_key_useless_in_a_way_of_its_own_ends_the_run_too() {
    let of_its_own = "name = \"none\"\n[[projects]]\nname = \"a\"\nkeys = [\"SIM-none-a-key-0123456789abcdef0123\"]\n\
        [[projects.key_changes]]\nkey = \"SIM-none-a-key-0123456789abcdef0123\"\nbecomes = \"leaked\"\n\
        [[projects]]\nname = \"b\"\nkeys = [\"SIM-none-b-key-0123456789abcdef0123\"]\ncredit_requests = 0\n\
        [[projects]]\nname = \"c\"\nkeys = [\"SIM-none-c-key-0123456789abcdef0123\"]\nlimits.\"*\" = { rpm = 0 }\ntold.\"*\" = {}\n";
    let ended = ends_for_want_of_a_key(of_its_own, 0);
    ended.mentions("a/1: API_KEY_LEAKED").mentions("on hold (b: CREDIT_DEPLETED)").mentions("no quota for gemini-3.8-flash in c");
}

/// The keys are healthy, and serve what they can; the model of the rest has no quota anywhere.
#[test]
fn a_rest_that_asks_for_a_model_without_quota_ends_the_run_once_the_others_are_answered() {
    let barred = scenario(|_| "limits.\"gemini-2.5-pro\" = { rpm = 0 }\ntold.\"*\" = {}\n".to_string());
    let dir = TestDir::new();
    dir.write("none.toml", barred);
    let prompt = |n: usize| {
        let model = if n % 6 == 5 { ",\"model\":\"gemini-2.5-pro\"" } else { "" };
        format!("{{\"id\":\"p{n}\",\"prompt\":\"say {n}\"{model}}}\n")
    };
    dir.write("in.jsonl", (0..PROMPTS).map(prompt).collect::<String>());
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "--sim=none.toml", "--json", "--progress", "none"];
    let ended = dir.run(&words).expect(3).mentions("no quota for gemini-2.5-pro in one, two");
    let account = ended.json();
    assert_eq!((&account["counts"]["ok"], &account["counts"]["left"]), (&50.into(), &10.into()), "{ended}");
    assert!(account["elapsed_ms"].as_u64().unwrap() < 10_000, "{account}");
}
