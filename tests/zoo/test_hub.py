from __future__ import annotations

from types import SimpleNamespace

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import errors

from zoo import hub, safety
from zoo.errors import UserError
from zoo.settings import get_settings

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
    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
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


def test_the_size_is_told_before_the_download(server):
    said = []

    def tell(line):
        assert not server.calls
        said.append(line)

    hub.pull("owner/name", tell=tell)
    assert said == ["owner/name: 3 files, 0.0 MB (at most 2,147 MB)"]


def test_without_network_the_cache_answers(server, tmp_path):
    server.error, server.cached = httpx2.ConnectError("no route"), True
    assert hub.pull("owner/name", "v1") == (tmp_path / SHA, SHA)
    assert server.calls[0]["local_files_only"] and server.calls[0]["revision"] == "v1"


def test_a_pulled_model_is_pinned_and_only_of_allowed_files(local_hub, light):
    from zoo import catalog

    files = {path.name: path.read_bytes() for path in light.iterdir()}
    first = local_hub.put("ann/one", {**files, "code.py": b"x", "pytorch_model.bin": b"x", "onnx/model.onnx": b"x"})
    local_hub.put("ann/one", {"README.md": b"# later"})
    entry = catalog.find("ann/one", first)
    assert entry.revision == first and entry.card == ""
    assert {path.name for path in entry.folder.iterdir()} == set(files)
    assert catalog.find("ann/one").card == "# later"


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_pulled_code_is_refused(local_hub, light, name):
    from zoo import catalog

    files = {path.name: path.read_bytes() for path in light.iterdir()}
    local_hub.put("ann/one", {**files, name: b'{"model_type": "bert", "auto_map": {"AutoModel": "evil.Model"}}'})
    with pytest.raises(UserError, match="auto_map"):
        catalog.find("ann/one")


def test_private_models_need_their_owners_token(local_hub, light):
    files = {path.name: path.read_bytes() for path in light.iterdir()}
    local_hub.put("writer/one", files, private=True)
    with pytest.raises(UserError, match="no public model"):
        hub.pull("writer/one")
    with pytest.raises(UserError, match="token may see"):
        hub.pull("writer/one", token="hf_other")
    assert hub.pull("writer/one", token="hf_writer")[1] == local_hub.repo("writer/one").head


def test_listing_by_tag_and_author(local_hub):
    for repo_id, tags in (("ann/one", "[budget-zoo]"), ("ben/two", "[budget-zoo, x]"), ("ben/three", "[x]")):
        local_hub.put(repo_id, {"README.md": f"---\ntags: {tags}\n---\n".encode()})
    assert [info.id for info in hub.zoo_models()] == ["ann/one", "ben/two"]
    assert [info.id for info in hub.zoo_models("ben")] == ["ben/two"]


def test_a_hub_that_is_away_is_told_at_once(local_hub, monkeypatch, waits):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="cannot be reached"):
        hub.zoo_models()
    assert not local_hub.log


def test_another_hub_gets_no_xet(local_hub, monkeypatch):
    from huggingface_hub import constants, get_session
    from huggingface_hub.errors import HFValidationError

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    session = get_session()
    before = session.timeout, session.event_hooks
    with hub.hub_settings(), hub.hub_settings():
        assert constants.HF_HUB_DISABLE_XET and len(session.event_hooks["response"]) == len(before[1]["response"]) + 1
    assert not constants.HF_HUB_DISABLE_XET and (session.timeout, session.event_hooks) == before, "as it was"
    with pytest.raises(UserError, match="no name of the Hub"), hub.plainly("a b"):
        raise HFValidationError("no")
    assert not constants.HF_HUB_DISABLE_XET and session.event_hooks == before[1]
    monkeypatch.delenv("HF_ENDPOINT")
    get_settings.cache_clear()
    with hub.hub_settings():
        assert hub.client().token is False and not constants.HF_HUB_DISABLE_XET
