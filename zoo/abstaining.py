"""Whether a question-answering model may say that a passage holds no answer (SQuAD 2), and how readily."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from zoo.answers import is_threshold
from zoo.errors import UserError
from zoo.yaml_files import parse_yaml

ABLE = "squad_v2"  # the task in which “no answer” may win, and the key of config.json, ours, that says so
KEY = "null_threshold"  # of config.json, ours
MEANING = (
    "“no answer” wins where its score is above the best span's by more than this, in logits: the larger, the more "
    "rarely; it may be negative"
)
SECOND = re.compile(r"squad[-_. ]?(v[-_. ]?)?2(?!\d)", re.IGNORECASE)  # squad2, squad_v2, SQuAD-v2.0 …


def threshold_in(config: Mapping[str, Any]) -> float:
    """The threshold that a `config.json` states, 0 where it states none.

    Raises:
        UserError: it is no finite number.
    """
    stated = config.get(KEY)
    if stated is not None and not is_threshold(stated):
        raise UserError(f"“{KEY}” in config.json should be a number such as -1.5, not {stated!r}. Correct the file.")
    return float(stated or 0.0)


def with_threshold(config: Mapping[str, Any], threshold: float | None) -> dict[str, Any]:
    """A `config.json` with another threshold, of which 0 is not written; None: with its own."""
    if threshold is None:
        return dict(config)
    return {**{key: value for key, value in config.items() if key != KEY}, **({KEY: threshold} if threshold else {})}


def may_abstain(config: Mapping[str, Any], name: str, card: str) -> bool:
    """Whether "no answer" may win, as far as a checkpoint tells.

    Args:
        config: its `config.json`. The key `squad_v2`, which is ours, settles it; transformers has none.
        name: of the folder or the Hub id; people name the data there, and in `_name_or_path`.
        card: its README, whose front matter lists the data sets that it was trained on.
    """
    stated = config.get("squad_v2")
    if isinstance(stated, bool):
        return stated
    names = [name, str(config.get("_name_or_path") or ""), str(config.get("finetuning_task") or "")]
    return any(SECOND.search(each) for each in [*(_last(each) for each in names), *_datasets(card)])


def folder_abstains(folder: Path, config: Mapping[str, Any], name: str = "") -> bool:
    """As `may_abstain`, of a folder; one that the Hub's cache holds is called as on the Hub, where no name is given."""
    name = name or (folder.parent.parent.name if folder.parent.name == "snapshots" else folder.name)
    card = folder / "README.md"
    return may_abstain(config, name, card.read_text(encoding="utf-8", errors="replace") if card.is_file() else "")


def _last(name: str) -> str:
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _datasets(card: str) -> Iterable[str]:
    matter = re.match(r"\A---\s*\n(.*?)^---\s*$", card.replace("\r\n", "\n"), re.DOTALL | re.MULTILINE)
    try:
        data = parse_yaml(matter[1], "the card") if matter else None
    except UserError:
        return []
    named = data.get("datasets") if isinstance(data, dict) else None
    return [str(each) for each in (named if isinstance(named, list) else [named] if named else [])]
