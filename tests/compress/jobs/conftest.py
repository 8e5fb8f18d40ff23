"""A server of Postgres of our own, where it is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.compress.jobs.jobs_kit import CANARY


@dataclass(frozen=True)
class Postgres:
    """A server: where it answers, and how it is controlled."""

    url: str
    control: list[Any]
    run: dict[str, Any]

    def restart(self) -> None:
        """Breaks every connection, and with it every lock."""
        subprocess.run([*self.control, "-m", "immediate", "restart"], **self.run)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server; skips where there is none."""
    found = [*Path("/usr/lib/postgresql").glob("*/bin/initdb"), *filter(None, [shutil.which("initdb")])]
    if not found:
        pytest.skip("Postgres is not installed (Debian: postgresql)")
    if os.getuid() == 0 and "postgres" not in {user.pw_name for user in pwd.getpwall()}:
        pytest.skip("Postgres does not run as root, and there is no user postgres")
    folder = Path(subprocess.run(["mktemp", "-d"], check=True, capture_output=True, text=True).stdout.strip())
    user = {"user": "postgres"} if os.getuid() == 0 else {}
    if user:
        shutil.chown(folder, "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = {"check": True, "capture_output": True, "cwd": folder, **user}
    bin_ = found[0].resolve().parent
    subprocess.run([bin_ / "initdb", "-D", folder / "data", "-U", "zoo", "--auth=trust", "-N"], **run)
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c fsync=off -c unix_socket_directories={folder}"
    control = [bin_ / "pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log"]
    subprocess.run([*control, "-o", options, "start"], **run)
    subprocess.run([bin_ / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "zoo", "zoo"], **run)
    yield Postgres(f"postgresql://zoo:{CANARY}@127.0.0.1:{port}/zoo", control, run)
    subprocess.run([*control, "-m", "immediate", "stop"], **run)
    shutil.rmtree(folder, ignore_errors=True)
