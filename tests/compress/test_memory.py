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


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="this C library gives memory back itself")
def test_what_lies_below_memory_in_use_goes_back_to_the_system():
    done = subprocess.run([sys.executable, "-c", GAPS], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 200 * 2**20


def test_a_library_that_cannot_is_left_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: asked.append(name) or object())
    memory.give_back()
    assert asked == [None], "it was asked, had no malloc_trim, and nothing was raised"


def test_a_training_gives_memory_back_now_and_then(tiny_model, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(training, "give_back", lambda: asked.append(True))
    plan, quiet = Schedule(epochs=1, batch_size=4), Progress(tmp_path / "p", "finetune", bar=False)
    train(LengthAdaptiveModel.load(tiny_model), windows(8), span(), plan, tmp_path / "rarely", quiet)
    assert not asked
    monkeypatch.setattr(training, "TIDY", 0.0)
    train(LengthAdaptiveModel.load(tiny_model), windows(8), span(), plan, tmp_path / "always", quiet)
    assert len(asked) == 2
