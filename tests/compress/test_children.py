"""What a child process may see."""

import subprocess
import sys
from pathlib import Path

from compress.children import PROJECT, environment

ROOT = Path(__file__).parents[2]


def test_a_child_finds_the_program_wherever_it_is_started(tmp_path):
    assert PROJECT == ROOT
    code = "import compress, zoo; print(compress.__file__)"
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert Path(told.stdout.strip()) == ROOT / "compress" / "__init__.py"
