"""Embeddings and ranking as the page and the API ask them, on tiny random models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest

from tests.compress.embedding_kit import cross_encoder, sentence_encoder
from tests.ui.page_kit import loops_closed
from tests.zoo.layout_kit import int8_entry
from ui import text
from ui.api import add_endpoints
from ui.compare.contest import ask_all, refuse_mixed, tabulate
from ui.desk import Desk
from ui.explore.labels import draw_labels
from ui.reading import reading_of
from zoo import catalog
from zoo.answers import Match, Reply
from zoo.asking import open_entry
from zoo.embed import MAX_TOGETHER, TextEmbedder, lines_of
from zoo.errors import UserError
from zoo.features import MAX_CONTEXT
from zoo.files import read_json, write_json

LINES = "who plays chess on the lake\nthe lake is deep\n\nthe queen & <the> chess"


@pytest.fixture(scope="module")
def encoder(tiny_model, tmp_path_factory) -> Path:
    return sentence_encoder(tmp_path_factory.mktemp("encoder"), tiny_model)


@pytest.fixture(scope="module")
def ranker(tiny_model, tmp_path_factory) -> Path:
    folder = cross_encoder(tmp_path_factory.mktemp("ranker"), tiny_model)
    write_json(folder / "config.json", {**read_json(folder / "config.json"), "finetuning_task": "ranking"})
    return folder


def of(*matches: tuple[str, int, float]) -> Reply:
    return Reply(("q",), [4], [], 1.0, matches=[Match(*match) for match in matches])


def test_lines_are_shown_by_their_cosine_the_nearest_first(encoder):
    desk, entry = Desk(), catalog.find(str(encoder))
    reading = reading_of(entry)
    assert reading.button == "Compare" and all(sample.second for sample in reading.samples)
    reply = desk.ask(entry, "torch", "the lake is deep", LINES, None)
    vectors = TextEmbedder(entry, "torch").embed(["the lake is deep", *(line for line in LINES.split("\n") if line)])
    cosines = vectors[1:] @ vectors[0]
    assert [match.index for match in reply.matches] == list(np.argsort(-cosines)) and reply.matches[0].index == 1
    assert reply.matches[0].score == pytest.approx(1.0) and reply.words == "1.00 · the lake is deep"
    html = draw_labels(reply, reply, reading.scale)
    assert html.index("the lake is deep") < html.index("who plays") and "&lt;the&gt;" in html and "<the>" not in html
    assert "The same line comes first" in text.compare(reply, reply, "fp32")


def test_passages_are_ranked_and_both_kinds_are_not_compared(encoder, ranker):
    desk, entry = Desk(), catalog.find(str(ranker))
    assert entry.task == "ranking" and reading_of(entry).button == "Rank"
    reply = desk.ask(entry, "torch", "who plays chess", LINES, None)
    scores = [match.score for match in reply.matches]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True)
    with pytest.raises(UserError, match="ranks passages and .* compares texts"):
        refuse_mixed([entry, catalog.find(str(encoder))])
    pair = ask_all(desk, [(str(ranker), 100), (str(ranker), 100)], "who plays chess", LINES)
    assert pair[0].reply.agrees(pair[1].reply) and text.escape(reply.words) in tabulate(pair)


def test_every_line_is_as_long_as_a_text_may_be():
    long, short = "x" * (MAX_CONTEXT + 5), "y" * MAX_CONTEXT
    texts, notices = lines_of("q", f"{long}\r\n\0{short}  \n\n {long}\n z")
    assert texts == ["q", long[:-5], short, long[:-5], "z"]
    assert notices == ["1 control character removed.", "2 of the lines cut to the first 20,000 characters."]
    many = [f"{i} ".ljust(500, "z") for i in range(200)]
    assert lines_of("q", "\n".join(many)) == (["q", *many], [])
    assert lines_of(long, "z") == ([long[:-5], "z"], ["Cut to the first 20,000 of 20,005 characters."])


def test_lines_that_are_too_many_or_too_long_together_are_refused():
    assert len(lines_of("q", "z\n" * 200)[0]) == 201
    for second, message in (
        ("z\n" * 201, "These are 201 lines: compare with 200 at most"),
        ("z" * (MAX_TOGETHER + 1), "The lines have 2,000,001 characters together: compare with 2,000,000 at most"),
    ):
        with pytest.raises(UserError, match=message):
            lines_of("q", second)
    assert lines_of("q", "z" * MAX_TOGETHER)[0] == ["q", "z" * MAX_CONTEXT]


def test_two_hundred_passages_are_all_read(encoder, ranker):
    """As many and as long as people may give, of which all together were once cut as one text is."""
    lines = [f"{i} ".ljust(500, "z") for i in range(199)] + ["who plays chess on the lake"]
    for folder, windows in ((encoder, 201), (ranker, 200)):
        inputs = open_entry(catalog.find(str(folder)), "torch").prepare("chess", "\n".join(lines))
        assert inputs.texts == ("chess", *lines) and len(inputs.windows) == windows and not inputs.notices


def test_orders_are_compared_by_their_first_and_by_rank_correlation():
    full = of(("a", 0, 0.9), ("b", 1, 0.5), ("c", 2, 0.1))
    swapped = of(("a", 0, 0.9), ("c", 2, 0.5), ("b", 1, 0.1))
    turned = of(("c", 2, 0.9), ("b", 1, 0.5), ("a", 0, 0.1))
    assert swapped.agrees(full) and not turned.agrees(full) and not of(("a", 0, 0.9)).agrees(Reply((), [], [], 1.0))
    assert [text.order_likeness(reply, full) for reply in (full, swapped, turned)] == [1.0, 0.5, -1.0]
    assert text.compare(turned, full, "int8").startswith("Another line comes first than at int8 full length")
    near, far = of(("a", 0, 0.88)), of(("a", 0, 0.5))
    assert near.agrees(of(("a", 0, 0.9))) and text.compare(far, of(("a", 0, 0.9)), "fp32") == (
        "0.40 away from fp32 full length"
    )


@pytest.fixture(scope="module")
def ends() -> Iterator[dict[Any, Any]]:
    """The named endpoints, over the real desk."""
    with loops_closed(), gr.Blocks() as demo:
        add_endpoints(Desk(), "minilm-l6-qa", ("", ""), {})
        yield {event.api_name: event.fn for event in demo.fns.values() if event.api_visibility == "public"}


def test_the_endpoint_compares_a_text_with_lines(encoder, ends):
    lines = [line for line in LINES.split("\n") if line]
    said = ends["rank"]("the lake is deep", lines, str(encoder), engine="torch", compare=True)
    vectors = TextEmbedder(catalog.find(str(encoder)), "torch").embed(["the lake is deep", *lines])
    cosines = vectors[1:] @ vectors[0]
    best = sorted(range(3), key=lambda i: -cosines[i])
    assert [one["index"] for one in said["matches"]] == best and best[0] == 1
    assert [one["text"] for one in said["matches"]] == [lines[i] for i in best]
    assert [one["score"] for one in said["matches"]] == pytest.approx([cosines[i] for i in best], abs=1e-5)
    assert said["full_length"]["matches"] == said["matches"] and said["same"] and said["full_length"]["fp32"]
    assert said["macs_ratio"] == 1.0 and said["tokens"] > 12 and said["notices"] == []
    json.dumps(said)


def test_the_endpoint_ranks_passages_within_a_budget(ranker, tmp_path, ends):
    entry = int8_entry(ranker, tmp_path / "ranker-int8", task="ranking", full_precision="ranker")
    shutil.copytree(ranker, tmp_path / "ranker")
    lines = LINES.split("\n")[:2]
    said = ends["rank"]("who plays chess", lines, str(entry.folder), 50.0, compare=True)
    assert said["point"]["macs_ratio"] == 0.5 and 0 < said["macs_ratio"] < 1
    desk = Desk()
    assert entry.front
    reply = desk.ask(entry, "onnxruntime", "who plays chess", "\n".join(lines), entry.front.points[0].config)
    assert [one["index"] for one in said["matches"]] == [one.index for one in reply.matches]
    assert [one["score"] for one in said["matches"]] == pytest.approx([one.score for one in reply.matches])
    assert said["full_length"]["matches"] and "fp32" in said["full_length"]


def test_the_endpoint_refuses_other_models_and_empty_texts(encoder, ends):
    for call, message in (
        (lambda: ends["classify"]("a"), "name a model"),
        (lambda: ends["rank"]("a", ["b"], "minilm-l6-qa"), "endpoint answer"),
        (lambda: ends["classify"]("a", "b", str(encoder)), "endpoint embed or rank"),
        (lambda: ends["rank"]("a", [" "], str(encoder), engine="torch"), "passage number 1 is empty"),
    ):
        with pytest.raises(gr.Error, match=message):
            call()
