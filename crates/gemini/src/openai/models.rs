//! The list of models in OpenAI's form.

use serde_json::{Value, json};

/// One model of the Gemini API.
pub fn model(model: &Value) -> Value {
    let name = model["name"].as_str().unwrap_or_default();
    let id = name.strip_prefix("models/").unwrap_or(name);
    // The API does not tell since when a model exists.
    json!({"id": id, "object": "model", "created": 0, "owned_by": "google", "display_name": model["displayName"]})
}

/// A list of them.
pub fn models(list: &Value) -> Value {
    let models: Vec<Value> = list["models"].as_array().into_iter().flatten().map(model).collect();
    json!({"object": "list", "data": models})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_known_by_their_bare_names() {
        let list = models(&json!({"models": [{"name": "models/gemini-3.8-flash"}]}));
        assert_eq!(list["data"][0]["id"], "gemini-3.8-flash");
        assert_eq!(models(&json!({}))["data"], json!([]));
    }
}
