"""Texts that are alike come together: grouped by hand-made vectors, in whole batches, and the same after a pause."""

from __future__ import annotations

import random

import pytest
import torch
from torch.nn import functional as F

from compress.learn.neighbours import AT_ONCE, groups_of, vectors_of
from compress.learn.order import batches
from compress.tasks.losses import SHARP, divergence, likeness
from compress.tasks.samples import Sample
from tests.zoo.model_kit import both
from zoo.features import Window
from zoo.modeling import LengthAdaptiveModel
from zoo.tasks import EMBEDDINGS


def test_each_text_comes_once_with_those_most_like_it():
    """Of forty bunches of five, far from one another, each is a group; the ones begun at once are told apart, too."""
    chance = torch.Generator().manual_seed(0)
    centres = F.normalize(torch.randn(40, 64, generator=chance))
    near = centres.repeat_interleave(5, 0) + 0.02 * torch.randn(200, 64, generator=chance)
    order = torch.randperm(200, generator=chance)
    groups = groups_of(F.normalize(near)[order], 5, seed=1)
    assert sorted(i for group in groups for i in group) == list(range(200))
    assert [len({int(order[i]) // 5 for i in group}) for group in groups] == [1] * 40
    assert groups == groups_of(F.normalize(near)[order], 5, seed=1) != groups_of(F.normalize(near)[order], 5, seed=2)


def test_no_text_is_left_out_where_groups_take_each_others_nearest():
    vectors = F.normalize(torch.randn(3 * AT_ONCE[1], 8, generator=torch.Generator().manual_seed(0)))
    groups = groups_of(vectors, 4)
    assert sorted(i for group in groups for i in group) == list(range(len(vectors)))
    assert max(map(len, groups)) == 4 and len(groups) < len(vectors) / 3


def test_groups_stay_together_in_batches():
    chance = random.Random(0)
    lengths = [chance.randrange(5, 60) for _ in range(1000)]
    order = chance.sample(range(1000), 1000)
    groups = [order[i : i + 8] for i in range(0, 1000, 8)]
    made = batches(lengths, 64, seed=3, epoch=0, groups=groups)
    assert len(made) == 16 and sorted(i for batch in made for i in batch) == list(range(1000))
    assert all(batch[i : i + 8] in groups for batch in made for i in range(0, len(batch), 8))
    assert made != batches(lengths, 64, seed=3, epoch=1, groups=groups)


def test_vectors_are_the_models_in_the_order_of_the_texts(tmp_path):
    both("bert-embeddings", tmp_path)
    model, chance = LengthAdaptiveModel.load(tmp_path), random.Random(0)
    rows = [[2, *(chance.randrange(5, 50) for _ in range(chance.randrange(2, 12))), 3] for _ in range(70)]
    vectors = vectors_of(model, [Sample(Window(0, ids, None, [None] * len(ids))) for ids in rows])
    for i in (0, 33, 69):
        with torch.no_grad():
            alone = model(torch.tensor([rows[i]]), torch.ones(1, len(rows[i]), dtype=torch.long)).logits[0]
        torch.testing.assert_close(vectors[i], F.normalize(alone, dim=0), atol=1e-5, rtol=0)


def test_likeness_is_a_divergence_over_the_other_texts():
    mine, theirs = (torch.randn(4, 6, generator=torch.Generator().manual_seed(i)) for i in range(2))
    want = 0.0
    for i in range(4):
        others = [j for j in range(4) if j != i]
        p, q = (
            torch.stack([F.cosine_similarity(v[i], v[j], dim=0) for j in others]).div(SHARP).softmax(0)
            for v in (theirs, mine)
        )
        want += float((p * (p / q).log()).sum()) / 4
    assert likeness(mine, theirs).item() == pytest.approx(want, rel=1e-4)
    assert likeness(3 * mine, mine).item() == pytest.approx(0, abs=1e-6)  # lengths of vectors do not count
    assert likeness(mine[:1], theirs[:1]).item() == 0
    angle = 1 - F.cosine_similarity(mine, theirs).mean()
    assert divergence(mine, theirs, EMBEDDINGS).item() == pytest.approx(want + float(angle), rel=1e-4)
