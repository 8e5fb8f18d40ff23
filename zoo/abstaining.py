"""Whether a question-answering checkpoint was trained to say that a passage holds no answer (SQuAD 2)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

SECOND = re.compile(r"squad[-_. ]?(v[-_. ]?)?2(?!\d)", re.IGNORECASE)  # squad2, squad_v2, SQuAD-v2.0 …


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
        data = yaml.safe_load(matter[1]) if matter else None
    except yaml.YAMLError:
        return []
    named = data.get("datasets") if isinstance(data, dict) else None
    return [str(each) for each in (named if isinstance(named, list) else [named] if named else [])]
