"""Texts, streams, conversations, JSON, functions and pictures."""

import base64
import enum

import pytest
from google.genai import types
from pydantic import BaseModel

MODEL = "gemini-3.8-flash"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)


class Tide(BaseModel):
    harbour: str
    metres: float
    rising: bool


class Bird(enum.Enum):
    GULL = "gull"
    KNOT = "knot"


def test_a_prompt_is_answered_with_its_cost(client):
    answer = client.models.generate_content(model=MODEL, contents="Name a wader.")
    assert answer.text
    assert answer.candidates[0].finish_reason == types.FinishReason.STOP
    assert answer.candidates[0].content.role == "model"
    usage = answer.usage_metadata
    assert usage.prompt_token_count > 0 and usage.candidates_token_count > 0
    assert usage.total_token_count >= usage.prompt_token_count + usage.candidates_token_count
    assert answer.model_version == MODEL and answer.response_id


def test_settings_reach_the_model(client):
    config = types.GenerateContentConfig(
        system_instruction="You are a lighthouse keeper.", temperature=0.1, top_p=0.9, seed=4, max_output_tokens=5
    )
    answer = client.models.generate_content(model=MODEL, contents=["What do you see?", "Look again."], config=config)
    assert answer.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
    assert answer.usage_metadata.candidates_token_count <= 5


def test_stop_sequences_end_the_answer(client):
    whole = client.models.generate_content(model=MODEL, contents="A long story.").text
    word = whole.split()[4]
    config = types.GenerateContentConfig(stop_sequences=[word])
    assert word not in client.models.generate_content(model=MODEL, contents="A long story.", config=config).text


def test_several_candidates_come_at_once(client):
    config = types.GenerateContentConfig(candidate_count=3)
    answer = client.models.generate_content(model=MODEL, contents="Three names.", config=config)
    assert len({candidate.content.parts[0].text for candidate in answer.candidates}) == 3


def test_thoughts_are_told_apart_from_the_answer(client):
    thinking = types.ThinkingConfig(include_thoughts=True, thinking_level="LOW")
    config = types.GenerateContentConfig(thinking_config=thinking)
    answer = client.models.generate_content(model=MODEL, contents="Think.", config=config)
    parts = answer.candidates[0].content.parts
    assert [bool(part.thought) for part in parts] == [True, False]
    assert answer.usage_metadata.thoughts_token_count > 0


def test_a_stream_comes_in_pieces_and_ends_with_its_reason(client):
    pieces = list(client.models.generate_content_stream(model=MODEL, contents="Tell of the sea, at length."))
    assert len(pieces) > 1
    assert "".join(piece.text for piece in pieces).strip()
    assert pieces[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert pieces[-1].usage_metadata.total_token_count > 0
    assert len({piece.response_id for piece in pieces}) == 1


@pytest.mark.anyio
async def test_everything_works_asynchronously(fresh):
    import asyncio

    client = fresh().aio
    asked = [client.models.generate_content(model=MODEL, contents=f"Number {n}.") for n in range(20)]
    answers = await asyncio.gather(*asked)
    assert all(answer.text for answer in answers)
    pieces = [piece async for piece in await client.models.generate_content_stream(model=MODEL, contents="Flow.")]
    assert pieces[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert (await client.models.count_tokens(model=MODEL, contents="a b c")).total_tokens > 0
    vectors = await client.models.embed_content(model="gemini-embedding-001", contents=["a"])
    assert len(vectors.embeddings[0].values) == 3072


def test_a_conversation_goes_on_over_several_turns(client):
    chat = client.chats.create(model=MODEL, config={"system_instruction": "Be brief."})
    first = chat.send_message("Hello.")
    second = chat.send_message("And now?")
    assert second.usage_metadata.prompt_token_count > first.usage_metadata.prompt_token_count
    streamed = "".join(piece.text for piece in chat.send_message_stream("Go on."))
    history = chat.get_history()
    assert [part.text for turn in history if turn.role == "user" for part in turn.parts] == ["Hello.", "And now?", "Go on."]
    assert "".join(part.text for turn in history if turn.role == "model" for part in turn.parts).endswith(streamed)


def test_json_follows_a_schema_of_pydantic(client):
    config = {"response_mime_type": "application/json", "response_schema": Tide}
    answer = client.models.generate_content(model=MODEL, contents="The tide?", config=config)
    assert isinstance(answer.parsed, Tide)
    config["response_schema"] = list[Tide]
    answers = client.models.generate_content(model=MODEL, contents="The tides?", config=config)
    assert answers.parsed and all(isinstance(tide, Tide) for tide in answers.parsed)


def test_json_follows_a_json_schema(client):
    config = {"response_mime_type": "application/json", "response_json_schema": Tide.model_json_schema()}
    answer = client.models.generate_content(model=MODEL, contents="The tide?", config=config)
    Tide.model_validate_json(answer.text)


def test_one_of_a_few_words_is_chosen(client):
    config = {"response_mime_type": "text/x.enum", "response_schema": Bird}
    assert isinstance(client.models.generate_content(model=MODEL, contents="Which?", config=config).parsed, Bird)


def test_a_python_function_is_called_and_its_result_sent_back(client):
    asked = []

    def tide_table(harbour: str) -> dict:
        """When the water is high."""
        asked.append(harbour)
        return {"high": "04:10"}

    config = types.GenerateContentConfig(tools=[tide_table])
    answer = client.models.generate_content(model=MODEL, contents="Use tide_table for Cuxhaven.", config=config)
    assert len(asked) == 1 and isinstance(asked[0], str)
    assert answer.text
    assert len(answer.automatic_function_calling_history) >= 3


def test_declared_functions_are_called_and_answered_by_hand(client):
    find = types.FunctionDeclaration(
        name="find_ship", parameters_json_schema={"type": "object", "properties": {"name": {"type": "string"}}}
    )
    calling = types.FunctionCallingConfig(mode="ANY", allowed_function_names=["find_ship"])
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[find])], tool_config=types.ToolConfig(function_calling_config=calling)
    )
    first = client.models.generate_content(model=MODEL, contents="Where is she?", config=config)
    [call] = first.function_calls
    assert call.name == "find_ship" and isinstance(call.args["name"], str)
    result = types.Part.from_function_response(name=call.name, response={"at": "the quay"})
    turns = [
        types.Content(role="user", parts=[types.Part(text="Where is she?")]),
        first.candidates[0].content,
        types.Content(role="user", parts=[result]),
    ]
    without = types.GenerateContentConfig(tools=config.tools)
    assert client.models.generate_content(model=MODEL, contents=turns, config=without).text


def test_functions_are_called_in_a_stream(client):
    find = types.FunctionDeclaration(name="find_ship")
    config = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[find])])
    stream = client.models.generate_content_stream(model=MODEL, contents="find_ship, now", config=config)
    calls = [call.name for piece in stream for call in piece.function_calls or []]
    assert calls == ["find_ship"]


def test_a_picture_goes_inside_the_prompt(client):
    picture = types.Part.from_bytes(data=PIXEL, mime_type="image/png")
    answer = client.models.generate_content(model=MODEL, contents=[picture, "What is it?"])
    modalities = {detail.modality for detail in answer.usage_metadata.prompt_tokens_details}
    assert types.MediaModality.IMAGE in modalities and answer.text


def test_a_search_comes_with_its_sources(client):
    config = types.GenerateContentConfig(tools=[types.Tool(google_search=types.GoogleSearch())])
    answer = client.models.generate_content(model=MODEL, contents="News of the tides?", config=config)
    assert answer.candidates[0].grounding_metadata.grounding_chunks


def test_an_answer_that_is_blocked_is_handed_on(client):
    answer = client.models.generate_content(model=MODEL, contents="BLOCKED")
    assert answer.prompt_feedback.block_reason == types.BlockedReason.PROHIBITED_CONTENT
    answer = client.models.generate_content(model=MODEL, contents="POISON")
    assert answer.candidates[0].finish_reason == types.FinishReason.SAFETY


def test_another_version_of_the_api_is_served(fresh):
    for version in ["v1", "v1alpha", "v1beta"]:
        client = fresh(api_version=version)
        assert client.models.generate_content(model=MODEL, contents="Hello.").text


def test_the_address_may_come_from_the_environment(url, token, monkeypatch):
    from google import genai

    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", url)
    monkeypatch.setenv("GEMINI_API_KEY", token)
    client = genai.Client()
    assert client.models.generate_content(model=MODEL, contents="Hello.").text
