from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from zoo import card
from zoo.catalog import Entry
from zoo.errors import UserError
from zoo.lengths import Front, LengthConfig, Point

FRONT = Front(
    Point(LengthConfig.full(2), 1.0, 81.5, 72.25, 40.0),
    [Point(LengthConfig((0.5, 0.25)), 0.5, 79.0, 70.0, 21.04)],
    {"engine": "onnxruntime", "cpu": "Chip"},
)
ENTRY = Entry(
    name="small",
    folder=Path("small"),
    method="length_drop",
    task="qa",
    base_model="org/base",
    parameters=22_600_000,
    bytes=23_000_000,
    metrics={"f1": 81.5, "em": 72.25, "dataset": "squad", "split": "validation", "n": 10570},
    front=FRONT,
    engines=["onnxruntime", "openvino", "torch"],
    license="apache-2.0",
    title="Small: one for every budget",
    card="",
    weights_dtype="int8",
    provenance={"recipe": "length_adaptive", "seed": 7},
)


def test_what_is_rendered_is_read_back():
    found = card.read(card.render(ENTRY))
    assert (found["title"], found["task"], found["license"]) == (ENTRY.title, "qa", "apache-2.0")
    assert (found["base_model"], found["base_model_relation"]) == ("org/base", "quantized")
    assert found["metrics"] == {"f1": 81.5, "em": 72.25}
    assert {"budget-zoo", "length_drop", "int8"} <= set(found["tags"])
    assert found["points"] == [
        dict(zip(card.COLUMNS, ["1", "50.0 %", "79.00", "70.00", "21.0", "(192, 96)"], strict=True)),
        dict(zip(card.COLUMNS, ["full", "100.0 %", "81.50", "72.25", "40.0", "(384, 384)"], strict=True)),
    ]


def test_the_front_matter_is_a_model_index_of_the_hub():
    from huggingface_hub import ModelCard

    (result,) = ModelCard(card.render(ENTRY)).data.eval_results[:1]  # type: ignore[union-attr]
    assert (result.task_type, result.dataset_type, result.dataset_split) == (
        "question-answering",
        "squad",
        "validation",
    )
    assert (result.metric_type, result.metric_value) == ("f1", 81.5)


def test_the_text_names_where_figures_come_from():
    text = card.render(ENTRY)
    for part in ("unpadded", "**n**: 10570", "**cpu**: Chip", "**seed**: 7", "22.6 M", "23.0 MB", 'find("small")'):
        assert part in text


def test_a_card_of_little():
    plain = replace(ENTRY, front=None, metrics={}, provenance={}, base_model="", license="", engines=["torch"])
    found = card.read(card.render(plain))
    assert (found["license"], found["library_name"], found["metrics"], found["points"]) == (
        "other",
        "transformers",
        {},
        [],
    )
    assert "base_model" not in found and "int8" not in found["tags"]


def test_values_cannot_break_the_front_matter():
    hostile = replace(ENTRY, license="mit\n---\nx: [", base_model="a: b # c")
    found = card.read(card.render(hostile))
    assert (found["license"], found["base_model"]) == ("mit\n---\nx: [", "a: b # c")


def test_a_foreign_card():
    found = card.read("---\nlicense: mit\n---\n# Name\n\n| a | b |\n|---|---|\n| 1 | 2 |\n")
    assert (found["license"], found["title"], found["points"], found["metrics"]) == ("mit", "Name", [], {})
    assert card.read("no front matter")["body"] == "no front matter"


@pytest.mark.parametrize("index", ["3", "[3]", "[{results: x}]", "[{results: [{metrics: [{name: f1}]}]}]"])
def test_a_foreign_card_may_hold_anything(index):
    assert card.read(f"---\nmodel-index: {index}\npipeline_tag: [x]\n---\n")["metrics"] == {}


@pytest.mark.parametrize("matter", ["a: [", "- a"])
def test_broken_front_matter(matter):
    with pytest.raises(UserError, match="front matter"):
        card.read(f"---\n{matter}\n---\n")


@pytest.mark.parametrize(
    "image",
    [
        "![x](http://spy.test/a.png)",
        "![x][1]\n\n[1]: http://spy.test/a.png",
        "!![]( )[c](http://spy.test/a.png)",
        "<img src='http://spy.test/a.png'>",
        "<IMG\nSRC=http://spy.test/a.png",
        "!<a href='x'>[c](http://spy.test/a.png)",
        "<div style='background: url(http://spy.test)'>",
    ],
)
def test_no_image_is_left_in_the_body(image):
    from markdown_it import MarkdownIt

    shown = MarkdownIt("commonmark", {"html": True}).render(card.body(f"# T\n\n{image}\n"))
    assert "<img" not in shown.lower() and "style" not in shown and "src" not in shown.lower()


def test_yaml_is_plain():
    matter = card.render(ENTRY).split("---\n")[1]
    assert yaml.safe_load(matter)["pipeline_tag"] == "question-answering" and "!!" not in matter


def test_the_papers_accounting_stands_apart():
    padded = {"lengths": "(384, 60)", "macs_ratio": 0.52, "f1": 80.75, "em": 71.0, "loss": 0.75}
    front = replace(FRONT, measured_on={**FRONT.measured_on, "padded_to_384": padded})
    text = card.render(replace(ENTRY, front=front))
    (line,) = [line for line in text.splitlines() if "padded to 384" in line]
    assert "(384, 60)" in line and "52.0 %" in line and "0.75 F1" in line and "not comparable" in line
    assert "padded_to_384" not in text
