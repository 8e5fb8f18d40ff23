"""Labels in another order, or without names: rows of the head are put in the task's order wherever a model is taken."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compress.int8.graph import loader
from compress.learn.average import run as average
from compress.learn.distill import Guidance, store_logits
from compress.learn.finetune import start
from compress.learn.student import Workplace
from compress.nncf import stages as nncf_stages
from compress.progress import Progress
from compress.recipe.kind import KINDS
from compress.recipe.load import load
from compress.results.score import score_entry
from compress.tasks import heads
from compress.tasks.subject import Asked
from compress.tasks.subjects import subject_of
from tests.compress.recipe_kit import context
from tests.compress.text_kit import DULL
from zoo import torchvision_fix
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.files import read_json
from zoo.modeling import LengthAdaptiveModel
from zoo.tasks import ENTAILMENT, find_task

torchvision_fix.mend()
import transformers  # noqa: E402

TURNED = {"0": "CONTRADICTION", "1": "NEUTRAL", "2": "ENTAILMENT"}  # as of RoBERTa-large-MNLI
SHIFTED = {"2": "Entailment", "0": "neutral", "1": "contradiction"}  # neither order is its own inverse
NAMES = {"turned": TURNED, "shifted": SHIFTED}
PRESETS = {
    "length_adaptive": "length_adaptive_mnli",
    "train": "finetune_glue",
    "quantize": "static_int8",
    "prune_once": "prune_once_tiny",
    "aimet_w8a8": "minilm_w8a8_mnli",
    "nncf": "nncf_mnli",
    "nas": "nas_mnli",
}


def made(tiny_model: Path, folder: Path, names: dict[str, str] | None) -> transformers.PreTrainedModel:
    """A random classifier of three classes, saved by transformers with these names, or none."""
    torch.manual_seed(5)
    config = transformers.BertConfig.from_pretrained(tiny_model, num_labels=3)
    model = transformers.BertForSequenceClassification(config).eval()
    with torch.no_grad():
        model.classifier.weight.mul_(9)
    if names:
        model.config.id2label = {int(key): name for key, name in names.items()}
        model.config.label2id = {name: int(key) for key, name in names.items()}
    model.save_pretrained(folder)
    load_tokenizer(tiny_model).save_pretrained(str(folder))
    return model


@pytest.fixture(params=NAMES)
def permuted(request, tiny_model, tmp_path) -> tuple[Path, transformers.PreTrainedModel, dict[str, str]]:
    folder = tmp_path / "permuted"
    return folder, made(tiny_model, folder, NAMES[request.param]), NAMES[request.param]


def said(model: torch.nn.Module) -> torch.Tensor:
    torch.manual_seed(1)
    ids = torch.randint(5, 90, (4, 12))
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


def expected(reference: transformers.PreTrainedModel, names: dict[str, str]) -> torch.Tensor:
    """What transformers says, each label's logit found by its name."""
    places = {name.casefold(): int(key) for key, name in names.items()}
    return said(reference)[:, [places[label] for label in ENTAILMENT]]


def recipe_of(preset: str, folder: Path | str, glue: Path, *more: str) -> Any:
    data = ["dataset.task=mnli", f"dataset.train={glue}", f"dataset.evaluation={glue}"]
    data += (
        ["dataset.titles=null", "dataset.validation_titles=null", "dataset.evaluation_titles=null"]
        if preset == "prune_once_tiny"
        else []
    )
    return load(preset, [f"model={folder}", *data, *more])


def same(model: torch.nn.Module, right: torch.Tensor) -> None:
    torch.testing.assert_close(said(model), right, atol=1e-4, rtol=1e-4)


def test_every_kind_is_tried():
    assert set(PRESETS) == set(KINDS)


@pytest.mark.parametrize("kind", PRESETS)
def test_the_way_a_kind_loads_gives_transformers_logits(kind, permuted, glue, tmp_path):
    folder, reference, names = permuted
    recipe = recipe_of(PRESETS[kind], folder, glue)
    right = expected(reference, names)
    if kind == "quantize":
        model = loader(recipe)(folder)
    elif kind == "nncf":
        ctx = context(recipe, tmp_path / "finetune")
        assert not recipe.finetune.apply and nncf_stages.finetune(ctx) == {"taken": folder.name}
        model = LengthAdaptiveModel.load(tmp_path / "finetune")
    elif kind == "aimet_w8a8":
        assert subject_of(recipe).has_head(read_json(folder / "config.json"))
        model = subject_of(recipe).load_model(folder, new_head=False)
    elif kind == "nas":
        model = subject_of(recipe).load_model(folder)
    else:
        model, _ = start(subject_of(recipe), str(folder), None, 0.0, 0)
    same(model, right)
    assert model.config["id2label"] == dict(zip("012", ENTAILMENT, strict=True))
    model.save(tmp_path / "again")
    same(subject_of(recipe).load_model(tmp_path / "again"), right)


def test_a_teacher_answers_in_the_student_s_order(permuted, tiny_model, glue):
    folder, reference, names = permuted
    recipe = recipe_of("length_adaptive_mnli", tiny_model, glue, "distill.apply=true", f"distill.teacher={folder}")
    _, teacher, _ = Guidance.of(recipe).open(load_tokenizer(tiny_model))
    same(teacher, expected(reference, names))


def test_averaged_heads_have_their_rows_in_one_order(permuted, tiny_model, glue, tmp_path):
    folder, reference, names = permuted
    recipe = recipe_of("length_adaptive_mnli", tiny_model, glue, f"average.checkpoints=[{folder}]")
    subject_of(recipe).load_model(folder).save(tmp_path / "length_drop")
    load_tokenizer(tiny_model).save_pretrained(str(tmp_path / "length_drop"))
    average(context(recipe, tmp_path / "average", {"length_drop": tmp_path / "length_drop"}))
    same(LengthAdaptiveModel.load(tmp_path / "average"), expected(reference, names))


def answering(reference: transformers.PreTrainedModel, tokenizer: Any, folder: Path, count: int = 40) -> list[int]:
    """Pairs of MNLI that are labelled as a model answers them; the numbers of its outputs."""
    texts = [f"the lake is deep {word} {other}" for word in DULL for other in (*DULL, "queen", "chess", "river")]
    texts = [f"{text} {tail}" for text in texts for tail in ("", "and", "the the", "of the lake")]
    with torch.no_grad():
        numbers = [int(reference(**tokenizer(t, "the lake", return_tensors="pt")).logits.argmax()) for t in texts]
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [
        (t, n)
        for wanted in range(3)
        for t, n in [p for p in zip(texts, numbers, strict=True) if p[1] == wanted][:count]
    ]
    rows = [{"premise": t, "hypothesis": "the lake", "output": n} for t, n in chosen]
    for split in ("train", "validation"):
        (folder / f"{split}.rows").write_text(json.dumps(rows))
    return [n for _, n in chosen]


def labelled(rows: Path, outputs: list[int], path: Path, slips: int = 0) -> Path:
    """JSON lines of MNLI, of which output `i` of the model stands for the class `outputs[i]`."""
    lines = []
    for i, row in enumerate(json.loads(rows.read_text())):
        label = outputs[row["output"]] if i >= slips else (outputs[row["output"]] + 1) % 3
        lines.append(json.dumps({"premise": row["premise"], "hypothesis": row["hypothesis"], "label": label, "idx": i}))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def unnamed(tiny_model, tmp_path_factory) -> tuple[Path, transformers.PreTrainedModel, Path]:
    """A checkpoint whose labels have no names, with pairs that are labelled as it answers them, in the order
    contradiction, entailment, neutral (TextAttack's)."""
    folder = tmp_path_factory.mktemp("unnamed")
    reference = made(tiny_model, folder / "model", None)
    found = answering(reference, load_tokenizer(tiny_model), folder)
    assert len(set(found)) == 3, "every class is answered"
    return folder / "model", reference, labelled(folder / "train.rows", [2, 0, 1], folder / "pairs.jsonl", slips=6)


ORDER = [1, 2, 0]  # places of entailment, neutral and contradiction among its outputs


def test_an_order_that_nobody_names_is_seen_on_labelled_examples_and_told(unnamed, caplog):
    folder, reference, pairs = unnamed
    recipe = load("static_int8", [f"model={folder}", "dataset.task=mnli", f"dataset.train={pairs}"])
    with caplog.at_level(logging.WARNING):
        model = loader(recipe)(folder)
    same(model, said(reference)[:, ORDER])
    assert "labelled examples show that they are contradiction, entailment, neutral" in caplog.text


def test_an_order_that_nobody_names_can_be_said(unnamed, glue):
    folder, reference, _ = unnamed
    said_so = "dataset.labels=[contradiction, entailment, neutral]"
    recipe = recipe_of("static_int8", folder, glue, said_so)
    same(loader(recipe)(folder), said(reference)[:, ORDER])
    taught = recipe_of(
        "finetune_glue", folder, glue, f"distill.teacher={folder}", "distill.apply=true", f"distill.{said_so[8:]}"
    )
    same(Guidance.of(taught).open(load_tokenizer(folder))[1], said(reference)[:, ORDER])
    for bad in ("dataset.labels=[good, bad, fair]", "dataset.labels=[neutral, neutral, entailment]"):
        with pytest.raises(UserError, match="labels of mnli are entailment, neutral, contradiction"):
            recipe_of("static_int8", folder, glue, bad)
    with pytest.raises(UserError, match="labels are those of a classifier"):
        load("static_int8", ["dataset.labels=[a, b]"])


def test_what_a_checkpoint_names_itself_is_not_said_otherwise(permuted, glue):
    folder, *_ = permuted
    recipe = recipe_of("static_int8", folder, glue, "dataset.labels=[entailment, contradiction, neutral]")
    with pytest.raises(UserError, match="names its outputs .* itself"):
        loader(recipe)(folder)


def test_where_examples_show_no_order_nothing_is_guessed(unnamed, glue, caplog):
    folder, reference, _ = unnamed
    with pytest.raises(UserError, match="LABEL_0, LABEL_1, LABEL_2 .* no names.*dataset.labels"):
        loader(recipe_of("static_int8", folder, glue))(folder)
    with caplog.at_level(logging.WARNING):
        model, _ = start(subject_of(recipe_of("finetune_glue", folder, glue)), str(folder), None, 0.0, 0)
    same(model, said(reference))
    assert "they are trained as entailment, neutral, contradiction" in caplog.text


def test_an_entry_without_names_is_scored_by_what_is_said_or_shown(unnamed):
    """Against numpy: the share of pairs that the model's own outputs, so named, are right on."""
    folder, _, pairs = unnamed
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    right = 100 * (len(rows) - 6) / len(rows)
    seen = score_entry(str(folder), str(pairs), task="mnli")
    assert seen["accuracy"] == pytest.approx(right) and "contradiction, entailment, neutral" in seen["notices"][0]
    stated = score_entry(str(folder), str(pairs), task=Asked("mnli", ("contradiction", "entailment", "neutral")))
    assert stated["accuracy"] == pytest.approx(right) and not stated["notices"][:-1]
    wrong = score_entry(str(folder), str(pairs), task=Asked("mnli", ENTAILMENT))
    assert wrong["accuracy"] < 50
    with pytest.raises(UserError, match="are not those of mnli"):
        score_entry(str(folder), str(pairs), task=Asked("mnli", ("a", "b", "c")))


def test_a_head_is_replaced_only_with_a_notice_and_never_where_nothing_is_trained(tiny_model, glue, caplog, tmp_path):
    made(tiny_model, tmp_path / "other", {"0": "sports", "1": "politics", "2": "weather"})
    for folder, kind in ((tiny_model, "BertForQuestionAnswering"), (tmp_path / "other", "sports, politics, weather")):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            start(subject_of(recipe_of("finetune_glue", folder, glue)), str(folder), None, 0.0, 0)
        assert "it gets a new one" in caplog.text and kind in caplog.text
        with pytest.raises(UserError, match=f"{kind}.* has no head for MNLI.*nothing is trained"):
            loader(recipe_of("static_int8", folder, glue))(folder)
        recipe = recipe_of("nncf_mnli", folder, glue)
        with pytest.raises(UserError, match="has not learned mnli yet"):
            nncf_stages.finetune(context(recipe, tmp_path / "run" / "finetune"))
    with pytest.raises(UserError, match="has no head for question answering, and nothing is trained"):
        loader(load("static_int8", [f"model={tmp_path / 'other'}"]))(tmp_path / "other")


def test_a_teacher_of_other_classes_is_told_before_any_text_is_read(tiny_model, glue, tmp_path):
    made(tiny_model, tmp_path / "other", {"0": "sports", "1": "politics", "2": "weather"})
    recipe = recipe_of("finetune_glue", tiny_model, glue, "distill.apply=true", f"distill.teacher={tmp_path / 'other'}")
    place = Workplace(recipe.training, tmp_path / "teacher", Progress(None, "teacher", shown=False))

    def windows() -> list[Any]:
        raise AssertionError("the data were read")

    with pytest.raises(UserError, match="cannot be a teacher.*sports, politics, weather"):
        store_logits(place, Guidance.of(recipe), load_tokenizer(tiny_model), windows)


def test_the_order_is_clear_only_beyond_chance():
    """By hand: 30 of 40 right against 10 is clear (20 > 2.5 * sqrt(40)), 25 against 15 is not (10 < 15.8)."""
    task = find_task("sst2")
    logits = np.tile([1.0, 0.0], (40, 1))
    assert heads.shown_order(task, logits, [0] * 30 + [1] * 10) == [0, 1]
    assert heads.shown_order(task, logits, [1] * 30 + [0] * 10) == [1, 0]
    assert heads.shown_order(task, logits, [0] * 25 + [1] * 15) is None
