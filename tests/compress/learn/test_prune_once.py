"""Prune Once for All on a tiny model: the zeros of pre-training stay to the end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from compress.learn.prune_once import check_zeros
from compress.progress import Progress
from compress.recipe.prune_once import PruneOnceRecipe
from compress.recipe.stage import StageContext
from compress.run.run import run
from tests.compress.learn.distill_kit import disturbed
from tests.compress.recipe_kit import unread
from tests.compress.training_kit import prune_once as recipe
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.files import read_json
from zoo.graph import read as read_graph
from zoo.modeling import LengthAdaptiveModel
from zoo.tasks import QUESTIONS


@pytest.fixture(scope="module")
def bare(tiny_model, tmp_path_factory) -> Path:
    """The encoder of the tiny model, as a checkpoint without a head."""
    folder = tmp_path_factory.mktemp("bare")
    model = disturbed(LengthAdaptiveModel.load(tiny_model), 4)
    model.config = {**model.config, "architectures": ["BertModel"]}
    model.save(folder)
    load_tokenizer(tiny_model).save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def finished(bare, tiny_model, tiny_data, tmp_path_factory):
    root = tmp_path_factory.mktemp("prune-once")
    settings = recipe(bare, tiny_data, distill={"apply": True, "teacher": str(tiny_model)})
    return root, run(settings, root)  # all of its stages


def zeros(folder: Path) -> dict[str, torch.Tensor]:
    model = LengthAdaptiveModel.load(folder, QUESTIONS)
    return {
        f"{i}.{name}": getattr(block, name).weight == 0
        for i, block in enumerate(model.blocks)
        for name in ("query", "key", "value", "project", "expand", "contract")
    }


def test_the_zeros_of_pre_training_are_those_of_the_result(finished):
    root, results = finished
    first = zeros(root / "pretrain")
    share = sum(int(z.sum()) for z in first.values()) / sum(z.numel() for z in first.values())
    assert share == pytest.approx(0.85, abs=0.002) == results["pretrain"]["sparsity"]
    for stage in ("lock", "aware"):
        assert all(zeros(root / stage)[name].equal(z) for name, z in first.items())
        assert results[stage]["sparsity"] == results["pretrain"]["sparsity"]
        assert results[stage]["zeros"] == sum(int(z.sum()) for z in first.values())
        assert 0 < results[stage]["sparsity_of_model"] < results[stage]["sparsity"]


def test_the_int8_entry_has_these_zeros_and_answers(finished):
    from zoo import catalog
    from zoo.ask import QuestionAnswerer
    from zoo.graph import read

    root, results = finished
    assert results["package"]["entries"] == ["tiny-sparse", "tiny-sparse-int8"]
    entry = catalog.find(str(root / "package" / "tiny-sparse-int8"))
    assert entry.front
    weights, _ = read(entry.folder / "model.int8.onnx")
    first = zeros(root / "pretrain")
    for layer in (0, 1):
        whole = torch.cat([first[f"{layer}.{name}"] for name in ("query", "key", "value")]).T
        assert (weights[f"layers.{layer}.qkv.q"][whole.numpy()] == 0).all()
        for name in ("project", "expand", "contract"):
            assert (weights[f"layers.{layer}.{name}.q"][first[f"{layer}.{name}"].T.numpy()] == 0).all()
    passage = "Marie Curie was born in Warsaw."
    reply = QuestionAnswerer(entry, "onnxruntime", 1).ask("Who was born?", passage, entry.front.full.config)
    assert reply.answers[0].text in passage


def test_every_stage_learned_and_left_what_the_next_one_needs(finished, tiny_data):
    root, results = finished
    assert results["pretrain"]["steps"] == 12 and results["text"]["blocks"] == results["pretrain"]["blocks"]
    assert results["teacher"]["samples"] == results["lock"]["windows"] == results["aware"]["windows"] > 25
    weights = [
        LengthAdaptiveModel.load(root / stage, QUESTIONS).blocks[0].query.weight
        for stage in ("pretrain", "lock", "aware")
    ]
    assert not weights[0].equal(weights[1]) and not weights[1].equal(weights[2])
    assert set(read_json(root / "aware" / "ranges.json")) >= {"layers.0.qkv", "layers.1.contract"}
    assert read_json(root / "pretrain" / "config.json")["architectures"] == ["BertForMaskedLM"]
    assert read_json(root / "aware" / "config.json")["architectures"] == ["BertForQuestionAnswering"]
    tokenizer = load_tokenizer(root / "aware")
    assert tokenizer.mask_token_id == tokenizer.get_vocab()["[MASK]"]


def test_a_checkpoint_that_is_sparse_already_keeps_its_very_zeros(tiny_model, tiny_data, tmp_path):
    sparse, chance = LengthAdaptiveModel.load(tiny_model), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for block in sparse.blocks:
            for name in ("query", "key", "value", "project", "expand", "contract"):
                weight = getattr(block, name).weight
                weight.masked_fill_(torch.rand(weight.shape, generator=chance) < 0.9, 0)
    sparse.save(tmp_path / "sparse")
    load_tokenizer(tiny_model).save_pretrained(str(tmp_path / "sparse"))
    settings = recipe(
        tmp_path / "sparse",
        tiny_data,
        prune={"apply": True, "approach": "pattern_lock"},
        distill={"apply": True, "teacher": str(tiny_model), "store_logits": True},
    )
    results = run(settings, tmp_path / "run")
    assert not {"text", "pretrain"} & set(results) and not (tmp_path / "run/pretrain").exists()
    first, before = zeros(tmp_path / "sparse"), LengthAdaptiveModel.load(tmp_path / "sparse")
    for stage in ("lock", "aware"):
        assert all(zeros(tmp_path / "run" / stage)[name].equal(z) for name, z in first.items())
        assert results[stage]["zeros"] == sum(int(z.sum()) for z in first.values())
        weight = LengthAdaptiveModel.load(tmp_path / "run" / stage).blocks[0].expand.weight
        assert not torch.equal(weight, before.blocks[0].expand.weight), "the others learn"
    graph, _ = read_graph(tmp_path / "run/package/tiny-sparse-int8/model.int8.onnx")
    for i in range(2):
        held = torch.cat([first[f"{i}.{name}"] for name in ("query", "key", "value")]).T.numpy()
        assert (graph[f"layers.{i}.qkv.q"][held] == 0).all()
    with pytest.raises(UserError, match="this one has none"):
        run(recipe(tiny_model, tiny_data, prune={"apply": True, "approach": "pattern_lock"}), tmp_path / "dense")


def test_a_lost_zero_is_told(finished, tmp_path):
    root, _ = finished
    model = LengthAdaptiveModel.load(root / "lock")
    weight = model.blocks[1].value.weight
    with torch.no_grad():
        weight[tuple((weight == 0).nonzero()[0])] = 1e-9
    model.save(tmp_path / "lost")
    with pytest.raises(UserError, match=r"1 are zero no more after stage lost, and 0 other"):
        check_zeros(root / "pretrain", tmp_path / "lost")
    with torch.no_grad():
        weight.zero_()
    model.save(tmp_path / "gained")
    with pytest.raises(UserError, match=r"0 are zero no more"):
        check_zeros(root / "pretrain", tmp_path / "gained")


def test_without_simulation_the_last_stage_passes_the_checkpoint_on(finished, bare, tiny_model, tiny_data, tmp_path):
    from compress.learn.prune_once import aware

    root, _ = finished
    settings = recipe(bare, tiny_data, aware={"apply": False, "max_length": 128, "stride": 16})
    ctx = StageContext(settings, tmp_path, tmp_path / "aware", Progress(None, "aware"), {"lock": root / "lock"})
    assert aware(ctx) == {}
    kept, taken = (LengthAdaptiveModel.load(folder).state_dict() for folder in (root / "lock", tmp_path / "aware"))
    assert all(value.equal(taken[key]) for key, value in kept.items())
    assert not (tmp_path / "aware" / "ranges.json").exists()


def test_a_teacher_that_does_not_fit_is_told_before_pre_training(bare, tiny_model, tiny_data, tmp_path):
    settings = recipe(bare, tiny_data, distill={"apply": True, "teacher": None})
    with pytest.raises(UserError, match="cannot be a teacher"):
        run(settings, tmp_path)
    words = {"text": "examples", "block_tokens": 32}
    with pytest.raises(UserError, match="no head for masked words"):
        run(recipe(bare, tiny_data, pretrain=words, distill={"apply": True, "teacher": str(tiny_model)}), tmp_path)
    assert not (tmp_path / "pretrain").exists()


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("prune", {"end_step": 12}, "prune.end_step is 12, but the training has only 12 steps"),
        ("pretrain", {"steps": None, "epochs": 0.01}, "the training has only . steps"),
        ("aware", {"start_step": 900}, "aware.start_step is 900"),
        ("aware", {"freeze_step": 900}, "aware.freeze_step is 900"),
    ],
)
def test_a_step_out_of_reach_is_told_before_pre_training(bare, tiny_model, tiny_data, tmp_path, part, change, message):
    plain = recipe(bare, tiny_data, distill={"apply": True, "teacher": str(tiny_model)})
    if part == "pretrain":
        plain = plain.model_copy(update={"prune": plain.prune.model_copy(update={"end_step": 11})})
    settings = plain.model_copy(update={part: getattr(plain, part).model_copy(update=change)})
    with pytest.raises(UserError, match=message):
        run(settings, tmp_path)
    assert not (tmp_path / "pretrain").exists()


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("prune", {"apply": False}, "prune.apply is true here"),
        ("aware", {"max_length": 256}, "same max_length and stride"),
    ],
)
def test_settings_that_cannot_work_are_refused(bare, tiny_data, part, value, message):
    with pytest.raises(ValueError, match=message):
        recipe(bare, tiny_data, **{part: value})


def test_every_key_is_read_or_refused(finished):
    assert unread(PruneOnceRecipe, finished[0]) == set()
