"""Tokenizers made of sentencepiece's file alone: ids as that program gives them, shifted as each family has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from zoo import torchvision_fix
from zoo.errors import UserError
from zoo.features import load_tokenizer, make_windows
from zoo.files import write_json

PIECES = ["▁the", "▁", "t", "h", "e", "▁lake", "s", "."]
SPECIAL = {"albert": ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]}
# The places of "▁the ▁lake s ." among all entries: after the special ones, of which RoBERTa's kin have more.
IDS = {
    "xlm-roberta": [0, 4, 9, 10, 11, 2],  # <s> <pad> </s> <unk>, then the pieces behind the file's own three
    "camembert": [5, 7, 12, 13, 14, 6],  # five of its own, then all of the file's but its <unk>
    "albert": [2, 5, 10, 11, 12, 3],  # as in the file
}
FILE = {"albert": "spiece.model"}


def stored(family: str, folder: Path, kind: int = 1) -> Path:
    """A vocabulary as sentencepiece stores it, beside the configuration of a checkpoint of the family."""
    torchvision_fix.mend()
    from transformers.convert_slow_tokenizer import import_protobuf

    formats: Any = import_protobuf()
    model = formats.ModelProto()
    model.trainer_spec.model_type = kind
    for place, piece in enumerate([*SPECIAL.get(family, ["<unk>", "<s>", "</s>"]), *PIECES]):
        is_unknown = piece == "<unk>"
        model.pieces.add(piece=piece, score=-place / 10, type=2 if is_unknown else 3 if piece[0] in "<[" else 1)
    (folder / FILE.get(family, "sentencepiece.bpe.model")).write_bytes(model.SerializeToString())
    write_json(folder / "config.json", {"model_type": family, "vocab_size": 20})
    return folder


@pytest.mark.parametrize("family", IDS)
def test_ids_are_those_of_the_family(family, tmp_path):
    tokenizer = load_tokenizer(stored(family, tmp_path))
    assert tokenizer("the lakes.")["input_ids"] == IDS[family]
    (window,) = make_windows(tokenizer, ["the"], ["the lakes."])
    inside = [span for span in window.offsets if span]
    assert inside[-1] == (9, 10) and "the lakes."[slice(*inside[1])].strip() == "lake"
    tokenizer.save_pretrained(str(tmp_path / "fast"))
    write_json(tmp_path / "fast" / "config.json", {"model_type": family})
    assert load_tokenizer(tmp_path / "fast")("the lakes.")["input_ids"] == IDS[family]


def test_what_cannot_be_read_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match="no pieces with probabilities"):
        load_tokenizer(stored("xlm-roberta", tmp_path, kind=2))
    (tmp_path / "sentencepiece.bpe.model").write_bytes(b"\xff" * 9)
    with pytest.raises(UserError, match="cut short"):
        load_tokenizer(tmp_path)
    write_json(tmp_path / "config.json", {"model_type": "bert"})
    with pytest.raises(UserError, match="sentencepiece.bpe.model alone.*transformers writes tokenizer.json"):
        load_tokenizer(tmp_path)
