"""Texts that are alike learned from together: how alike they are is only learned where they can be compared."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from compress.tasks.samples import Sample, collate, inputs_of
from zoo.checkpoints import pad_of
from zoo.modeling import LengthAdaptiveModel

AT_ONCE = 64, 512  # texts that are read, and groups that are begun
SPARE = 4  # times as many candidates as a group takes: others may have taken some of them


@torch.no_grad()
def vectors_of(model: LengthAdaptiveModel, samples: Sequence[Sample]) -> Tensor:
    """What a model makes of texts at full length, `[texts, hidden]`, in their order.

    Args:
        model: computes as its autocast says.
        samples: with what to read.
    """
    vectors, window = torch.empty(len(samples), model.shape.hidden), AT_ONCE[0]
    order = sorted(range(len(samples)), key=lambda i: len(samples[i].window.input_ids))
    model.eval()
    for at in range(0, len(order), window):
        rows = order[at : at + window]
        batch = collate([samples[i] for i in rows], pad_of(model.config))
        vectors[rows] = model(**inputs_of(batch)).logits.float()
    return torch.nn.functional.normalize(vectors, dim=1)


def groups_of(vectors: Tensor, size: int, seed: int = 0) -> list[list[int]]:
    """Every text once, in groups of those most alike: in random order each that is left takes its nearest of the rest.

    Args:
        vectors: of length 1, `[texts, hidden]`.
        size: texts a group has at most; it has fewer where the nearest are taken.
        seed: of the order.
    """
    order = list(range(len(vectors)))
    random.Random(seed).shuffle(order)
    left, groups = torch.ones(len(vectors), dtype=torch.bool), list[list[int]]()
    while order:
        begun = [i for i in order[: AT_ONCE[1]] if left[i]]
        order = order[AT_ONCE[1] :]
        free = left.nonzero()[:, 0]
        if not begun:
            continue
        likeness = vectors[begun] @ vectors[free].T
        nearest = free[likeness.topk(min(SPARE * size, len(free)), 1).indices].tolist()
        for one, candidates in zip(begun, nearest, strict=True):
            if not left[one]:
                continue
            group = [one, *(other for other in candidates if other != one and left[other])][:size]
            left[group] = False
            groups.append(group)
    return groups
