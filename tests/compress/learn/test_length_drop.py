from __future__ import annotations

import json
import math
import random
from typing import Any, Literal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from compress.learn.length_drop import Sandwich
from compress.learn.loop import Schedule, train
from compress.progress import Progress
from compress.recipe.length_groups import LengthDrop
from compress.recipe.load import load
from compress.run.run import run
from compress.tasks.dropping import bounds_of, dropping, ratios, sampled, smallest, surviving_layers
from compress.tasks.losses import attention_hinge, divergence, ranking, span
from compress.tasks.samples import INPUTS, Sample, collate
from zoo import modeling
from zoo.dropping import choose
from zoo.engines import open_graph
from zoo.features import Window, load_tokenizer, make_windows, pad
from zoo.files import read_json
from zoo.graph import read
from zoo.modeling import LengthAdaptiveModel
from zoo.significance import KEY
from zoo.tasks import QUESTIONS


def test_the_lower_gene_is_the_published_one():
    assert smallest(torch.tensor([384]), [0.2] * 6).tolist() == [[308, 247, 198, 159, 128, 103]]


def test_samples_lie_between_the_lower_gene_and_full_length():
    bounds = ratios([0.4, 0.6], [1, 3], 5)
    assert bounds == [0.0, 0.4, 0.0, 0.6, 0.0]
    count = torch.tensor([2, 50, 384])
    low = smallest(count, bounds)
    seen = set()
    for seed in range(50):
        lengths = sampled(count, bounds, random.Random(seed))
        assert (lengths >= low).all() and (lengths <= count[:, None]).all()
        assert (lengths[:, 1:] <= lengths[:, :-1]).all()
        assert (lengths[:, 0] == count).all() and (lengths[:, 2] == lengths[:, 1]).all()
        seen.add(tuple(lengths[2].tolist()))
    assert len(seen) > 40


@pytest.mark.parametrize("probability", [0.5, 0.999])
def test_layer_drop_never_drops_every_layer(probability):
    kept = [surviving_layers(4, probability, random.Random(seed)) for seed in range(200)]
    assert all(k and any(k) for k in kept)
    assert any(k and not all(k) for k in kept)
    assert surviving_layers(4, 0.0, random.Random(0)) is None


def test_distance_is_kl_from_the_teacher_to_the_student():
    teacher = torch.tensor([[[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]])
    student = torch.tensor([[[0.0, 0.5], [1.0, 0.0], [0.0, 0.0]]])
    p, q = teacher.softmax(1), student.softmax(1)
    expected = (p * (p / q).log()).sum(1).mean()
    reverse = (q * (q / p).log()).sum(1).mean()
    assert divergence(student, teacher, QUESTIONS).item() == pytest.approx(expected.item(), rel=1e-5)
    assert abs(expected - reverse) > 0.01
    assert divergence(teacher, teacher, QUESTIONS).item() == pytest.approx(0, abs=1e-6)


def test_hinge_asks_for_a_share_that_is_sure_to_keep_the_answers_ends():
    where = torch.arange(4)[None]
    one, three, goal = torch.tensor([1]), torch.tensor([3]), torch.tensor([[4, 2]])
    uniform = (1, torch.full((1, 4), 0.25), where)
    assert attention_hinge([uniform], one, one, goal).item() == pytest.approx(math.log(2))  # 1/2 is asked, 1/4 is had
    enough = (1, torch.tensor([[0.1, 0.5, 0.3, 0.1]]), where)
    assert attention_hinge([enough], one, one, goal).item() == 0
    only_ends = attention_hinge([enough], one, three, goal).item()  # 0.3 at place 2 does not matter
    assert only_ends == pytest.approx((0 - math.log(0.1 * 2)) / 2)
    everything_goes_on = (0, torch.full((1, 4), 0.25), where)
    assert attention_hinge([everything_goes_on, uniform], one, one, goal).item() == pytest.approx(math.log(2) / 2)


def test_what_the_hinge_asks_for_keeps_a_token():
    """The bound is exact: a share of 1/n of all attention puts a token among the n most significant."""
    received = torch.randn(200, 30).exp()
    share = received / received.sum(1, keepdim=True)
    alive = torch.ones(200, 30, dtype=torch.bool)
    for n in (3, 10):
        pick, _ = choose(received, alive, torch.full((200,), n), keep_first=False)
        kept = torch.zeros_like(alive).scatter(1, pick, torch.ones_like(pick, dtype=torch.bool))
        asked = share > 1 / n
        assert asked.any() and kept[asked].all()


def test_sandwich_passes_and_their_gradient(tiny_model):
    model = LengthAdaptiveModel.load(tiny_model).train()
    settings = LengthDrop(num_sandwich=2, length_drop_ratio_bound=0.5, layer_dropout_prob=0.0, significance_weight=0.1)
    batch = {
        "input_ids": torch.randint(5, 50, (2, 20)),
        "attention_mask": torch.ones(2, 20, dtype=torch.long),
        "token_type_ids": torch.zeros(2, 20, dtype=torch.long),
        "start": torch.tensor([4, 5]),
        "end": torch.tensor([6, 5]),
    }
    losses = list(Sandwich.of(settings, model)(model, batch, random.Random(0)))
    assert len(losses) == 4
    assert [set(told) for _, told in losses] == [
        {"loss", "hinge_full"},
        {"kl_smallest", "hinge_smallest"},
        {"kl_sampled", "hinge_sampled"},
        {"kl_sampled", "hinge_sampled"},
    ]
    torch.stack([value for value, _ in losses]).sum().backward()
    for name, parameter in model.named_parameters():
        if "position" not in name and "types" not in name:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_guided_fine_tuning_makes_attention_keep_the_answer(tiny_model, tmp_path):
    """The answer is marked by a token of its own; guided, the model learns to attend to it, unguided it does not."""
    rows = marked(64)
    survived = {}
    for weight in (0.0, 2.0):
        torch.manual_seed(0)
        model = LengthAdaptiveModel.load(tiny_model)
        bounds = bounds_of(LengthDrop(length_drop_ratio_bound=0.6), model)
        plan = Schedule(learning_rate=3e-3, epochs=12, batch_size=16, seed=1, precision="fp32")
        train(model, rows, span(weight, bounds), plan, tmp_path / str(weight), Progress(None, "finetune", bar=False))
        batch = collate(rows, 0)
        inputs = [batch[key] for key in ("input_ids", "attention_mask", "token_type_ids")]
        kept = model(*inputs, lengths=smallest(batch["attention_mask"].sum(1), bounds)).kept[-1]
        survived[weight] = kept.gather(1, batch["start"][:, None]).float().mean().item()
    assert survived[2.0] > 0.95
    assert survived[0.0] < 0.8


def test_ranking_is_cross_entropy_over_the_tokens_that_are_left():
    needed = {0: torch.tensor([[0.5, 0.1, 0.3, 0.1]]), 1: torch.tensor([[0.1, 0.2, 0.6, 0.1]])}
    every = (0, torch.tensor([[0.4, 0.3, 0.2, 0.1]]), torch.arange(4)[None])
    left = (1, torch.tensor([[0.75, 0.25]]), torch.tensor([[2, 1]]))
    whole = -(0.5 * math.log(0.4) + 0.1 * math.log(0.3) + 0.3 * math.log(0.2) + 0.1 * math.log(0.1))
    half = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))  # 0.6 and 0.2 of what is needed, as shares of 0.8
    assert ranking([every, left], needed).item() == pytest.approx((whole + half) / 2)
    dead = (1, torch.tensor([[0.75, 0.25, 0.0]]), torch.tensor([[2, 1, 3]]))
    assert ranking([dead], needed).item() == pytest.approx(half)


def marked(count: int) -> list[Sample]:
    """Inputs whose answer is marked by a token of its own."""
    chance = random.Random(0)
    rows = []
    for _ in range(count):
        ids = [chance.randrange(10, 200) for _ in range(30)]
        place = chance.randrange(1, 30)
        ids[place] = 300
        rows.append(Sample(Window(0, ids, [0] * 30, [None] * 30), place, place))
    return rows


def test_learned_passes_their_gradient_and_the_steps_before_anything_is_dropped(tiny_model):
    model = LengthAdaptiveModel.load(tiny_model, length_drop_significance="learned").train()
    settings = LengthDrop(num_sandwich=1, length_drop_ratio_bound=0.5, layer_dropout_prob=0.0, significance="learned")
    sandwich = Sandwich.of(settings, model)
    batch = collate(marked(4), 0)
    keys = []
    for step in (199, 200):
        sandwich.beginning.before_step(step, 1000)
        losses = list(sandwich(model, batch, random.Random(0)))
        keys.append([set(told) for _, told in losses])
    full = {"loss", "rank_full"}
    assert keys == [[full], [full, {"kl_smallest", "rank_smallest"}, {"kl_sampled", "rank_sampled"}]]
    needed = {layer: torch.rand(4, 30) for layer in model.drop_layers}
    rank = ranking(model(*[batch[key] for key in INPUTS], scored=True).significance, needed)
    rank.backward()
    learning = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert learning and all(name.startswith("significance.") for name in learning)


def test_steps_between_those_at_full_length_are_the_random_sub_models(tiny_model):
    """They have nothing of their own to learn from: what a recipe's teacher says is added to their losses."""
    model = LengthAdaptiveModel.load(tiny_model).train()
    settings = LengthDrop(num_sandwich=2, length_drop_ratio_bound=0.5, layer_dropout_prob=0.0, full_every=3)
    sandwich, batch, passes = Sandwich.of(settings, model), collate(marked(4), 0), []
    for step in range(4):
        sandwich.beginning.before_step(step, 1000)
        losses = list(sandwich(model, batch, random.Random(step)))
        passes.append([[key for key in told if key.startswith("kl_") or key == "loss"] for _, told in losses])
        if step in (1, 2):
            assert [value.item() for value, _ in losses] == [0, 0] and all(value.requires_grad for value, _ in losses)
    whole = [["loss"], ["kl_smallest"], ["kl_sampled"], ["kl_sampled"]]
    assert passes == [whole, [[], []], [[], []], whole]


def test_scorers_that_learned_keep_the_answer_where_attention_does_not(tiny_model, tmp_path):
    """Without any hinge: what the last layers attend to is what answers are found by."""
    rows, kept = marked(64), {}
    start = LengthAdaptiveModel.load(tiny_model)
    plan = Schedule(learning_rate=3e-3, epochs=12, batch_size=16, seed=1, precision="fp32")
    train(start, rows, span(), plan, tmp_path / "finetune", Progress(None, "finetune", bar=False))
    start.save(tmp_path / "start")
    ways: tuple[Literal["attention", "learned"], ...] = ("attention", "learned")
    for name in ways:
        settings = LengthDrop(
            length_drop_ratio_bound=0.6, layer_dropout_prob=0.0, num_sandwich=0, significance=name, scorer_steps=20
        )
        own: dict[str, Any] = dropping(settings)
        model = LengthAdaptiveModel.load(tmp_path / "start", **own)
        sandwich = Sandwich.of(settings, model)
        rates = {key: 32.0 for key, _ in model.named_parameters() if key.startswith("significance.")}
        plan = Schedule(learning_rate=3e-4, epochs=25, batch_size=16, seed=1, precision="fp32", rates=rates)
        hooks, told = [sandwich.beginning], Progress(None, "length_drop", bar=False)
        train(model, rows, sandwich, plan, tmp_path / name, told, hooks)
        batch = collate(rows, 0)
        lengths = smallest(batch["attention_mask"].sum(1), sandwich.bounds)
        alive = model(*[batch[key] for key in INPUTS], lengths=lengths).kept[-1]
        kept[name] = alive.gather(1, batch["start"][:, None]).float().mean().item()
    assert kept["learned"] > 0.95 > kept["attention"]


@pytest.fixture(scope="module")
def learned_run(tiny_changes, tmp_path_factory):
    """The folder of a run of the whole recipe whose tokens are ranked by scorers."""
    folder = tmp_path_factory.mktemp("learned")
    ways = ["length_drop.significance=learned", "length_drop.scorer_steps=2"]
    run(load("length_adaptive_tiny", [*tiny_changes, *ways]), folder)
    return folder


def test_the_recipe_ranks_by_scorers_to_its_entry_and_says_so(learned_run, tiny_data):
    whole, small = (
        learned_run / "package" / name
        for name in read_json(learned_run / "result.json")["stages"]["package"]["entries"]
    )
    model = LengthAdaptiveModel.load(whole)
    trained = load_file(learned_run / "length_drop/model.safetensors")
    scorers = {name: value for name, value in trained.items() if name.startswith("significance.")}
    assert len(scorers) == 5 * len(model.drop_layers) and all(value.any() for value in scorers.values())
    weights, _ = read(small / "model.int8.onnx")
    for name, value in scorers.items():
        assert np.array_equal(weights[name], value.numpy()), name
        assert model.state_dict()[name].equal(value.half().float())  # whole entries are stored in half precision
    for entry in (whole, small):
        assert "what scorers learned" in (entry / "README.md").read_text()
    tokens = load_tokenizer(small)
    asked = json.loads(tiny_data.evaluation.read_text())["data"][0]["paragraphs"][0]
    window = make_windows(tokens, [asked["qas"][0]["question"]], [asked["context"]], 128, 32)[:1]
    batch = pad(window, tokens.pad_token_id)
    count = int(batch["attention_mask"].sum())
    lengths = np.array([[count // 2] * model.shape.layers])
    with torch.no_grad():
        kept = model(**{k: torch.from_numpy(v) for k, v in batch.items()}, lengths=torch.from_numpy(lengths)).kept[0]
    engine = open_graph(small, 1, "onnxruntime").run(batch, lengths).kept[0]
    assert (engine == kept.numpy()).mean() > 0.9  # rounding moves a score here and there


def test_attention_ranks_again_where_a_recipe_says_so(learned_run, tiny_changes, tmp_path):
    start = f"model={learned_run / 'length_drop'}"
    changes = [change for change in tiny_changes if not change.startswith("model=")]
    recipe = load("length_adaptive_tiny", [*changes, start, "finetune.apply=false"])
    run(recipe, tmp_path / "run", stage="length_drop")
    folder = tmp_path / "run/length_drop"
    assert KEY not in read_json(folder / "config.json")
    assert not [name for name in load_file(folder / "model.safetensors") if name.startswith("significance")]


def test_dead_places_fill_up_a_width_and_change_nothing(tiny_model, monkeypatch):
    received = torch.tensor([[0.1, 0.9, 0.5, 0.4, 0.2, 0.3, 0.7], [0.3, 0.1, 0.2, 0.0, 0.0, 0.0, 0.0]])
    alive = torch.tensor([[1] * 7, [1, 1, 1, 0, 0, 0, 0]]).bool()
    goal = torch.tensor([3, 2])
    exact, lives = choose(received, alive, goal, keep_first=True)
    more, living = choose(received, alive, goal, True, 4)
    assert exact.tolist() == [[0, 1, 6], [0, 2, 1]] and more[:, :3].equal(exact) and more.shape == (2, 4)
    assert living[:, :3].equal(lives) and not living[:, 3].any()
    assert choose(received, alive, goal, True, 8)[0].shape == (2, 7), "there are no more"
    model = LengthAdaptiveModel.load(tiny_model).train()  # without dropout
    ids = torch.randint(5, 90, (2, 30), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(30)[None] < torch.tensor([[30], [17]])).long()
    lengths = torch.tensor([[19, 11], [9, 5]])
    said = []
    for width in (1, 8):
        monkeypatch.setattr(modeling, "WIDTH", width)
        said.append(model(ids, mask, lengths=lengths))
    torch.testing.assert_close(said[0].logits, said[1].logits, atol=1e-5, rtol=1e-5)
    assert all(a.equal(b) for a, b in zip(said[0].kept, said[1].kept, strict=True))
