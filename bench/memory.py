"""The memory of a process that answers many questions: `python -m bench.memory ENTRY ENGINE QUESTIONS`."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import numpy as np
import psutil

from zoo import catalog
from zoo.engines import open_engine
from zoo.errors import UserError

LONGEST = 384


def grow(entry: str, engine: str, questions: int) -> list[tuple[int, float]]:
    """Megabytes that a process of its own holds after so many questions, of all lengths at all of a front's points.

    Returns:
        (questions, megabytes) at 50, 100, 200 and so on, and at the end.
    """
    words = [sys.executable, "-m", "bench.memory", entry, engine, str(questions)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return [(int(count), float(size)) for count, size in json.loads(done.stdout.splitlines()[-1])]


def _answer(name: str, engine_name: str, questions: int) -> list[tuple[int, float]]:
    entry = catalog.find(name)
    if entry.front is None:
        raise UserError(f"{name} has no front.json. Make it with `python -m compress run`.")
    engine, chance, process = open_engine(engine_name, entry), random.Random(0), psutil.Process()
    configs, sizes, next_look = [point.config for point in entry.front.points], list[tuple[int, float]](), 50
    for number in range(1, questions + 1):
        tokens = chance.randrange(16, LONGEST)
        ids = np.full((1, tokens), 1000, np.int64)
        batch = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        engine.run(batch, np.array([chance.choice(configs).tokens(tokens)], np.int64))
        if number in (next_look, questions):
            sizes.append((number, process.memory_info().rss / 1e6))
            next_look *= 2
    return sizes


if __name__ == "__main__":
    print(json.dumps(_answer(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
