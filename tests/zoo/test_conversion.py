"""Pickles become safetensors, and nothing that they hold is run."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from zoo import catalog, confined, conversion, unpickle
from zoo.errors import PickledWeights, UserError
from zoo.files import write_json
from zoo.tensors import SINGLE


@pytest.fixture
def old(tiny_model, tmp_path) -> Path:
    """The tiny model as older programs saved it."""
    folder = shutil.copytree(tiny_model, tmp_path / "old")
    torch.save(load_file(folder / SINGLE), folder / "pytorch_model.bin")
    (folder / SINGLE).unlink()
    return folder


class Bomb:
    """What runs a command when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def poison(marker: Path) -> bytes:
    """torch's own format around a pickle that runs a command."""
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(2)}, buffer)
    poisoned = io.BytesIO()
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(poisoned, "w") as target:
        for name in source.namelist():
            evil = pickle.dumps({"weight": Bomb(marker)}, protocol=2)
            target.writestr(name, evil if name.endswith("data.pkl") else source.read(name))
    return poisoned.getvalue()


def test_a_folder_is_converted_in_place(old):
    with pytest.raises(PickledWeights, match=r"python -m zoo convert"):
        catalog.find(str(old))
    before = torch.load(old / "pytorch_model.bin", weights_only=True)
    said: list[str] = []
    assert conversion.convert(str(old), tell=said.append) == old
    after = load_file(old / SINGLE)
    assert set(after) == set(before) and all(after[name].equal(before[name]) for name in before)
    assert catalog.find(str(old)).task == "qa" and "tensors alone" in said[0]
    with pytest.raises(UserError, match="nothing to convert"):
        conversion.convert(str(old))


def test_into_another_folder(old, tmp_path):
    out = conversion.convert(str(old), tmp_path / "new" / "place")
    assert catalog.find(str(out)).task == "qa" and not (old / SINGLE).exists()
    assert not (out / "pytorch_model.bin").exists() and (out / "tokenizer.json").is_file()
    (out / SINGLE).unlink()
    with pytest.raises(UserError, match="not empty"):
        conversion.convert(str(old), out)


@pytest.mark.parametrize("kind", ["bare", "legacy"])
def test_nothing_in_other_formats_runs(tmp_path, kind):
    marker, path = tmp_path / "ran", tmp_path / "bomb.bin"
    if kind == "bare":
        path.write_bytes(pickle.dumps(Bomb(marker)))
    else:
        torch.save({"w": Bomb(marker)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(unpickle.Refused):
        unpickle.read(path)
    assert not marker.exists()


def test_nothing_in_a_pickle_runs(old, tmp_path):
    marker = tmp_path / "ran"
    (old / "pytorch_model.bin").write_bytes(poison(marker))
    with pytest.raises(UserError, match=r"pytorch_model.bin was not converted: it asks to run (os|posix|nt).system"):
        conversion.convert(str(old))
    assert not marker.exists() and not (old / SINGLE).exists()
    assert not [path for path in old.iterdir() if path.name.endswith(".tmp")]


def test_the_bomb_is_a_real_one(tmp_path):
    """Opened as people usually do, it runs."""
    marker, path = tmp_path / "ran", tmp_path / "bomb.bin"
    path.write_bytes(poison(marker))
    code = f"import torch; torch.load({str(path)!r}, weights_only=False)"
    subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert marker.exists()


def test_whole_modules_are_refused(old):
    torch.save(torch.nn.Linear(2, 2), old / "pytorch_model.bin")
    with pytest.raises(unpickle.Refused, match=r"it asks to run torch.nn.modules.linear.Linear"):
        unpickle.read(old / "pytorch_model.bin")


@pytest.mark.parametrize("content", [b"", b"no pickle", b"PK\x03\x04 cut short"])
def test_what_is_no_pickle_is_told(old, content):
    (old / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(unpickle.Refused, match=r"cannot be read|something else"):
        unpickle.read(old / "pytorch_model.bin")


def test_a_list_of_numbers_is_no_model(old):
    torch.save([1, 2, 3], old / "pytorch_model.bin")
    with pytest.raises(unpickle.Refused, match="holds no weights by name"):
        unpickle.read(old / "pytorch_model.bin")


def test_weights_that_claim_more_than_the_file_holds(old):
    """One number, expanded to 40 GB when it is written out."""
    torch.save({"w": torch.zeros(1).expand(10_000_000_000)}, old / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"claim 40.0 GB"):
        conversion.convert(str(old))


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's here")
def test_memory_is_limited(old):
    """A deflated archive of 900 MB of zeros."""
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(2_000_000_000, dtype=torch.uint8)[:4].clone()}, buffer)
    bomb = old / "pytorch_model.bin"
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("data/0"):
                with target.open(name, "w", force_zip64=True) as file:
                    for _ in range(900):
                        file.write(bytes(1_000_000))
            else:
                target.writestr(name, data)
    assert bomb.stat().st_size < 20e6
    with pytest.raises(UserError, match="was not converted"):
        conversion.convert(str(old))


def test_time_is_limited(old, monkeypatch):
    monkeypatch.setattr(conversion, "PATIENCE", 0.05)
    with pytest.raises(UserError, match="took too long"):
        conversion.convert(str(old))
    assert not (old / SINGLE).exists()


def test_a_trainers_file_with_the_weights_inside(old):
    weights = torch.load(old / "pytorch_model.bin", weights_only=True)
    inside = {"epoch": 3, "state_dict": {f"model.{k}": v for k, v in weights.items()}}
    torch.save(inside, old / "pytorch_model.bin")
    conversion.convert(str(old))
    assert catalog.find(str(old)).parameters == sum(value.numel() for value in weights.values())


def test_several_pickles_and_tied_weights(old):
    weights = torch.load(old / "pytorch_model.bin", weights_only=True)
    (old / "pytorch_model.bin").unlink()
    names = sorted(weights)
    shared = torch.ones(3)
    torch.save({n: weights[n] for n in names[:9]} | {"a": shared}, old / "pytorch_model-00001-of-00002.bin")
    torch.save(
        {n: weights[n] for n in names[9:]} | {"b": shared, "c": shared}, old / "pytorch_model-00002-of-00002.bin"
    )
    write_json(old / "pytorch_model.bin.index.json", {"weight_map": {}})
    torch.save({"lr": 1}, old / "optimizer.pt")
    conversion.convert(str(old))
    assert all(load_file(old / SINGLE)[name].equal(weights[name]) for name in names)


def test_which_of_several_pickles_is_asked(old):
    (old / "pytorch_model.bin").rename(old / "a.bin")
    shutil.copy(old / "a.bin", old / "b.pt")
    with pytest.raises(UserError, match="several pickles: a.bin, b.pt"):
        conversion.convert(str(old))


def test_an_unknown_type_is_refused_before_anything_is_read(old):
    write_json(old / "config.json", {"model_type": "gpt2"})
    with pytest.raises(UserError, match="'gpt2'"):
        conversion.convert(str(old))


def test_the_command_line(old):
    command = [sys.executable, "-m", "zoo", "convert", str(old)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=confined.PROJECT)
    assert done.returncode == 0, done.stderr
    assert f"{old} can be opened now." in done.stdout and (old / SINGLE).is_file()
