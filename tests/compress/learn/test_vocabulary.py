"""A teacher of another family: MPNet under the numbers of the student's tokenizer, and what it teaches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from compress.data.fingerprints import load_fingerprints
from compress.data.squad import fingerprint, load_squad
from compress.learn.finetune import freeze
from compress.learn.vocabulary import renumber
from compress.recipe.groups import Training
from compress.recipe.load import KINDS, load
from compress.run.run import run
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.modeling import LengthAdaptiveModel

SPECIAL = {"pad_token": "<pad>", "unk_token": "[UNK]", "cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>"}


@pytest.fixture(scope="module")
def mpnet(tiny_model, tmp_path_factory) -> Path:
    """A random MPNet whose tokenizer numbers the tiny model's words otherwise, as the real one does with BERT's."""
    import transformers

    ours = json.loads((tiny_model / "tokenizer.json").read_text())
    known = load_tokenizer(tiny_model)
    numbers, renamed = known.get_vocab(), {*known.all_special_ids} - {known.unk_token_id}
    words = ["<s>", "<pad>", "</s>"]
    words += [word for word in sorted(numbers, key=lambda w: -numbers[w]) if numbers[word] not in renamed]
    words += ["<mask>"]
    ours["model"]["vocab"] = {word: i for i, word in enumerate(words)}
    ours |= {"added_tokens": [], "post_processor": None}
    folder = tmp_path_factory.mktemp("mpnet")
    (folder / "plain.json").write_text(json.dumps(ours))
    transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "plain.json"), **SPECIAL).save_pretrained(folder)
    config = transformers.MPNetConfig(
        vocab_size=len(words),
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        initializer_range=0.3,
        max_position_embeddings=514,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.MPNetForQuestionAnswering(config).save_pretrained(folder)
    return folder


def inputs(tokenizer: Any) -> dict[str, torch.Tensor]:
    """Question and passage as BERT has them, in the tokenizer's numbers."""
    begin, end = tokenizer.cls_token_id, tokenizer.sep_token_id
    parts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("Who?", "Ann met Bob in Rome.")]
    ids = torch.tensor([[begin, *parts[0], end, *parts[1], end]])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def test_a_renumbered_model_says_the_same_of_the_same_words(mpnet, tiny_model):
    theirs, ours = load_tokenizer(mpnet), load_tokenizer(tiny_model)
    model = LengthAdaptiveModel.load(mpnet)
    with torch.no_grad():
        before = model(**inputs(theirs)).logits
        assert renumber(model, theirs, ours)
        after = model(**inputs(ours)).logits
    assert not inputs(theirs)["input_ids"].equal(inputs(ours)["input_ids"])
    assert before.std() > 0.1
    torch.testing.assert_close(after, before)
    assert model.config["vocab_size"] == len(ours) and model.config["pad_token_id"] == ours.pad_token_id
    assert not renumber(model, ours, ours)


def test_a_tokenizer_of_other_words_is_refused(mpnet, tiny_model):
    theirs, ours = load_tokenizer(mpnet), load_tokenizer(tiny_model)
    ours.backend_tokenizer.add_tokens([f"unheard{i}" for i in range(len(ours) // 20)])
    with pytest.raises(UserError, match="lacks .* words.*leave `tokenizer` out"):
        renumber(LengthAdaptiveModel.load(mpnet), theirs, ours)


def test_layers_that_are_frozen_and_all_below_do_not_learn(mpnet):
    model = LengthAdaptiveModel.load(mpnet)
    freeze(model, Training(freeze_layers=1))
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all(name.startswith(("layers.1.", "layers.2.", "qa_outputs.")) for name in learning)
    assert "layers.1.query.weight" in learning
    with pytest.raises(UserError, match="has 3 layers: leave some to train"):
        freeze(model, Training(freeze_layers=3))
    with pytest.raises(UserError, match="learn together"):
        freeze(torch.nn.Linear(2, 2), Training(freeze_layers=1))  # as of a supernet


def test_it_learns_and_teaches_a_length_adaptive_model(own_home, mpnet, tiny_model, tiny_changes, tiny_data, tmp_path):
    places = [change for change in tiny_changes if change.startswith("dataset.")]
    learned = ["finetune.epochs=1", "finetune.batch_size=4", "training.freeze_layers=1", "budgets.points=0"]
    taught = tmp_path / "teacher"
    run(load("teacher_squad", [*places, *learned, f"model={mpnet}", f"tokenizer={tiny_model}"]), taught)
    assert {path.parent.name for path in (taught / "package").glob("*/entry.json")} == {"mpnet-qa", "mpnet-qa-int8"}

    teacher = taught / "package/mpnet-qa"
    distil = ["distill.apply=true", f"distill.teacher={teacher}", "distill.label_weight=1"]
    made = run(load("length_adaptive_tiny", [*tiny_changes, *distil]), tmp_path / "student")
    assert (tmp_path / "student/teacher/logits.f32").is_file() and list(made) == list(KINDS["length_adaptive"].stages)
    told = [json.loads(line) for line in (tmp_path / "student/progress.jsonl").read_text().splitlines()]
    for stage in ("finetune", "length_drop"):
        heard = [line["teacher_loss"] for line in told if line["stage"] == stage and "teacher_loss" in line]
        assert heard and min(heard) > 0
    step = next(line for line in told if line["stage"] == "length_drop" and line["step"] == 1 and "loss" in line)
    plan: Any = load("length_adaptive_tiny")
    passes = plan.length_drop.num_sandwich + 2
    assert step["loss"] == pytest.approx((step["task_loss"] + step["teacher_loss"] / passes) / 2, rel=1e-4)
    for path in (tmp_path / "student/package").glob("*/*"):
        assert b"/tmp" not in path.read_bytes(), path
    for path in (tmp_path / "student/package").glob("*/entry.json"):
        assert json.loads(path.read_text())["provenance"]["taught by"] == "mpnet-qa"
    assert load_fingerprints(tmp_path / "student") == fingerprint(load_squad(tiny_data.train))


def test_what_a_teacher_knows_is_not_reported_on(own_home, tiny_model, tiny_changes, tiny_data, tmp_path):
    teacher = tmp_path / "known"
    LengthAdaptiveModel.load(tiny_model).save(teacher)
    load_tokenizer(tiny_model).save_pretrained(teacher)
    known = sorted(fingerprint(load_squad(tiny_data.evaluation)))
    (teacher / "trained_on.json").write_text(json.dumps({"contexts": known}))
    with pytest.raises(UserError, match="were trained on|reported on"):
        run(load("length_adaptive_tiny", [*tiny_changes, "distill.apply=true", f"distill.teacher={teacher}"]), tmp_path)


@pytest.mark.parametrize("preset", ["minilm_l6_w8a8_squad", "nncf_minilm_l6_squad"])
def test_its_ranges_are_not_learned(own_home, preset, mpnet, tiny_changes, tmp_path):
    places = [change for change in tiny_changes if change.startswith("dataset.")]
    with pytest.raises(UserError, match="is of the family MPNet, which this recipe cannot take"):
        run(load(preset, [*places, f"model={mpnet}", "finetune.apply=true"]), tmp_path)
