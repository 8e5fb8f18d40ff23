"""Publishing to a Hub on this machine with the real client, and everything that may go wrong on the way."""

from __future__ import annotations

import json
import threading

import numpy as np
import onnx
import pytest

from compress.int8.exported import Exported
from compress.recipe.groups import Quantize
from tests.compress.embedding_kit import sentence_encoder
from tests.hub_state import User
from tests.zoo.encoder_kit import checkpoint
from zoo import catalog, layouts, publishing, verification
from zoo.asking import open_entry
from zoo.commits import follow
from zoo.engines import runs_int8
from zoo.engines.onnx import load as load_graph
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.files import write_json
from zoo.pretrained import Pretrained

# huggingface_hub calls its HTTP client in a way that this one wants to have changed.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
TOKEN, REPO = "hf_writer", "writer/tiny"
DRAWN = {"README.md", "front.png", ".eval_results/tiny-int8.yaml"}


def publish(folder, repo_id=REPO, token=TOKEN, tell=lambda step: None, **options):
    return follow(publishing.publish(folder, repo_id, token, **options), tell)


def test_the_preview_sends_nothing_and_says_what_would_be_sent(local_hub, light):
    (light / "pytorch_model.bin").write_bytes(b"pickle")
    found = publishing.preview(light, REPO, TOKEN)
    assert not found.exists and found.private and not found.unchanged
    sizes = dict(found.files)
    assert set(sizes) == {*DRAWN, *(path.name for path in light.iterdir() if path.suffix != ".bin")}
    assert sizes["front.json"] == (light / "front.json").stat().st_size and found.total == sum(sizes.values())
    assert 'hf_hub_download("writer/tiny"' in found.card
    assert any("pytorch_model.bin" in notice for notice in found.notices)
    assert not local_hub.repos


def test_without_a_token_the_preview_asks_nobody(local_hub, light):
    found = publishing.preview(light, REPO, None)
    assert not local_hub.log and any("signed in" in notice for notice in found.notices)


def test_one_commit_private_tagged_collected_and_verified(local_hub, light):
    said: list[str] = []
    done = publish(light, tell=said.append)
    repo = local_hub.repo(REPO)
    assert (done.commit, done.changed, done.verified) == (repo.head, True, True)
    assert done.url == f"{local_hub.url}/{REPO}" and any("private" in line for line in said)
    assert repo.private and len(repo.commits) == 2 and repo.tags == {"v1": repo.head}
    assert local_hub.files(REPO)["model.int8.onnx"] == (light / "model.int8.onnx").read_bytes()
    assert set(local_hub.files(REPO)) >= DRAWN
    (shown,) = local_hub.collections.values()
    assert shown["title"] == "Budget Zoo" and [item["id"] for item in shown["items"]] == [REPO]
    assert any("SHA-256" in check for check in done.checks) and any("logits equal" in check for check in done.checks)


def test_repeated_it_does_nothing_twice(local_hub, light):
    first, second = publish(light), publish(light)
    assert (second.commit, second.changed, second.verified) == (first.commit, False, True)
    assert len(local_hub.repo(REPO).commits) == 2 and local_hub.count("commit") == 1
    assert local_hub.repo(REPO).tags == {"v1": first.commit} and len(local_hub.collections) == 1
    preview = publishing.preview(light, REPO, TOKEN)
    assert preview.exists and set(preview.unchanged) == {path for path, _ in preview.files}


def test_a_second_state_is_a_second_commit_with_the_next_tag(local_hub, light):
    publish(light)
    write_json(light / "config.json", {"model_type": "bert", "architectures": ["BertForQuestionAnswering"], "x": 1})
    assert publishing.preview(light, REPO, TOKEN).unchanged != []
    done = publish(light)
    assert done.changed and local_hub.repo(REPO).tags["v2"] == done.commit
    with pytest.raises(UserError, match="tag v1"):
        write_json(light / "config.json", {"model_type": "bert", "architectures": ["BertForQuestionAnswering"]})
        publish(light, tag="v1")
    assert len(local_hub.repo(REPO).commits) == 3


def test_namespaces_are_those_that_the_token_may_write_to(local_hub):
    local_hub.tokens["hf_fine"] = User(
        "writer",
        {"zoo-org": "write"},
        "fineGrained",
        [{"entity": {"type": "org", "name": "zoo-org"}, "permissions": ["repo.write"]}],
    )
    assert publishing.namespaces(TOKEN) == ["writer", "zoo-org"]
    assert publishing.namespaces("hf_fine") == ["zoo-org"]
    assert publishing.namespaces("hf_reader") == []


@pytest.mark.parametrize(
    ("repo_id", "token", "message"),
    [
        ("other/tiny", TOKEN, "may not write to other. It may write to writer, zoo-org"),
        ("readers-org/tiny", TOKEN, "may not write to readers-org"),
        ("reader/tiny", "hf_reader", "It may only read"),
        (REPO, "hf_gone", "does not know this token"),
        ("tiny", TOKEN, "no owner"),
        ("a/b/c", TOKEN, "no model id"),
    ],
)
def test_no_right_no_token_no_name(local_hub, light, repo_id, token, message):
    with pytest.raises(UserError, match=message):
        publish(light, repo_id, token)
    assert not local_hub.repos


def test_a_right_that_is_lost_on_the_way(local_hub, light):
    local_hub.faults["commit"] = [403]
    with pytest.raises(UserError, match="may not write to writer"):
        publish(light)


def test_a_taken_name_is_left_alone(local_hub, light):
    local_hub.put(REPO, {"model.bin": b"somebody's"}, private=True)
    with pytest.raises(UserError, match="taken"):
        publish(light)
    assert set(local_hub.files(REPO)) == {".gitattributes", "model.bin"}


def test_private_is_never_published_into_a_public_repository(local_hub, light):
    local_hub.create(REPO)
    with pytest.raises(UserError, match="is public"):
        publish(light)
    assert publish(light, private=False).verified


def test_a_lost_answer_to_the_commit_is_recognised(local_hub, light, waits):
    local_hub.faults["commit"] = ["drop"]
    done = publish(light)
    assert done.changed and done.verified and local_hub.count("commit") == 1
    assert len(local_hub.repo(REPO).commits) == 2 and done.commit == local_hub.repo(REPO).head


@pytest.mark.parametrize("fault", ["gone", 500, 503])
def test_a_failed_commit_is_repeated_without_a_second_upload(local_hub, light, waits, fault):
    local_hub.faults["commit"] = [fault, fault]
    done = publish(light)
    assert done.verified and local_hub.count("commit") == 3 and len(local_hub.repo(REPO).commits) == 2
    assert sorted(local_hub.uploads) == sorted(set(local_hub.uploads)) and len(local_hub.uploads) == 2
    assert waits[:2] == [1.0, 2.0]


def test_a_failing_second_upload_is_told_and_the_first_not_repeated(local_hub, light, waits):
    # One by one, so that it is known which upload is the second; the client itself tries six times.
    local_hub.faults["upload"] = [None, *[500] * 60]
    with pytest.raises(UserError, match="trouble"):
        publish(light)
    assert len(local_hub.repo(REPO).commits) == 1 and len(local_hub.uploads) == 1
    local_hub.faults["upload"] = []
    assert publish(light).verified
    assert len(local_hub.uploads) == 2 == len(set(local_hub.uploads))


def test_too_many_requests_waits_as_long_as_it_is_asked(local_hub, light, waits):
    local_hub.faults |= {"commit": [429], "create": [429], "preupload": [429]}
    local_hub.retry_after = 7
    assert publish(light).verified
    assert waits.count(7.0) == 2 and 8.0 in waits  # huggingface_hub itself waits one second more


@pytest.mark.parametrize("operation", ["whoami", "commit", "preupload"])
def test_nobody_waits_for_an_hour(local_hub, light, waits, operation):
    local_hub.faults[operation] = [429] * 9
    local_hub.retry_after = 3600
    with pytest.raises(UserError, match="60 minutes"):
        publish(light)
    assert not waits and local_hub.count(operation) == 1


def test_somebody_elses_commit_is_not_written_over(local_hub, light, waits):
    publish(light)
    write_json(light / "config.json", {"model_type": "bert", "architectures": ["BertForQuestionAnswering"], "x": 1})
    local_hub.faults["commit"] = ["stale"]
    with pytest.raises(UserError, match="Somebody changed"):
        publish(light)
    assert local_hub.files(REPO)["NOTES.md"] == b"mine" and b'"x"' not in local_hub.files(REPO)["config.json"]
    assert publish(light).verified and local_hub.files(REPO)["NOTES.md"] == b"mine"


def test_a_collection_out_of_reach_undoes_nothing(local_hub, light):
    local_hub.faults["collection"] = [403]
    done = publish(light)
    assert done.verified and any("not added to the Collection" in check for check in done.checks)


def test_what_comes_back_changed_is_said_loudly(local_hub, light, caplog):
    done = publish(light)
    config = b'{"model_type": "bert", "architectures": ["BertForQuestionAnswering"], "evil": 1}'
    local_hub.put(REPO, {"config.json": config})
    found = publishing.verify(REPO, light, token=TOKEN)
    assert not found.ok and "config.json" in found.problems[0] and "NOT verified" in caplog.text
    assert publishing.verify(REPO, light, revision=done.commit, token=TOKEN).ok
    assert publishing.verify(REPO, token=TOKEN).ok, "the Hub's own hashes agree with its files"


def test_other_logits_are_a_problem(local_hub, light, monkeypatch):
    outputs = iter([np.zeros(3), np.array([0, 0, 0.5])])
    monkeypatch.setattr(verification, "logits", lambda folder: {"model.int8.onnx": next(outputs)})
    done = publish(light)
    assert not done.verified and any("NOT VERIFIED" in c and "differ by up to 0.5" in c for c in done.checks)


def test_nothing_pulled_back_stays(local_hub, light, tmp_path):
    publish(light)
    assert not list((tmp_path / "home" / "pulled").iterdir())


def test_the_licence_of_the_base_is_carried_over(local_hub, light):
    local_hub.put("org/base", {"README.md": b"---\nlicense: mit\n---\n# Base"})
    facts = json.loads((light / "entry.json").read_text())
    assert any("org/base is mit" in notice for notice in publishing.preview(light, REPO, TOKEN).notices)
    write_json(light / "entry.json", {key: value for key, value in facts.items() if key != "license"})
    assert "\nlicense: mit\n" in publishing.preview(light, REPO, TOKEN).card


def test_two_at_once_make_one_commit_each_or_tell(local_hub, light):
    outcomes: list[object] = []

    def go():
        try:
            outcomes.append(publish(light).verified)
        except UserError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=go) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert True in outcomes and len(local_hub.repo(REPO).commits) == 2


def test_a_real_model_is_published_verified_and_asked(local_hub, int8):
    """All of it on a real int8 graph: its logits at two budgets, its picture, its recipe, and a question to the end."""
    from zoo.ask import QuestionAnswerer

    done = publish(int8)
    assert done.verified and sum("logits equal" in check for check in done.checks) == 2, done.checks
    there = local_hub.files(REPO)
    assert there["front.png"].startswith(b"\x89PNG") and b"secret-place" not in there["recipe.yaml"]
    entry = catalog.find(REPO, token=TOKEN)
    assert entry.revision == done.commit and entry.metrics["f1"] == 80.0
    assert QuestionAnswerer(entry, threads=1).ask("Who?", "Marie Curie was born in Warsaw.").answers
    with pytest.raises(UserError, match="no public model"):
        catalog.find(REPO)


def test_the_standard_layouts_are_published_told_and_verified(local_hub, int8):
    plain = publishing.preview(int8, REPO, TOKEN)
    shown = publishing.preview(int8, REPO, TOKEN, with_layouts=True)
    added = {path for path, _ in shown.files} - {path for path, _ in plain.files}
    assert added == set(layouts.GRAPHS) and any("The standard layouts add 0." in one for one in shown.notices)
    assert (
        shown.total - plain.total
        == sum(size for path, size in shown.files if path in added)
        + len(shown.card.encode())
        - len(plain.card.encode())
        + dict(shown.files)[layouts.TOKENIZER]
        - dict(plain.files)[layouts.TOKENIZER]
    )
    said: list[str] = []
    done = publish(int8, tell=said.append, with_layouts=True)
    assert done.verified and said[0] == "writing the standard layouts"
    there = local_hub.files(REPO)
    assert set(there) >= added and b"In other programs" in there["README.md"]
    assert there[layouts.ONNX] != there["model.int8.onnx"]
    assert not publish(int8, with_layouts=True).changed, "the same bytes whenever they are written"
    assert publishing.verify(REPO, int8, token=TOKEN).ok
    local_hub.put(REPO, {"README.md": b"# Another"})
    assert "README.md" in publishing.verify(REPO, int8, token=TOKEN).problems[0]
    entry = catalog.find(REPO, token=TOKEN)
    assert entry.engines == catalog.open_folder(int8).engines and entry.front


def test_a_folder_of_sentence_transformers_comes_back_whole(local_hub, tiny_model, tmp_path):
    source = sentence_encoder(tmp_path / "encoder", tiny_model, "cls")
    assert publish(source).verified and "1_Pooling/config.json" in local_hub.files(REPO)
    pulled = catalog.find(REPO, token=TOKEN)
    assert pulled.pooling == catalog.open_folder(source).pooling and pulled.pooling.mode == "cls"
    done = publish(source, with_layouts=True)
    assert done.verified and "config_sentence_transformers.json" in local_hub.files(REPO)


def test_an_encoder_that_was_saved_as_what_it_was_trained_from_is_pulled(local_hub, tiny_model, tmp_path):
    source = sentence_encoder(tmp_path / "encoder", tiny_model)
    config = json.loads((source / "config.json").read_text()) | {"architectures": ["BertForMaskedLM"]}
    files = {path.relative_to(source).as_posix(): path.read_bytes() for path in source.rglob("*") if path.is_file()}
    local_hub.put("org/encoder", {**files, "config.json": json.dumps(config).encode()})
    assert catalog.find("org/encoder").task == "embeddings"


@pytest.mark.parametrize("task", ["qa", "embeddings"])
def test_an_exported_encoder_is_published_pulled_and_asked(local_hub, tiny_model, tmp_path, task):
    """A family that transformers computes: the graph in a folder of its own, and what other programs read of it."""
    checkpoint(tmp_path / "float", "deberta-v2", tiny_model, task)
    folder = tmp_path / "deberta-int8"
    settings = Quantize(approach="dynamic")
    Exported(Pretrained.load(tmp_path / "float"), load_tokenizer(tmp_path / "float"), settings, lambda _: []).store(
        folder
    )
    write_json(folder / "entry.json", {"task": task, "method": "dynamic-int8", "weights_dtype": "int8"})
    entry = catalog.open_folder(folder)
    done = publish(folder, with_layouts=True)
    assert done.verified and any("onnx/model_quantized.onnx: logits equal" in check for check in done.checks)
    there = local_hub.files(REPO)
    assert {layouts.ONNX, layouts.OPENVINO, layouts.WEIGHTS} <= set(there)
    assert there[layouts.ONNX] == (folder / layouts.ONNX).read_bytes(), "it is the standard one already"
    assert (layouts.POOLING in there) == (task == "embeddings")
    pulled = catalog.find(REPO, token=TOKEN)
    assert pulled.engines == entry.engines == ["onnxruntime", "openvino"] and runs_int8(pulled)
    texts = ("Who was born?", "Marie Curie was born in Warsaw.")
    one, other = (open_entry(each, "onnxruntime").ask(*texts) for each in (pulled, entry))
    assert one.answers == other.answers and one.matches == other.matches
    session = load_graph(there[layouts.ONNX], 1)
    assert session.outputs == (
        ("embedding", "last_hidden_state") if task == "embeddings" else ("start_logits", "end_logits")
    )


def test_a_graph_that_gives_vectors_alone_says_what_to_do(local_hub, tiny_model, tmp_path):
    checkpoint(tmp_path / "float", "deberta-v2", tiny_model, "embeddings")
    folder = tmp_path / "deberta-int8"
    settings = Quantize(approach="dynamic")
    Exported(Pretrained.load(tmp_path / "float"), load_tokenizer(tmp_path / "float"), settings, lambda _: []).store(
        folder
    )
    graph = onnx.load(folder / layouts.ONNX)
    del graph.graph.output[1]
    onnx.save(graph, folder / layouts.ONNX)
    write_json(folder / "entry.json", {"task": "embeddings", "weights_dtype": "int8"})
    with pytest.raises(UserError, match="gives vectors alone.*Quantize the model again"):
        publishing.preview(folder, REPO, TOKEN, with_layouts=True)
    assert publish(folder).verified
