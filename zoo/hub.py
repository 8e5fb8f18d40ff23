"""The Hugging Face Hub: pull a checkpoint, without any token of this machine."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from zoo import safety
from zoo.errors import UserError

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

log = logging.getLogger(__name__)


def pull(repo_id: str, revision: str | None = None) -> tuple[Path, str]:
    """Download what may be loaded of a public model, once: later calls find it in the cache, with no network too.

    Returns:
        The snapshot's folder and the commit that it is of.

    Raises:
        UserError: no such model or revision, gated, no network, no safe weights, too large.
    """
    import httpx2
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub import errors as hub

    api = HfApi(token=False)
    try:
        info = api.model_info(repo_id, revision=revision, files_metadata=True, timeout=15)
        folder = snapshot_download(repo_id, revision=info.sha, allow_patterns=_wanted(info), token=False)
        return Path(folder), info.sha or ""
    except hub.GatedRepoError as error:
        raise UserError(
            f"{repo_id} is gated: its owner asks for terms to be accepted. Accept them on the Hub, download the model "
            "yourself, and give the folder."
        ) from error
    except hub.RevisionNotFoundError as error:
        raise UserError(f"{repo_id} has no revision {revision!r}. Check the branch, tag or commit.") from error
    except hub.RepositoryNotFoundError as error:
        raise UserError(f"There is no public model {repo_id} on the Hub. Check the spelling: owner/name.") from error
    except (hub.OfflineModeIsEnabled, httpx2.ConnectError, httpx2.TimeoutException, httpx2.ProxyError) as error:
        return _cached(repo_id, revision, error)
    except (hub.HfHubHTTPError, httpx2.HTTPError) as error:
        log.warning("pulling %s failed", repo_id, exc_info=True)
        raise UserError(f"The Hub did not give {repo_id} ({type(error).__name__}). Try again in a while.") from error


def _wanted(info: ModelInfo) -> list[str]:
    """The files at the repository's root that may be loaded; subfolders hold variants of the same weights."""
    files = [file for file in info.siblings or [] if "/" not in file.rfilename]
    safety.check_weights((file.rfilename for file in files), info.id)
    files = [file for file in files if safety.matches(file.rfilename, safety.ALLOWED)]
    safety.check_size((file.size for file in files), info.id)
    return [file.rfilename for file in files]


def _cached(repo_id: str, revision: str | None, error: Exception) -> tuple[Path, str]:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repo_id, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        raise UserError(
            f"The Hub cannot be reached, and {repo_id} was not downloaded before. Check the network, or pick a bundled "
            "model or a local folder."
        ) from error
    log.warning("the Hub cannot be reached: %s comes from the cache", repo_id)
    return folder, folder.name
