"""The endpoints as other programs see them: gradio's client with types and words, and a real MCP client."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import gradio as gr
import numpy as np
import pytest
from gradio_client import Client
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, TextContent, Tool

from tests.compress.embedding_kit import cross_encoder, sentence_encoder
from tests.ui.page_kit import loops_closed
from tests.zoo.tagger_kit import TEXT, make_entry
from ui import tools
from ui.api import add_endpoints, add_look_ups
from ui.desk import Desk
from ui.events import QUICK
from zoo import catalog
from zoo.embed import TextEmbedder
from zoo.files import read_json, write_json
from zoo.lengths import UNITS

ROOT = Path(__file__).parents[2]
QA, SENTIMENT = "minilm-l6-qa-length-adaptive-int8", "minilm-l6-sst2-length-adaptive-int8"
ENTAILMENT = "minilm-l6-mnli-length-adaptive-int8"
NAMES = {"answer", "classify", "label", "embed", "rank", "models", "front", "measure", "jobs"}
LAKE = "The lake was dug by monks in 1340 for the fish ponds of the abbey."


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A page with the endpoints, an event of its own, and its tools."""
    with pytest.MonkeyPatch.context() as patch, loops_closed():
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        with gr.Blocks(title="Budget Zoo", analytics_enabled=False) as demo:
            box = gr.Textbox()
            box.change(lambda text: text, box, box, **QUICK)
            add_endpoints(Desk(), QA, (SENTIMENT, ENTAILMENT), {"concurrency_id": "device", "concurrency_limit": 1})
            add_look_ups()
        tools.announce(demo)
        _, url, _ = demo.launch(
            prevent_thread_lock=True, quiet=True, ssr_mode=False, _frontend=False, mcp_server=False, show_error=False
        )
        tools.mount(demo)
        yield url
        demo.close()


@pytest.fixture(scope="module")
def models(tiny_model, tmp_path_factory) -> dict[str, str]:
    """Tiny ones of the tasks of which none is bundled."""
    ranker = cross_encoder(tmp_path_factory.mktemp("ranker"), tiny_model)
    write_json(ranker / "config.json", {**read_json(ranker / "config.json"), "finetuning_task": "ranking"})
    return {
        "encoder": str(sentence_encoder(tmp_path_factory.mktemp("encoder"), tiny_model)),
        "ranker": str(ranker),
        "tagger": str(make_entry(tiny_model, tmp_path_factory.mktemp("tags")).folder),
    }


def talk(url: str, say: Callable[[ClientSession], Awaitable[Any]]) -> Any:
    """What an MCP client hears."""

    async def run() -> Any:
        async with (
            streamable_http_client(f"{url}gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as it,
        ):
            await it.initialize()
            return await say(it)

    return asyncio.run(run())


def said(result: CallToolResult) -> Any:
    """A result, which is the same as JSON text and as an object; the client has held it against its schema."""
    (content,) = result.content
    assert isinstance(content, TextContent)
    assert not result.isError, content.text
    value = json.loads(content.text)
    assert result.structuredContent == (value if isinstance(value, dict) else {"result": value})
    return value


def complaint(result: CallToolResult) -> str:
    (content,) = result.content
    assert result.isError and isinstance(content, TextContent)
    return content.text


def test_the_endpoints_are_tools_with_types_and_words(served):
    async def say(session: ClientSession) -> list[Tool]:
        return (await session.list_tools()).tools

    found = {tool.name: tool for tool in talk(served, say)}
    assert set(found) == NAMES
    for tool in found.values():
        assert tool.description and " Returns: " in tool.description
        for parameter in tool.inputSchema["properties"].values():
            assert parameter["description"] and {"type", "oneOf", "enum"} & set(parameter), (tool.name, parameter)
        assert tool.outputSchema and tool.outputSchema["properties"]
    assert found["answer"].inputSchema["required"] == ["question", "passage"]
    assert found["answer"].inputSchema["properties"]["unit"]["enum"] == list(UNITS)
    assert found["rank"].inputSchema["properties"]["passages"]["items"] == {"type": "string"}
    span = found["answer"].outputSchema["properties"]["answers"]["items"]
    assert span["properties"]["start"] == {"type": "integer"} and "text" in span["required"]


def test_gradios_client_sees_types_names_and_words(served):
    client = Client(served, verbose=False)
    try:
        ends: dict[str, Any] = cast(Any, client.view_api(return_format="dict"))["named_endpoints"]
        assert set(ends) == {f"/{name}" for name in NAMES}
        for name, end in ends.items():
            for one in (*end["parameters"], *end["returns"]):
                assert one["python_type"]["type"] != "Any" and one["python_type"]["description"], (name, one)
        types = {one["parameter_name"]: one["python_type"]["type"] for one in ends["/answer"]["parameters"]}
        assert types["question"] == "str" and types["budget"] == "None | float"
        assert types["unit"] == "Literal['macs', 'ms', 'speedup', 'loss']"
        (returned,) = ends["/classify"]["returns"]
        assert "labels: list[dict(label: str, probability: float, score: float)]" in returned["python_type"]["type"]
        reply = client.predict("A great film", api_name="/classify")
        assert reply["chosen"] == ["positive"] and reply["labels"][0]["label"] == "positive"
    finally:
        client.close()


def test_an_mcp_client_asks_the_bundled_models_with_the_pages_budget(served):
    async def say(session: ClientSession) -> list[CallToolResult]:
        call = session.call_tool
        return [
            await call("answer", {"question": "Who dug the lake?", "passage": LAKE, "compare": True}),
            await call("front", {}),
            await call("classify", {"first": "A great film"}),
            await call("classify", {"first": "A man sleeps.", "second": "A person is asleep."}),
            await call("models", {"text": "sst2"}),
            await call("jobs", {}),
        ]

    answer, front, film, pair, models, jobs = map(said, talk(served, say))
    assert "monks" in answer["answers"][0]["text"] and answer["full_length"]["fp32"]
    assert LAKE[answer["answers"][0]["start"] : answer["answers"][0]["end"]] == answer["answers"][0]["text"]
    points = [*front["front"]["points"], front["front"]["full"]]
    best = front["front"]["full"]["metrics"]["f1"]
    cheapest = min((p for p in points if best - p["metrics"]["f1"] <= 1), key=lambda p: p["macs_ratio"])
    assert answer["point"]["fractions"] == cheapest["fractions"] and cheapest["macs_ratio"] < 1
    assert film["chosen"] == ["positive"] and film["point"]["macs_ratio"] < 1 and film["same"] is None
    assert {one["label"] for one in pair["labels"]} == {"entailment", "neutral", "contradiction"}
    assert [row["name"] for row in models] == [SENTIMENT] and jobs == []


def test_an_mcp_client_labels_embeds_ranks_and_measures(served, models):
    texts = ["the lake is deep", "who plays chess"]
    passages = ["who plays\nchess on the lake", "the queen", "the lake is deep"]

    async def say(session: ClientSession) -> list[CallToolResult]:
        call = session.call_tool
        torch = {"engine": "torch"}
        return [
            await call("label", {"text": TEXT, "model": models["tagger"], "budget": 60}),
            await call("embed", {"texts": texts, "model": models["encoder"], **torch}),
            await call("rank", {"query": texts[0], "passages": passages, "model": models["encoder"], **torch}),
            await call("rank", {"query": texts[1], "passages": passages, "model": models["ranker"], **torch}),
            await call("measure", {"question": "A great film", "model": SENTIMENT}),
        ]

    labelled, embedded, near, ranked, measured = map(said, talk(served, say))
    assert all(TEXT[one["start"] : one["end"]] == one["text"] for one in labelled["entities"])
    assert labelled["point"]["macs_ratio"] == 0.6
    vectors = TextEmbedder(catalog.find(models["encoder"]), "torch").embed([*texts, *passages])
    assert np.allclose(embedded["vectors"], vectors[:2], atol=1e-5)
    order = np.argsort(-(vectors[2:] @ vectors[0]))
    assert [one["index"] for one in near["matches"]] == list(order) and near["matches"][0]["text"] == passages[2]
    assert {one["text"] for one in ranked["matches"]} == set(passages)
    assert set(measured["timings"]) == {"budget", "full"} and measured["machine"]["cpu"]


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("answer", {"question": "Who?", "passage": " "}, "passage"),
        ("answer", {"question": "Who?", "passage": LAKE, "unit": "miles"}, "'miles' is not one of"),
        ("answer", {"question": "Who?", "passage": LAKE, "model": SENTIMENT}, "endpoint classify"),
        ("embed", {"texts": ["a"], "model": QA}, "endpoint answer"),
        ("embed", {"texts": [], "model": "ENCODER"}, "give 1 to 200"),
        ("embed", {"texts": ["a", " "], "model": "ENCODER"}, "text number 2 is empty"),
        ("embed", {"texts": ["a"], "model": "ENCODER", "unit": "ms", "budget": 3}, "one input of a known length"),
        ("label", {"text": "Ada"}, "'model' is a required property"),
    ],
)
def test_bad_input_is_explained(served, models, tool, arguments, message):
    if arguments.get("model") == "ENCODER":
        arguments = {**arguments, "model": models["encoder"], "engine": "torch"}

    async def say(session: ClientSession) -> CallToolResult:
        return await session.call_tool(tool, arguments)

    assert message in complaint(talk(served, say))


def test_a_browser_is_told_what_the_address_is_for(served):
    with urllib.request.urlopen(f"{served}gradio_api/mcp/") as response:
        assert "MCP" in response.read().decode()


def test_without_the_package_there_are_no_tools_and_the_log_says_so(monkeypatch, caplog):
    monkeypatch.setattr(tools, "find_spec", lambda name: None)
    with loops_closed(), gr.Blocks() as demo:
        pass
    tools.announce(demo)
    assert not demo.mcp_server
    with caplog.at_level("INFO"):
        tools.mount(demo)
    assert "install the package mcp" in caplog.text


def test_the_documents_code_runs(served, capsys):
    (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.M | re.S)
    assert "http://127.0.0.1:7860/" in code
    exec(code.replace("http://127.0.0.1:7860/", served), names := {})
    names["client"].close()
    assert capsys.readouterr().out.splitlines()[-1] == "['positive'] monks"
