"""What a person may write for a model: a bundled name, a folder, or a Hub id."""

from __future__ import annotations

from pathlib import Path

from zoo import safety
from zoo.errors import UserError

LONGEST_NAME = 4096  # characters, as of a path


def clean(name: str) -> str:
    """A model's name without blanks around it.

    Raises:
        UserError: nothing is left, or what no name can be.
    """
    if len(name) > LONGEST_NAME or "\0" in name or not name.isascii() and not _is_storable(name):
        raise UserError(f"{name[:80]!r} is no name of a model. Write a folder or a Hub id (owner/name).")
    if name := name.strip():
        return name
    raise UserError("No model is given. Pick a bundled one, or write a folder or a Hub id (owner/name).")


def _is_storable(text: str) -> bool:
    """Whether a text has no half characters, which nothing stores."""
    return text == text.encode(errors="ignore").decode()


def folder_at(name: str) -> Path | None:
    """The folder of this name, None where there is none, as where a name of a home or a file is none."""
    try:
        folder = Path(name).expanduser()
        return folder if folder.is_dir() else None
    except (OSError, RuntimeError):
        return None


def check_hub_id(name: str) -> None:
    """Refuses what is no folder and cannot be a Hub id.

    Raises:
        UserError: it is neither.
    """
    if Path(name).is_absolute() or name.startswith("~") or not safety.is_hub_id(name):
        raise UserError(
            f"There is no folder {name}. Check the path, or write a Hub id: owner/name or owner/name@revision."
        )
