from __future__ import annotations

from types import SimpleNamespace

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import errors

from zoo import hub, safety
from zoo.errors import UserError

SHA = "0" * 40
GOOD = {"config.json": 10, "model.safetensors": 100, "README.md": 5}


def failure(kind: type[Exception], status: int = 404) -> Exception:
    response = httpx2.Response(status, request=httpx2.Request("GET", "http://hub.test"))
    return kind("no", response=response)  # type: ignore[call-arg]


@pytest.fixture
def server(monkeypatch, tmp_path):
    """Stands for the Hub: set `files`, or `error` for what it raises; `calls` are the downloads."""
    state = SimpleNamespace(files=dict(GOOD), error=None, calls=[], cached=False)

    def model_info(self, repo_id, revision=None, **_):
        assert self.token is False
        if state.error:
            raise state.error
        siblings = [SimpleNamespace(rfilename=name, size=size) for name, size in state.files.items()]
        return SimpleNamespace(id=repo_id, sha=SHA, siblings=siblings)

    def snapshot_download(repo_id, **options):
        if options.get("local_files_only") and not state.cached:
            raise errors.LocalEntryNotFoundError("not there")
        state.calls.append(options)
        return str(tmp_path / SHA)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return state


def test_only_what_may_be_loaded_is_downloaded_pinned_and_without_a_token(server, tmp_path):
    server.files |= {"pytorch_model.bin": 100, "onnx/model.onnx": 9, "code.py": 1, "tokenizer.json": 3}
    assert hub.pull("owner/name") == (tmp_path / SHA, SHA)
    (options,) = server.calls
    assert sorted(options["allow_patterns"]) == ["README.md", "config.json", "model.safetensors", "tokenizer.json"]
    assert options["revision"] == SHA and options["token"] is False


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config.json": 1}, "no weights"),
        ({"pytorch_model.bin": 1}, "pickle"),
        ({"model.safetensors": safety.MAX_BYTES + 1}, "over the limit"),
        ({"onnx/model.onnx": 1}, "no weights"),
    ],
)
def test_unfit_models_are_refused_before_the_download(server, files, message):
    server.files = files
    with pytest.raises(UserError, match=message):
        hub.pull("owner/name")
    assert not server.calls


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (failure(errors.RepositoryNotFoundError), "no public model owner/name"),
        (failure(errors.GatedRepoError, 403), "gated"),
        (failure(errors.RevisionNotFoundError), "no revision 'v9'"),
        (failure(errors.HfHubHTTPError, 500), "Try again"),
        (httpx2.ReadError("cut"), "Try again"),
        (httpx2.ConnectError("no route"), "cannot be reached"),
        (httpx2.ConnectTimeout("slow"), "cannot be reached"),
        (errors.OfflineModeIsEnabled("offline"), "cannot be reached"),
    ],
)
def test_every_failure_says_what_to_do(server, error, message):
    server.error = error
    with pytest.raises(UserError, match=message):
        hub.pull("owner/name", "v9")


def test_without_network_the_cache_answers(server, tmp_path):
    server.error, server.cached = httpx2.ConnectError("no route"), True
    assert hub.pull("owner/name", "v1") == (tmp_path / SHA, SHA)
    assert server.calls[0]["local_files_only"] and server.calls[0]["revision"] == "v1"
