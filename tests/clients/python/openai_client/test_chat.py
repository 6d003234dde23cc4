"""Chat completions as the openai library asks for them and reads them."""

import asyncio
import base64
import json

import openai
import pytest
from pydantic import BaseModel

MODEL = "gemini-3.8-flash"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="


class Tide(BaseModel):
    harbour: str
    metres: float
    rising: bool


def tool(name):
    parameters = {"type": "object", "properties": {"harbour": {"type": "string"}}, "required": ["harbour"]}
    return {"type": "function", "function": {"name": name, "description": "Looks it up.", "parameters": parameters}}


def said(text, role="user"):
    return {"role": role, "content": text}


def ask(client, text="Name a wader.", **more):
    more = {"model": MODEL, "messages": [said(text)], **more}
    return client.chat.completions.create(**more)


def test_a_prompt_is_answered_with_its_cost(client):
    answer = ask(client)
    [choice] = answer.choices
    assert answer.object == "chat.completion" and answer.id.startswith("chatcmpl-") and answer.model == MODEL
    assert (choice.index, choice.finish_reason, choice.message.role) == (0, "stop", "assistant")
    assert choice.message.content and choice.message.tool_calls is None and choice.message.refusal is None
    usage = answer.usage
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert answer._request_id


def test_a_conversation_of_all_roles_goes_through(client):
    messages = [
        said("You keep a lighthouse.", "system"),
        said("Be brief.", "developer"),
        said("Who are you?"),
        said("The keeper.", "assistant"),
        {"role": "user", "content": [{"type": "text", "text": "And"}, {"type": "text", "text": "your name?"}]},
    ]
    assert ask(client, messages=messages).choices[0].message.content


def test_settings_reach_the_model(client):
    answer = ask(client, temperature=0.1, top_p=0.9, seed=3, max_completion_tokens=5, user="me", presence_penalty=0.5)
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens <= 5


def test_stop_ends_the_answer(client):
    word = ask(client, "A long story.").choices[0].message.content.split()[4]
    for stop in [word, ["nowhere", word]]:
        answer = ask(client, "A long story.", stop=stop).choices[0]
        assert word not in answer.message.content and answer.finish_reason == "stop"


def test_several_answers_are_numbered(client):
    answer = ask(client, "Three names.", n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert all(choice.message.content for choice in answer.choices)


def test_effort_is_understood(client):
    for model, effort in [(MODEL, "low"), ("gemini-2.5-flash", "medium"), ("gemini-2.5-flash", "none")]:
        assert ask(client, model=model, reasoning_effort=effort).choices[0].message.content


def test_what_only_google_knows_comes_in_by_extra_body(client):
    extra = {"extra_body": {"google": {"thinking_config": {"include_thoughts": True, "thinking_level": "low"}}}}
    answer = ask(client, extra_body=extra)
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens_details.reasoning_tokens > 0


def test_a_stream_comes_in_pieces(client):
    chunks = list(ask(client, "Tell of the sea, at length.", stream=True))
    deltas = [chunk.choices[0] for chunk in chunks]
    assert len(chunks) > 1 and len({chunk.id for chunk in chunks}) == 1
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert [choice.delta.role for choice in deltas] == ["assistant"] + [None] * (len(deltas) - 1)
    assert [choice.finish_reason for choice in deltas] == [None] * (len(deltas) - 1) + ["stop"]
    assert "".join(choice.delta.content or "" for choice in deltas).strip()
    assert all(chunk.usage is None for chunk in chunks)


def test_a_stream_ends_with_its_cost_when_that_is_wanted(client):
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    *pieces, last = chunks
    assert last.choices == [] and last.usage.total_tokens > 0
    assert all(piece.usage is None and piece.choices for piece in pieces)


def test_the_stream_helper_puts_the_pieces_together(client):
    with client.chat.completions.stream(model=MODEL, messages=[said("Tell of the sea.")]) as stream:
        kinds = [event.type for event in stream]
        whole = stream.get_final_completion()
    assert "content.delta" in kinds and "content.done" in kinds
    assert whole.choices[0].message.content and whole.choices[0].finish_reason == "stop"


def test_functions_are_called_and_their_results_sent_back(client):
    messages = [said("Ask tide_at for Cuxhaven.")]
    first = ask(client, messages=messages, tools=[tool("tide_at"), tool("moon_at")]).choices[0]
    [call] = first.message.tool_calls
    assert first.finish_reason == "tool_calls" and first.message.content is None
    assert call.type == "function" and call.id and call.function.name == "tide_at"
    assert isinstance(json.loads(call.function.arguments)["harbour"], str)
    messages += [first.message, {"role": "tool", "tool_call_id": call.id, "content": '{"high": "04:10"}'}]
    second = ask(client, messages=messages, tools=[tool("tide_at")]).choices[0]
    assert second.finish_reason == "stop" and second.message.content


def test_several_functions_are_called_at_once(client):
    messages = [said("Ask tide_at and moon_at.")]
    tools = [tool("tide_at"), tool("moon_at")]
    message = ask(client, messages=messages, tools=tools, parallel_tool_calls=True).choices[0].message
    assert [call.function.name for call in message.tool_calls] == ["tide_at", "moon_at"]
    assert len({call.id for call in message.tool_calls}) == 2
    results = [{"role": "tool", "tool_call_id": call.id, "content": "high"} for call in message.tool_calls]
    assert ask(client, messages=[*messages, message.model_dump(exclude_none=True), *results], tools=tools).choices[0].message.content


def test_a_function_that_must_be_called_is_called(client):
    for choice in ["required", {"type": "function", "function": {"name": "tide_at"}}]:
        message = ask(client, "Hello.", tools=[tool("tide_at")], tool_choice=choice).choices[0].message
        assert message.tool_calls[0].function.name == "tide_at"
    assert ask(client, "tide_at", tools=[tool("tide_at")], tool_choice="none").choices[0].message.content


def test_calls_in_a_stream_have_their_index_and_id(client):
    tools = [tool("tide_at"), tool("moon_at")]
    chunks = list(ask(client, "Ask tide_at and moon_at.", tools=tools, stream=True))
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert [(call.index, call.function.name) for call in calls] == [(0, "tide_at"), (1, "moon_at")]
    assert len({call.id for call in calls}) == 2 and all(call.type == "function" for call in calls)
    assert all(json.loads(call.function.arguments) for call in calls)
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_the_stream_helper_understands_calls(client):
    strict = tool("tide_at")
    strict["function"]["strict"] = True
    strict["function"]["parameters"]["additionalProperties"] = False
    with client.chat.completions.stream(model=MODEL, messages=[said("Ask tide_at.")], tools=[strict]) as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
        message = stream.get_final_completion().choices[0].message
    assert [event.name for event in done] == ["tide_at"]
    assert isinstance(message.tool_calls[0].function.parsed_arguments["harbour"], str)


def test_json_follows_a_class(client):
    messages = [said("The tide?")]
    answer = client.chat.completions.parse(model=MODEL, messages=messages, response_format=Tide)
    assert isinstance(answer.choices[0].message.parsed, Tide)
    with client.chat.completions.stream(model=MODEL, messages=messages, response_format=Tide) as stream:
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, Tide)


def test_json_follows_a_schema_or_none(client):
    schema = {"type": "json_schema", "json_schema": {"name": "tide", "schema": Tide.model_json_schema(), "strict": True}}
    Tide.model_validate_json(ask(client, "The tide?", response_format=schema).choices[0].message.content)
    assert json.loads(ask(client, "JSON?", response_format={"type": "json_object"}).choices[0].message.content)


def test_pictures_sound_and_files_come_as_data(client):
    sound = b"RIFF" + (36 + 4800).to_bytes(4, "little") + b"WAVEfmt \x10\0\0\0\x01\0\x01\0"
    sound += (24000).to_bytes(4, "little") + (48000).to_bytes(4, "little") + b"\x02\0\x10\0data"
    sound += (4800).to_bytes(4, "little") + bytes(4800)
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": base64.b64encode(sound).decode(), "format": "wav"}},
        {"type": "text", "text": "What is it?"},
    ]
    plain = ask(client, "What is it?").usage.prompt_tokens
    assert ask(client, messages=[{"role": "user", "content": parts}]).usage.prompt_tokens > plain + 200


def test_an_answer_that_is_blocked_is_filtered(client):
    for text in ["BLOCKED", "POISON"]:
        choice = ask(client, text).choices[0]
        assert choice.finish_reason == "content_filter" and not choice.message.content
        assert list(ask(client, text, stream=True))[-1].choices[0].finish_reason == "content_filter"


@pytest.mark.anyio
async def test_everything_works_asynchronously(aio):
    answers = await asyncio.gather(*(ask(aio, f"Number {n}.") for n in range(20)))
    assert all(answer.choices[0].message.content for answer in answers)
    chunks = [chunk async for chunk in await ask(aio, stream=True)]
    assert chunks[-1].choices[0].finish_reason == "stop"
    async with aio.chat.completions.stream(model=MODEL, messages=[said("Hello.")]) as stream:
        assert (await stream.get_final_completion()).choices[0].message.content
    parsed = await aio.chat.completions.parse(model=MODEL, messages=[said("Hello.")], response_format=Tide)
    assert isinstance(parsed.choices[0].message.parsed, Tide)


def test_the_raw_response_can_be_looked_at(client):
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=[said("Hello.")])
    assert raw.status_code == 200 and raw.headers["x-tidegate-request-id"] == raw.request_id
    assert raw.parse().choices[0].message.content


def test_the_address_may_come_from_the_environment(url, token, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", url + "/v1")
    monkeypatch.setenv("OPENAI_API_KEY", token)
    assert ask(openai.OpenAI()).choices[0].message.content
