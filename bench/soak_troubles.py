"""What befalls a machine while `bench soak` runs: its disk fills up, and its clock is put forward and back."""

from __future__ import annotations

import errno
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from zoo.errors import UserError

LARGEST = 16 << 30  # bytes that a disk may have free to be filled
MOUNT = "Mount a small disk there: mount -t tmpfs -o size=4g none DIR."
HELD = 4.0  # seconds that a disk stays full
AHEAD = (3600, -3600, 0)  # seconds that the clock is ahead of the true time, one after another
CLOCK = "BUDGET_ZOO_SOAK_CLOCK"  # the file that says so, see `bench/clock/sitecustomize.py`


@dataclass(frozen=True)
class Disk:
    """A small one of the soak's own, which can be filled to the last byte.

    Attributes:
        folder: on it.
    """

    folder: Path

    @classmethod
    def of(cls, folder: Path) -> Disk:
        """The disk of a folder.

        Raises:
            UserError: the folder is not there or not empty, its disk is large, so that it is not the soak's own, or
                this system cannot fill it.
        """
        if not hasattr(os, "posix_fallocate"):
            raise UserError("Only Linux can fill a disk here: leave --volume out.")
        if not folder.is_dir() or any(one.name != "lost+found" for one in folder.iterdir()):
            raise UserError(f"{folder} is no empty folder. {MOUNT}")
        if (free := shutil.disk_usage(folder).free) > LARGEST:
            raise UserError(f"{folder} has {free / 1e9:.0f} GB free, too much to be filled now and then. {MOUNT}")
        return cls(folder)

    def befall(self) -> None:
        """Fills it, waits, and frees what was filled."""
        ballast = self.folder / "ballast"
        try:
            with ballast.open("wb", buffering=0) as file:
                _fill(file.fileno())
                time.sleep(HELD)
        finally:
            ballast.unlink(missing_ok=True)


def _fill(descriptor: int) -> None:
    taken, size = 0, LARGEST
    while size >= 1:
        try:
            os.posix_fallocate(descriptor, taken, size)
            taken += size
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            size //= 2


class Clock:
    """The clock of everything that this process starts from now on until the block ends.

    Args:
        file: to be written, which says how far it is ahead.
    """

    def __init__(self, file: Path):
        self._file, self._count = file, 0
        self._before = {key: os.environ.get(key) for key in (CLOCK, "PYTHONPATH")}

    def __enter__(self) -> Clock:
        paths = [str(Path(__file__).parent / "clock"), *filter(None, [self._before["PYTHONPATH"]])]
        os.environ.update({CLOCK: str(self._file), "PYTHONPATH": os.pathsep.join(paths)})
        return self

    def __exit__(self, *_error: object) -> None:
        for key, value in self._before.items():
            os.environ.pop(key)
            if value is not None:
                os.environ[key] = value

    def befall(self) -> None:
        """Puts it an hour forward, an hour back from the true time, and right again, in turn."""
        new = self._file.with_suffix(".new")
        new.write_text(str(AHEAD[self._count % len(AHEAD)]), encoding="ascii")
        new.replace(self._file)
        self._count += 1
