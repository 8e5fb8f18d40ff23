"""Which encoders a search space has."""

from __future__ import annotations

import json
import random

import pytest

from compress.nas.space import Arch, Space
from zoo.errors import UserError
from zoo.lengths import Shape, macs

SPACE = Space.spanned((2, 6), (128, 384), (256, 1536), 32, 64)
MINILM = {
    "model_type": "bert",
    "num_hidden_layers": 6,
    "hidden_size": 384,
    "intermediate_size": 1536,
    "num_attention_heads": 12,
}


def test_a_space_has_every_combination_once_and_whole_heads():
    found = list(SPACE)
    assert len(found) == len(SPACE) == len(set(found)) == 5 * 9 * 21
    assert all(arch in SPACE and arch.qkv == arch.hidden == 32 * arch.heads for arch in found)
    assert (
        (found[0], found[-1])
        == (SPACE.smallest, SPACE.largest)
        == (Arch(2, 128, 256, 4, 128), Arch(6, 384, 1536, 12, 384))
    )
    assert SPACE.sample(random.Random(1)) == SPACE.sample(random.Random(1)) and SPACE.sample(random.Random(1)) in SPACE
    assert Arch(2, 128, 256, 2, 128) not in SPACE, "two heads of 64"
    assert Arch(2, 128, 250, 4, 128) not in SPACE and "l2" not in SPACE


def test_the_largest_feed_forward_is_there_whatever_the_step():
    assert Space.spanned((1, 1), (32, 32), (100, 250), 32, 100).intermediate == (100, 200, 250)


def test_neighbours_differ_in_one_size_by_one_step():
    arch = SPACE.arch(2, 256, 512)
    near = SPACE.neighbours(arch)
    assert {(n.layers, n.hidden, n.intermediate) for n in near} == {
        (3, 256, 512),
        (2, 224, 512),
        (2, 288, 512),
        (2, 256, 448),
        (2, 256, 576),
    }
    assert all(n in SPACE for n in near) and len(SPACE.moved(arch, "intermediate", 2)) == 4
    assert SPACE.nearest(Arch(9, 390, 500, 13, 390)) == SPACE.arch(6, 384, 512)


def test_names_and_json_come_back(tmp_path):
    for arch in (SPACE.largest, Arch(3, 100, 7, 4, 60)):
        assert Arch.parse(arch.key) == arch == Arch.from_json(json.loads(json.dumps(arch.to_json())))
    assert SPACE.largest.key == "l6-h384-f1536-a12"
    assert Space.from_json(json.loads(json.dumps(SPACE.to_json()))) == SPACE
    assert Arch.from_config(MINILM) == SPACE.largest
    distil = {"model_type": "distilbert", "n_layers": 6, "dim": 768, "hidden_dim": 3072, "n_heads": 12}
    assert Arch.from_config(distil) == Arch(6, 768, 3072, 12, 768)


def test_multiplications_are_those_of_the_zoo():
    assert SPACE.largest.macs(384) == macs(Shape.from_config(MINILM), 384)
    assert Arch(6, 384, 1536, 6, 192).macs(384) == macs(Shape(6, 384, 1536, attention=192), 384)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Arch(6, 384, 1536, 7, 384), "7 heads do not divide queries of width 384"),
        (lambda: Arch(6, 384, 0, 12, 384), "whole numbers from 1 on"),
        (lambda: Arch.parse("large"), "names no architecture"),
        (lambda: Arch.from_json({"layers": 6}), "no sizes of an encoder"),
        (lambda: Space((1, 2), (100,), (64,), 32), "Heads of size 32 do not divide a width of 100.*such as 96"),
        (lambda: Space.spanned((1, 2), (64, 100), (64, 128), 32), "do not divide a width of 100"),
        (lambda: Space.spanned((3, 2), (64, 96), (64, 128), 32), "two numbers for layers, the smaller one first"),
        (lambda: Space((2, 1), (64,), (64,), 32), "in rising order"),
        (lambda: Space((), (64,), (64,), 32), "whole numbers from 1 on for layers"),
        (lambda: Space.from_json({"layers": [1]}), "no search space"),
        (lambda: SPACE.check({**MINILM, "num_hidden_layers": 5}), "goes up to 6 as the layers, the checkpoint has 5"),
        (lambda: SPACE.check({**MINILM, "num_attention_heads": 6}, "X"), "heads of size 32, X has heads of size 64"),
        (lambda: SPACE.check({**MINILM, "model_type": "mpnet"}), "The checkpoint is of the family MPNet.*Take a BERT"),
        (lambda: SPACE.check({**MINILM, "model_type": "albert"}), "ALBERT, of which .* share their weights"),
        (lambda: SPACE.check({**MINILM, "model_type": "modernbert"}), "ModernBERT, of which .* turn queries and keys"),
        (lambda: SPACE.check({**MINILM, "model_type": "electra"}), "embeddings that are narrower"),
        (lambda: SPACE.check({**MINILM, "hidden_act": "relu"}), "has the activation relu"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
