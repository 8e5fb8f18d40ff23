from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from compress import memory
from compress.learn import loop as training
from compress.learn.loop import Schedule, train
from compress.progress import Progress
from compress.tasks.losses import span
from tests.compress.training_kit import windows
from zoo.modeling import LengthAdaptiveModel

ROOT = Path(__file__).parents[2]
GAPS = """
import psutil
from compress.memory import give_back

held = [b"x" * (65536 + i) for i in range(4000)]
last = held[-1]
del held
before = psutil.Process().memory_info().rss
give_back()
print(before - psutil.Process().memory_info().rss)
"""


KEPT = """
import psutil
from compress.memory import keep

keep()
before = psutil.Process().memory_info().rss
held = bytes(64 * 2**20)
held = held.replace(b"\\0", b"x")
del held
print(psutil.Process().memory_info().rss - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library cannot be told")
def test_large_blocks_stay_for_the_next_request():
    held = []
    for program in (KEPT, KEPT.replace("\nkeep()", "\n")):
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
        held.append(int(done.stdout))
    assert held[0] > 60 * 2**20 > 30 * 2**20 > held[1]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="this C library gives memory back itself")
def test_what_lies_below_memory_in_use_goes_back_to_the_system():
    done = subprocess.run([sys.executable, "-c", GAPS], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 200 * 2**20


def test_a_library_that_cannot_is_left_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: asked.append(name) or object())
    memory.give_back()
    memory.keep()
    assert asked == [None, None], "it was asked, had neither malloc_trim nor mallopt, and nothing was raised"


def test_a_training_gives_memory_back_now_and_then(tiny_model, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(training, "give_back", lambda: asked.append(True))
    plan, quiet = Schedule(epochs=1, batch_size=4), Progress(tmp_path / "p", "finetune", bar=False)
    train(LengthAdaptiveModel.load(tiny_model), windows(8), span(), plan, tmp_path / "rarely", quiet)
    assert len(asked) == 1, "before it begins"
    monkeypatch.setattr(training, "TIDY", 0.0)
    train(LengthAdaptiveModel.load(tiny_model), windows(8), span(), plan, tmp_path / "always", quiet)
    assert len(asked) == 1 + 1 + 2
