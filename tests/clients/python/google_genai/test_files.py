"""Files and caches: they live in one project, and the client need not know in which."""

import io
import os
import time

import pytest
from google.genai import errors, types

MODEL = "gemini-3.8-flash"
TEXT = b"The tide comes in, the tide goes out.\n"


@pytest.fixture(scope="module")
def large(client, tmp_path_factory):
    """A file of 20 MB that came through in chunks."""
    path = tmp_path_factory.mktemp("files") / "log.txt"
    path.write_bytes((TEXT * (20 * 1024 * 1024 // len(TEXT) + 1))[: 20 * 1024 * 1024])
    file = client.files.upload(file=path, config={"display_name": "the log", "mime_type": "text/plain"})
    yield file
    client.files.delete(name=file.name)


@pytest.fixture
def small(client):
    file = client.files.upload(file=io.BytesIO(TEXT * 400), config={"mime_type": "text/plain"})
    yield file
    client.files.delete(name=file.name)


def test_a_large_file_arrives_whole_and_can_be_asked_about(client, large):
    assert (large.size_bytes, large.mime_type, large.display_name) == (20 * 1024 * 1024, "text/plain", "the log")
    assert large.state == types.FileState.ACTIVE
    part = types.Part.from_uri(file_uri=large.uri, mime_type=large.mime_type)
    with pytest.raises(errors.ClientError) as raised:  # 20 MB of text are more tokens than a prompt may have
        client.models.generate_content(model=MODEL, contents=[part, "What happened?"])
    assert raised.value.code == 400 and "token" in raised.value.message


def test_a_picture_of_20_megabytes_is_used_where_it_lies(client, tmp_path):
    path = tmp_path / "chart.png"
    path.write_bytes(PICTURE + os.urandom(20 * 1024 * 1024))
    file = client.files.upload(file=str(path))
    assert file.size_bytes == path.stat().st_size
    for n in range(6):
        answer = client.models.generate_content(model=MODEL, contents=[file, f"What is it? {n}"])
        assert answer.text
        modalities = {detail.modality for detail in answer.usage_metadata.prompt_tokens_details}
        assert types.MediaModality.IMAGE in modalities
    pieces = list(client.models.generate_content_stream(model=MODEL, contents=[file, "Describe it."]))
    assert pieces[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert client.models.count_tokens(model=MODEL, contents=[file]).total_tokens > 0
    client.files.delete(name=file.name)


def test_files_are_shown_and_listed_over_all_projects(client, large):
    assert client.files.get(name=large.name).uri == large.uri
    others = [client.files.upload(file=io.BytesIO(TEXT), config={"mime_type": "text/plain"}) for _ in range(6)]
    names = [file.name for file in client.files.list(config={"page_size": 2})]
    assert len(names) == len(set(names))
    assert {large.name, *(file.name for file in others)} <= set(names)
    for file in others:
        client.files.delete(name=file.name)
    left = {file.name for file in client.files.list()}
    assert large.name in left and not left & {file.name for file in others}


def test_several_files_go_into_one_prompt(client):
    files = [client.files.upload(file=io.BytesIO(TEXT), config={"mime_type": "text/plain"}) for _ in range(4)]
    assert client.models.generate_content(model=MODEL, contents=[*files, "Compare them."]).text
    for file in files:
        client.files.delete(name=file.name)


def test_a_film_is_processed_first(client):
    sound = b"RIFF" + (36 + 4800).to_bytes(4, "little") + b"WAVEfmt \x10\0\0\0\x01\0\x01\0"
    sound += (24000).to_bytes(4, "little") + (48000).to_bytes(4, "little") + b"\x02\0\x10\0data"
    sound += (4800).to_bytes(4, "little") + bytes(4800)
    file = client.files.upload(file=io.BytesIO(sound), config={"mime_type": "audio/wav"})
    patience = time.monotonic() + 20
    while file.state == types.FileState.PROCESSING and time.monotonic() < patience:
        time.sleep(0.1)
        file = client.files.get(name=file.name)
    assert file.state == types.FileState.ACTIVE
    assert client.models.generate_content(model=MODEL, contents=[file, "What is heard?"]).text
    client.files.delete(name=file.name)


def test_a_file_that_is_gone_is_an_error_of_the_client(client):
    file = client.files.upload(file=io.BytesIO(TEXT), config={"mime_type": "text/plain"})
    client.files.delete(name=file.name)
    for call in [
        lambda: client.files.get(name=file.name),
        lambda: client.files.delete(name=file.name),
        lambda: client.models.generate_content(model=MODEL, contents=[file, "What is it?"]),
    ]:
        with pytest.raises(errors.ClientError) as raised:
            call()
        assert raised.value.code in (400, 403, 404)


@pytest.mark.anyio
async def test_files_are_sent_asynchronously(fresh):
    client = fresh().aio
    file = await client.files.upload(file=io.BytesIO(TEXT), config={"mime_type": "text/plain"})
    assert (await client.files.get(name=file.name)).size_bytes == len(TEXT)
    assert (await client.models.generate_content(model=MODEL, contents=[file, "Read it."])).text
    await client.files.delete(name=file.name)


def test_a_cache_is_made_used_changed_listed_and_deleted(client, small):
    config = types.CreateCachedContentConfig(contents=[small], display_name="the log", ttl="600s")
    cache = client.caches.create(model=MODEL, config=config)
    assert cache.usage_metadata.total_token_count > 1024
    for n in range(4):
        answer = client.models.generate_content(
            model=MODEL, contents=f"What of it? {n}", config=types.GenerateContentConfig(cached_content=cache.name)
        )
        assert answer.usage_metadata.cached_content_token_count == cache.usage_metadata.total_token_count
    later = client.caches.update(name=cache.name, config=types.UpdateCachedContentConfig(ttl="3600s"))
    assert later.expire_time > cache.expire_time
    assert cache.name in [one.name for one in client.caches.list()]
    assert client.caches.get(name=cache.name).display_name == "the log"
    client.caches.delete(name=cache.name)
    with pytest.raises(errors.ClientError) as raised:
        client.caches.get(name=cache.name)
    assert raised.value.code in (403, 404)


PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c6368000000820081 77cd72b60000000049454e44ae426082".replace(" ", "")
)
