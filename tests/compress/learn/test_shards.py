"""Shards of text: what they hold, whoever makes them, and however often they are begun."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from compress.learn import shards
from compress.learn.masking import Masking
from compress.learn.shards import MASKING, Shards, make_shards
from compress.progress import Progress
from compress.recipe.nas import NasRecipe
from compress.recipe.nas_groups import GenerateData, Supernet
from compress.recipe.stage import StageContext
from compress.tasks.samples import collate
from tests.compress.recipe_kit import load_as
from zoo.errors import UserError
from zoo.features import load_tokenizer

LINES = [f"Passage {i} tells of the number {i * i} and of nothing else." for i in range(60)]


def blocks(text, tokens=32, **more):
    return GenerateData(text=str(text), block_tokens=tokens, **more)


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return load_tokenizer(tiny_model)


@pytest.fixture
def text(tmp_path):
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "b.txt").write_text("\n".join(LINES[40:]), encoding="utf-8")
    (folder / "a.txt").write_text("\n\n".join(LINES[:40]) + "\n", encoding="utf-8")
    return folder


def test_shards_hold_the_passages_in_their_order(tokenizer, tiny_model, text, tmp_path):
    made = make_shards(tmp_path / "out", tiny_model, blocks(text), shard_characters=1000)
    held = [list(sample.window.input_ids) for sample in made]
    assert all(ids[0] == 2 and ids[-1] == 3 and len(ids) == 32 for ids in held)
    assert [sample.key for sample in made] == [str(i) for i in range(len(made))]
    files = sorted((tmp_path / "out").glob("shard-*.bin"))
    assert len(files) == 4
    expected, part = [], []
    for line in [*LINES, None]:
        if line is not None:
            part.append(line)
        if line is None or sum(map(len, part)) >= 1000:
            stream = [i for one in part for i in [*tokenizer(one, add_special_tokens=False)["input_ids"], 3]]
            expected += [stream[at : at + 30] for at in range(0, len(stream) - 29, 30)]
            part = []
    assert [ids[1:-1] for ids in held] == expected
    assert list(made[-1].window.input_ids) == held[-1] and [s.key for s in made[2:5]] == ["2", "3", "4"]
    with pytest.raises(IndexError):
        made[len(made)]
    assert isinstance(made._maps[0], np.memmap)


def test_what_was_made_is_not_made_again_and_what_is_missing_is(tiny_model, text, tmp_path, monkeypatch):
    straight = make_shards(tmp_path / "a", tiny_model, blocks(text), shard_characters=500)
    made = []
    real = shards._make_shard

    def breaking(path, *rest):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(path.name)
        real(path, *rest)

    monkeypatch.setattr(shards, "_make_shard", breaking)
    with pytest.raises(KeyboardInterrupt):
        make_shards(tmp_path / "b", tiny_model, blocks(text), shard_characters=500)
    with pytest.raises(UserError, match="Cannot read"):
        Shards(tmp_path / "b")
    monkeypatch.setattr(shards, "_make_shard", lambda path, *rest: (made.append(path.name), real(path, *rest)))
    resumed = make_shards(tmp_path / "b", tiny_model, blocks(text), shard_characters=500)
    assert made == [f"shard-{i:06d}.bin" for i in range(len(straight._maps))], "each was made once"
    assert [s.window.input_ids for s in resumed] == [s.window.input_ids for s in straight]
    make_shards(tmp_path / "b", tiny_model, blocks(text), shard_characters=500)
    assert len(made) == len(straight._maps)
    (text / "a.txt").write_text("Other words now.\n" * 90, encoding="utf-8")
    other = make_shards(tmp_path / "b", tiny_model, blocks(text), shard_characters=500)
    assert len(make_shards(tmp_path / "c", tiny_model, blocks(text, 64), shard_characters=500)) < len(other)
    few = make_shards(tmp_path / "c", tiny_model, blocks(text, 32, max_passages=30), shard_characters=500)
    assert 0 < len(few) < len(other) != len(straight)
    (tmp_path / "b" / "shard-000001.bin").unlink()
    with pytest.raises(UserError, match="shard-000001.bin is gone"):
        Shards(tmp_path / "b")


def test_several_processes_make_the_same_shards(tiny_model, text, tmp_path):
    one = make_shards(tmp_path / "one", tiny_model, blocks(text), shard_characters=500)
    two = make_shards(tmp_path / "two", tiny_model, blocks(text), shard_characters=500, workers=2)
    assert [s.window.input_ids for s in two] == [s.window.input_ids for s in one]
    names = [path.name for path in sorted((tmp_path / "one").iterdir())]
    assert [path.name for path in sorted((tmp_path / "two").iterdir())] == names
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in names)


def test_text_that_cannot_be_used_is_told(tiny_model, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank.txt").write_text("\n \n", encoding="utf-8")
    (tmp_path / "short.txt").write_text("a\n", encoding="utf-8")
    for name, message in (
        ("empty", "holds no .txt files. Put text there"),
        ("blank.txt", "holds no text"),
        ("short.txt", "less text than one block of 64 tokens"),
        ("absent.txt", "There is no text at"),
    ):
        with pytest.raises(UserError, match=message):
            make_shards(tmp_path / "out", tiny_model, blocks(tmp_path / name, 64))


def test_the_stage_makes_what_its_recipe_says(tiny_model, text, tmp_path):
    def stage(**changes):
        recipe = load_as(NasRecipe, "nas_tiny", [f"model={tiny_model}"])
        recipe.generate_data = blocks(text, 16, max_passages=30, shard_megabytes=0.0005)
        recipe.supernet = Supernet(**changes)
        progress = Progress(tmp_path / "p", "g", bar=False)
        return shards.run(StageContext(recipe, tmp_path, tmp_path / "out", progress))

    assert stage(checkpoint="somewhere") == {} == stage(apply=False, order=False)
    told = stage()
    assert told["blocks"] == len(Shards(tmp_path / "out")) and told["tokens"] == 16 * told["blocks"]
    assert told["masking"] == MASKING == {"when": "at every reading", "share": 0.15, "masked": 0.8, "replaced": 0.1}


def test_every_reading_has_holes_of_its_own(tokenizer, tiny_model, text, tmp_path):
    made = make_shards(tmp_path / "out", tiny_model, blocks(text))
    batch = {**collate(made[:8], 0), "row": torch.arange(8)}
    masking = Masking(tokenizer)
    first, second, again = (masking(batch, random.Random(seed))[1] for seed in (1, 2, 1))
    assert first.equal(again) and not first.equal(second)
