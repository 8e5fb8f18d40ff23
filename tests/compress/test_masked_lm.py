"""Text in blocks, and holes in them."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from compress.masked_lm import Blocks, Masking, make_blocks, passages
from zoo.errors import UserError
from zoo.features import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return load_tokenizer(tiny_model)


def test_blocks_hold_the_passages_one_behind_the_other(tokenizer, tmp_path):
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "b.txt").write_text("The second file.\n", encoding="utf-8")
    (folder / "a.txt").write_text("One passage.\n\n   \nAnother passage, a longer one.\n", encoding="utf-8")
    (folder / "notes.md").write_text("not text to train on", encoding="utf-8")
    texts = ["One passage.", "Another passage, a longer one.", "The second file."]
    assert list(passages(str(folder))) == texts
    blocks = make_blocks(tmp_path / "blocks", tokenizer, 16, str(folder))
    stream = [i for text in texts for i in [*tokenizer(text, add_special_tokens=False)["input_ids"], 3]]
    assert len(blocks) == len(stream) // 14 > 1
    held = [sample.window.input_ids for sample in blocks]
    assert all(ids[0] == 2 and ids[-1] == 3 and len(ids) == 16 for ids in held)
    assert [i for ids in held for i in ids[1:-1]] == stream[: 14 * len(blocks)]
    assert [sample.key for sample in blocks[:2]] == ["0", "1"] and len(Blocks(tmp_path / "blocks")) == len(blocks)


def test_blocks_are_made_again_only_if_something_changed(tokenizer, tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("some words of some text\n" * 50, encoding="utf-8")
    made = make_blocks(tmp_path / "blocks", tokenizer, 16, str(file))
    stamp = (tmp_path / "blocks" / "blocks.bin").stat().st_mtime_ns
    make_blocks(tmp_path / "blocks", tokenizer, 16, str(file))
    assert (tmp_path / "blocks" / "blocks.bin").stat().st_mtime_ns == stamp
    assert len(make_blocks(tmp_path / "blocks", tokenizer, 32, str(file))) < len(made)
    file.write_text("other words\n" * 100, encoding="utf-8")
    assert tokenizer.decode(make_blocks(tmp_path / "blocks", tokenizer, 32, str(file))[0].window.input_ids).count("oth")
    few = make_blocks(tmp_path / "few", tokenizer, 16, str(file), max_passages=10)
    assert 0 < len(few) < len(made)


def test_bundled_passages_and_hub_data_are_read(tokenizer, tmp_path, monkeypatch):
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
    with pytest.raises(UserError, match="could not be read.*folder of .txt"):
        list(passages("owner/text-that-nobody-has"))


def test_text_that_cannot_be_used_is_told(tokenizer, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank").mkdir()
    (tmp_path / "blank" / "a.txt").write_text("\n \n", encoding="utf-8")
    (tmp_path / "latin.txt").write_bytes("Zoë\n".encode("latin-1"))
    (tmp_path / "short.txt").write_text("a\n", encoding="utf-8")
    for name, message in (
        ("empty", "holds no .txt files"),
        ("blank", "holds no text"),
        ("latin.txt", "not UTF-8"),
        ("short.txt", "less than one block of 64"),
        ("absent.txt", "There is no text at"),
    ):
        with pytest.raises(UserError, match=message):
            make_blocks(tmp_path / "blocks", tokenizer, 64, str(tmp_path / name))


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
