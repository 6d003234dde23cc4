//! The local store as its processes meet it: many at once, killed at any moment, on folders that cannot be written.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;

use secrecy::SecretString;
use tempfile::TempDir;
use tidegate_engine::scheduler::{Dimension, Timestamp, WindowKind};
use tidegate_engine::store::{
    CalibrationSums, Fingerprint, KeyEvent, KeyRecord, LearnedLimit, LearnedWindow, LimitSource, Redacted, Store, StoreError,
};

const URL: &str = "http://127.0.0.1:8787";
const KEY: &str = "AIzaSyD-0123456789abcdefghijklmnopq6F2k";
const DAY: Timestamp = Timestamp::from_secs(1_795_420_800);
/// Set in a child: the folder of the store it works on.
const FOLDER: &str = "TIDEGATE_TEST_STORE_FOLDER";
/// Set in a child: how many blocks it takes.
const BLOCKS: &str = "TIDEGATE_TEST_STORE_BLOCKS";
/// Requests a block holds.
const BLOCK: u64 = 5;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(folder: &Path) -> Store {
    Store::open(folder, URL).unwrap()
}

/// A process of its own that does what [`child_of_another_test`] says.
fn child(folder: &Path, blocks: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_of_another_test", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(BLOCKS, blocks.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// In a process started by [`child`]: takes blocks, and tells of each request that it uses.
#[test]
fn child_of_another_test() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let blocks: u64 = std::env::var(BLOCKS).unwrap().parse().unwrap();
    let store = open(Path::new(&folder));
    let mut out = std::io::stdout();
    for block in 0..blocks {
        store.reserve_day("p", "m", DAY, BLOCK).unwrap();
        for request in 0..BLOCK {
            let start = Timestamp::from_micros(DAY.as_micros() + (block * BLOCK + request) * 100_000);
            store.add_slot("p", "m", start, 1, 100).unwrap();
            writeln!(out, "\nused").unwrap();
        }
    }
}

fn used_lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.map_while(Result::ok).filter(|line| line == "used")
}

fn integrity(folder: &Path) -> String {
    let file = rusqlite::Connection::open(folder.join("tidegate.db")).unwrap();
    file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap()
}

fn dead(key: &SecretString) -> KeyRecord {
    KeyRecord {
        key: Fingerprint::of(key),
        model: String::new(),
        state: "FAILED_INIT".into(),
        until: None,
        reason: "API_KEY_INVALID".into(),
        since: DAY,
    }
}

fn change(key: &SecretString, body: &str) -> KeyEvent {
    KeyEvent {
        at: DAY,
        key: Fingerprint::of(key),
        name: "main/1".into(),
        project: "main".into(),
        model: String::new(),
        from: "AVAILABLE".into(),
        to: "FAILED_INIT".into(),
        cause: "API_KEY_INVALID".into(),
        http_status: Some(400),
        body: Some(Redacted::new(body, [key])),
    }
}

fn limit() -> LearnedLimit {
    let (project, model, source) = ("p".into(), "m".into(), LimitSource::QuotaValue);
    LearnedLimit { project, model, dimension: Dimension::Rpm, value: 5, learned_at: DAY, source }
}

fn window() -> LearnedWindow {
    let guard = std::time::Duration::from_millis(350);
    let (project, model, kind) = ("p".into(), "m".into(), WindowKind::Bucket);
    LearnedWindow { project, model, dimension: Dimension::Rpm, kind, burst: 0.25, guard, counts_total: true, learned_at: DAY }
}

fn sums() -> CalibrationSums {
    CalibrationSums { model: "m".into(), modality: "text".into(), estimated: 100.0, actual: 110.5 }
}

/// One of everything.
fn fill(store: &Store) {
    let key = SecretString::from(KEY);
    store.reserve_day("p", "m", DAY, 7).unwrap();
    store.add_slot("p", "m", DAY, 2, 300).unwrap();
    store.learn_limit(&limit()).unwrap();
    store.learn_window(&window()).unwrap();
    store.set_key_state(&dead(&key)).unwrap();
    store.append_key_event(&change(&key, "{}")).unwrap();
    store.save_calibration(&[sums()]).unwrap();
}

#[test]
fn everything_is_there_after_reopening() {
    let dir = folder();
    let key = SecretString::from(KEY);
    fill(&open(dir.path()));
    let store = open(dir.path());
    assert_eq!(store.day_total("p", "m", DAY), Ok(7));
    let slots = store.recent_slots(DAY).unwrap();
    assert_eq!((slots.len(), slots[0].requests, slots[0].tokens), (1, 2, 300));
    assert_ne!(slots[0].process, store.process(), "the process before was another one");
    assert_eq!(store.learned_limits(), Ok(vec![limit()]));
    assert_eq!(store.learned_windows(), Ok(vec![window()]));
    assert_eq!(store.key_states(), Ok(vec![dead(&key)]));
    assert_eq!(store.key_journal("main/1", 10), Ok(vec![change(&key, "{}")]));
    assert_eq!(store.load_calibration(), Ok(vec![sums()]));
}

#[test]
fn base_urls_see_nothing_of_each_other() {
    let dir = folder();
    fill(&open(dir.path()));
    let anchor = open(dir.path()).day_anchor(DAY).unwrap();
    let other = Store::open(dir.path(), "https://generativelanguage.googleapis.com").unwrap();
    assert_eq!(other.day_total("p", "m", DAY), Ok(0));
    assert_eq!(other.open_days(Timestamp::ZERO), Ok(vec![]));
    assert_eq!(other.recent_slots(Timestamp::ZERO), Ok(vec![]));
    assert_eq!(other.learned_limits(), Ok(vec![]));
    assert_eq!(other.learned_windows(), Ok(vec![]));
    assert_eq!(other.key_states(), Ok(vec![]));
    assert_eq!(other.key_journal("main/1", 10), Ok(vec![]));
    assert_eq!(other.load_calibration(), Ok(vec![]));
    assert_eq!(other.day_anchor(Timestamp::from_secs(1)), Ok(Timestamp::from_secs(1)));

    // Nor does one's writing, returning, forgetting and pruning touch the other's.
    other.reserve_day("p", "m", DAY, 2).unwrap();
    other.return_day("p", "m", DAY, 1).unwrap();
    other.add_slot("p", "m", Timestamp::from_secs(2_000_000_000), 1, 1).unwrap();
    other.forget_limit("p", "m", Dimension::Rpm).unwrap();
    other.forget_window("p", "m", Dimension::Rpm).unwrap();
    other.clear_key_state(Fingerprint::of(&SecretString::from(KEY)), "").unwrap();
    let first = open(dir.path());
    assert_eq!(first.day_total("p", "m", DAY), Ok(7));
    assert_eq!(first.recent_slots(DAY).unwrap().len(), 1);
    assert_eq!(first.learned_limits(), Ok(vec![limit()]));
    assert_eq!(first.learned_windows(), Ok(vec![window()]));
    assert_eq!(first.key_states().unwrap().len(), 1);
    assert_eq!(first.day_anchor(Timestamp::from_secs(9)), Ok(anchor));
}

#[test]
fn nobody_is_refused_when_eight_open_a_new_file_at_once() {
    // Without patience in switching to the write-ahead log about one round in ten refuses somebody.
    for _ in 0..80 {
        let dir = folder();
        let barrier = Barrier::new(8);
        let open_at_once = || {
            barrier.wait();
            Store::open(dir.path(), URL).map(|_| ())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open_at_once)).collect();
            threads.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), Ok(())));
        });
    }
}

#[test]
fn eight_threads_that_open_a_new_file_at_once_lose_no_count() {
    const ROUNDS: u64 = 100;
    let dir = folder();
    let barrier = Barrier::new(8);
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (barrier, path) = (&barrier, dir.path());
            scope.spawn(move || {
                barrier.wait();
                let store = open(path);
                for round in 0..ROUNDS {
                    store.reserve_day("p", "m", DAY, 3).unwrap();
                    store.return_day("p", "m", DAY, 1).unwrap();
                    let start = DAY + std::time::Duration::from_millis(100 * round);
                    store.add_slot("p", "m", start, 1, i64::try_from(thread).unwrap()).unwrap();
                }
            });
        }
    });
    let store = open(dir.path());
    assert_eq!(store.day_total("p", "m", DAY), Ok(8 * ROUNDS * 2));
    let slots = store.recent_slots(DAY).unwrap();
    assert_eq!(slots.len() as u64, 8 * ROUNDS, "each writer has its own rows");
    assert_eq!(slots.iter().map(|row| row.tokens).sum::<u64>(), ROUNDS * 28);
}

#[test]
fn totals_seen_by_racing_processes_are_all_different() {
    let dir = folder();
    let mut totals: Vec<u64> = std::thread::scope(|scope| {
        let take =
            |_| scope.spawn(|| (0..50).map(|_| open(dir.path()).reserve_day("p", "m", DAY, 1).unwrap()).collect::<Vec<_>>());
        let threads: Vec<_> = (0..4).map(take).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    totals.sort_unstable();
    assert_eq!(totals, (1..=200).collect::<Vec<_>>(), "two blocks were counted as one");
}

#[test]
fn processes_that_share_a_file_lose_no_count() {
    const BLOCKS_EACH: u64 = 40;
    let dir = folder();
    let children: Vec<Child> = (0..4).map(|_| child(dir.path(), BLOCKS_EACH)).collect();
    for mut child in children {
        assert_eq!(used_lines(&mut child).count() as u64, BLOCKS_EACH * BLOCK);
        assert!(child.wait().unwrap().success());
    }
    let store = open(dir.path());
    assert_eq!(store.day_total("p", "m", DAY), Ok(4 * BLOCKS_EACH * BLOCK));
    let sent: u64 = store.recent_slots(DAY).unwrap().iter().map(|row| row.requests).sum();
    assert_eq!(sent, 4 * BLOCKS_EACH * BLOCK);
}

#[test]
fn a_kill_in_the_middle_of_writing_loses_nothing_that_was_used() {
    const KILLS: u64 = 8;
    let dir = folder();
    let mut used = 0;
    for kill in 0..KILLS {
        let mut child = child(dir.path(), 1_000_000);
        let mut lines = used_lines(&mut child);
        let wanted = usize::try_from(7 + kill * 13).unwrap();
        assert_eq!(lines.by_ref().take(wanted).count(), wanted, "the child ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        used += (wanted + lines.count()) as u64;

        let store = open(dir.path());
        let total = store.day_total("p", "m", DAY).unwrap();
        assert!(total >= used, "{total} counted, {used} used after {} kills", kill + 1);
        assert!(total <= used + (kill + 1) * BLOCK, "{total} counted for {used} used: more than a block a kill is lost");
        let sent: u64 = store.recent_slots(DAY).unwrap().iter().map(|row| row.requests).sum();
        assert!((used..=used + kill + 1).contains(&sent), "{sent} in slots, {used} used");
        assert_eq!(integrity(dir.path()), "ok");
    }
}

#[test]
fn a_second_process_works_while_the_first_has_the_file_open() {
    let dir = folder();
    let first = open(dir.path());
    first.reserve_day("p", "m", DAY, 1).unwrap();
    let mut second = child(dir.path(), 1);
    assert_eq!(used_lines(&mut second).count() as u64, BLOCK);
    assert!(second.wait().unwrap().success());
    assert_eq!(first.reserve_day("p", "m", DAY, 1), Ok(2 + BLOCK));
}

#[test]
fn the_key_is_nowhere_in_the_files() {
    let dir = folder();
    let key = SecretString::from(KEY);
    let store = Store::open(dir.path(), &format!("http://{KEY}@host/?key={KEY}")).unwrap();
    fill(&store);
    let quoting = format!("Consumer 'api_key:{KEY}' {} cut: {}", "x".repeat(4_050), &KEY[..25]);
    store.append_key_event(&change(&key, &quoting)).unwrap();
    assert_eq!(format!("{store:?} {:?} {:?}", store.key_states(), store.key_journal("main/1", 9)).matches(&KEY[..12]).count(), 0);
    // Read while the log is still beside the file, and again when closing has folded it in.
    let beside = files(dir.path());
    assert!(beside.iter().any(|path| path.ends_with("tidegate.db-wal")), "{beside:?}");
    assert_eq!(holding(&beside, &KEY[..12]), Vec::<PathBuf>::new());
    assert!(!holding(&beside, "Consumer 'api_key:[key]'").is_empty(), "the search finds what is there");
    drop(store);
    assert_eq!(holding(&files(dir.path()), &KEY[..12]), Vec::<PathBuf>::new());
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn holding(files: &[PathBuf], text: &str) -> Vec<PathBuf> {
    let holds = |path: &&PathBuf| fs::read(path).unwrap().windows(text.len()).any(|bytes| bytes == text.as_bytes());
    files.iter().filter(holds).cloned().collect()
}

#[test]
fn a_missing_folder_is_made_for_its_owner_alone() {
    let dir = folder();
    let deep = dir.path().join("a").join("b");
    assert_eq!(open(&deep).path(), deep.join("tidegate.db"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&deep).unwrap().permissions().mode() & 0o777, 0o700);
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_named_with_the_remedy() {
    let dir = folder();
    let blocked = dir.path().join("file");
    fs::write(&blocked, "in the way").unwrap();
    let refusal = Store::open(&blocked.join("state"), URL).unwrap_err();
    let text = refusal.to_string();
    assert!(matches!(refusal, StoreError::Unwritable { .. }), "{text}");
    assert!(text.contains(&blocked.display().to_string()) && text.contains("TIDEGATE_STATE_DIR"), "{text}");
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_is_named_with_the_remedy() {
    use std::os::unix::fs::PermissionsExt;
    let dir = folder();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).unwrap();
    // The superuser writes wherever he likes: there, a folder of the system's own takes the place.
    let path = match fs::write(dir.path().join("probe"), "") {
        Err(_) => dir.path(),
        Ok(()) => Path::new("/proc"),
    };
    if path.exists() {
        let refusal = Store::open(path, URL).unwrap_err();
        assert!(matches!(refusal, StoreError::Unwritable { .. }), "{refusal}");
        assert!(refusal.to_string().contains("tidegate.db"), "{refusal}");
    }
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_file_that_is_no_database_is_named_and_left_alone() {
    let dir = folder();
    let path = dir.path().join("tidegate.db");
    let content = "these are somebody's notes. ".repeat(200);
    fs::write(&path, &content).unwrap();
    let refusal = Store::open(dir.path(), URL).unwrap_err();
    assert!(matches!(refusal, StoreError::Corrupt { .. }), "{refusal}");
    assert!(refusal.to_string().contains(&path.display().to_string()) && refusal.to_string().contains("move it away"));
    assert_eq!(fs::read_to_string(&path).unwrap(), content);
    assert!(Store::in_memory(URL).is_ok(), "the caller can go on in memory");
}

#[test]
fn a_database_with_damaged_pages_is_named_and_never_a_panic() {
    let dir = folder();
    fill(&open(dir.path()));
    let path = dir.path().join("tidegate.db");
    let mut bytes = fs::read(&path).unwrap();
    bytes[4_096..].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    let outcome = Store::open(dir.path(), URL).and_then(|store| store.reserve_day("p", "m", DAY, 1));
    assert!(matches!(outcome, Err(StoreError::Corrupt { .. })), "{outcome:?}");
}

#[test]
fn a_file_of_a_newer_program_is_refused_and_left_as_it_is() {
    let dir = folder();
    fill(&open(dir.path()));
    let file = rusqlite::Connection::open(dir.path().join("tidegate.db")).unwrap();
    file.pragma_update(None, "user_version", 99).unwrap();
    let refusal = Store::open(dir.path(), URL).unwrap_err();
    assert!(matches!(refusal, StoreError::Newer { found: 99, .. }), "{refusal}");
    assert!(refusal.to_string().contains("update tidegate"), "{refusal}");
    let days: i64 = file.query_row("SELECT requests FROM days", [], |row| row.get(0)).unwrap();
    assert_eq!(days, 7);
}

#[test]
fn stores_in_memory_are_each_their_own() {
    let first = Store::in_memory(URL).unwrap();
    first.reserve_day("p", "m", DAY, 4).unwrap();
    assert_eq!(Store::in_memory(URL).unwrap().day_total("p", "m", DAY), Ok(0));
}
