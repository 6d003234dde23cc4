"""Models, counts of tokens and vectors."""

import math

from google.genai import types

MODEL = "gemini-3.8-flash"


def test_models_are_listed_page_by_page(client):
    names = [model.name for model in client.models.list(config={"page_size": 3})]
    assert f"models/{MODEL}" in names and len(names) == len(set(names)) > 3


def test_a_model_is_described(client):
    for name in [MODEL, f"models/{MODEL}"]:
        model = client.models.get(model=name)
        assert model.name == f"models/{MODEL}" and model.input_token_limit > 0
        assert "generateContent" in model.supported_actions


def test_tokens_are_counted(client):
    few = client.models.count_tokens(model=MODEL, contents="a few words")
    many = client.models.count_tokens(model=MODEL, contents=["a few words"] * 20)
    assert 0 < few.total_tokens < many.total_tokens


def test_texts_become_vectors_in_their_order(client):
    texts = ["gull", "knot", "tern", "gull"]
    vectors = client.models.embed_content(model="gemini-embedding-001", contents=texts).embeddings
    assert len(vectors) == 4 and len(vectors[0].values) == 3072
    assert vectors[0].values == vectors[3].values != vectors[1].values


def test_vectors_may_be_shorter(client):
    config = types.EmbedContentConfig(output_dimensionality=256, task_type="RETRIEVAL_QUERY")
    [vector] = client.models.embed_content(model="gemini-embedding-001", contents="gull", config=config).embeddings
    assert len(vector.values) == 256 and math.isclose(math.hypot(*vector.values), 1, rel_tol=1e-3)


def test_the_newer_model_makes_vectors_too(client):
    vectors = client.models.embed_content(model="gemini-embedding-2", contents=["gull"]).embeddings
    assert len(vectors) == 1 and len(vectors[0].values) == 3072
