"""How AIMET is imported: in processes of their own."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT

LOADED = """
import logging
closed = []
class Handler(logging.StreamHandler):
    def close(self):
        closed.append(self)
handler = Handler()
from compress.aimet import backend
from compress.aimet.engine import SimulatedEngine
backend.load()
print("closed" if closed else "open", logging.getLogger().level)
"""


def test_loading_aimet_leaves_the_handlers_of_others_open():
    told = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert told.stdout == "open 30\n", told.stderr


BARE = """
import sys
sys.modules["torchvision"] = None
try:
    import aimet_torch
except ImportError:
    pass
del sys.modules["torchvision"]
assert "aimet_torch" not in sys.modules and "aimet_torch.common" in sys.modules
from compress.aimet import backend
print(backend.load().common.utils.AimetLogger.__name__)
"""


def test_an_import_of_aimet_that_failed_before_does_not_matter():
    told = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert told.stdout == "AimetLogger\n", told.stderr
