"""On a machine of the Hub: runs the recipe that was unpacked there, tells its progress, and leaves what came of it.

`python -m compress.jobs.there OWNER/REPOSITORY FOLDER`, with the owner's token as HF_TOKEN. Whoever waits elsewhere
sees only what this prints: progress goes among the lines of the log, marked.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from compress.children import environment
from compress.recipe.layout import FAILURE, LOG, PROGRESS, RESULT
from zoo import layouts
from zoo.hub import client, patiently
from zoo.safety import ALLOWED

MARK = "@progress "  # before a line of `progress.jsonl`
RUN = "run"  # the run's folder, here and in the repository
PACKAGED = (*ALLOWED, "LICENSE*", "NOTICE*", "*.png")
KEPT = (
    *(RESULT, FAILURE, LOG, "recipe.yaml", "*/done.json", "*/criterion.json"),
    *(f"package/*/{name}" for name in (*PACKAGED, layouts.OPENVINO, layouts.WEIGHTS)),
)
EVERY = 1.0  # seconds between looks at the progress


def run(command: Sequence[str], folder: Path, every: float = EVERY) -> int:
    """Runs a command on a folder and prints what it says and how far it is; returns its exit status."""
    process = subprocess.Popen(
        command, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    ended = threading.Event()
    relay = threading.Thread(target=_relay, args=(folder / PROGRESS, ended, every), name="progress")
    relay.start()
    with process:
        for line in process.stdout or ():
            _say(line.decode("utf-8", "replace").rstrip("\n").rpartition("\r")[2])
    code = process.wait()
    ended.set()
    relay.join()
    return code


def deliver(repo_id: str, folder: Path, token: str) -> None:
    """Puts what is worth keeping of a run into the repository, in one commit."""
    api = client(token)
    patiently(
        lambda: api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            path_in_repo=RUN,
            allow_patterns=list(KEPT),
            commit_message="What came of the recipe",
        )
    )


def main(arguments: Sequence[str]) -> int:
    """Runs the recipe of `FOLDER/run` and delivers what came of it, however it ended; returns the exit status."""
    repo_id, root = arguments
    folder = Path(root) / RUN
    token = os.environ.pop("HF_TOKEN", "")
    code = run([sys.executable, "-m", "compress", "run", str(folder)], folder)
    deliver(repo_id, folder, token)
    return code


def _relay(path: Path, ended: threading.Event, every: float) -> None:
    """Prints the lines of a file as they come, until a while after the end."""
    at, rest = 0, b""
    while True:
        is_last = ended.wait(every)
        if path.is_file():
            with path.open("rb") as file:
                file.seek(at)
                read = file.read()
            at += len(read)
            *lines, rest = (rest + read).split(b"\n")
            for line in lines:
                _say(MARK + line.decode("utf-8", "replace"))
        if is_last:
            return


_printing = threading.Lock()


def _say(line: str) -> None:
    with _printing:
        print(line, flush=True)


if __name__ == "__main__":
    began = time.monotonic()
    status = main(sys.argv[1:])
    _say(f"ended after {time.monotonic() - began:.0f} s")
    sys.exit(status)
