from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from zoo import layers
from zoo.attention import LONGEST, attention, fits
from zoo.layers import MASK
from zoo.modeling import LengthAdaptiveModel

SHAPE = (3, 4, 40, 32)


def parts(shape=SHAPE):
    """Queries, keys, values and what comes back, as a linear layer gives them: places before heads in memory."""
    batch, heads, tokens, size = shape
    made = (torch.randn(batch, tokens, heads, size).bfloat16().transpose(1, 2) for _ in range(4))
    q, k, v, back = (part.detach() for part in made)
    return q.requires_grad_(), k.requires_grad_(), v.requires_grad_(), back


def masked(tokens=40, batch=3):
    alive = torch.arange(tokens)[None] < torch.tensor([tokens, tokens - 7, tokens // 3])[:batch, None]
    return (~alive).float()[:, None, None, :] * MASK


def by_hand(q, k, v, bias, back, of_probabilities=None):
    """Attention and its gradients in float64."""
    q, k, v = (part.detach().double().requires_grad_() for part in (q, k, v))
    probabilities = (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5 + bias.double()).softmax(-1)
    mixed = probabilities @ v
    aim = (mixed * back.double()).sum()
    if of_probabilities is not None:
        aim = aim + (probabilities * of_probabilities.double()).sum()
    return mixed, probabilities, torch.autograd.grad(aim, (q, k, v))


def off(found, exact):
    found, exact = found.detach().double(), exact.detach()
    return float((found - exact).norm() / exact.norm())


@pytest.mark.parametrize(
    "bias", [masked(), masked(batch=1), torch.randn(1, 4, 40, 40) + masked(), torch.zeros(1, 1, 1, 40)]
)
def test_it_is_attention_and_as_exact_as_bf16_is(bias):
    torch.manual_seed(0)
    q, k, v, back = parts()
    exact, certain, goals = by_hand(q, k, v, bias, back)
    with torch.autocast("cpu", torch.bfloat16):
        mixed, probabilities = attention(q, k, v, bias)
        plain = functional.scaled_dot_product_attention(q, k, v, bias.bfloat16())
    swift = torch.autograd.grad(mixed, (q, k, v), back)
    other = torch.autograd.grad(plain, (q, k, v), back)
    assert mixed.dtype is torch.bfloat16 and mixed.shape == q.shape
    assert off(mixed, exact) < 2 * off(plain, exact) < 0.02 and off(probabilities, certain) < 0.01
    assert (probabilities[(bias < MASK / 2).expand_as(probabilities)] == 0).all()
    for mine, theirs, goal in zip(swift, other, goals, strict=True):
        assert off(mine, goal) < 2 * off(theirs, goal) < 0.04


def test_the_probabilities_have_gradients_too():
    torch.manual_seed(1)
    q, k, v, back = parts()
    wanted = torch.randn(3, 4, 40, 40)
    _, _, goals = by_hand(q, k, v, masked(), back, wanted)
    mixed, probabilities = attention(q, k, v, masked())
    found = torch.autograd.grad((mixed, probabilities), (q, k, v), (back, wanted.bfloat16()), retain_graph=True)
    assert all(off(mine, goal) < 0.02 for mine, goal in zip(found, goals, strict=True))
    alone = torch.autograd.grad(probabilities, (q, k), wanted.bfloat16())
    _, _, goals = by_hand(q, k, v, masked(), torch.zeros_like(back), wanted)
    assert all(off(mine, goal) < 0.02 for mine, goal in zip(alone, goals, strict=False))


def test_it_is_for_training_in_bf16_alone():
    q, _, _, _ = parts()
    bias = torch.zeros(1, 1, 1, 40)
    assert not fits(q, bias), "without autocast there is nobody who asked for bf16"
    with torch.autocast("cpu", torch.bfloat16):
        assert fits(q, bias)
        assert not fits(q.detach(), bias) and not fits(q.detach().float().requires_grad_(), bias)
        assert not fits(q, bias.clone().requires_grad_()), "MPNet learns its bias"
        assert not fits(torch.zeros(1, 1, LONGEST + 1, 8, dtype=torch.bfloat16, requires_grad=True), bias)

        class Hooks(TorchFunctionMode):  # as NNCF stands between a model and torch
            def __torch_function__(self, func, types, args=(), kwargs=None):
                return func(*args, **(kwargs or {}))

        with Hooks():
            assert not fits(q, bias)
        seen = []
        torch.jit.trace(lambda x: seen.append(fits(q, bias)) or x * 2, torch.ones(1), check_trace=False)
        assert seen == [False]


@pytest.mark.parametrize("kept", [None, 9])
def test_layers_that_drop_tokens_learn_the_same_from_both(tiny_model, monkeypatch, kept):
    model = LengthAdaptiveModel.load(tiny_model).train()
    plain = copy.deepcopy(model)
    for layer in plain.blocks:
        layer.swift = False
    calls, swift = [], layers.attention
    monkeypatch.setattr(layers, "attention", lambda *inputs: calls.append(1) or swift(*inputs))
    ids = torch.randint(5, 90, (3, 24), generator=torch.Generator().manual_seed(0))
    alive = (torch.arange(24)[None] < torch.tensor([24, 20, 11])[:, None]).long()
    lengths = None if kept is None else torch.full((3, len(model.blocks)), kept)
    grads, kept_ones = [], []
    for each in (plain, model):
        assert bool(calls) is (each is not plain) or not calls
        with torch.autocast("cpu", torch.bfloat16):
            out = each(ids, alive, lengths=lengths, scored=True)
            aim = out.logits.float().masked_fill(~alive.bool()[..., None], 0).square().mean()
            aim = aim + sum(share.float().square().sum() for _, share, _ in out.significance)
        aim.backward()
        grads.append(torch.cat([p.grad.flatten() for p in each.parameters() if p.grad is not None]))
        kept_ones.append(out.kept)
    assert len(calls) == len(model.blocks)
    assert torch.cosine_similarity(*grads, dim=0) > 0.99 and not grads[0].equal(grads[1])
    agreed = [float((a == b).float().mean()) for a, b in zip(*kept_ones, strict=True)]
    assert min(agreed) > 0.8, "near ties apart, the same tokens go on"


def test_a_dropout_of_probabilities_is_left_to_torch(tiny_model, monkeypatch):
    model = LengthAdaptiveModel.load(tiny_model).train()
    monkeypatch.setattr(layers, "attention", None)
    model.attention_dropout = 0.1
    with torch.autocast("cpu", torch.bfloat16):
        model(torch.full((1, 8), 7), torch.ones(1, 8, dtype=torch.long)).logits.float().sum().backward()


def test_layers_that_are_computed_again_have_the_same_gradients(tiny_model):
    ids, alive = torch.randint(5, 90, (2, 12)), torch.ones(2, 12, dtype=torch.long)
    grads = []
    for again in (False, True):
        model = LengthAdaptiveModel.load(tiny_model, dropout=0.1).train()
        for layer in model.blocks:
            layer.recompute = again
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16):
            model(ids, alive).logits.float().square().sum().backward()
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert grads[0].any() and grads[0].equal(grads[1])
