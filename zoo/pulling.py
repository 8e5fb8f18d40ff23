"""Pulling a checkpoint off the Hub: looked at first (names, type, size), then what may be loaded of it, once."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import safety, trial
from zoo.checkpoints import check_checkpoint
from zoo.errors import PickledWeights, UserError, Withheld
from zoo.files import read_json, write_json
from zoo.hub import client, hub_settings
from zoo.lazily import Lazy
from zoo.onnx_files import OURS as GRAPH
from zoo.onnx_files import stock_graph
from zoo.pieces import FILES as PIECES
from zoo.pieces import pieces_among
from zoo.pooling import is_module_file
from zoo.settings import get_settings
from zoo.tensors import INDEX, INTEGERS, SIMULATED, SINGLE, parts_of

if TYPE_CHECKING:
    import httpx2
    import huggingface_hub
    from huggingface_hub import HfApi
    from huggingface_hub import errors as hub
    from huggingface_hub.hf_api import ModelInfo
else:
    httpx2, huggingface_hub, hub = Lazy("httpx2"), Lazy("huggingface_hub"), Lazy("huggingface_hub.errors")

log = logging.getLogger(__name__)

BOT = "SFconvertbot"  # opens a pull request with the same weights in safetensors, in whichever repository lacks them
MOST_OFFERS = 5  # pull requests of its that are looked at
CONFIG = "config.json"
MODULES = "modules.json"  # of sentence-transformers, which keeps more in folders
BESIDE = ("*.json", "*.yaml", "vocab.txt", "merges.txt", *PIECES, "README.md")  # what is loaded besides weights
PULLED = (*BESIDE, SINGLE, INDEX, GRAPH, INTEGERS, SIMULATED)
_noticed: set[str] = set()  # a run asks for its checkpoint at every stage
Check = Callable[[dict[str, Any], Collection[str]], None]


def check_type(config: dict[str, Any], names: Collection[str]) -> None:
    """Refuses a checkpoint of a type that this program does not run, by its configuration.

    Args:
        config: its `config.json`.
        names: of its files.
    """
    check_checkpoint(config)


def pull(
    name: str,
    revision: str | None = None,
    token: str | None = None,
    tell: Callable[[str], None] | None = None,
    check: Check = check_type,
) -> tuple[Path, str]:
    """Download what may be loaded of a model, once: later calls find it in the cache, with no network too.

    Names, configuration and sizes are looked at before any weights come. Where a repository has its weights as pickles
    alone, what was converted here, or what the Hub's conversion bot offers for the very same pickles, is taken.

    Args:
        name: of the Hub, `owner/name` or `owner/name@revision`.
        revision: branch, tag or commit; what is downloaded is the commit that it stands for now.
        token: for private models; without one nobody's rights are used, not this machine's either.
        tell: is told the number of files and their size before the download.
        check: refuses a configuration.

    Returns:
        The folder and the commit that it is of.

    Raises:
        UserError: no such model or revision, gated, no network, no safe weights, of an unknown type, too large.
    """
    repo_id, revision = revision_of(name, revision)
    record = _record_of(repo_id, revision)
    try:
        with explained(repo_id, revision, bool(token)):
            api, info, options = _look(repo_id, revision, token, check)
            try:
                names, size = wanted(info, options)
            except PickledWeights:
                if (converted := converted_folder(repo_id, info.sha or "")).is_dir():
                    return converted, info.sha or ""
                offer = _offer(api, info)
                if offer is None:
                    raise
                where = f"{repo_id} has pickles alone: the same weights in safetensors come from {offer[0]} of {BOT}"
                (tell or (log.info if where in _noticed else log.warning))(where)
                _noticed.add(where)
                info = offer[1]
                _check_config(info, options, check)
                names, size = wanted(info, options)
            message = f"{repo_id}: {len(names)} files, {size / 1e6:.1f} MB (at most {safety.MAX_BYTES / 1e6:,.0f} MB)"
            (tell or log.info)(message)
            folder = huggingface_hub.snapshot_download(repo_id, revision=info.sha, allow_patterns=names, **options)
            write_json(record, {"repo": repo_id, "revision": revision, "commit": info.sha, "files": names})
            return Path(folder), info.sha or ""
    except Away as away:
        return _cached(repo_id, revision, record, away)


def kept(name: str) -> tuple[Path, str]:
    """The folder and the commit of a model that was pulled before, as it was then; the Hub is not asked.

    Raises:
        UserError: it was not.
    """
    repo_id, revision = revision_of(name, None)
    return _cached(repo_id, revision, _record_of(repo_id, revision), Away())


def config_of(name: str) -> dict[str, Any]:
    """`config.json` alone of a model of the Hub; empty where the Hub does not give it."""
    repo_id, revision = revision_of(name, None)
    try:
        with explained(repo_id, revision, with_token=False):
            options: dict[str, Any] = {"token": False, "endpoint": client(None).endpoint}
            config = read_json(huggingface_hub.hf_hub_download(repo_id, CONFIG, revision=revision, **options))
    except (UserError, Away):
        return {}
    return config if isinstance(config, dict) else {}


def fetch_pickles(
    name: str, token: str | None = None, tell: Callable[[str], None] | None = None
) -> tuple[Path, list[Path], str]:
    """Downloads a model with its weights as pickles, opening none, for `zoo.conversion` alone.

    Returns:
        The snapshot's folder, the pickles in it, and the commit.

    Raises:
        UserError: as `pull`, or there are weights that need no conversion.
    """
    repo_id, revision = revision_of(name, None)
    try:
        with explained(repo_id, revision, bool(token)):
            _, info, options = _look(repo_id, revision, token, check_type)
            files = _sizes(info)
            if SINGLE in files or INDEX in files:
                raise UserError(
                    f"{name} has its weights in safetensors: there is nothing to convert. Open it as it is."
                )
            pickles = pickles_among(files, str(name))
            names = [*pickles, *(n for n in files if "/" not in n and safety.matches(n, BESIDE))]
            safety.check_size([files[n] for n in names], repo_id)
            size = sum(files[n] or 0 for n in names)
            (tell or log.info)(f"{repo_id}: {len(names)} files, {size / 1e6:.1f} MB")
            snapshot = huggingface_hub.snapshot_download(repo_id, revision=info.sha, allow_patterns=names, **options)
            return Path(snapshot), [Path(snapshot) / n for n in pickles], info.sha or ""
    except Away as away:
        raise UserError(f"The Hub cannot be reached, so {name} cannot be converted. Check the network.") from away


def revision_of(name: str, revision: str | None) -> tuple[str, str | None]:
    """A Hub id and the revision that is meant, which may stand behind it.

    Raises:
        UserError: it is no Hub id, or two revisions are named.
    """
    repo_id, stated = safety.split_revision(name)
    if stated and revision and stated != revision:
        raise UserError(f"{name} names the revision {stated}, beside it {revision} is asked for. Name one of them.")
    return repo_id, revision or stated


def converted_folder(repo_id: str, commit: str) -> Path:
    """Where a commit's weights are once they are converted."""
    return get_settings().home / "converted" / repo_id.replace("/", "--") / (commit or "unknown")


def pickles_among(names: Collection[str], where: str) -> list[str]:
    """The files at the root with a model's weights as pickles.

    Raises:
        UserError: there are none, or several of which one cannot tell.
    """
    root = [name for name in names if "/" not in name]
    parts = sorted(name for name in root if safety.matches(name, ("pytorch_model-*-of-*.bin",)))
    if "pytorch_model.bin" in root:
        return ["pytorch_model.bin"]
    if parts:
        return parts
    others = [name for name in root if safety.matches(name, safety.PICKLES) and not safety.matches(name, NO_WEIGHTS)]
    if len(others) == 1:
        return others
    if not others:
        raise UserError(f"{where} has no pickled weights, so there is nothing to convert. Take a complete checkpoint.")
    raise UserError(
        f"{where} has several pickles: {', '.join(sorted(others)[:5])}. Give a folder with the one that holds the "
        "weights, named pytorch_model.bin."
    )


NO_WEIGHTS = ("training_args.bin", "optimizer.*", "scheduler.*", "scaler.*", "rng_state*")


def wanted(info: ModelInfo, options: Mapping[str, Any]) -> tuple[list[str], int]:
    """The files of a repository that may be loaded, and their size; variants of the same weights stay away."""
    files = _sizes(info)
    safety.check_weights(files, info.id)
    root = {name: size for name, size in files.items() if "/" not in name}
    names = [name for name in root if safety.matches(name, BESIDE)]
    names += [name for name in files if MODULES in root and is_module_file(name)]
    if SINGLE in root:
        names.append(SINGLE)
    elif INDEX in root:
        index = huggingface_hub.hf_hub_download(info.id, INDEX, revision=info.sha, **options)
        names += parts_of(read_json(index), f"{INDEX} of {info.id}")
    graph = GRAPH if GRAPH in root else stock_graph(files) if SINGLE not in root and INDEX not in root else None
    if graph:
        safety.check_size([files[graph]], info.id)
        path = Path(huggingface_hub.hf_hub_download(info.id, graph, revision=info.sha, **options))
        folder = graph.rpartition("/")[0]
        names += [graph, *(f"{folder}/{data}" if folder else data for data in trial.data_files(path))]
    names += [name for name in (INTEGERS, SIMULATED) if name in root]
    if absent := [name for name in names if name not in files]:
        raise UserError(f"{info.id} lacks {absent[0]}, a part of its weights. Take another revision or model.")
    safety.check_size([files[name] for name in names], info.id)
    return names, sum(files[name] or 0 for name in names)


def _look(
    repo_id: str, revision: str | None, token: str | None, check: Check
) -> tuple[HfApi, ModelInfo, dict[str, Any]]:
    """The Hub, what it says of a model whose configuration is fit, and the options of every download of it."""
    api = client(token)
    info = api.model_info(repo_id, revision=revision, files_metadata=True, timeout=15)
    options: dict[str, Any] = {"token": token or False, "endpoint": api.endpoint}
    _check_config(info, options, check)
    return api, info, options


def _sizes(info: ModelInfo) -> dict[str, int | None]:
    return {file.rfilename: file.size for file in info.siblings or []}


def _check_config(info: ModelInfo, options: Mapping[str, Any], check: Check) -> None:
    """Reads the configuration alone, which tells whether the weights are of any use."""
    names = list(_sizes(info))
    safety.check_adapter(names, info.id)
    if CONFIG not in names:
        raise UserError(f"{info.id} has no {CONFIG}, so it is no checkpoint of transformers. Take another model.")
    config = read_json(huggingface_hub.hf_hub_download(info.id, CONFIG, revision=info.sha, **options))
    if not isinstance(config, dict):
        raise UserError(f"{CONFIG} of {info.id} holds no JSON object. Take another revision or model.")
    safety.check_code(config, info.id, CONFIG)
    try:
        pieces_among(names, config, "It")
        check(config, names)
    except UserError as error:
        raise UserError(f"{info.id} was not downloaded. {error}") from error


def _offer(api: HfApi, info: ModelInfo) -> tuple[str, ModelInfo] | None:
    """The conversion bot's open pull request for the pickles of this very commit; its name there, and its files."""
    try:
        offers = api.get_repo_discussions(info.id, author=BOT, discussion_type="pull_request", discussion_status="open")
        for _, offer in zip(range(MOST_OFFERS), offers, strict=False):
            if offer.author != BOT or not offer.git_reference:
                continue
            there = api.model_info(info.id, revision=offer.git_reference, files_metadata=True, timeout=15)
            files = _sizes(there)
            if (SINGLE in files or INDEX in files) and _pickles(there) == _pickles(info):
                return offer.git_reference, there
    except hub.HfHubHTTPError as error:  # discussions may be turned off
        log.info("no pull requests of %s: %s", info.id, error)
    return None


def _pickles(info: ModelInfo) -> dict[str, str | None]:
    """What identifies the bytes of every pickle with weights."""
    return {
        file.rfilename: file.lfs.sha256 if file.lfs else file.blob_id
        for file in info.siblings or []
        if safety.matches(file.rfilename, ("pytorch_model*.bin",))
    }


class Away(Exception):
    """The Hub does not answer."""


@contextmanager
def explained(repo_id: str, revision: str | None, with_token: bool) -> Generator[None]:
    """What the Hub says against a pull comes out as a UserError that says what to do; no answer at all as `Away`."""
    try:
        with hub_settings():
            yield
    except hub.GatedRepoError as error:
        raise Withheld(
            f"{repo_id} is gated: its owner asks for terms to be accepted. Accept them on the Hub, download the model "
            "yourself, and give the folder."
        ) from error
    except hub.RevisionNotFoundError as error:
        raise UserError(f"{repo_id} has no revision {revision!r}. Check the branch, tag or commit.") from error
    except hub.RepositoryNotFoundError as error:
        kind = "model that this token may see, named" if with_token else "public model"
        if get_settings().on_space:
            hint = " Private ones open in your own copy of this program alone: what is open here is open to everybody."
        else:
            hint = f" If it is private: sign in with `hf auth login`, or `python -m zoo pull {repo_id}` and its folder."
        hint = "" if with_token else hint
        raise Withheld(f"There is no {kind} {repo_id} on the Hub. Check the spelling: owner/name.{hint}") from error
    except (hub.OfflineModeIsEnabled, httpx2.ConnectError, httpx2.TimeoutException, httpx2.ProxyError) as error:
        raise Away from error
    except hub.LocalEntryNotFoundError as error:
        raise UserError(f"The download of {repo_id} broke off. Check the network and try again.") from error
    except (hub.HfHubHTTPError, httpx2.HTTPError) as error:
        log.warning("pulling %s failed", repo_id, exc_info=True)
        raise UserError(f"The Hub did not give {repo_id} ({type(error).__name__}). Try again in a while.") from error


def _record_of(repo_id: str, revision: str | None) -> Path:
    """What was pulled of a model last, for when the Hub does not answer."""
    return get_settings().home / "pulled-from-hub" / f"{_digest(repo_id, revision or 'main')}.json"


def _cached(repo_id: str, revision: str | None, record: Path, error: Exception) -> tuple[Path, str]:
    pulled: dict[str, Any] = {"commit": revision, "files": PULLED}
    if record.is_file():
        pulled |= read_json(record)
    commit: str | None = pulled["commit"]
    converted = converted_folder(repo_id, commit or "")
    if converted.is_dir():
        return converted, commit or ""
    try:
        # Only what was asked for then is there: a whole repository would be looked for in vain.
        options: dict[str, Any] = {"allow_patterns": pulled["files"], "local_files_only": True}
        folder = Path(huggingface_hub.snapshot_download(repo_id, revision=commit, **options))
    except hub.LocalEntryNotFoundError:
        raise UserError(
            f"The Hub cannot be reached, and {repo_id} was not downloaded before. Check the network, or pick a bundled "
            "model or a local folder."
        ) from error
    log.warning("the Hub does not answer: %s comes from the cache", repo_id)
    return folder, folder.name


def _digest(*parts: str) -> str:
    return hashlib.sha256("@".join(parts).encode()).hexdigest()[:32]
