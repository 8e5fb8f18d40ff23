"""Pulling off the Hub: what is looked at before anything large comes, and what comes."""

from __future__ import annotations

from types import SimpleNamespace

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import close_session, constants, errors

from zoo import catalog, conversion, pulling, safety
from zoo.catalog import checkpoint_of
from zoo.errors import PickledWeights, UserError
from zoo.files import read_json, write_json
from zoo.settings import get_settings
from zoo.tensors import INDEX, SINGLE

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
    monkeypatch.setattr(huggingface_hub.HfApi, "get_repo_discussions", lambda *_, **__: iter(()))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repo_id, name, **_: str(tmp_path / name))
    write_json(tmp_path / "config.json", {"model_type": "bert"})
    return state


def test_only_what_may_be_loaded_is_downloaded_pinned_and_without_a_token(server, tmp_path):
    server.files |= {"pytorch_model.bin": 100, "onnx/model.onnx": 9, "code.py": 1, "tokenizer.json": 3}
    assert pulling.pull("owner/name") == (tmp_path / SHA, SHA)
    (options,) = server.calls
    assert sorted(options["allow_patterns"]) == ["README.md", "config.json", "model.safetensors", "tokenizer.json"]
    assert options["revision"] == SHA and options["token"] is False


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config.json": 1}, "no weights"),
        ({"config.json": 1, "pytorch_model.bin": 1}, "pickle.*python -m zoo convert owner/name"),
        ({"config.json": 1, "model.safetensors": safety.MAX_BYTES + 1}, "over the limit"),
        ({"config.json": 1, "optimizer.safetensors": 1}, "no weights"),
        ({"model.safetensors": 1}, "no config.json"),
        ({"adapter_config.json": 1, "adapter_model.safetensors": 1}, "adapter.*merge_and_unload"),
    ],
)
def test_unfit_models_are_refused_before_the_download(server, files, message):
    server.files = files
    with pytest.raises(UserError, match=message):
        pulling.pull("owner/name")
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
        pulling.pull("owner/name", "v9")


def test_the_size_is_told_before_the_download(server):
    said = []

    def tell(line):
        assert not server.calls
        said.append(line)

    pulling.pull("owner/name", tell=tell)
    assert said == ["owner/name: 3 files, 0.0 MB (at most 2,147 MB)"]


def test_without_network_the_cache_answers(server, tmp_path):
    server.error, server.cached = httpx2.ConnectError("no route"), True
    assert pulling.pull("owner/name", "v1") == (tmp_path / SHA, SHA)
    assert server.calls[0]["local_files_only"] and server.calls[0]["revision"] == "v1"


def test_a_pulled_model_is_pinned_and_only_of_allowed_files(local_hub, light):
    files = {path.name: path.read_bytes() for path in light.iterdir()}
    first = local_hub.put("ann/one", {**files, "code.py": b"x", "pytorch_model.bin": b"x", "onnx/model.onnx": b"x"})
    local_hub.put("ann/one", {"README.md": b"# later"})
    entry = catalog.find("ann/one", first)
    assert entry.revision == first and entry.card == ""
    assert {path.name for path in entry.folder.iterdir()} == set(files)
    assert catalog.find("ann/one").card == "# later"


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_pulled_code_is_refused(local_hub, light, name):
    files = {path.name: path.read_bytes() for path in light.iterdir()}
    local_hub.put("ann/one", {**files, name: b'{"model_type": "bert", "auto_map": {"AutoModel": "evil.Model"}}'})
    with pytest.raises(UserError, match="auto_map"):
        catalog.find("ann/one")


def test_private_models_need_their_owners_token(local_hub, light):
    files = {path.name: path.read_bytes() for path in light.iterdir()}
    local_hub.put("writer/one", files, private=True)
    with pytest.raises(UserError, match="no public model"):
        pulling.pull("writer/one")
    with pytest.raises(UserError, match="token may see"):
        pulling.pull("writer/one", token="hf_other")
    assert pulling.pull("writer/one", token="hf_writer")[1] == local_hub.repo("writer/one").head


def files_of(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def pickled(folder) -> dict[str, bytes]:
    """A model's files as the Hub's old ones are: the weights as a pickle alone."""
    import torch
    from safetensors.torch import load_file

    files = files_of(folder)
    torch.save(load_file(folder / SINGLE), folder.parent / "old.bin")
    del files[SINGLE]
    return {**files, "pytorch_model.bin": (folder.parent / "old.bin").read_bytes(), "flax_model.msgpack": b"x"}


@pytest.fixture
def model(tiny_model, tmp_path):
    """A copy of the tiny model."""
    import shutil

    return shutil.copytree(tiny_model, tmp_path / "tiny")


def resolved(hub) -> list[str]:
    """The files that were asked for."""
    return [path.rpartition("/")[2] for method, path, operation in hub.log if operation == "resolve"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "longformer", "architectures": ["LongformerForQuestionAnswering"]}, "'longformer'"),
        ({"model_type": "gpt2", "architectures": ["GPT2ForSequenceClassification"]}, "'gpt2'"),
        ({"model_type": "vit", "architectures": ["ViTForImageClassification"]}, "'vit'"),
        ({"model_type": "new", "auto_map": {"AutoModel": "a--b.Model"}}, "code of its own"),
        (
            {"model_type": "albert", "inner_group_num": 2, "architectures": ["AlbertForQuestionAnswering"]},
            "inner_group_num is 2 .* run with 1 only",
        ),
        (
            {
                "model_type": "modernbert",
                "num_hidden_layers": 2,
                "rope_scaling": {"rope_type": "yarn"},
                "architectures": ["ModernBertForSequenceClassification"],
            },
            r"scaled \(yarn\)",
        ),
        ({"model_type": "bert", "hidden_act": "mish", "architectures": ["BertForQuestionAnswering"]}, "'mish'"),
        ({"model_type": "bert", "is_decoder": True, "architectures": ["BertForQuestionAnswering"]}, "is_decoder"),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "BertForMaskedLM"),
        ({"model_type": "bert", "architectures": ["BertLMHeadModel"]}, "BertLMHeadModel"),
        ([], "no JSON object"),
    ],
)
def test_what_cannot_run_is_refused_before_its_weights_come(local_hub, model, tmp_path, config, message):
    write_json(tmp_path / "c.json", config)
    local_hub.put("ann/one", {**files_of(model), "config.json": (tmp_path / "c.json").read_bytes()})
    with pytest.raises(UserError, match=message):
        catalog.find("ann/one")
    assert set(resolved(local_hub)) == {"config.json"}


def test_a_tokenizer_of_pieces_alone_is_refused_before_weights_come(local_hub, model):
    files = {name: value for name, value in files_of(model).items() if not name.startswith(("tokenizer", "vocab"))}
    local_hub.put("ann/one", {**files, "spm.model": b"pieces"})
    with pytest.raises(UserError, match=r"spm.model alone.* transformers writes tokenizer.json"):
        catalog.find("ann/one")
    assert set(resolved(local_hub)) == {"config.json"}
    local_hub.put("ann/two", {**files_of(model), "spm.model": b"pieces"})
    assert catalog.find("ann/two").task == "qa"


def test_what_is_too_large_is_refused_before_it_comes(local_hub, model, monkeypatch):
    local_hub.put("ann/one", files_of(model))
    monkeypatch.setattr(safety, "MAX_BYTES", 1000)
    with pytest.raises(UserError, match="over the limit"):
        catalog.find("ann/one")
    assert set(resolved(local_hub)) == {"config.json"}


def test_a_revision_behind_the_name_is_meant_everywhere(local_hub, model):
    first = local_hub.put("ann/one", {**files_of(model), "README.md": b"# first"})
    local_hub.put("ann/one", {"README.md": b"# later"})
    local_hub.repo("ann/one").tags["v1"] = first
    for name in (f"ann/one@{first}", "ann/one@v1"):
        entry = catalog.find(name)
        assert (entry.name, entry.revision, entry.card) == (name, first, "# first")
        assert (checkpoint_of(name) / "README.md").read_text() == "# first"
    assert catalog.find("ann/one").card == "# later"
    offer = local_hub.offer("ann/one", {"README.md": b"# offered"}, author="ben")
    assert catalog.find("ann/one@refs/pr/1").card == "# offered" and offer.ref == "refs/pr/1"
    with pytest.raises(UserError, match="no revision 'v9'"):
        catalog.find("ann/one@v9")
    with pytest.raises(UserError, match="two|Name one"):
        pulling.pull("ann/one@v1", "main")
    for wrong in ("ann/one@../x", "ann/one@", "ann/one@a b"):
        with pytest.raises(UserError, match=r"no revision|no folder"):
            catalog.find(wrong)


@pytest.mark.parametrize("name", [" ann/one ", "ann/one @v1", "ann/one@ v1 ", "\tann/one@v1\n"])
def test_blanks_around_a_name_are_none_of_it(local_hub, model, name):
    local_hub.repo("ann/one").tags["v1"] = local_hub.put("ann/one", files_of(model))
    folder = catalog.find(name).folder
    assert folder == checkpoint_of(name) == pulling.pull(name)[0] == checkpoint_of("ann/one")


@pytest.mark.parametrize("name", ["ann/my model", "ann/one/two", "ann/one@v 1", "https://hub.test/ann/one", "ann/one@"])
@pytest.mark.parametrize("door", [catalog.find, checkpoint_of], ids=["entry", "checkpoint"])
def test_what_is_no_name_is_refused_with_how_to_write_one(local_hub, door, name):
    with pytest.raises(UserError, match=r"There is no folder .*owner/name or owner/name@revision"):
        door(name)
    assert not local_hub.log, "nobody was asked"


@pytest.mark.parametrize(
    ("files", "message", "conversion_message"),
    [
        (("config.json", "tokenizer.json"), r"ann/bare has no weights \(model.safetensors", "nothing to convert"),
        (("tokenizer.json",), "no config.json, so it is no checkpoint", "no config.json, so it is no checkpoint"),
    ],
)
def test_a_name_without_weights_is_told_of_at_every_door(local_hub, model, files, message, conversion_message):
    all_files = files_of(model)
    local_hub.put("ann/bare", {name: all_files[name] for name in files})
    for door in (catalog.find, checkpoint_of, pulling.pull):
        for name in ("ann/bare", f"ann/bare@{local_hub.repo('ann/bare').head}"):
            with pytest.raises(UserError, match=message):
                door(name)
    with pytest.raises(UserError, match=conversion_message):
        conversion.convert("ann/bare")


def test_a_pickle_at_a_revision_is_converted_and_found_by_it(local_hub, model):
    old = pickled(model)
    first = local_hub.put("ann/old", old)
    local_hub.repo("ann/old").tags["v1"] = first
    local_hub.put("ann/old", {"README.md": b"# later"})
    folder = conversion.convert(" ann/old@v1 ")
    assert folder == checkpoint_of("ann/old@v1") == catalog.find(f"ann/old@{first}").folder
    with pytest.raises(PickledWeights, match="zoo convert ann/old"):
        checkpoint_of("ann/old")


def test_the_conversion_bots_weights_are_found_by_themselves(local_hub, model):
    old, weights = pickled(model), (model / SINGLE).read_bytes()
    main = local_hub.put("ann/old", old)
    local_hub.offer("ann/old", {SINGLE: b"from a stranger"}, author="mallory")
    local_hub.offer("ann/old", {SINGLE: b"closed"}, status="closed")
    offer = local_hub.offer("ann/old", {SINGLE: weights})
    said: list[str] = []
    folder, commit = pulling.pull("ann/old", tell=said.append)
    assert commit == offer.commit[0] != main
    assert (folder / SINGLE).read_bytes() == weights and not (folder / "pytorch_model.bin").exists()
    assert "refs/pr/3 of SFconvertbot" in said[0]
    assert catalog.find("ann/old").revision == commit and checkpoint_of("ann/old") == folder
    assert not {"pytorch_model.bin", "flax_model.msgpack"} & set(resolved(local_hub))


def test_weights_that_were_converted_from_others_are_not_taken(local_hub, model):
    local_hub.put("ann/old", pickled(model))
    local_hub.offer("ann/old", {SINGLE: (model / SINGLE).read_bytes()})
    local_hub.put("ann/old", {"pytorch_model.bin": b"trained anew"})
    with pytest.raises(PickledWeights, match="zoo convert ann/old") as refusal:
        catalog.find("ann/old")
    assert refusal.value.name == "ann/old"
    assert "pytorch_model.bin" not in resolved(local_hub)


def test_a_repository_without_discussions_is_refused_as_usual(local_hub, model):
    local_hub.put("ann/old", pickled(model))
    local_hub.faults["discussions"] = [403]
    with pytest.raises(PickledWeights, match="zoo convert ann/old"):
        catalog.find("ann/old")


def test_what_was_converted_is_found_by_its_name(local_hub, model):
    old = pickled(model)
    local_hub.put("ann/old", old)
    said: list[str] = []
    folder = conversion.convert("ann/old", tell=said.append)
    assert catalog.find("ann/old").folder == folder == checkpoint_of("ann/old")
    assert read_json(folder / "conversion.json")["commit"] == local_hub.repo("ann/old").head
    assert conversion.convert("ann/old", tell=said.append) == folder and said[-1] == "ann/old was converted before"
    local_hub.put("ann/old", {"README.md": b"# later"})  # another commit has other weights, as far as one knows
    with pytest.raises(PickledWeights):
        catalog.find("ann/old")


def test_weights_in_several_files_come_with_their_index_alone(local_hub, model, tmp_path):
    from transformers import BertForQuestionAnswering

    BertForQuestionAnswering.from_pretrained(model).save_pretrained(tmp_path / "parts", max_shard_size="100kB")
    files = {**files_of(model), **files_of(tmp_path / "parts")}
    del files[SINGLE]
    parts = {name for name in files if name.endswith(".safetensors")}
    local_hub.put("ann/parts", {**files, "optimizer.safetensors": b"x" * 100, "model.fp16.safetensors": b"x"})
    entry = catalog.find("ann/parts")
    assert len(parts) > 2 and {path.name for path in entry.folder.glob("*.safetensors")} == parts
    assert (entry.folder / INDEX).is_file()
    without = {name: data for name, data in files.items() if name != min(parts)}
    local_hub.put("ann/torn", without)
    with pytest.raises(UserError, match=f"lacks {min(parts)}"):
        catalog.find("ann/torn")


def test_what_was_pulled_is_there_without_a_network(local_hub, model, monkeypatch):
    first = local_hub.put("ann/one", files_of(model))
    local_hub.repo("ann/one").tags["v1"] = first
    local_hub.put("ann/old", pickled(model))
    bots = local_hub.offer("ann/old", {SINGLE: (model / SINGLE).read_bytes()})
    names = {"ann/one": first, "ann/one@v1": first, "ann/old": bots.commit[0]}
    before = {name: catalog.find(name).folder for name in names}
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    get_settings.cache_clear()
    close_session()
    assert constants.HF_HUB_OFFLINE is False
    for name, commit in names.items():
        entry = catalog.find(name)
        assert (entry.folder, entry.revision) == (before[name], commit)
    with pytest.raises(UserError, match="was not downloaded before"):
        catalog.find("ann/two")


def test_code_of_its_own_is_refused_in_recipes_too(local_hub, model):
    files = files_of(model)
    local_hub.put("ann/one", {**files, "tokenizer_config.json": b'{"auto_map": {"AutoTokenizer": "evil.T"}}'})
    with pytest.raises(UserError, match="auto_map"):
        checkpoint_of("ann/one")
