"""The names of the files in a run's folder."""

from __future__ import annotations

LOCK = ".lock"  # held while a folder is run
ATTEMPT = ".attempt"  # names the start of a job's process, which is in its `result.json` then
RESULT = "result.json"  # written last of all
JOB = "job.json"  # of a run that is a job: whose it is and where it stands

LOG, PROGRESS, CRITERION, PER_STAGE = "log.txt", "progress.jsonl", "criterion.json", 500

FAILURE = "failure.txt"  # what a run that stops with a UserError leaves
