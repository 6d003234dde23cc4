//! Embeddings travel together: texts that leave at the same time with the same key share one call of up to 100.
//!
//! Each text is a prompt of its own to the scheduler, since the API counts texts, not calls. Only here, after every text
//! has its permit, they are put into one envelope, and the answer is taken apart again.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{self, BoxFuture, FutureExt};
use parking_lot::Mutex;
use secrecy::SecretString;
use tidegate_gemini::embedding::{self, MOST_TEXTS};
use tidegate_scheduler::Outcome;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::backend::{Backend, Call, Method, Opened, Passage, Reply, TransportError};
use crate::classify::classify;
use crate::retry_on::RetryOn;

/// A call leaves when no further text has come for so long: far less than a call takes.
const QUIET: Duration = Duration::from_millis(5);
/// The longest a text waits for company: its permit is running, and no more than a part of the scheduler's guard
/// (half a second beside a minute) may pass between permit and call.
const LONGEST: Duration = Duration::from_millis(40);
/// The most bytes of texts in one call; the API takes far more, a call of this size is already worth its overhead.
const MOST_BYTES: usize = 4 << 20;
/// Texts that shared a refused call share the next with at most so many others, so that the faulty one is soon alone.
const SUSPECTS: usize = 10;

type Answer = Result<Reply, TransportError>;

/// A [`Backend`] that packs the embeddings of another one.
pub(crate) struct Packing {
    inner: Arc<dyn Backend>,
    open: Arc<Mutex<Open>>,
}

#[derive(Default)]
struct Open {
    envelopes: HashMap<Address, Envelope>,
    /// Texts of calls that were refused as malformed: 1 after a large one, 2 after a small one.
    suspects: HashMap<u64, u8>,
    /// Numbers the envelopes: one that was sent must not be closed again by its timer.
    last: u64,
}

/// Who may share an envelope.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Address {
    model: Arc<str>,
    /// The key, by the place where it is kept: the secret itself is never hashed or compared.
    key: usize,
    /// How many may share it.
    most: usize,
}

struct Envelope {
    number: u64,
    call: Call,
    bytes: usize,
    letters: Vec<Letter>,
    /// When the last of them came.
    latest: Instant,
}

struct Letter {
    body: Bytes,
    reply_to: oneshot::Sender<Answer>,
}

impl Packing {
    pub(crate) fn new(inner: Arc<dyn Backend>) -> Packing {
        Packing { inner, open: Arc::default() }
    }

    async fn post(&self, call: Call) -> Answer {
        let (reply_to, reply) = oneshot::channel();
        self.put(call, reply_to);
        reply.await.unwrap_or_else(|_| Err(TransportError::Cut { reason: "the call it shared was dropped".to_string() }))
    }

    /// Puts a text into the envelope of its kind; a full one is sent at once, any other when it gets no more company.
    fn put(&self, call: Call, reply_to: oneshot::Sender<Answer>) {
        // A text alone is always whole: only media make a body of pieces.
        let body = call.body.whole().cloned().unwrap_or_default();
        let mut open = self.open.lock();
        let most = match open.suspects.get(&mark(&body)) {
            None => MOST_TEXTS,
            Some(1) => SUSPECTS,
            Some(_) => 1,
        };
        let address = Address { model: call.model.clone(), key: Arc::as_ptr(&call.key).addr(), most };
        let letter = Letter { body, reply_to };
        let bytes = letter.body.len();
        if open.envelopes.get(&address).is_some_and(|envelope| envelope.bytes + bytes > MOST_BYTES) {
            self.send(open.envelopes.remove(&address));
        }
        open.last += 1;
        let number = open.last;
        let envelope = open.envelopes.entry(address.clone()).or_insert_with(|| {
            self.send_after(address.clone(), number);
            Envelope {
                number,
                call: Call { method: Method::EmbedTogether, body: Bytes::new().into(), ..call },
                bytes: 0,
                letters: Vec::new(),
                latest: Instant::now(),
            }
        });
        envelope.bytes += bytes;
        envelope.latest = Instant::now();
        envelope.letters.push(letter);
        if envelope.letters.len() >= most {
            self.send(open.envelopes.remove(&address));
        }
    }

    fn send_after(&self, address: Address, number: u64) {
        let (inner, open) = (self.inner.clone(), self.open.clone());
        tokio::spawn(async move {
            let last_call = Instant::now() + LONGEST;
            let mut at = Instant::now() + QUIET;
            loop {
                tokio::time::sleep_until(at).await;
                match take_when_due(&open, &address, number, last_call) {
                    None => return,
                    Some(Err(later)) => at = later,
                    Some(Ok(envelope)) => return deliver(inner, open, envelope).await,
                }
            }
        });
    }

    fn send(&self, envelope: Option<Envelope>) {
        if let Some(envelope) = envelope {
            tokio::spawn(deliver(self.inner.clone(), self.open.clone(), envelope));
        }
    }
}

impl Backend for Packing {
    fn call(&self, call: Call) -> BoxFuture<'_, Answer> {
        match call.method {
            Method::Generate | Method::EmbedTogether => self.inner.call(call),
            Method::Embed => self.post(call).boxed(),
        }
    }

    fn open(&self, call: Call) -> BoxFuture<'_, Result<Opened, TransportError>> {
        self.inner.open(call)
    }

    fn count_tokens(&self, call: Call) -> BoxFuture<'_, Answer> {
        self.inner.count_tokens(call)
    }

    fn pass(&self, passage: Passage, key: Arc<SecretString>) -> BoxFuture<'_, Answer> {
        self.inner.pass(passage, key)
    }
}

/// The envelope of this number, or when to look again; `None` when it is gone.
fn take_when_due(open: &Mutex<Open>, address: &Address, number: u64, last_call: Instant) -> Option<Result<Envelope, Instant>> {
    let mut open = open.lock();
    let envelope = open.envelopes.get(address).filter(|envelope| envelope.number == number)?;
    let due = (envelope.latest + QUIET).min(last_call);
    if due > Instant::now() { Some(Err(due)) } else { open.envelopes.remove(address).map(Ok) }
}

/// Sends an envelope and hands every text its part of the answer. It is dropped when nobody waits for it any more.
async fn deliver(inner: Arc<dyn Backend>, open: Arc<Mutex<Open>>, envelope: Envelope) {
    let Envelope { mut call, mut letters, .. } = envelope;
    letters.retain(|letter| !letter.reply_to.is_closed());
    if letters.is_empty() {
        return;
    }
    call.body = embedding::pack(letters.iter().map(|letter| &letter.body[..])).into();
    let answer = {
        let gone = future::join_all(letters.iter_mut().map(|letter| letter.reply_to.closed()));
        let called = inner.call(call);
        tokio::select! {
            answer = called => answer,
            _ = gone => return,
        }
    };
    let answer = note_suspects(&open, &letters, answer);
    let parts = match &answer {
        Ok(reply) if reply.status == 200 => embedding::unpack(&reply.body, letters.len()),
        _ => None,
    };
    match (parts, answer) {
        (Some(parts), Ok(reply)) => {
            for (letter, part) in letters.into_iter().zip(parts) {
                let _ = letter.reply_to.send(Ok(Reply { body: part.into(), ..reply.clone() }));
            }
        }
        (_, answer) => {
            for letter in letters {
                let _ = letter.reply_to.send(answer.clone());
            }
        }
    }
}

/// A call that was refused as malformed may be the fault of one text: who was in company is not judged, but soon goes alone.
fn note_suspects(open: &Mutex<Open>, letters: &[Letter], answer: Answer) -> Answer {
    let marks = || letters.iter().map(|letter| mark(&letter.body));
    let mut open = open.lock();
    match &answer {
        Ok(reply) if reply.status == 200 => {
            for mark in marks() {
                open.suspects.remove(&mark);
            }
            answer
        }
        Ok(Reply { status, .. }) if letters.len() > 1 && is_malformed(&answer) => {
            let already = if letters.len() <= SUSPECTS { 2 } else { 1 };
            for mark in marks().collect::<HashSet<_>>() {
                open.suspects.entry(mark).and_modify(|times| *times = 2).or_insert(already);
            }
            Err(TransportError::Company { status: *status })
        }
        // Whoever was refused alone is marked as it was: the same text again must not draw others in.
        _ => answer,
    }
}

/// True for a refusal for what a text holds, false for one for its model, its key or its quota.
fn is_malformed(answer: &Answer) -> bool {
    let is_the_texts = || matches!(classify(Method::Embed, answer, &RetryOn::default()).outcome, Outcome::TaskFailed(_));
    matches!(answer, Ok(reply) if matches!(reply.status, 400 | 413)) && is_the_texts()
}

fn mark(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use secrecy::SecretString;
    use serde_json::{Value, json};

    /// Answers each text with its own number as a vector; refuses a call that holds `bad`.
    #[derive(Default)]
    struct Recorder {
        sizes: Arc<Mutex<Vec<usize>>>,
    }

    impl Backend for Recorder {
        fn call(&self, call: Call) -> BoxFuture<'_, Answer> {
            let sizes = self.sizes.clone();
            async move {
                assert_eq!(call.method, Method::EmbedTogether);
                let body: Value = serde_json::from_slice(call.body.whole().unwrap()).unwrap();
                let texts: Vec<u64> = body["requests"].as_array().unwrap().iter().map(|one| one["n"].as_u64().unwrap()).collect();
                sizes.lock().push(texts.len());
                tokio::time::sleep(Duration::from_millis(100)).await;
                let (status, body) = match texts.contains(&13) {
                    true => (400, json!({"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "no"}})),
                    false => {
                        let vectors: Vec<Value> = texts.iter().map(|n| json!({"values": [n]})).collect();
                        (200, json!({ "embeddings": vectors }))
                    }
                };
                Ok(Reply { status, content_type: None, retry_after: None, body: body.to_string().into() })
            }
            .boxed()
        }
    }

    fn text(n: u64, key: &Arc<SecretString>) -> Call {
        let body = json!({ "n": n }).to_string().into();
        Call { model: "gemini-embedding-001".into(), method: Method::Embed, body, key: key.clone() }
    }

    fn vector(answer: &Answer) -> Option<u64> {
        let reply = answer.as_ref().ok()?;
        let body: Value = serde_json::from_slice(&reply.body).ok()?;
        body["embedding"]["values"][0].as_u64()
    }

    #[tokio::test(start_paused = true)]
    async fn texts_that_leave_together_share_calls_of_at_most_a_hundred_and_get_their_own_vectors() {
        let recorder = Recorder::default();
        let sizes = recorder.sizes.clone();
        let packing = Packing::new(Arc::new(recorder));
        let keys = [Arc::new(SecretString::from("one")), Arc::new(SecretString::from("two"))];
        let calls = (100..350).map(|n| packing.call(text(n, &keys[0]))).chain([packing.call(text(7, &keys[1]))]);
        let answers = future::join_all(calls).await;
        let vectors: Vec<Option<u64>> = answers.iter().map(vector).collect();
        assert_eq!(vectors, (100..350).chain([7]).map(Some).collect::<Vec<_>>());
        let mut sizes = sizes.lock().clone();
        sizes.sort_unstable();
        assert_eq!(sizes, [1, 50, 100, 100], "a text with another key travels apart");
    }

    #[tokio::test(start_paused = true)]
    async fn one_faulty_text_is_alone_at_its_third_attempt_and_the_others_are_through() {
        let recorder = Recorder::default();
        let sizes = recorder.sizes.clone();
        let packing = Packing::new(Arc::new(recorder));
        let key = Arc::new(SecretString::from("one"));
        let mut waiting: Vec<u64> = (0..100).collect();
        for _attempt in 0..3 {
            let answers = future::join_all(waiting.iter().map(|n| packing.call(text(*n, &key)))).await;
            let refused = waiting.iter().zip(&answers).filter(|(_, answer)| vector(answer).is_none());
            waiting = refused.map(|(n, _)| *n).collect();
        }
        assert_eq!(waiting, [13]);
        assert_eq!(sizes.lock()[11..], [1; 10], "a hundred, then ten tens, then ten alone");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_judged_in_company_and_the_faulty_one_alone_hears_what_the_api_said() {
        let recorder = Recorder::default();
        let packing = Packing::new(Arc::new(recorder));
        let key = Arc::new(SecretString::from("one"));
        let mut answers = Vec::new();
        for _attempt in 0..3 {
            answers = future::join_all([12, 13].map(|n| packing.call(text(n, &key)))).await;
            if vector(&answers[0]).is_none() {
                assert!(answers.iter().all(|answer| *answer.as_ref().unwrap_err() == TransportError::Company { status: 400 }));
            }
        }
        assert_eq!((vector(&answers[0]), answers[1].as_ref().unwrap().status), (Some(12), 400));
        let again = future::join_all([13, 14].map(|n| packing.call(text(n, &key)))).await;
        assert_eq!(vector(&again[1]), Some(14), "the same text again draws nobody in");
    }

    #[test]
    fn only_a_texts_own_fault_is_shared() {
        let refused = |status, reason: &str| {
            let details =
                json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}]);
            let body = json!({"error": {"code": status, "status": "INVALID_ARGUMENT", "message": "no", "details": details}});
            Ok(Reply { status, content_type: None, retry_after: None, body: body.to_string().into() })
        };
        assert!(is_malformed(&refused(400, "OTHER")));
        assert!(!is_malformed(&refused(400, "API_KEY_INVALID")), "a dead key is the key's");
        assert!(!is_malformed(&refused(404, "OTHER")), "a model that is not there is nobody's");
        assert!(!is_malformed(&Err(TransportError::Key)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_of_texts_shares_calls_and_none_waits_longer_than_it_may() {
        let recorder = Recorder::default();
        let sizes = recorder.sizes.clone();
        let packing = Arc::new(Packing::new(Arc::new(recorder)));
        let key = Arc::new(SecretString::from("one"));
        let trickle = (100..150).map(|n| {
            let (packing, key) = (packing.clone(), key.clone());
            async move {
                tokio::time::sleep(Duration::from_millis(3) * (n - 100)).await;
                packing.call(text(u64::from(n), &key)).await
            }
        });
        let began = Instant::now();
        let answers = future::join_all(trickle).await;
        assert!(answers.iter().all(|answer| vector(answer).is_some()));
        assert!(sizes.lock().iter().all(|size| *size <= 14), "a call every 40 ms: {:?}", sizes.lock());
        assert!(sizes.lock().len() <= 5, "{:?}", sizes.lock());
        assert!(began.elapsed() <= Duration::from_millis(147 + 40 + 100), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_nobody_waits_for_is_not_sent() {
        let recorder = Recorder::default();
        let sizes = recorder.sizes.clone();
        let packing = Packing::new(Arc::new(recorder));
        let key = Arc::new(SecretString::from("one"));
        let dropped = tokio::time::timeout(Duration::from_millis(1), packing.call(text(1, &key))).await;
        assert!(dropped.is_err());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(sizes.lock().is_empty());
    }
}
