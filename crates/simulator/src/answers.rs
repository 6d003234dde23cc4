//! What the model says: sentences, JSON that follows the schema, calls, pictures; always the same for the same prompt and seed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::chance::Chance;
use crate::form;
use crate::phrases::sentences;
use crate::prompt::Prompt;
use crate::schema::value_of;
use crate::tokens::of_text;

/// How the answers look.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Answers {
    /// The fewest and the most words of an answer.
    pub words: [u32; 2],
    /// Tokens spent on thoughts before each answer.
    pub thinking_tokens: u64,
    /// Words in one event of a stream.
    pub words_per_event: u32,
    /// The cached share of a prompt of 4,096 tokens or more, 0 to 1.
    pub cached_share: f64,
    /// Answers written out in advance.
    pub scripts: Vec<crate::script::Script>,
}

impl Default for Answers {
    fn default() -> Self {
        Self { words: [12, 40], thinking_tokens: 0, words_per_event: 8, cached_share: 0.0, scripts: Vec::new() }
    }
}

/// One answer of the model, before it is put into a body.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) text_tokens: u64,
    pub(crate) thoughts: u64,
    pub(crate) finish: String,
    /// A summary of the thoughts, when it was asked for.
    pub(crate) summary: Option<String>,
    /// Parts that are not text, after it.
    pub(crate) parts: Vec<Value>,
    /// `groundingMetadata`, when something was looked up.
    pub(crate) grounding: Option<Value>,
}

/// Spent on thoughts that are to be summed up where the scenario has none.
const LEAST_THOUGHTS: u64 = 24;
/// What a picture and a recording cost as output.
const PICTURE_TOKENS: u64 = 1_290;
const SOUND_TOKENS: u64 = 25;

impl Answers {
    /// Answers a prompt as often as it wishes; `maxOutputTokens` bounds thoughts and text together.
    pub(crate) fn compose(&self, prompt: &Prompt, seed: u64) -> Vec<Answer> {
        let fate = seed;
        let seed = seed ^ (prompt.identity >> 64) as u64 ^ prompt.identity as u64;
        let spread = |index: u64| seed.wrapping_add(index.wrapping_mul(0xA076_1D64_78BD_642F));
        (0..prompt.config.candidates).map(|index| self.candidate(prompt, fate, &mut Chance::new(spread(index)))).collect()
    }

    /// An answer of exactly this text.
    pub(crate) fn exactly(text: &str, finish: &str) -> Answer {
        Answer { text: text.to_owned(), text_tokens: of_text(text), finish: finish.to_owned(), ..Answer::default() }
    }

    fn candidate(&self, prompt: &Prompt, seed: u64, chance: &mut Chance) -> Answer {
        let config = &prompt.config;
        let most = config.max_output.unwrap_or(u64::MAX);
        let wished = if config.thoughts { self.thinking_tokens.max(LEAST_THOUGHTS) } else { self.thinking_tokens };
        let thoughts = wished.min(most);
        let parts = other_parts(prompt, chance);
        let mut text = match (parts.is_empty(), prompt.entries.is_empty()) {
            (true, true) => self.text(prompt, chance),
            (true, false) => self.numbered(prompt, seed),
            (false, _) => String::new(),
        };
        if let Some(end) = config.stops.iter().filter_map(|stop| text.find(stop)).min() {
            text.truncate(end);
        }
        let fits = cut_to(&mut text, most - thoughts);
        let media = parts.iter().map(|part| {
            if part.get("inlineData").is_none() {
                of_text(&part.to_string())
            } else if config.audio {
                SOUND_TOKENS
            } else {
                PICTURE_TOKENS
            }
        });
        let media = media.sum::<u64>();
        Answer {
            text_tokens: of_text(&text) + media,
            thoughts,
            finish: if fits { "STOP" } else { "MAX_TOKENS" }.to_owned(),
            summary: (config.thoughts && thoughts > 0).then(|| sentences([6, 12], &mut Chance::new(thoughts))),
            grounding: config.searches.then(|| grounding(&text)),
            text,
            parts,
        }
    }

    /// A list of what each of several prompts would be told alone.
    fn numbered(&self, prompt: &Prompt, seed: u64) -> String {
        let answers = prompt.entries.iter().map(|(index, alone)| {
            let text = self.compose(alone, seed).swap_remove(0).text;
            let json = if alone.config.json { serde_json::from_str(&text).ok() } else { None };
            json!({"index": index, "answer": json.unwrap_or(Value::from(text))})
        });
        Value::Array(answers.collect()).to_string()
    }

    fn text(&self, prompt: &Prompt, chance: &mut Chance) -> String {
        let schema = prompt.config.schema.as_ref();
        if let Some(filled) = schema.filter(|_| prompt.config.json).and_then(|schema| form::filled(&prompt.text, schema)) {
            return filled.to_string();
        }
        match (prompt.config.json, prompt.config.choice) {
            (true, _) => value_of(schema.unwrap_or(&default_schema()), chance).to_string(),
            (false, true) => match value_of(schema.unwrap_or(&Value::Null), chance) {
                Value::String(choice) => choice,
                other => other.to_string(),
            },
            (false, false) => sentences(self.words, chance),
        }
    }
}

/// Calls of functions, a picture or a recording, when they are asked for.
fn other_parts(prompt: &Prompt, chance: &mut Chance) -> Vec<Value> {
    let config = &prompt.config;
    let must = config.must_call.get(chance.below(config.must_call.len()));
    let calls = must.into_iter().chain(&config.may_call).map(|(name, schema)| {
        let arguments = if schema.is_null() { json!({}) } else { value_of(schema, chance) };
        json!({"functionCall": {"name": name, "args": arguments}})
    });
    let calls: Vec<Value> = calls.collect();
    if !calls.is_empty() {
        return calls;
    }
    let media = |mime: &str, bytes: &[u8]| json!({"inlineData": {"mimeType": mime, "data": STANDARD.encode(bytes)}});
    match (config.image, config.audio) {
        (true, _) => vec![media("image/png", PICTURE)],
        (_, true) => vec![media("audio/wav", &sound())],
        _ => Vec::new(),
    }
}

/// One grey point.
const PICTURE: &[u8] = &[
    0x89, b'P', b'N', b'G', 0x0D, 0x0A, 0x1A, 0x0A, 0, 0, 0, 13, b'I', b'H', b'D', b'R', 0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0,
    0x3A, 0x7E, 0x9B, 0x55, 0, 0, 0, 10, b'I', b'D', b'A', b'T', 0x78, 0x9C, 0x63, 0x68, 0, 0, 0, 0x82, 0, 0x81, 0x77, 0xCD,
    0x72, 0xB6, 0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xAE, 0x42, 0x60, 0x82,
];

/// A tenth of a second of silence: 24,000 samples a second, 16 bits, one channel.
fn sound() -> Vec<u8> {
    const BYTES: u32 = 4_800;
    let mut wav = b"RIFF".to_vec();
    wav.extend((36 + BYTES).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend(24_000u32.to_le_bytes());
    wav.extend(48_000u32.to_le_bytes());
    wav.extend(b"\x02\0\x10\0data");
    wav.extend(BYTES.to_le_bytes());
    wav.resize(44 + BYTES as usize, 0);
    wav
}

fn grounding(text: &str) -> Value {
    json!({
        "webSearchQueries": ["tides of the harbour"],
        "searchEntryPoint": {"renderedContent": "<div>tides of the harbour</div>"},
        "groundingChunks": [{"web": {"uri": "https://example.org/tides", "title": "example.org"}}],
        "groundingSupports": [{"segment": {"endIndex": text.len(), "text": text}, "groundingChunkIndices": [0]}],
    })
}

/// Shortens a text to so many tokens; whether nothing had to go.
pub(crate) fn cut_to(text: &mut String, tokens: u64) -> bool {
    let whole = of_text(text) <= tokens;
    while of_text(text) > tokens {
        let excess = usize::try_from(of_text(text) - tokens).unwrap_or(usize::MAX);
        let end = text.len().saturating_sub(excess);
        text.truncate(text.floor_char_boundary(end));
    }
    whole
}

fn default_schema() -> Value {
    json!({"type": "OBJECT", "properties": {
        "summary": {"type": "STRING"}, "score": {"type": "INTEGER"}, "certain": {"type": "BOOLEAN"},
    }})
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::files::{FileRules, Files};

    fn prompt(config: &Value) -> Prompt {
        let body = json!({"contents": [{"parts": [{"text": "hello"}]}], "generationConfig": config});
        read(&body)
    }

    fn read(body: &Value) -> Prompt {
        let files = Files::new(FileRules::default());
        Prompt::read(body.to_string().as_bytes(), "gemini-3.8-flash", true, files.shelf(0, 0)).unwrap()
    }

    fn compose(answers: &Answers, prompt: &Prompt, seed: u64) -> Answer {
        answers.compose(prompt, seed).remove(0)
    }

    #[test]
    fn the_same_prompt_and_seed_get_the_same_answer() {
        let (answers, prompt) = (Answers::default(), prompt(&json!({})));
        assert_eq!(compose(&answers, &prompt, 7), compose(&answers, &prompt, 7));
        assert_ne!(compose(&answers, &prompt, 7).text, compose(&answers, &prompt, 8).text);
    }

    #[test]
    fn functions_are_called_when_the_last_turn_names_them() {
        let called = |turns: Value| {
            let body = json!({"contents": turns, "tools": [{"functionDeclarations": [{"name": "tide"}, {"name": "moon"}]}]});
            let parts = compose(&Answers::default(), &read(&body), 7).parts;
            parts.iter().map(|part| part["functionCall"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let asked = json!({"role": "user", "parts": [{"text": "ask tide, then moon"}]});
        assert_eq!(called(json!([asked])), ["tide", "moon"]);
        assert_eq!(called(json!([{"parts": [{"text": "hello"}]}])), [""; 0]);
        let told = json!({"role": "user", "parts": [{"functionResponse": {"name": "tide", "response": {}}}, {"text": "tide"}]});
        assert_eq!(called(json!([asked, told])), [""; 0]);
    }

    #[test]
    fn an_answer_ends_before_the_first_stop_sequence() {
        let answers = Answers::default();
        let whole = compose(&answers, &prompt(&json!({})), 7).text;
        let stop = whole.split_whitespace().nth(3).unwrap();
        let cut = answers.compose(&prompt(&json!({"stopSequences": ["not there", stop]})), 7).remove(0);
        assert!(!cut.text.contains(stop) && cut.finish == "STOP", "{}", cut.text);
    }

    #[test]
    fn an_answer_ends_with_stop_unless_the_tokens_run_out() {
        let answers = Answers { thinking_tokens: 10, ..Answers::default() };
        let whole = compose(&answers, &prompt(&json!({})), 1);
        assert_eq!((whole.finish.as_str(), whole.thoughts), ("STOP", 10));
        assert!(whole.text.split(' ').count() >= 12 && whole.text.ends_with('.'));
        let cut = compose(&answers, &prompt(&json!({"maxOutputTokens": 13})), 1);
        assert_eq!((cut.finish.as_str(), cut.text_tokens), ("MAX_TOKENS", 3));
        let thoughts = compose(&answers, &prompt(&json!({"max_output_tokens": 4})), 1);
        assert_eq!((thoughts.thoughts, thoughts.text.as_str()), (4, ""));
    }

    #[test]
    fn json_follows_the_schema() {
        let schema = json!({"type": "OBJECT", "properties": {
            "species": {"type": "STRING", "enum": ["wren", "robin"]},
            "count": {"type": "integer", "minimum": 3, "maximum": 5},
            "tags": {"type": "ARRAY", "items": {"type": "STRING"}, "minItems": 2, "maxItems": 2},
            "sure": {"type": ["boolean", "null"]},
        }});
        let config = json!({"responseMimeType": "application/json", "responseSchema": schema});
        let answer = compose(&Answers::default(), &prompt(&config), 1);
        let value: Value = serde_json::from_str(&answer.text).unwrap();
        assert!(["wren", "robin"].contains(&value["species"].as_str().unwrap()));
        assert!((3..=5).contains(&value["count"].as_i64().unwrap()));
        assert_eq!(value["tags"].as_array().unwrap().len(), 2);
        assert!(value["sure"].is_boolean());
    }

    #[test]
    fn json_without_a_schema_is_a_small_object() {
        let answer = compose(&Answers::default(), &prompt(&json!({"response_mime_type": "application/json"})), 1);
        assert!(serde_json::from_str::<Value>(&answer.text).unwrap()["summary"].is_string());
    }

    #[test]
    fn numbered_prompts_are_told_what_each_would_be_told_alone() {
        let sheet = json!({"prompts": [{"index": 1, "text": "hello"}, {"index": 2, "text": "goodbye"}]}).to_string();
        let each = json!({"type": "object", "properties": {"index": {"type": "integer"}, "answer": {"type": "string"}}});
        let config = json!({"responseMimeType": "application/json", "responseJsonSchema": {"type": "array", "items": each}});
        let turn = json!({"role": "user", "parts": [{"text": "Answer all."}, {"text": sheet}]});
        let answer = compose(&Answers::default(), &read(&json!({"contents": [turn], "generationConfig": config})), 7);
        let alone = read(&json!({"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}));
        let found: Value = serde_json::from_str(&answer.text).unwrap();
        assert_eq!(found[0], json!({"index": 1, "answer": compose(&Answers::default(), &alone, 7).text}));
        assert_eq!((&found[1]["index"], found.as_array().unwrap().len()), (&json!(2), 2));
    }

    #[test]
    fn each_candidate_says_something_else() {
        let answers = Answers::default().compose(&prompt(&json!({"candidateCount": 3})), 1);
        let texts: std::collections::HashSet<_> = answers.iter().map(|answer| &answer.text).collect();
        assert_eq!(texts.len(), 3);
    }

    #[test]
    fn thoughts_are_summed_up_only_when_asked() {
        let asked = compose(&Answers::default(), &prompt(&json!({"thinkingConfig": {"includeThoughts": true}})), 1);
        assert!(asked.summary.is_some() && asked.thoughts == LEAST_THOUGHTS);
        let unasked = compose(&Answers { thinking_tokens: 9, ..Answers::default() }, &prompt(&json!({})), 1);
        assert_eq!((unasked.summary, unasked.thoughts), (None, 9));
    }

    #[test]
    fn a_function_that_must_be_called_is_called_with_fitting_arguments() {
        let schema = json!({"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}});
        let answer = compose(
            &Answers::default(),
            &read(&json!({
                "contents": [{"parts": [{"text": "go"}]}],
                "tools": [{"functionDeclarations": [{"name": "go", "parameters": schema}]}],
                "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
            })),
            1,
        );
        let call = &answer.parts[0]["functionCall"];
        assert!(call["name"] == "go" && call["args"]["n"].is_i64() && answer.text.is_empty());
    }

    #[test]
    fn pictures_and_recordings_are_sound_files() {
        let media = |modality: &str| {
            let answer = compose(&Answers::default(), &prompt(&json!({"responseModalities": ["TEXT", modality]})), 1);
            let mut probe = crate::probe::Probe::default();
            probe.feed(&STANDARD.decode(answer.parts[0]["inlineData"]["data"].as_str().unwrap()).unwrap());
            probe.facts()
        };
        assert_eq!(media("IMAGE").pixels, Some((1, 1)));
        assert_eq!(media("AUDIO").seconds, Some(0.1));
    }

    #[test]
    fn a_search_is_told_with_its_sources() {
        let answer = compose(
            &Answers::default(),
            &read(&json!({"contents": [{"parts": [{"text": "a"}]}], "tools": [{"google_search": {}}]})),
            1,
        );
        assert!(answer.grounding.unwrap()["groundingChunks"][0]["web"]["uri"].is_string());
    }
}
