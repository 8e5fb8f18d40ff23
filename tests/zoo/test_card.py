from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from zoo import card, card_files
from zoo.catalog import Entry
from zoo.errors import UserError
from zoo.files import write_text
from zoo.lengths import Front, LengthConfig, Point

FRONT = Front(
    Point(LengthConfig.full(2), 1.0, {"f1": 81.5, "em": 72.25}, 40.0),
    [Point(LengthConfig((0.5, 0.25)), 0.5, {"f1": 79.0, "em": 70.0}, 21.04)],
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


COLUMNS = card.columns(FRONT)


def test_what_is_rendered_is_read_back():
    found = card.read(card.render(ENTRY))
    assert (found["title"], found["task"], found["license"]) == (ENTRY.title, "qa", "apache-2.0")
    assert (found["base_model"], found["base_model_relation"]) == ("org/base", "quantized")
    assert found["metrics"] == {"f1": 81.5, "em": 72.25}
    assert {"budget-zoo", "length_drop", "int8"} <= set(found["tags"])
    assert found["points"] == [
        dict(zip(COLUMNS, ["1", "50.0 %", "79.00", "70.00", "21.0", "(192, 96)"], strict=True)),
        dict(zip(COLUMNS, ["full", "100.0 %", "81.50", "72.25", "40.0", "(384, 384)"], strict=True)),
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
    for part in ("| F1 | 81.50 |", "(front.png)"):
        assert part in text
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
    assert "(384, 60)" in line and "52.0 %" in line and "0.75 F1 below" in line and "not comparable" in line
    assert "padded_to_384" not in text
    front = replace(FRONT, measured_on={**FRONT.measured_on, "padded_to_384": {**padded, "loss": -0.15}})
    assert "EM 71.00: 0.15 F1 above full length" in card.render(replace(ENTRY, front=front))


def test_the_base_is_named_with_its_revision_where_it_is_known():
    assert "org/base (quantized from it)" in card.render(ENTRY)
    known = replace(ENTRY, provenance={"base_revision": "abc123"})
    text = card.render(replace(known, front=None, engines=["torch"]))
    assert "org/base at revision abc123 (fine-tuned from it)" in text
    assert card.read(text)["budget_zoo"]["base_revision"] == "abc123"
    assert card.read(text)["base_model_relation"] == "finetune"


def test_a_classifier_s_card_is_in_its_own_metric():
    full = Point(LengthConfig.full(2), 1.0, {"pearson": 88.0, "spearman": 87.5}, 4.0)
    half = Point(LengthConfig((0.5, 0.25)), 0.5, {"pearson": 80.0, "spearman": 79.0}, 2.0)
    padded = {"lengths": "(64, 32)", "macs_ratio": 0.4, "pearson": 81.0, "spearman": 80.0, "loss": 7.0}
    measured = {"pearson": 88.0, "spearman": 87.5, "dataset": "nyu-mll/glue", "config": "stsb", "split": "validation"}
    entry = replace(
        ENTRY,
        task="classification",
        labels=["score"],
        metrics={**measured, "columns": "sentence1, sentence2", "mnli_mm": {"accuracy": 70.0, "n": 9}},
        front=Front(full, [half], {"padded_to_128": padded}),
    )
    text = card.render(entry)
    found = card.read(text)
    assert found["pipeline_tag"] == "text-classification" and found["metrics"] == {"pearson": 88.0, "spearman": 87.5}
    assert found["model-index"][0]["results"][0]["dataset"]["config"] == "stsb"
    assert found["points"][0]["Pearson"] == "80.00" and found["points"][0]["lengths at 128"] == "(64, 32)"
    assert (found["budget_zoo"]["metric"], found["budget_zoo"]["score"]) == ("pearson", 88.0)
    assert "padded to 128" in text and "Pearson 81.00, Spearman 80.00: 7.00 Pearson below" in text
    assert "it gives a score" in text and 'classify("A text ...", "Another ...")' in text and "F1" not in text
    assert "mnli_mm**: accuracy 70, n 9" in text
    notes = yaml.safe_load(card_files.eval_results(entry) or b"")[0]["notes"]
    assert notes.startswith("Pearson, Spearman 87.50")


def test_the_catalogue_finds_its_figures_in_the_front_matter():
    found = card.read(card.render(ENTRY))["budget_zoo"]
    assert found == {
        "method": "length_drop",
        "parameters": 22_600_000,
        "bytes": 23_000_000,
        "p50_ms": 40.0,
        "metric": "f1",
        "score": 81.5,
        "n": 10_570,
        "timed": "Chip",
        "weights": "int8",
    }


def test_the_titles_of_the_data_are_told_where_they_are_stated():
    provenance = {"trained on": "train.json", "searched on": "val.json", "titles": ["squad/*", "tydi/*"], "seed": 7}
    text = card.render(replace(ENTRY, provenance=provenance))
    assert "**trained on**: train.json, only the articles titled `squad/*`, `tydi/*`" in text
    assert "- **searched on**: val.json\n" in text, "nothing is claimed where nothing is stated"
    assert "**titles**" not in text and "**seed**: 7" in text and text.count("train.json") == 1


def test_the_recipe_is_told_without_folders_of_this_machine(tmp_path):
    run = tmp_path / "run"
    folder = run / "package" / "small"
    dataset = {"train": f"{tmp_path}/train.json", "titles": None, "validation": "./val.json", "evaluation": "examples"}
    write_text(run / "recipe.yaml", yaml.safe_dump({"kind": "x", "model": f"{tmp_path}/m", "dataset": dataset}))
    folder.mkdir(parents=True)
    drawn = card.files(replace(ENTRY, folder=folder, provenance={"trained on": "train.json"}))
    text = drawn["README.md"].decode()
    assert yaml.safe_load(drawn["recipe.yaml"])["model"] == "m"
    assert "kind: x" in text and "python -m compress run" in text
    assert "**trained on**: train.json, all articles" in text and "**reported on**: examples" in text
    assert "searched on" not in text
    texts = card.files(replace(ENTRY, folder=folder, task="classification", provenance={"trained on": "glue"}))
    assert "- **trained on**: glue\n" in texts["README.md"].decode(), "texts are of no articles"
    assert not any(str(tmp_path).encode() in data for data in drawn.values())
    calibrated = card.render(replace(ENTRY, folder=folder, provenance={"calibrated on": "train.json"}))
    assert "**calibrated on**: train.json, all articles" in calibrated and "trained on" not in calibrated


def test_results_as_the_hub_reads_them():
    from huggingface_hub import parse_eval_result_entries

    measured = {**ENTRY.metrics, "dataset": "rajpurkar/squad", "date": "2026-11-22"}
    found = yaml.safe_load(card_files.eval_results(replace(ENTRY, metrics=measured)) or b"")
    (result,) = parse_eval_result_entries(found)
    assert (result.dataset_id, result.task_id, result.value) == ("rajpurkar/squad", "default", 81.5)
    assert result.date == "2026-11-22" and result.notes and "EM 72.25" in result.notes and "10570" in result.notes
    assert card_files.eval_results(ENTRY) is None, "“squad” is no data set's id"
    assert card_files.eval_results(replace(ENTRY, metrics={})) is None


def test_the_picture_is_one_and_always_the_same():
    first, second = card_files.picture(FRONT), card_files.picture(FRONT)
    assert first == second and first.startswith(b"\x89PNG") and len(first) > 5000
    assert first != card_files.picture(replace(FRONT, points=[]))


def test_the_licence_of_the_base_stands_in():
    unknown = replace(ENTRY, license="")
    assert card.read(card.render(unknown, license="mit"))["license"] == "mit"
    assert card.read(card.render(ENTRY, license="mit"))["license"] == "apache-2.0"


def test_versions_name_what_is_installed():
    found = card_files.versions()
    assert found["python"].startswith("3.") and found["onnxruntime"]


def test_a_snippet_for_what_has_one():
    assert 'hf_hub_download("me/it", n)' in card.render(ENTRY, "me/it")
    torch_alone = replace(ENTRY, front=None, engines=["torch"])
    assert 'from_pretrained("OWNER/small")' in card.render(torch_alone)
    compile(card_files.snippet(torch_alone, "me/it") or "", "snippet", "exec")
    for entry in (replace(ENTRY, task="classification"), replace(torch_alone, task="classification")):
        compile(card_files.snippet(entry, "me/it"), "snippet", "exec")


def test_zeros_are_smaller_when_compressed_and_not_faster():
    zeros = {"operators": 0.5, "model": 0.25, "bytes": 23_000_000, "compressed_bytes": 17_000_000}
    text = card.render(replace(ENTRY, provenance={"seed": 7, "zeros": zeros}))
    assert "50.0 % of the weights" in text and "25.0 % of all parameters" in text and "**seed**: 7" in text
    assert "smaller when compressed, not faster" in text and "23.0 MB as it is and 17.0 MB packed" in text
    assert "**zeros**" not in text
    for odd in ({}, {"zeros": "many"}, {"zeros": {**zeros, "bytes": "<b>"}}):
        assert "faster" not in card.render(replace(ENTRY, provenance=odd))


def test_what_was_published_stands_beside_what_was_measured():
    entry = replace(ENTRY, provenance={"seed": 7, "published": "Published elsewhere: F1 88.58."})
    text = card.render(entry)
    assert "- **n**: 10570\n\nPublished elsewhere: F1 88.58.\n\n## Budgets" in text
    assert "**published**" not in text and "**seed**: 7" in text
    for odd in (None, ["a"], {"f1": 1}):
        assert "ublished" not in card.render(replace(ENTRY, provenance={"seed": 7, "published": odd}))
