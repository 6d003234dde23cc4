"""Every kind of trouble as the class of exception that the library has for it."""

import openai
import pytest

MODEL = "gemini-3.8-flash"
SCARCE = "gemini-3.5-flash-lite"
BROKEN = ["gemini-3.5-flash", "gemini-3.6-flash", "gemini-3.7-flash"]
SILENT = "gemini-3.1-pro-preview"


def ask(client, text="Hello.", model=MODEL, **more):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **more)


def test_a_wrong_prompt_is_a_bad_request_in_the_words_of_the_api(client):
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client, reasoning_effort="minimal")
    error = raised.value
    assert (error.status_code, error.type, error.code) == (400, "invalid_request_error", "INVALID_ARGUMENT")
    assert "'minimal' is not a supported thinking level" in error.message
    assert error.request_id


def test_a_field_at_fault_is_named(client):
    for field, more in [
        ("logit_bias", {"logit_bias": {"50256": -100}}),
        ("parallel_tool_calls", {"parallel_tool_calls": False}),
        ("n", {"n": 99}),
        ("n", {"n": 2, "stream": True}),
        ("reasoning_effort", {"reasoning_effort": "xhigh"}),
        ("temperature", {"temperature": 7}),
    ]:
        with pytest.raises(openai.BadRequestError) as raised:
            ask(client, **more)
        assert raised.value.param == field and field in raised.value.message


def test_an_unknown_model_is_not_found(client):
    for call in [
        lambda: ask(client, model="gemini-0"),
        lambda: ask(client, model="gemini-0", stream=True),
        lambda: client.models.retrieve("gemini-0"),
        lambda: client.embeddings.create(model="gemini-embedding-0", input="a"),
    ]:
        with pytest.raises(openai.NotFoundError) as raised:
            call()
        assert raised.value.code == "NOT_FOUND" and "gemini" in raised.value.message


def test_an_unknown_address_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as raised:
        client.moderations.create(input="a")
    assert raised.value.message and raised.value.type


def test_a_stranger_is_turned_away(fresh):
    client = fresh(api_key="a-token-that-nobody-knows")
    for call in [lambda: ask(client), lambda: list(client.models.list()), lambda: ask(client, stream=True)]:
        with pytest.raises(openai.AuthenticationError) as raised:
            call()
        assert raised.value.type == "authentication_error" and "nobody" not in raised.value.message


def test_a_wait_that_is_too_long_is_a_rate_limit_that_tells_how_long(fresh):
    for n in range(3):
        assert ask(fresh(), f"One of each project. {n}", model=SCARCE).choices
    for more in [{}, {"stream": True}]:
        with pytest.raises(openai.RateLimitError) as raised:
            ask(fresh(default_headers={"x-tidegate-max-wait": "0"}), model=SCARCE, **more)
        error = raised.value
        assert (error.type, error.code) == ("rate_limit_error", "RESOURCE_EXHAUSTED")
        assert 0 < int(error.response.headers["retry-after"]) <= 61


def test_who_does_not_wait_is_served_where_there_is_room(fresh):
    assert ask(fresh(default_headers={"x-tidegate-max-wait": "0"})).choices


def test_an_upstream_that_stays_broken_is_a_server_error(fresh):
    for more in [{"model": BROKEN[0]}, {"model": BROKEN[1], "stream": True}]:
        with pytest.raises(openai.InternalServerError) as raised:
            ask(fresh(), **more)
        assert (raised.value.status_code, raised.value.type) == (503, "server_error")
        assert "overloaded" in raised.value.message


def test_a_stream_that_breaks_is_an_error_and_no_end(client):
    seen = []
    with pytest.raises(openai.APIError) as raised:
        for chunk in ask(client, "BREAKING news, at length", stream=True):
            seen.append(chunk.choices[0].finish_reason)
    assert seen and set(seen) == {None}
    assert raised.value.type == "server_error" and raised.value.message


def test_a_client_that_loses_patience_gets_its_own_timeout(client):
    with pytest.raises(openai.APITimeoutError):
        ask(client.with_options(timeout=0.4), model=SILENT)
    assert ask(client).choices


def test_an_answer_cut_short_is_the_library_s_own_error(client):
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(
            model=MODEL,
            messages=[{"role": "user", "content": "The tide?"}],
            max_tokens=2,
            response_format=TIDE,
        )


def test_the_library_s_own_retries_end_with_the_same_error(fresh):
    with pytest.raises(openai.InternalServerError):
        ask(fresh(max_retries=1), model=BROKEN[2])


@pytest.mark.anyio
async def test_errors_are_the_same_asynchronously(aio):
    with pytest.raises(openai.NotFoundError):
        await ask(aio, model="gemini-0")
    with pytest.raises(openai.AuthenticationError):
        await ask(aio.with_options(api_key="unknown"))
    with pytest.raises(openai.APIError):
        async for _ in await ask(aio, "BREAKING news, at length", stream=True):
            pass


def _tide():
    from pydantic import BaseModel

    class Tide(BaseModel):
        harbour: str

    return Tide


TIDE = _tide()
