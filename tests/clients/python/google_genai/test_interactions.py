"""Interactions and batches of embeddings: made in one project, found there again."""

import time

import pytest
from google import genai
from google.genai import types

MODEL = "gemini-3.8-flash"
of_today = pytest.mark.skipif(genai.__version__ < "3", reason="older versions speak an older form")


@of_today
def test_an_interaction_is_made_read_and_gone_on_from(client):
    made = client.interactions.create(model=MODEL, input="Name a wader.")
    assert made.status == "completed" and made.output_text and made.usage.total_tokens > 0
    assert client.interactions.get(made.id).output_text == made.output_text
    for _ in range(4):
        another = client.interactions.create(model=MODEL, input="Another.", previous_interaction_id=made.id)
        assert another.status == "completed" and another.previous_interaction_id == made.id
    client.interactions.delete(made.id)


@of_today
def test_a_streamed_interaction_comes_piece_by_piece(client):
    events = list(client.interactions.create(model=MODEL, input="Name a wader.", stream=True))
    kinds = [event.event_type for event in events]
    assert kinds[0] == "interaction.created" and kinds[-1] == "interaction.completed"
    said = "".join(event.delta.text for event in events if event.event_type == "step.delta")
    assert said
    assert client.interactions.get(events[-1].interaction.id).output_text == said


def test_texts_are_embedded_in_a_batch(client):
    source = {"inlined_requests": {"contents": ["gull", "tern"], "config": {"output_dimensionality": 16}}}
    job = client.batches.create_embeddings(model="gemini-embedding-001", src=source)
    deadline = time.monotonic() + 60
    while job.state != types.JobState.JOB_STATE_SUCCEEDED and time.monotonic() < deadline:
        job = client.batches.get(name=job.name)
    answers = job.dest.inlined_embed_content_responses
    assert [len(answer.response.embedding.values) for answer in answers] == [16, 16]
