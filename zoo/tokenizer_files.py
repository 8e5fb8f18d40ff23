"""A tokenizer's files, looked over before a library reads them: how large they are, and how they let a text grow."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zoo.errors import UserError
from zoo.files import read_json
from zoo.pieces import FILES as PIECES
from zoo.pieces import VOCABULARIES, check_table
from zoo.sizes import MOST

FILE = "tokenizer.json"
NAMES = (*{name for names in VOCABULARIES for name in names}, *PIECES)
SPARE, PER_WORD = 4 * 1024**2, 256  # bytes of a file: beside the words, and for each
MOST_WORDS = 2**18  # where a configuration does not say how many there are
MOST_GROWTH = 64.0  # times that what is replaced may make a text longer
MOST_SPECIAL = 64  # tokens around a text
LONGEST_WORD = 1000  # characters of a word that is looked for in pieces: the search is of their square


def check_files(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuses files of a tokenizer that no model of so many words has.

    Args:
        folder: of the model.
        config: its `config.json`, whose `vocab_size` was held against the weights.

    Raises:
        UserError: a file is too large, or by its rules a text grows out of bounds.
    """
    words = config.get("vocab_size")
    most = SPARE + PER_WORD * (min(max(words, 0), MOST["vocab_size"]) if isinstance(words, int) else MOST_WORDS)
    for path in (folder / name for name in NAMES):
        if path.is_file() and path.stat().st_size > most:
            raise UserError(
                f"{path} has {path.stat().st_size:,} bytes, more than the words of this model take ({most:,}). Put the "
                "tokenizer that the model was trained with beside its weights."
            )
    if (folder / FILE).is_file():
        check_rules(read_json(folder / FILE, most), str(folder / FILE))


def check_rules(stated: object, where: str) -> None:
    """Refuses rules of a `tokenizer.json` by which a text, or the time for it, grows out of bounds.

    Args:
        stated: what the file holds.
        where: the file, for the message.

    Raises:
        UserError: it names the rule.
    """
    if not isinstance(stated, dict) or not isinstance(stated.get("model"), dict):
        raise UserError(f"{where} describes no tokenizer. Save it again with the model.")
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        growth = 1.0
        for rule in _rules(stated.get(part)):
            growth *= _growth(rule, where)
            if growth > MOST_GROWTH:
                raise UserError(
                    f"By the {part} of {where} a text grows more than {MOST_GROWTH:g} times: it is refused."
                )
    longest = stated["model"].get("max_input_chars_per_word", 100)
    if not isinstance(longest, int) or not 0 < longest <= LONGEST_WORD:
        raise UserError(f"max_input_chars_per_word in {where} is {str(longest)[:40]}, over {LONGEST_WORD}: correct it.")
    for rule in _rules(stated.get("post_processor")):
        lists = [rule.get(key) for key in ("single", "pair")]
        tokens = rule.get("special_tokens")
        ids = (
            [each.get("ids") for each in tokens.values() if isinstance(each, dict)] if isinstance(tokens, dict) else []
        )
        if any(isinstance(each, list) and len(each) > MOST_SPECIAL for each in (*lists, *ids)):
            raise UserError(f"{where} puts more than {MOST_SPECIAL} tokens around a text: it is refused.")


def _rules(stated: object) -> Iterator[Mapping[str, Any]]:
    """A rule, or those of a sequence of rules."""
    if not isinstance(stated, dict):
        return
    yield stated
    for key in ("normalizers", "pretokenizers", "decoders", "processors"):
        inner = stated.get(key)
        for each in inner if isinstance(inner, list) else ():
            yield from _rules(each)


def _growth(rule: Mapping[str, Any], where: str) -> float:
    """How many times longer a text may become by a rule."""
    if "precompiled_charsmap" in rule:
        _check_table(rule["precompiled_charsmap"], where)
    content = str(rule.get("content") or rule.get("prepend") or rule.get("replacement") or "").encode()
    pattern = rule.get("pattern")
    string = pattern.get("String") if isinstance(pattern, dict) else None
    replaced = len(string.encode()) if isinstance(string, str) and string else 1
    return max(1.0, len(content) / replaced)


def _check_table(table: object, where: str) -> None:
    try:
        check_table(base64.b64decode(table if isinstance(table, str) else "", validate=True), where)
    except binascii.Error as error:
        raise UserError(f"{where} holds a broken table of characters (precompiled_charsmap). Save it again.") from error
