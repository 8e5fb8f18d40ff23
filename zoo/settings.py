"""Where things are and how much of the machine is used; every field reads `BUDGET_ZOO_<NAME>` from the environment."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from zoo.errors import UserError

APP = "budget-zoo"
PUBLIC_HUB = "https://huggingface.co"


def _user_data() -> Path:
    if sys.platform == "win32":
        root = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        root = "~/Library/Application Support"
    else:
        root = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(root).expanduser() / APP


def cpus(root: Path = Path("/")) -> int:
    """CPUs that this process may use at once: more threads than that only get in the way.

    A taskset grants fewer than the machine has by affinity, a container by a quota of its control group's CPU time
    (`docker run --cpus`), of which any group above may have a smaller one.

    Args:
        root: where `proc` and `sys` are mounted.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return count
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        group = mount / path.strip("/")
        for folder in (group, *group.parents):  # a container sees its own group at the mount, whatever its path
            count = min(count, _granted(folder, count))
            if folder == mount:
                break
    return count


def _granted(group: Path, most: int) -> int:
    """Whole CPUs of a control group's quota, of either version, at least one; `most` where it has none."""
    try:
        if (group / "cpu.max").is_file():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return max(1, int(quota) // int(period)) if int(quota) > 0 else most
    except (OSError, ValueError):  # no such file, or "max"
        return most


def _on_space() -> bool:
    return os.environ.get("SYSTEM") == "spaces" and bool(os.environ.get("SPACE_ID"))


class Settings(BaseSettings):
    """What can be set from outside, e.g. `BUDGET_ZOO_THREADS=2 python app.py`."""

    model_config = SettingsConfigDict(env_prefix="BUDGET_ZOO_")

    home: Path = Field(default_factory=_user_data, description="runs, caches and locks")
    data: Path | None = Field(default=None, description="folder of SQuAD-format files, where there is one")
    host: str = Field(
        default_factory=lambda: "0.0.0.0" if _on_space() else "127.0.0.1", description="address that the app listens on"
    )
    names: str = Field(
        default="", description="further host names that the page is reached by, as behind a proxy: a.example,b.example"
    )
    upload_mib: int = Field(default=500, ge=1, description="MiB that one visitor may upload within an hour")
    port: int = Field(default=7860, ge=0, le=65535, description="port that the app listens on")
    waiting: int = Field(default=64, ge=1, description="questions that wait; who asks beyond that is told so")
    threads: int = Field(default_factory=cpus, ge=1, description="CPU threads of every engine")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="what torch computes on; auto: a CUDA GPU where there is one"
    )
    database_url: str | None = Field(
        default=None, repr=False, description="Postgres that workers of several machines share; none: SQLite at home"
    )
    ray_address: str = Field(default="http://127.0.0.1:8265", description="where a Ray cluster takes jobs")
    job_hours: float = Field(default=72, gt=0, description="a job that runs longer is stopped")
    job_memory_gib: float | None = Field(
        default=None, gt=0, description="a job that takes more memory is stopped; none: 90 % of the machine's"
    )
    job_disk_gib: float = Field(default=50, gt=0, description="a job whose folder grows larger is stopped")
    spare_disk_gib: float = Field(default=1, ge=0, description="jobs leave so much of the disk free")
    queue_limit: int = Field(default=200, ge=1, description="jobs that may wait or run at once")
    owner_limit: int | None = Field(default=None, ge=1, description="of these, jobs of one person; none: no limit")
    preset: Literal["explorer", "full"] = Field(
        default_factory=lambda: "explorer" if _on_space() else "full",
        description="explorer: look and ask only; full: recipes, jobs and publishing too. A Space explores by default",
    )
    trial: bool = Field(default=True, description="models from elsewhere are first opened in a process of their own")
    auto_engine: bool = Field(
        default=True, description="a checkpoint's engines are timed in turn once, and the fastest is its default here"
    )
    torch_links: str | None = Field(
        default=None, description="page of builds of torch that `make` and a Space's install prefer to the default one"
    )
    hub_author: str | None = Field(default=None, description="list the Hub models of this user or organisation only")

    @property
    def on_space(self) -> bool:
        """Whether this process runs on a Hugging Face Space."""
        return _on_space()

    @property
    def hub(self) -> str:
        """Address of the Hugging Face Hub; `HF_ENDPOINT` alone sets it, as for huggingface_hub."""
        return os.environ.get("HF_ENDPOINT", PUBLIC_HUB).rstrip("/")


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once.

    Raises:
        UserError: an environment variable holds a value that cannot be used; the message names it.
    """
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(f"BUDGET_ZOO_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors() if e["loc"])
        raise UserError(f"Unusable setting in the environment. {wrong or error}") from error
