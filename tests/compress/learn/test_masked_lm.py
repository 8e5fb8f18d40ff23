"""Passages of text, and holes in them."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from compress.data.passages import passages
from compress.learn.masking import Masking
from zoo.errors import UserError
from zoo.features import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return load_tokenizer(tiny_model)


def test_passages_are_lines_of_files_in_the_order_of_their_names(tmp_path):
    (tmp_path / "b.txt").write_text("The second file.\n", encoding="utf-8")
    (tmp_path / "a.txt").write_text("One passage.\n\n   \nAnother passage, a longer one.\n", encoding="utf-8")
    (tmp_path / "notes.md").write_text("not text to train on", encoding="utf-8")
    assert list(passages(str(tmp_path))) == ["One passage.", "Another passage, a longer one.", "The second file."]


def test_bundled_passages_and_hub_data_are_read(monkeypatch):
    import datasets

    assert len(list(passages("examples"))) > 5
    asked = []

    def load_dataset(name, config, **named):
        asked.append((name, config, named))
        return iter([{"text": "From the Hub."}, {"text": ""}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert list(passages("owner/text:test", "en")) == ["From the Hub."]
    assert asked == [("owner/text", "en", {"split": "test", "streaming": True})]
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: iter([{"words": "x"}]))
    with pytest.raises(UserError, match="no column"):
        list(passages("owner/text"))
    monkeypatch.undo()
    with pytest.raises(UserError, match="could not be loaded.*Check the name and the network, or give a file"):
        list(passages("owner/text-that-nobody-has"))


def test_text_that_cannot_be_used_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank").mkdir()
    (tmp_path / "blank" / "a.txt").write_text("\n \n", encoding="utf-8")
    (tmp_path / "latin.txt").write_bytes("Zoë\n".encode("latin-1"))
    for name, message in (
        ("empty", "holds no .txt files"),
        ("blank", "holds no text"),
        ("latin.txt", "not UTF-8"),
        ("absent.txt", "There is no text at"),
    ):
        with pytest.raises(UserError, match=message):
            list(passages(str(tmp_path / name)))


def batch_of(tokenizer, rows=40, length=100, first=0):
    draw = np.random.default_rng(0)
    ids = torch.from_numpy(draw.integers(5, len(tokenizer), (rows, length)))
    ids[:, 0], ids[:, -1] = tokenizer.cls_token_id, tokenizer.sep_token_id
    ids[0, -10:] = tokenizer.pad_token_id
    alive = (ids != tokenizer.pad_token_id).long()
    return {"input_ids": ids, "attention_mask": alive, "row": torch.arange(first, first + rows)}


def test_holes_are_fifteen_percent_of_ordinary_tokens(tokenizer):
    batch = batch_of(tokenizer)
    before = batch["input_ids"].clone()
    ids, holes = Masking(tokenizer)(batch, random.Random("0/3"))
    assert batch["input_ids"].equal(before) and ids[~holes].equal(before[~holes])
    special = torch.isin(before, torch.tensor(tokenizer.all_special_ids))
    assert not (holes & special).any()
    count = int(holes.sum())
    assert count == pytest.approx(0.15 * int((~special).sum()), rel=0.15)
    masked = ids[holes] == tokenizer.mask_token_id
    left = ids[holes] == before[holes]
    swapped = ids[holes][~masked & ~left]
    assert masked.float().mean() == pytest.approx(0.8, abs=0.06)
    assert left.float().mean() == pytest.approx(0.1, abs=0.04)
    assert len(swapped) == pytest.approx(0.1 * count, abs=0.04 * count)
    assert not set(swapped.tolist()) & set(tokenizer.all_special_ids)


def test_holes_follow_seed_and_step_and_rows(tokenizer):
    masking = Masking(tokenizer)
    one, same, later = (masking(batch_of(tokenizer), random.Random(f"0/{step}")) for step in (3, 3, 4))
    assert one[0].equal(same[0]) and one[1].equal(same[1]) and not one[1].equal(later[1])
    assert not one[1].equal(masking(batch_of(tokenizer, first=9), random.Random("0/3"))[1])


def test_there_is_always_a_hole(tokenizer):
    for step in range(30):
        assert Masking(tokenizer)(batch_of(tokenizer, rows=1, length=13), random.Random(step))[1].any()
