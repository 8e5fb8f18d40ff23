"""The names of the files in a run's folder."""

from __future__ import annotations

LOCK = ".lock"  # held while a folder is run


LOG, PROGRESS, CRITERION, PER_STAGE = "log.txt", "progress.jsonl", "criterion.json", 500

FAILURE = "failure.txt"  # what a run that stops with a UserError leaves
