from __future__ import annotations

import math
import random

import pytest
import torch

from compress.methods.length_drop import (
    attention_hinge,
    distance,
    ratios,
    sampled,
    sandwich,
    smallest,
    surviving_layers,
)
from compress.recipe import LengthDrop
from zoo.modeling import LengthAdaptiveModel


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
    assert distance(student, teacher).item() == pytest.approx(expected.item(), rel=1e-5)
    assert abs(expected - reverse) > 0.01
    assert distance(teacher, teacher).item() == pytest.approx(0, abs=1e-6)


def test_hinge_asks_for_twice_the_average_attention_on_the_answer():
    where = torch.arange(4)[None]
    uniform = torch.full((1, 4), 0.25)
    one = torch.tensor([1])
    assert attention_hinge([(uniform, where)], one, one, torch.tensor([4])).item() == pytest.approx(math.log(2))
    enough = torch.tensor([[0.1, 0.6, 0.2, 0.1]])
    assert attention_hinge([(enough, where)], one, one, torch.tensor([4])).item() == 0


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
    losses = list(sandwich(settings, model.drop_layers, model.shape.layers)(model, batch, random.Random(0)))
    assert len(losses) == 4
    assert [set(told) for _, told in losses] == [
        {"loss"},
        {"kl_smallest", "hinge"},
        {"kl_sampled", "hinge"},
        {"kl_sampled", "hinge"},
    ]
    torch.stack([value for value, _ in losses]).sum().backward()
    for name, parameter in model.named_parameters():
        if "position" not in name and "types" not in name:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
