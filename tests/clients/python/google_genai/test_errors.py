"""Every kind of trouble as the class of exception that the library has for it."""

import pytest
from google.genai import errors, types

MODEL = "gemini-3.8-flash"
SCARCE = "gemini-3.5-flash-lite"
BROKEN = ["gemini-3.5-flash", "gemini-3.6-flash", "gemini-3.7-flash"]
SILENT = "gemini-3.1-pro-preview"


def ask(client, contents="Hello.", model=MODEL, **config):
    return client.models.generate_content(model=model, contents=contents, config=types.GenerateContentConfig(**config))


def test_a_wrong_prompt_is_a_client_error_in_the_words_of_the_api(client):
    with pytest.raises(errors.ClientError) as raised:
        ask(client, temperature=7)
    assert (raised.value.code, raised.value.status) == (400, "INVALID_ARGUMENT")
    assert "temperature must be in the range" in raised.value.message
    assert raised.value.response.headers["x-tidegate-request-id"]


def test_an_unknown_model_is_not_found(client):
    for call in [
        lambda: ask(client, model="gemini-0"),
        lambda: client.models.get(model="gemini-0"),
        lambda: client.models.count_tokens(model="gemini-0", contents="a"),
        lambda: client.models.embed_content(model="gemini-embedding-0", contents="a"),
        lambda: list(client.models.generate_content_stream(model="gemini-0", contents="a")),
    ]:
        with pytest.raises(errors.ClientError) as raised:
            call()
        assert (raised.value.code, raised.value.status) == (404, "NOT_FOUND")


def test_a_stranger_is_turned_away(fresh):
    client = fresh(key="a-token-that-nobody-knows")
    with pytest.raises(errors.ClientError) as raised:
        ask(client)
    assert (raised.value.code, raised.value.status) == (401, "UNAUTHENTICATED")
    assert "nobody" not in str(raised.value.details)


def test_a_wait_that_is_too_long_is_a_429_that_tells_how_long(fresh):
    for n in range(3):
        assert ask(fresh(), contents=f"One of each project. {n}", model=SCARCE).text
    with pytest.raises(errors.ClientError) as raised:
        ask(fresh(headers={"x-tidegate-max-wait": "0"}), model=SCARCE)
    error = raised.value
    assert (error.code, error.status) == (429, "RESOURCE_EXHAUSTED")
    [retry] = [detail for detail in error.details["error"]["details"] if detail["@type"].endswith("RetryInfo")]
    assert 0 < float(retry["retryDelay"].rstrip("s")) <= 61
    assert 0 < int(error.response.headers["retry-after"]) <= 61


def test_who_does_not_wait_is_served_where_there_is_room(fresh):
    assert ask(fresh(headers={"x-tidegate-max-wait": "0"})).text


def test_an_upstream_that_stays_broken_is_a_server_error(client):
    for call in [
        lambda: ask(client, model=BROKEN[0]),
        lambda: list(client.models.generate_content_stream(model=BROKEN[1], contents="a")),
    ]:
        with pytest.raises(errors.ServerError) as raised:
            call()
        assert (raised.value.code, raised.value.status) == (503, "UNAVAILABLE")
        assert "overloaded" in raised.value.message


def test_a_stream_that_breaks_is_an_error_and_no_end(client):
    said = []
    with pytest.raises(errors.APIError) as raised:
        for piece in client.models.generate_content_stream(model=MODEL, contents="BREAKING news, at length"):
            said.append(piece)
    assert said and raised.value.code in (500, 502, 503)
    assert all(piece.candidates[0].finish_reason is None for piece in said)


def test_a_client_that_loses_patience_gets_its_own_timeout(fresh):
    client = fresh(timeout=400)
    with pytest.raises(Exception) as raised:
        ask(client, model=SILENT)
    assert "Timeout" in type(raised.value).__name__
    assert ask(fresh()).text


@pytest.mark.anyio
async def test_errors_are_the_same_asynchronously(fresh):
    with pytest.raises(errors.ClientError) as raised:
        await fresh().aio.models.generate_content(model="gemini-0", contents="a")
    assert raised.value.code == 404
    with pytest.raises(errors.ClientError) as raised:
        async for _ in await fresh(key="unknown").aio.models.generate_content_stream(model=MODEL, contents="a"):
            pass
    assert raised.value.code == 401


def test_the_library_s_own_retries_end_with_the_same_error(fresh):
    retry = types.HttpRetryOptions(attempts=2, initial_delay=0.01, http_status_codes=[503])
    with pytest.raises(errors.ServerError) as raised:
        ask(fresh(retry_options=retry), model=BROKEN[2])
    assert raised.value.code == 503
