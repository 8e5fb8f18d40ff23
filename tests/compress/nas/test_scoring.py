"""Candidates: scored inside the supernet, in float and in the int8 that is shipped, or fine-tuned by themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from compress.int8.graph import calibrate_checkpoint, store_graph
from compress.learn.masked_lm import MaskedLanguageModel
from compress.nas import scoring
from compress.nas.extract import extract
from compress.nas.scoring import (
    Scorer,
    calibration_windows,
    finetune_candidate,
    inside,
    int8_engine,
)
from compress.nas.space import Arch, Space
from compress.nas.supernet import SuperNet
from compress.progress import Progress
from compress.recipe.groups import Dataset, Learning, Quantize, Training
from compress.recipe.nas import NasRecipe
from compress.tasks.subjects import subject_of
from tests.compress.training_kit import Interrupting, Stop
from zoo.engines.onnx import OnnxEngine
from zoo.engines.torch import TorchEngine
from zoo.errors import UserError
from zoo.features import load_tokenizer, pad
from zoo.modeling import LengthAdaptiveModel

SPACE = Space.spanned([1, 2], [8, 32], [16, 64], 8, 16)
ARCH = SPACE.arch(2, 24, 48)


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return load_tokenizer(tiny_model)


@pytest.fixture(scope="module")
def net(tiny_model) -> SuperNet:
    return SuperNet.of(LengthAdaptiveModel.load(tiny_model), SPACE).eval()


@pytest.fixture(scope="module")
def recipe(tiny_model, tiny_data) -> NasRecipe:
    return NasRecipe(
        model=str(tiny_model),
        dataset=Dataset.model_validate({name: str(path) for name, path in tiny_data._asdict().items()}),
        finetune=Learning(max_length=128, stride=32),
    )


@pytest.fixture(scope="module")
def subject(recipe):
    return subject_of(recipe)


def first_batch(subject, tokenizer):
    return pad(subject.windows(tokenizer, subject.load("validation"))[:1])


def said(engine, batch):
    return engine.run(batch, np.full((1, engine.layers), batch["input_ids"].shape[1])).logits


def test_a_float_score_is_that_of_the_extracted_checkpoint(net, subject, tokenizer, tmp_path):
    examples = subject.load("validation")
    scored = Scorer(subject, tokenizer, examples, threads=1).score(inside(net, ARCH))
    alone = TorchEngine.open(extract(net, ARCH, tmp_path / "alone", tokenizer), 1)
    assert scored == subject.score(alone, tokenizer, examples)
    assert list(scored)[0] == "f1" and scored["n"] == len(examples)
    batch = first_batch(subject, tokenizer)
    np.testing.assert_allclose(said(TorchEngine(net.extract(ARCH), 1), batch), said(alone, batch), atol=1e-5)


def test_an_int8_score_is_that_of_the_file_that_would_be_shipped(
    net, recipe, subject, tokenizer, tmp_path, monkeypatch
):
    windows, settings = calibration_windows(subject, tokenizer, 4), Quantize(calibration_samples=4)
    assert windows == calibration_windows(subject, tokenizer, 4) != calibration_windows(subject, tokenizer, 4, seed=1)
    folder = extract(net, ARCH, tmp_path / "alone", tokenizer)
    store_graph(calibrate_checkpoint(folder, settings, lambda _: windows), tmp_path / "shipped", settings)
    shipped = OnnxEngine.open(tmp_path / "shipped", 1)
    engine = int8_engine(net.extract(ARCH), subject, tokenizer, tmp_path / "made", settings, windows, 1)
    batch = first_batch(subject, tokenizer)
    np.testing.assert_array_equal(said(engine, batch), said(shipped, batch))
    whole = said(TorchEngine(net.extract(ARCH), 1), batch)
    gap = np.abs(said(engine, batch) - whole).mean() / np.abs(whole - whole.mean()).mean()
    assert 1e-4 < gap < 0.2, "rounded, but the same model"
    made: list[Path] = []
    real = scoring.store_graph
    monkeypatch.setattr(scoring, "store_graph", lambda ready, out, recipe: (made.append(out), real(ready, out, recipe)))
    examples = subject.load("validation")
    found = Scorer(subject, tokenizer, examples, settings, windows, threads=1).score(inside(net, ARCH))
    assert found == subject.score(shipped, tokenizer, examples) and len(made) == 1 and not made[0].exists()
    dynamic = Quantize(approach="dynamic")
    Scorer(subject, tokenizer, examples[:1], dynamic, threads=1).score(inside(net, ARCH))


def test_what_cannot_be_scored_is_told(net, tiny_model):
    words = SuperNet.of(MaskedLanguageModel.load(tiny_model), SPACE)
    with pytest.raises(UserError, match="was not tuned on a task. Run the stage tune first"):
        inside(words, ARCH)
    with pytest.raises(UserError, match="queries of 16 for a width of 24"):
        inside(net, Arch(2, 24, 48, 2, 16))


def test_a_candidate_is_fine_tuned_by_itself_and_goes_on_where_it_was(net, recipe, subject, tokenizer, tmp_path):
    settings = Learning(epochs=1, batch_size=8, learning_rate=1e-3, max_length=128, stride=32, dropout=0.1)
    quick = recipe.model_copy(update={"training": Training(checkpoint_minutes=1e-9)})
    before = {name: part.clone() for name, part in net.state_dict().items()}

    def tuned(folder, progress=None):
        told = progress or Progress(None, "search", shown=False)
        return finetune_candidate(net, ARCH, quick, settings, tmp_path / folder / ARCH.key, told, tokenizer)

    straight = tuned("a")
    with pytest.raises(Stop):
        tuned("b", Interrupting(None, 2))
    resumed, read = tuned("b"), tuned("a", Interrupting(None, 2))
    start = net.extract(ARCH)
    for name, part in straight.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], part, atol=1e-6, rtol=0)
        assert read.state_dict()[name].equal(part)
    assert not straight.blocks[0].query.weight.equal(start.blocks[0].query.weight)  # type: ignore[union-attr]
    assert all(part.equal(before[name]) for name, part in net.state_dict().items()), "the supernet is left alone"
    assert Scorer(subject, tokenizer, subject.load("validation"), threads=1).score(straight)["n"] == 10


def test_other_tasks_are_scored_by_the_same_path(tiny_model, tokenizer, tmp_path):
    import json

    paths = {name: tmp_path / f"{name}.jsonl" for name in ("train", "validation", "evaluation")}
    for name, path in paths.items():
        rows = [{"sentence": f"{name} {i} is {'good' if i % 2 else 'bad'}", "label": i % 2} for i in range(12)]
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    data = Dataset.model_validate({"task": "sst2", **{name: str(path) for name, path in paths.items()}})
    subject = subject_of(NasRecipe(model=str(tiny_model), dataset=data, finetune=Learning(max_length=128)))
    torch.manual_seed(0)
    net = SuperNet.of(subject.load_model(tiny_model), SPACE)
    examples = subject.load("train")
    fp = Scorer(subject, tokenizer, examples, threads=1).score(inside(net, ARCH))
    int8 = Scorer(subject, tokenizer, examples, Quantize(), threads=1).score(inside(net, ARCH))
    assert list(fp) == ["accuracy", "n"] == list(int8) and fp["n"] == 12
