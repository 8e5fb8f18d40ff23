"""What a process that the program starts may see: its environment, the project's folder, Ray."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from zoo.errors import UserError


def environment(extra: Mapping[str, object] | None = None, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a job's process: what it needs of ours by an allow-list, and no secret.

    Args:
        extra: variables to set beside.
        base: the environment to take from; by default this process's.
    """
    ours = dict(os.environ if base is None else base)
    passed = {name: value for name, value in ours.items() if name in ALLOWED or name.startswith("LC_")}
    passed |= {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONUNBUFFERED": "1"}
    passed["RAY_USAGE_STATS_ENABLED"] = "0"
    path = [str(PROJECT), *ours.get("PYTHONPATH", "").split(os.pathsep)]
    passed["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(part for part in path if part))
    return passed | {key: str(value) for key, value in (extra or {}).items()}


PROJECT = Path(__file__).parents[1]

ALLOWED = {
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "SHELL"),
    *("SYSTEMROOT", "COMSPEC", "PATHEXT", "LOCALAPPDATA", "APPDATA", "USERPROFILE", "XDG_DATA_HOME", "XDG_CACHE_HOME"),
    *("VIRTUAL_ENV", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS"),
    *("HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"),
    *("HF_HUB_DISABLE_XET", "TRANSFORMERS_OFFLINE", "TOKENIZERS_PARALLELISM", "RAY_ADDRESS"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NO_PROXY", "no_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"),
    *("BUDGET_ZOO_HOME", "BUDGET_ZOO_DATA", "BUDGET_ZOO_THREADS", "BUDGET_ZOO_DEVICE", "BUDGET_ZOO_TRIAL"),
}


NO_RAY = 'Ray is not installed. Install it: pip install "ray[default]>=2.50,<3".'


def require_ray() -> None:
    """Raises UserError where Ray is not installed."""
    if find_spec("ray") is None:
        raise UserError(NO_RAY)
