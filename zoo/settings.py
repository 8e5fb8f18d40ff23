"""Where things are and how much of the machine is used; every field reads `BUDGET_ZOO_<NAME>` from the environment."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from zoo.errors import UserError

APP = "budget-zoo"


def _user_data() -> Path:
    if sys.platform == "win32":
        root = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        root = "~/Library/Application Support"
    else:
        root = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(root).expanduser() / APP


def _cpus() -> int:
    # A container or taskset may grant fewer CPUs than the machine has; more threads than that only get in the way.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Settings(BaseSettings):
    """What can be set from outside, e.g. `BUDGET_ZOO_THREADS=2 python app.py`."""

    model_config = SettingsConfigDict(env_prefix="BUDGET_ZOO_")

    home: Path = Field(default_factory=_user_data, description="runs, caches and locks")
    data: Path | None = Field(default=None, description="folder of SQuAD-format files, where there is one")
    host: str = Field(default="127.0.0.1", description="address that the app listens on")
    port: int = Field(default=7860, ge=0, le=65535, description="port that the app listens on")
    threads: int = Field(default_factory=_cpus, ge=1, description="CPU threads of every engine")

    @property
    def on_space(self) -> bool:
        """Whether this process runs on a Hugging Face Space."""
        return os.environ.get("SYSTEM") == "spaces" and bool(os.environ.get("SPACE_ID"))


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
