"""langchain-google-genai, set up as its users set it up."""

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_google_genai import ChatGoogleGenerativeAI, GoogleGenerativeAIEmbeddings
from pydantic import BaseModel

MODEL = "gemini-3.8-flash"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="


class Tide(BaseModel):
    """The state of the water."""

    harbour: str
    metres: float
    rising: bool


@tool
def tide_at(harbour: str) -> str:
    """When the water is high there."""
    return "04:10"


@pytest.fixture
def model(url, token):
    def make(name=MODEL, **more):
        return ChatGoogleGenerativeAI(**{"model": name, "google_api_key": token, "base_url": url, "max_retries": 1, **more})

    return make


def test_a_conversation_is_answered_with_its_cost(model):
    answer = model().invoke([SystemMessage("Be brief."), HumanMessage("Hello."), AIMessage("Hello."), HumanMessage("Who?")])
    assert answer.text and answer.usage_metadata["total_tokens"] > 0
    assert answer.response_metadata["finish_reason"] == "STOP"


def test_a_stream_comes_in_pieces(model):
    pieces = list(model().stream("Tell of the sea, at length."))
    assert len([piece for piece in pieces if piece.text]) > 1
    whole = sum(pieces[1:], pieces[0])
    assert whole.usage_metadata["output_tokens"] > 0


def test_many_prompts_go_at_once(model):
    assert all(answer.text for answer in model().batch([f"Number {n}." for n in range(20)]))


@pytest.mark.anyio
async def test_everything_works_asynchronously(model):
    assert (await model().ainvoke("Hello.")).text
    assert len([piece async for piece in model().astream("Tell of the sea, at length.")]) > 1


def test_answers_follow_a_class(model):
    for method in ["json_schema", "function_calling"]:
        answer = model().with_structured_output(Tide, method=method).invoke("Tide?")
        assert isinstance(answer, Tide)


def test_tools_are_called_and_answered(model):
    bound = model().bind_tools([tide_at])
    turns = [HumanMessage("Ask tide_at for Cuxhaven.")]
    called = bound.invoke(turns)
    [call] = called.tool_calls
    assert call["name"] == "tide_at" and isinstance(call["args"]["harbour"], str) and called.text == ""
    answer = bound.invoke([*turns, called, ToolMessage(tide_at.invoke(call["args"]), tool_call_id=call["id"])])
    assert answer.text and not answer.tool_calls


def test_a_picture_goes_inside_the_prompt(model):
    picture = {"type": "image_url", "image_url": f"data:image/png;base64,{PIXEL}"}
    answer = model().invoke([HumanMessage([{"type": "text", "text": "What is it?"}, picture])])
    assert answer.text and answer.usage_metadata["input_tokens"] > 200


def test_stop_ends_the_answer(model):
    word = model().invoke("A long story.").text.split()[4]
    assert word not in model().invoke("A long story.", stop=[word]).text


def test_tokens_are_counted(model):
    assert model().get_num_tokens("a few words") > 0


def test_texts_become_vectors(url, token):
    vectors = GoogleGenerativeAIEmbeddings(model="models/gemini-embedding-001", google_api_key=token, base_url=url)
    made = vectors.embed_documents([f"bird {n}" for n in range(5)])
    assert len(made) == 5 and len(made[0]) == 3072
    assert len(vectors.embed_query("gull")) == 3072


def test_trouble_is_told(model, token):
    for options, told in [
        ({"google_api_key": "unknown-token"}, "401"),
        ({"name": "gemini-0"}, "404"),
        ({"name": "gemini-3.5-flash"}, "503"),
    ]:
        with pytest.raises(Exception) as raised:
            model(**options).invoke("Hello.")
        assert told in str(raised.value) and token not in str(raised.value)
