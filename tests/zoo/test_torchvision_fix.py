"""Each in a process of its own, since an import cannot be taken back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_python(code: str, folder: Path | None = None) -> str:
    """Run code with `folder`, if any, before everything else on the path."""
    start = f"import sys; sys.path.insert(0, {str(folder)!r})\n" if folder else ""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", start + code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_models_can_be_imported_afterwards_and_mending_twice_does_nothing():
    code = (
        "from zoo.torchvision_fix import mend\nmend(); assert mend() is False\n"
        "from transformers import BertForQuestionAnswering\nprint('imported')"
    )
    assert run_python(code) == "imported"


def test_operators_that_are_there_are_left_alone():
    code = (
        "import torch\nlibrary = torch.library.Library('torchvision', 'DEF')\n"
        "library.define('nms(Tensor a) -> Tensor')\n"
        "from zoo.torchvision_fix import mend\n"
        "print(mend(), torch.ops.torchvision.nms.default._schema)"
    )
    assert run_python(code) == "False torchvision::nms(Tensor a) -> Tensor"


def test_an_extension_that_does_not_load_is_stood_in_for(tmp_path):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").touch()
    (tmp_path / "torchvision" / "_C.so").write_bytes(b"no library")
    code = (
        "import torch\nfrom zoo.torchvision_fix import mend\nprint(mend(), torch.ops.torchvision.nms.default._schema)"
    )
    assert run_python(code, tmp_path).startswith("True torchvision::nms(Tensor dets")


def test_without_torchvision_torch_is_not_even_imported():
    code = (
        "import sys, importlib.util\nfind = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'torchvision' else find(name, *rest)\n"
        "from zoo.torchvision_fix import mend\nprint(mend(), 'torch' in sys.modules)"
    )
    assert run_python(code) == "False False"
