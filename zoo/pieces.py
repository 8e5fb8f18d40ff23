"""Tokenizers from sentencepiece's files, without its package: the vocabulary is read, transformers does the rest."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import UserError
from zoo.families import FAMILIES
from zoo.files import read_json

if TYPE_CHECKING:
    from zoo.features import Tokenizer

FILES = ("sentencepiece.bpe.model", "spiece.model")
VOCABULARIES = (("tokenizer.json",), ("vocab.txt",), ("vocab.json", "merges.txt"))  # files that hold a tokenizer
OTHERS = ("spm.model", "tokenizer.model")  # of families whose tokenizers are not made here
LONGEST_PIECE = 256  # bytes that a table of characters has for one
UNIGRAM = 1  # the type of such a vocabulary in its file
SETTINGS = ("do_lower_case", "keep_accents", "add_prefix_space", "model_max_length")
SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def pieces_among(names: Iterable[str], config: Mapping[str, Any], where: str) -> str:
    """The file of sentencepiece's that a model's tokenizer has to be made of; empty where another file holds it.

    Args:
        names: of the model's files.
        config: its `config.json`, which names the family.
        where: the model, for the message.

    Raises:
        UserError: there is such a file alone, and no tokenizer can be made of it here.
    """
    names = set(names)
    if any(names.issuperset(each) for each in VOCABULARIES):
        return ""
    row = FAMILIES.get(str(config.get("model_type")))
    file = next((name for name in FILES if name in names), "") if row and row.pieces else ""
    other = next((name for name in (*FILES, *OTHERS) if name in names), "")
    if other and not file:
        raise UserError(
            f"{where} has its tokenizer as {other} alone, which is not read here. With the package sentencepiece "
            "installed, transformers writes tokenizer.json: `AutoTokenizer.from_pretrained(NAME)."
            "save_pretrained(FOLDER)`. Put that beside the weights and give the folder."
        )
    return file


def tokenizer_from(path: Path, family: str) -> Tokenizer:
    """The fast tokenizer of a family, of sentencepiece's file and the settings beside it.

    Raises:
        UserError: the file is broken, or holds pieces of another kind.
    """
    import transformers
    from google.protobuf.message import DecodeError
    from transformers.convert_slow_tokenizer import SLOW_TO_FAST_CONVERTERS, import_protobuf

    row = FAMILIES[family]
    formats: Any = import_protobuf()
    try:
        stored = formats.ModelProto.FromString(path.read_bytes())
    except DecodeError as error:
        raise UserError(f"{path} is no vocabulary of sentencepiece, or is cut short. Download it again.") from error
    if stored.trainer_spec.model_type != UNIGRAM or not stored.pieces:
        raise UserError(
            f"{path} holds no pieces with probabilities (unigram), as those of {row.title} checkpoints are. Save the "
            "tokenizer as tokenizer.json beside the weights."
        )
    check_table(stored.normalizer_spec.precompiled_charsmap, str(path))
    kind = getattr(transformers, row.pieces)
    converter: Any = SLOW_TO_FAST_CONVERTERS.get(row.pieces)
    stated = _stated(path.parent)
    values = {"vocab": [(piece.piece, piece.score) for piece in stored.pieces], **stated}
    if hasattr(converter, "convert_from_spm"):  # some families number their special tokens otherwise
        values = converter.convert_from_spm(**values)
    return kind(_spm_precompiled_charsmap=stored.normalizer_spec.precompiled_charsmap or None, **values)


def check_table(raw: bytes, where: str) -> None:
    """Refuses a table of characters that writes long texts for single ones.

    It begins with the size of a search tree, in four bytes, and the tree; the texts follow, with zeros between them.

    Args:
        raw: the table; empty where there is none.
        where: the file, for the message.

    Raises:
        UserError: some text is longer than any that Unicode's normal forms have.
    """
    (size,) = struct.unpack("<I", raw[:4].ljust(4, b"\0"))
    if max(map(len, raw[4 + size :].split(b"\0")), default=0) > LONGEST_PIECE:
        raise UserError(f"{where} writes more than {LONGEST_PIECE} bytes for a character: it is refused.")


def _stated(folder: Path) -> dict[str, Any]:
    """Settings and special tokens that `tokenizer_config.json` states."""
    path = folder / "tokenizer_config.json"
    stated = read_json(path) if path.is_file() else {}
    tokens = {key: stated[key] for key in SPECIAL if stated.get(key) is not None}
    texts = {key: value["content"] if isinstance(value, dict) else value for key, value in tokens.items()}
    return texts | {key: stated[key] for key in SETTINGS if stated.get(key) is not None}
