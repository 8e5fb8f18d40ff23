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
STEPS = ("+3600s", "-3600s", "+0s")  # of the clock, one after another
CLOCK = "FAKETIME_TIMESTAMP_FILE"  # where libfaketime reads what to add to the time


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
            raise UserError(
                f"{folder} is no empty folder. Mount a small disk there: mount -t tmpfs -o size=4g none DIR."
            )
        if (free := shutil.disk_usage(folder).free) > LARGEST:
            raise UserError(f"{folder} has {free / 1e9:.0f} GB free, too much to be filled now and then. {MOUNT}")
        return cls(folder)

    def befall(self) -> bool:
        """Fills it, waits, and frees what was filled; True, since it can always be done."""
        ballast = self.folder / "ballast"
        try:
            with ballast.open("wb", buffering=0) as file:
                _fill(file.fileno())
                time.sleep(HELD)
        finally:
            ballast.unlink(missing_ok=True)
        return True


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
    """The clock that this process and all that it starts read, where libfaketime is loaded into them."""

    def __init__(self, file: Path):
        self._file, self._count = file, 0

    @classmethod
    def of_machine(cls) -> Clock | None:
        """That of the environment; None where time is as it is."""
        return cls(Path(os.environ[CLOCK])) if os.environ.get(CLOCK) else None

    def befall(self) -> bool:
        """Puts it an hour forward, an hour back from the true time, and right again, in turn."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{STEPS[self._count % len(STEPS)]}\n")
        new.replace(self._file)
        self._count += 1
        return True
