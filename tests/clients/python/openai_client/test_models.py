"""Models and vectors."""

import math

import pytest

MODEL = "gemini-3.8-flash"
VECTORS = "gemini-embedding-001"


def test_models_are_listed_and_shown(client):
    models = list(client.models.list())
    assert MODEL in [model.id for model in models]
    assert all(model.object == "model" and model.owned_by and isinstance(model.created, int) for model in models)
    assert client.models.retrieve(MODEL).id == MODEL


def test_texts_become_vectors_in_their_order(client):
    made = client.embeddings.create(model=VECTORS, input=["gull", "knot", "gull"])
    assert [vector.index for vector in made.data] == [0, 1, 2] and made.object == "list" and made.model == VECTORS
    assert len(made.data[0].embedding) == 3072
    assert made.data[0].embedding == made.data[2].embedding != made.data[1].embedding
    assert made.usage.prompt_tokens == made.usage.total_tokens


def test_vectors_come_as_numbers_or_as_base64_of_them(client):
    [plain] = client.embeddings.create(model=VECTORS, input="gull", dimensions=256, encoding_format="float").data
    [packed] = client.embeddings.create(model=VECTORS, input="gull", dimensions=256).data
    assert len(plain.embedding) == 256 and plain.embedding == pytest.approx(packed.embedding, abs=1e-6)
    assert math.isclose(math.hypot(*plain.embedding), 1, rel_tol=1e-3)


@pytest.mark.anyio
async def test_models_and_vectors_come_asynchronously(aio):
    assert MODEL in [model.id async for model in aio.models.list()]
    assert len((await aio.embeddings.create(model=VECTORS, input=["a", "b"])).data) == 2
