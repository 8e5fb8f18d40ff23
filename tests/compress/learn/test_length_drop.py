from __future__ import annotations

import math
import random

import pytest
import torch

from compress.learn.length_drop import Sandwich
from compress.learn.loop import Schedule, train
from compress.progress import Progress
from compress.recipe.groups import LengthDrop
from compress.tasks.dropping import bounds_of, ratios, sampled, smallest, surviving_layers
from compress.tasks.losses import attention_hinge, divergence, span
from compress.tasks.samples import Sample, collate
from zoo.features import Window
from zoo.modeling import LengthAdaptiveModel, choose
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
    chance = random.Random(0)
    rows = []
    for _ in range(64):
        ids = [chance.randrange(10, 200) for _ in range(30)]
        place = chance.randrange(1, 30)
        ids[place] = 300
        rows.append(Sample(Window(0, ids, [0] * 30, [None] * 30), place, place))
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
