"""What a model was trained on, as fingerprints of the passages, and the refusal to report on these."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compress.data.squad import Example, fingerprint
from zoo.errors import UserError
from zoo.files import read_json, write_json

TRAINED_ON = "trained_on.json"


def save_fingerprints(path: Path, contexts: set[str], **facts: object) -> None:
    """Stores which passages a model learned from; `path` is `trained_on.json` of a run or an entry."""
    what = "the first 12 hexadecimal digits of the SHA-1 of every passage trained on"
    write_json(path, {"what": what, **facts, "contexts": sorted(contexts)})


def load_fingerprints(folder: Path) -> set[str]:
    """The passages that the model in `folder` learned from; empty where nothing is known."""
    path = folder / TRAINED_ON
    if not path.is_file():
        return set()
    contexts = read_json(path).get("contexts")
    if not isinstance(contexts, list):
        raise UserError(f"{path} holds no list of passages. Restore it, or run the recipe again.")
    return set(contexts)


def refuse_overlap(
    known: set[str], examples: Sequence[Example], what: str = "the data to report on", why: str = "were trained on"
) -> None:
    """Stops a score on passages that the model knows.

    Args:
        known: fingerprints, see `compress.data.squad.fingerprint`.
        examples: what is to be scored.
        what, why: for the message.

    Raises:
        UserError: some passage is in both.
    """
    shared = fingerprint(examples) & known
    if shared:
        raise UserError(f"{len(shared)} passages of {what} {why}: a score there would mean little. Take other data.")
