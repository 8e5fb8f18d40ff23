"""Text to model inputs: a question and a passage become overlapping windows of ids, texts to classify one each."""

from __future__ import annotations

import logging
import re
import unicodedata
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from zoo import torchvision_fix
from zoo.errors import UserError, told
from zoo.files import read_json
from zoo.pieces import VOCABULARIES, pieces_among, tokenizer_from
from zoo.tokenizer_files import check_files

log = logging.getLogger(__name__)

MAX_CONTEXT, MAX_QUESTION = 20_000, 512  # characters of a passage, or a text, and of a question
MAX_QUESTION_TOKENS = 64
INSIDE, JOINERS = "-'’.", "\u200c\u200d"  # e-mail, O’Neill, 3.5; ZWNJ and ZWJ
UNSPACED = (
    *("CJK ", "IDEOGRAPHIC ", "VERTICAL IDEOGRAPHIC ", "HIRAGANA ", "HENTAIGANA ", "KATAKANA", "HALFWIDTH KATAKANA"),
    *("THAI ", "LAO ", "KHMER ", "MYANMAR ", "TAI ", "NEW TAI LUE "),
)  # how Unicode's names of characters begin in scripts without blanks between words
TAIL = "(?:m+j*|j+(?=[wum]))*"  # marks of a character, and joiners that join it to something
WORD = re.compile(f"u{TAIL}|(?:w{TAIL})+(?:i(?:w{TAIL})+)*|[^ ]m*")  # of kinds of characters, see `_kind`
Span = tuple[int, int]  # places of the first character and of the one behind the last
AT_ONCE = 1000  # texts that are tokenized together: the tokenizer holds much of each
CAPITALS = 20  # so many words with capital letters make a vocabulary cased


@dataclass(frozen=True, slots=True)
class Window:
    """One model input.

    Attributes:
        example: index of the question, or the text, that it belongs to.
        input_ids, token_type_ids: token ids and segments (segments are None where the model has none).
        offsets: for every token its character span in the passage, None for question and special tokens; of texts to
            classify in the text that it is of.
        parts: for every token which of two texts to classify it is of, 0 or 1, None for special tokens.
        words: for every token the number of the word that it is of, where words are labelled; None for special tokens.
    """

    example: int
    input_ids: Sequence[int]
    token_type_ids: Sequence[int] | None
    offsets: Sequence[tuple[int, int] | None]
    parts: Sequence[int | None] = ()
    words: Sequence[int | None] = ()

    def slim(self) -> Window:
        """What a model reads of it alone, in five bytes a token; with Python's numbers and places it is a hundred."""
        types = self.token_type_ids
        return Window(self.example, array("i", self.input_ids), None if types is None else array("b", types), ())


class Tokenizer(Protocol):
    """What this program asks of a fast tokenizer of transformers, whose own types are wider than what it gives."""

    pad_token_id: int
    cls_token_id: int
    sep_token_id: int
    unk_token_id: int | None
    mask_token_id: int | None
    all_special_ids: list[int]
    model_input_names: list[str]
    backend_tokenizer: Any

    def __call__(self, *texts: Any, **options: Any) -> Any: ...
    def __len__(self) -> int: ...
    def get_vocab(self) -> dict[str, int]: ...
    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str]: ...
    def decode(self, ids: Sequence[int], **options: Any) -> str: ...
    def save_pretrained(self, save_directory: str) -> object: ...


def load_tokenizer(folder: Path | str) -> Tokenizer:
    """The fast tokenizer of a checkpoint folder, see `tokenizer_of`."""
    return tokenizer_of(folder)[0]


def tokenizer_of(folder: Path | str) -> tuple[Tokenizer, str]:
    """The fast tokenizer of a checkpoint folder, and what is to be said of it, as a warning too; empty for nothing.

    Raises:
        UserError: the folder holds none, or one with more entries than its model has embeddings.
    """
    folder = Path(folder)
    files = {path.name for path in folder.iterdir() if path.is_file()} if folder.is_dir() else set[str]()
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    config = config if isinstance(config, dict) else {}
    pieces = pieces_among(files, config, str(folder))
    if not pieces and not any(files.issuperset(names) for names in VOCABULARIES):
        kinds = "; ".join(" with ".join(names) for names in VOCABULARIES)
        raise UserError(
            f"{folder} has no tokenizer: it holds none of {kinds}. Put the tokenizer's files of the checkpoint that it "
            "was made from beside the weights."
        )
    check_files(folder, config)
    torchvision_fix.mend()
    with told(f"{folder} has no tokenizer that could be loaded", "Save tokenizer.json beside the weights."):
        from transformers import AutoTokenizer

        if pieces:
            tokenizer: Any = tokenizer_from(folder / pieces, str(config["model_type"]))
        else:
            tokenizer = AutoTokenizer.from_pretrained(str(folder), use_fast=True, local_files_only=True)
    if not tokenizer.is_fast:
        raise UserError(f"The tokenizer in {folder} knows no character offsets: save it as tokenizer.json.")
    check_vocabulary(tokenizer, config.get("vocab_size"), str(folder))
    check_ids(tokenizer, config.get("vocab_size"), str(folder))
    with told(f"The tokenizer in {folder} reads no text"):
        remark = case_remark(folder, tokenizer)
    if remark:
        log.warning("%s", remark)
    return tokenizer, remark


def clean_text(text: str, limit: int = MAX_CONTEXT) -> tuple[str, str | None]:
    """Make text from outside fit to be tokenized and shown.

    Line ends become `\\n`; control characters but line feed and tab, and lone surrogates, are removed; emoji, joiners
    and right-to-left marks stay.

    Returns:
        The text of at most `limit` characters, and a notice that says what was changed, or None.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    printable = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))
    notices = []
    if removed := len(text) - len(printable):
        notices.append(f"{removed:,} control character{'s' * (removed > 1)} removed.")
    if len(printable) > limit:
        notices.append(f"Cut to the first {limit:,} of {len(printable):,} characters.")
    return printable[:limit], " ".join(notices) or None


def check_vocabulary(tokenizer: Tokenizer, embeddings: object, where: str) -> None:
    """Refuses a tokenizer that writes ids for which a model has no embedding.

    Args:
        tokenizer: of the model.
        embeddings: how many the model has; whatever is no number is not compared.
        where: the model, for the message.

    Raises:
        UserError: some id is too large.
    """
    most = max(tokenizer.get_vocab().values(), default=-1)
    if isinstance(embeddings, int) and most >= embeddings:
        raise UserError(
            f"The tokenizer of {where} has the ids 0 to {most}, the model embeddings for {embeddings}: they do not "
            "belong together. Put the tokenizer that the model was trained with beside its weights."
        )


def check_ids(tokenizer: Tokenizer, embeddings: object, where: str) -> None:
    """Refuses a tokenizer whose rules put ids around a text for which a model has no embedding.

    Args:
        tokenizer, embeddings, where: as for `check_vocabulary`.

    Raises:
        UserError: some id is too large.
    """
    ids = encoded(tokenizer, "a", "b")["input_ids"]
    if isinstance(embeddings, int) and any(not 0 <= each < embeddings for each in ids):
        raise UserError(
            f"The tokenizer of {where} writes the id {max(ids)}, the model has embeddings for {embeddings}. Put the "
            "tokenizer that the model was trained with beside its weights."
        )


def encoded(tokenizer: Tokenizer, *texts: Any, **options: Any) -> Any:
    """What a tokenizer makes of texts.

    Raises:
        UserError: it cannot, for example since a pattern of its rules takes too many steps.
    """
    with told("The model's tokenizer cannot read the text", "Change the text, or take another model."):
        return tokenizer(*texts, **options)


def case_remark(folder: Path, tokenizer: Tokenizer) -> str:
    """What to say of a vocabulary with capital letters that is read in small ones, only since nothing says otherwise.

    BERT's tokenizer does so by default: published cased vocabularies (SciBERT, BioBERT) come as `vocab.txt` alone.
    """
    path = folder / "tokenizer_config.json"
    stated = read_json(path) if path.is_file() else {}
    if "do_lower_case" in stated:
        return ""
    words = [word for word in tokenizer.get_vocab() if word.isalpha() and word != word.lower()]
    normalizer = tokenizer.backend_tokenizer.normalizer
    if len(words) < CAPITALS or normalizer is None or normalizer.normalize_str("Paris") != "paris":
        return ""
    return (
        f"The vocabulary has words with capital letters ({', '.join(sorted(words)[:3])}), but the tokenizer writes all "
        "in small ones, so they are never found: tokenizer_config.json does not say do_lower_case. If the model was "
        'trained with capitals, write {"do_lower_case": false} there.'
    )


def make_windows(
    tokenizer: Tokenizer, questions: Sequence[str], contexts: Sequence[str], max_length: int = 384, stride: int = 128
) -> list[Window]:
    """Cuts every passage into windows of at most `max_length` tokens that overlap by `stride` tokens.

    A question is cut at 64 tokens, as in BERT's SQuAD code. Windows come in the order of the examples.
    """
    return list(each_window(tokenizer, questions, contexts, max_length, stride))


def each_window(
    tokenizer: Tokenizer, questions: Sequence[str], contexts: Sequence[str], max_length: int = 384, stride: int = 128
) -> Iterator[Window]:
    """What `make_windows` gives, one after another."""
    spare = max_length - MAX_QUESTION_TOKENS - 4
    for first in range(0, len(questions), AT_ONCE):
        asked = list(questions[first : first + AT_ONCE])
        short = encoded(
            tokenizer,
            asked,
            add_special_tokens=False,
            truncation=True,
            max_length=MAX_QUESTION_TOKENS,
            return_offsets_mapping=True,
        )
        cut = [q[: o[-1][1]] if o else q for q, o in zip(asked, short["offset_mapping"], strict=True)]
        tokens = encoded(
            tokenizer,
            cut,
            list(contexts[first : first + AT_ONCE]),
            truncation="only_second",
            max_length=max_length,
            stride=max(0, min(stride, spare - 1)),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        segments = tokens.get("token_type_ids")
        for i, example in enumerate(tokens["overflow_to_sample_mapping"]):
            places = _places(tokens, i, [part == 1 for part in tokens.sequence_ids(i)])
            yield Window(first + example, tokens["input_ids"][i], segments[i] if segments else None, places)


def make_texts(
    tokenizer: Tokenizer, firsts: Sequence[str], seconds: Sequence[str] | None = None, max_length: int = 128
) -> list[Window]:
    """One window a text or pair of texts; what is over `max_length` tokens is cut off, of a pair from the longer."""
    return list(each_text(tokenizer, firsts, seconds, max_length))


def each_text(
    tokenizer: Tokenizer, firsts: Sequence[str], seconds: Sequence[str] | None = None, max_length: int = 128
) -> Iterator[Window]:
    """What `make_texts` gives, one after another."""
    for first in range(0, len(firsts), AT_ONCE):
        tokens = encoded(
            tokenizer,
            list(firsts[first : first + AT_ONCE]),
            list(seconds[first : first + AT_ONCE]) if seconds is not None else None,
            truncation="longest_first",
            max_length=max_length,
            return_offsets_mapping=True,
        )
        segments = tokens.get("token_type_ids")
        for i, ids in enumerate(tokens["input_ids"]):
            parts = tokens.sequence_ids(i)
            offsets = _places(tokens, i, [part is not None for part in parts])
            yield Window(first + i, ids, segments[i] if segments else None, offsets, parts)


def _places(tokens: Any, window: int, counts: Sequence[bool]) -> list[Span | None]:
    """Characters of each token of a window; None for those that do not count."""
    pairs = zip(tokens["offset_mapping"][window], counts, strict=True)
    return [(int(start), int(end)) if own else None for (start, end), own in pairs]


def make_parts(
    tokenizer: Tokenizer, texts: Sequence[str], words: Sequence[Sequence[Span]], max_length: int, stride: int
) -> list[Window]:
    """Cuts texts whose words are labelled into windows of at most `max_length` tokens that overlap by `stride`.

    A token is of the first word that it shares a character with.

    Args:
        tokenizer: of the model.
        texts: as a person would write them; they are not taken apart into words before.
        words: of each text the places of its words, in order.
        max_length: tokens of a window, special ones included.
        stride: tokens that neighbouring windows share.
    """
    windows: list[Window] = []
    for first in range(0, len(texts), AT_ONCE):
        tokens = encoded(
            tokenizer,
            list(texts[first : first + AT_ONCE]),
            truncation=True,
            max_length=max_length,
            stride=max(0, min(stride, max_length // 2)),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        segments = tokens.get("token_type_ids")
        for i, place in enumerate(tokens["overflow_to_sample_mapping"]):
            example = first + place
            parts = tokens.sequence_ids(i)
            offsets = _places(tokens, i, [part is not None for part in parts])
            ends = [end for _, end in words[example]]
            numbers = [None if o is None else _word_at(o, words[example], ends) for o in offsets]
            ids = tokens["input_ids"][i]
            windows.append(Window(example, ids, segments[i] if segments else None, offsets, parts, numbers))
    return windows


def _word_at(token: Span, words: Sequence[Span], ends: Sequence[int]) -> int | None:
    """The number of the first word that shares a character with a token; None for what stands between words."""
    place = bisect_right(ends, token[0])
    return place if place < len(words) and words[place][0] < token[1] else None


def words_in(text: str) -> list[Span]:
    """Places of the words and punctuation marks of a text.

    Combining marks belong to the character that they stand on. Where a script has no blanks between words (Han, kana,
    Thai, Lao, Khmer, Burmese), each character counts as a word.
    """
    return [match.span() for match in WORD.finditer("".join(map(_kind, text)))]


@lru_cache(maxsize=10_000)
def _kind(c: str) -> str:
    """What a character is in a word: w of one, u one itself, i within one, m a mark, j a joiner, a blank, or p."""
    if c.isspace():
        return " "
    if c in JOINERS:
        return "j"
    if unicodedata.category(c).startswith("M"):
        return "m"
    if c.isalnum() or c == "_":
        return "u" if unicodedata.name(c, "").startswith(UNSPACED) and not c.isdecimal() else "w"
    return "i" if c in INSIDE else "p"


def pad(windows: Sequence[Window], pad_id: int = 0, length: int | None = None) -> dict[str, np.ndarray]:
    """Stacks windows: int64 `[windows, tokens]` arrays `input_ids`, `attention_mask` and `token_type_ids`."""
    length = length or max(len(w.input_ids) for w in windows)
    batch = {
        "input_ids": np.full((len(windows), length), pad_id, np.int64),
        "attention_mask": np.zeros((len(windows), length), np.int64),
        "token_type_ids": np.zeros((len(windows), length), np.int64),
    }
    for row, window in enumerate(windows):
        count = len(window.input_ids)
        batch["input_ids"][row, :count] = window.input_ids
        batch["attention_mask"][row, :count] = 1
        if window.token_type_ids:
            batch["token_type_ids"][row, :count] = window.token_type_ids
    return batch


def label(window: Window, start: int, end: int) -> tuple[int, int]:
    """Token positions of the answer at characters `[start, end)`; (0, 0), the first token, where it is not whole."""
    inside = [i for i, o in enumerate(window.offsets) if o and o[0] < end and o[1] > start]
    if not inside:
        return 0, 0
    first, last = inside[0], inside[-1]
    complete = window.offsets[first][0] <= start and window.offsets[last][1] >= end  # type: ignore[index]
    return (first, last) if complete else (0, 0)
