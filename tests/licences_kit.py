"""Under which licences the packages of the locks are: `python -m tests.licences_kit` writes docs/licences.md."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "licences.md"
HEAD = """# Licences of what this program runs with

Written by `python -m tests.licences_kit` from what each installed package states of itself; `make lock` may bring
others, and a test tells when a package is missing here. Nothing of them is copied into this repository.
"""
# What the locks have for other systems or versions of Python, and for Spaces alone, is not installed here.
ELSEWHERE = {
    "audioop-lts": "PSF-2.0",
    "colorama": "BSD License",
    "httpx2-jsfetch": "BSD-3-Clause",
    "pywin32": "PSF",
    "spaces": "Apache Software License",
}
LONGEST = 60  # characters of a licence; beyond that somebody has put the whole text there


def locked() -> dict[str, str]:
    """Every package of the locks, with who needs it: the program, a Space, or developers."""
    found: dict[str, str] = {}
    for lock, who in (
        ("requirements", "program"),
        ("spaces/requirements", "Spaces"),
        ("requirements-dev", "developers"),
    ):
        for line in (ROOT / f"{lock}.lock").read_text(encoding="utf-8").splitlines():
            if line.strip() and line[0] not in "#-":
                found.setdefault(canonicalize_name(Requirement(line.partition("#")[0]).name), who)
    return found


def licence_of(name: str) -> str:
    """What an installed package states, in its own words; empty where it is not installed."""
    try:
        stated = metadata.metadata(name).json
    except metadata.PackageNotFoundError:
        return ""
    kinds = stated.get("classifier", [])
    classes = [text.rpartition(" :: ")[2] for text in kinds if text.startswith("License")]
    named = [text for text in classes if text != "OSI Approved"]
    told = re.sub(r"\s+", " ", str(stated.get("license") or "")).strip()
    expression = str(stated.get("license_expression") or "")
    short = told if 0 < len(told) <= LONGEST and told.lower() != "unknown" else ""
    return expression or ", ".join(named) or short or "see its files"


def document() -> str:
    """The table, by name."""
    rows = [f"| {name} | {licence_of(name) or ELSEWHERE[name]} | {who} |" for name, who in sorted(locked().items())]
    return "\n".join([HEAD, "| package | licence | needed by |", "|---|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
