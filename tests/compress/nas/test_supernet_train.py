"""Training a supernet: what it learns from, in which sub-networks, the same after a resume and on every process."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from compress.learn.loop import Schedule, train
from compress.learn.masked_lm import MaskedLanguageModel
from compress.learn.masking import Masking
from compress.learn.shards import Shards, make_shards
from compress.nas.ordering import run as order
from compress.nas.space import Space
from compress.nas.supernet import SuperNet
from compress.nas.supernet_train import Learner, relation_distance, run, sandwich, taught
from compress.nas.supernet_tune import in_place
from compress.nas.supernet_tune import run as tune
from compress.progress import Progress
from compress.recipe.groups import Dataset, Training
from compress.recipe.nas_groups import GenerateData, SearchSpace, Supernet, Tune
from compress.recipe.stage import StageContext
from compress.tasks.samples import collate
from compress.tasks.subjects import subject_of
from tests.compress.training_kit import Interrupting, Stop
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.modeling import LengthAdaptiveModel
from zoo.tasks import QUESTIONS

ROOT = Path(__file__).parents[3]
SPACE = Space.spanned([1, 2], [8, 32], [16, 64], 8, 16)


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return load_tokenizer(tiny_model)


@pytest.fixture(scope="module")
def blocks(tiny_model, tmp_path_factory) -> Shards:
    return make_shards(tmp_path_factory.mktemp("blocks"), tiny_model, GenerateData(block_tokens=32))


def quiet(folder=None) -> Progress:
    return Progress(folder, "supernet", bar=False, shown=False)


def masked(folder) -> MaskedLanguageModel:
    torch.manual_seed(0)
    return MaskedLanguageModel.load(folder)


def learner(folder) -> Learner:
    return Learner(SuperNet.of(masked(folder), SPACE), 32)


def passes(settings, model, teacher, tokenizer, blocks, seed=0):
    rows = (0, 1, 2, 3)
    batch = {**collate([blocks[i] for i in rows], 0), "row": torch.tensor(rows)}
    loss = taught(settings, SPACE, Masking(tokenizer), teacher)
    return list(loss(model, batch, random.Random(seed)))


def test_a_step_trains_the_bounds_and_random_networks_that_its_seed_decides():
    one, same, other = (sandwich(SPACE, 3, random.Random(f"5/{step}")) for step in (1, 1, 2))
    assert one == same != other
    assert [name for name, _ in one] == ["largest", "smallest", "random", "random", "random"]
    assert one[0][1] == SPACE.largest and one[1][1] == SPACE.smallest and all(arch in SPACE for _, arch in one)


def test_the_loss_of_each_network_is_the_weighted_mean_of_its_parts(tiny_model, tokenizer, blocks):
    settings = Supernet(hidden_weight=1, relation_weight=2, teacher_weight=3, label_weight=4, random_networks=1)
    model, teacher = learner(tiny_model), masked(tiny_model).requires_grad_(False)
    made = passes(settings, model, teacher, tokenizer, blocks)
    assert len(made) == 3
    for name, (value, told) in zip(("largest", "smallest", "random"), made, strict=True):
        parts = [told[f"{name}_{key}"] for key in ("hidden", "relations", "teacher", "words")]
        assert told[f"{name}_loss"] == pytest.approx(sum(w * p for w, p in zip((1, 2, 3, 4), parts, strict=True)) / 10)
        assert value.item() == pytest.approx(told[f"{name}_loss"] / 3, rel=1e-5)
        assert all(part < 1e-5 for part in parts[:3]) if name == "largest" else all(part > 1e-4 for part in parts)
    assert made[0][1]["loss"] == made[0][1]["largest_loss"] and "loss" not in made[1][1]
    made[1][0].backward()
    inner = model.net.encoder.blocks[0].expand.weight.grad
    assert inner is not None and inner[:16, :8].any() and not inner[16:].any() and not inner[:, 8:].any()
    assert model.fit.weight.grad is not None and not model.fit.weight.grad[:, 8:].any()
    assert all(p.grad is None for p in teacher.parameters())


def test_only_what_is_learned_from_is_computed(tiny_model, tokenizer, blocks):
    model, teacher = learner(tiny_model), masked(tiny_model).requires_grad_(False)
    seen = []
    real = model.forward

    def forward(*args):
        out = real(*args)
        seen.append((set(out), args[2]))
        return out

    model.forward = forward  # type: ignore[method-assign]
    passes(Supernet(hidden_weight=0, random_networks=0), model, teacher, tokenizer, blocks)
    assert seen == [({"relations"}, None)] * 2, "whole text, and nothing that no gradient comes from"
    seen.clear()
    passes(Supernet(relation_weight=0, hidden_weight=0, label_weight=1), model, teacher, tokenizer, blocks)
    assert [names for names, _ in seen] == [{"words"}] * 3 and all(holes.any() for _, holes in seen)
    with pytest.raises(ValueError, match="are all 0"):
        Supernet(relation_weight=0, hidden_weight=0)


def test_relations_compare_any_widths():
    draw = torch.Generator().manual_seed(0)
    alive = torch.ones(2, 5).bool()
    alive[1, 3:] = False
    wide, narrow = ([torch.randn(2, 5, size, generator=draw) for _ in range(3)] for size in (12, 8))
    assert relation_distance(wide, wide, alive, 4).abs() < 1e-6
    far = relation_distance(narrow, wide, alive, 3)  # 3 does not divide 8: two relation heads
    by_hand = []
    for mine, goal in zip(narrow, wide, strict=True):
        for row, count in enumerate((5, 3)):
            for head in range(2):
                a, b = mine[row, :count, 4 * head : 4 * head + 4], goal[row, :count, 6 * head : 6 * head + 6]
                own, theirs = (a @ a.T / 4**0.5).log_softmax(1), (b @ b.T / 6**0.5).log_softmax(1)
                by_hand.append((row, F.kl_div(own, theirs, log_target=True, reduction="none").sum(1)))
    mean = sum(each.sum() for _, each in by_hand) / (8 * 2 * 3)
    torch.testing.assert_close(far, mean, atol=1e-5, rtol=1e-5)
    noise = [part.clone().index_fill_(1, torch.tensor([4]), 9.0) for part in narrow]
    noise = [torch.cat([own[:1], other[1:]]) for own, other in zip(narrow, noise, strict=True)]
    torch.testing.assert_close(relation_distance(noise, wide, alive, 3), far)


def test_an_interrupted_training_goes_on_with_the_same_networks(tiny_model, tokenizer, blocks, tmp_path):
    plan = Schedule(learning_rate=5e-3, epochs=1.5, batch_size=8, seed=5, checkpoint_minutes=0, precision="fp32")
    settings, teacher = Supernet(label_weight=0.5), masked(tiny_model).requires_grad_(False)
    heard: list[dict[str, Any]] = []

    class Listening(Progress):
        def update(self, step, total, **figures):
            heard.append(figures)

    def go(folder, progress):
        model = learner(tiny_model)
        train(model, blocks, taught(settings, SPACE, Masking(tokenizer), teacher), plan, folder, progress)  # type: ignore[arg-type]
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    straight = go(tmp_path / "a", Listening(None, "supernet", shown=False))
    with pytest.raises(Stop):
        go(tmp_path / "b", Interrupting(None, 4))
    torch.testing.assert_close(go(tmp_path / "b", quiet()), straight, atol=1e-6, rtol=0)
    lost = [figures["smallest_loss"] for figures in heard]
    assert len(lost) > 20 and sum(lost[-5:]) < 0.95 * sum(lost[:5]), f"the smallest network learns: {lost}"


SCRIPT = """
import json, os, random, sys, torch
from pathlib import Path
from compress.learn.masked_lm import MaskedLanguageModel
from compress.nas import supernet_train as st
from compress.recipe.nas_groups import Supernet
from compress.learn.shards import Shards
from compress.nas.space import Space
from compress.nas.supernet import SuperNet
from compress.progress import Progress
from compress.learn.loop import Schedule, train
from zoo.features import load_tokenizer

model, data, out = (Path(p) for p in sys.argv[1:])
rank, seen = int(os.environ.get("RANK", "0")), []
real = st.sandwich


def watched(*args):
    networks = real(*args)
    seen.append([arch.key for _, arch in networks])
    return networks


st.sandwich = watched
torch.manual_seed(0)
space = Space.spanned([1, 2], [8, 32], [16, 64], 8, 16)
teacher = MaskedLanguageModel.load(model).requires_grad_(False)
torch.manual_seed(0)
learner = st.Learner(SuperNet.of(MaskedLanguageModel.load(model), space), 32)
blocks = Shards(data)[:24]
plan = Schedule(learning_rate=1e-3, epochs=1, batch_size=4, seed=1, precision="fp32")
train(learner, blocks, st.taught(Supernet(), space, None, teacher), plan, out / "run", Progress(None, "s", shown=False))
torch.save(learner.state_dict(), out / f"{rank}.pt")
(out / f"{rank}.json").write_text(json.dumps(seen))
"""


def test_all_processes_of_a_torchrun_train_the_same_networks(tiny_model, tmp_path):
    data = tmp_path / "data"
    make_shards(data, tiny_model, GenerateData(block_tokens=32))
    (tmp_path / "train.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    for name, launcher in (
        ("two", ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]),
        ("one", []),
    ):
        out = tmp_path / name
        out.mkdir()
        command = [sys.executable, *launcher, str(tmp_path / "train.py"), str(tiny_model), str(data), str(out)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((tmp_path / "two" / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second == json.loads((tmp_path / "one" / "0.json").read_text()) and len(first) == 6
    own, other, alone = (torch.load(tmp_path / at) for at in ("two/0.pt", "two/1.pt", "one/0.pt"))
    for key, value in own.items():
        assert value.equal(other[key])
        torch.testing.assert_close(value, alone[key], atol=2e-4, rtol=0)


def recipe_of(tiny_model, tiny_data, **groups) -> Any:
    held = {
        "model": str(tiny_model),
        "tokenizer": None,
        "space": SearchSpace(layers=[1, 2], hidden=[8, 32], intermediate=[16, 64], step=16),
        "dataset": Dataset.model_validate({name: str(path) for name, path in tiny_data._asdict().items()}),
        "generate_data": GenerateData(block_tokens=32),
        "supernet": Supernet(steps=3, batch_size=8, order_blocks=8),
        "tune": Tune(epochs=1, batch_size=8, learning_rate=1e-3, max_length=128, stride=32),
        "search": SimpleNamespace(scoring="inside"),
        "training": Training(),
        "seed": 0,
        "trains": True,
    }
    return SimpleNamespace(**{**held, **groups})


def test_the_stages_make_a_supernet_of_a_checkpoint_and_tune_it(tiny_model, tiny_data, blocks, tmp_path):
    def stage(target, name, recipe, **inputs):
        (tmp_path / name).mkdir(exist_ok=True)
        told = quiet(tmp_path / "progress.jsonl")
        return target(StageContext(recipe, tmp_path, tmp_path / name, told, inputs))

    recipe = recipe_of(tiny_model, tiny_data)
    data = tmp_path / "data"
    make_shards(data, tiny_model, GenerateData(block_tokens=32))
    stage(order, "order", recipe, generate_data=data)
    facts = stage(run, "supernet", recipe, generate_data=data, order=tmp_path / "order")
    assert facts["steps"] == 3 and facts["smallest"] == "l1-h8-f16-a1" and facts["networks"] == len(SPACE)
    net, before = SuperNet.load(tmp_path / "supernet"), MaskedLanguageModel.load(tmp_path / "order")
    assert isinstance(net.whole, MaskedLanguageModel) and net.space == SPACE
    assert not net.encoder.blocks[0].expand.weight.equal(before.encoder.blocks[0].expand.weight)

    plain = recipe_of(tiny_model, tiny_data, supernet=Supernet(apply=False))
    assert stage(run, "plain", plain, order=tmp_path / "order")["trained"] is False
    taken = recipe_of(tiny_model, tiny_data, supernet=Supernet(checkpoint=str(tmp_path / "supernet")))
    assert stage(run, "taken", taken)["taken_from"] == str(tmp_path / "supernet")
    assert SuperNet.load(tmp_path / "taken").encoder.words.weight.equal(net.encoder.words.weight)
    taken.space = SearchSpace(layers=[1, 2], hidden=[8, 32], intermediate=[16, 64], step=24)
    with pytest.raises(UserError, match="another space: intermediate 40"):
        stage(run, "other", taken)
    headless = recipe_of(tiny_model, tiny_data, supernet=Supernet(teacher_weight=1))
    with pytest.raises(UserError, match="no head for masked words.*supernet.teacher_weight to 0"):
        stage(run, "headless", headless, generate_data=data, order=tmp_path / "order")

    by_itself = recipe_of(tiny_model, tiny_data, search=SimpleNamespace(scoring="finetune"))
    assert stage(tune, "none", by_itself, supernet=tmp_path / "supernet") == {}
    told = stage(tune, "tune", recipe, supernet=tmp_path / "supernet")
    tuned = SuperNet.load(tmp_path / "tune")
    assert told["windows"] > 20 and isinstance(tuned.whole, LengthAdaptiveModel) and tuned.encoder.head is QUESTIONS
    assert (tmp_path / "tune" / "tokenizer.json").is_file() and tuned.space == SPACE


def test_the_largest_teaches_the_others_in_place(tiny_model, tiny_data, tokenizer):
    recipe = recipe_of(tiny_model, tiny_data)
    subject = subject_of(recipe, recipe.tune)
    net = SuperNet.of(subject.load_model(tiny_model), SPACE)
    data = subject.samples(tokenizer, subject.load("train", 4))
    batch = {**collate(data, 0), "row": torch.arange(len(data))}

    def go(**settings):
        loss = in_place(subject, Tune(random_networks=1, **settings), SPACE)
        return list(loss(net, batch, random.Random(0)))

    both = go(label_weight=1, teacher_weight=3, temperature=2)
    assert len(both) == 3 and both[0][1]["loss"] == both[0][1]["largest_loss"]
    for name, (value, told) in zip(("smallest", "random"), both[1:], strict=True):
        assert told[f"{name}_distance"] > 1e-3
        mean = (told[f"{name}_loss"] + 3 * told[f"{name}_distance"]) / 4
        assert value.item() == pytest.approx(mean / 3, rel=1e-5)
    net.zero_grad()
    go(label_weight=0)[1][0].backward()
    grads = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    expand = grads["whole.layers.0.expand.weight"]
    assert expand[:16, :8].any() and not expand[16:].any(), "the largest is not changed to suit the smallest"
    with pytest.raises(ValueError, match="both 0"):
        Tune(label_weight=0, teacher_weight=0)
