from __future__ import annotations

import pytest
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from hypothesis import given
from hypothesis import strategies as st

from zoo import safety
from zoo.errors import UserError
from zoo.files import write_json


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"x")
    write_json(folder / "config.json", {})
    return folder


def test_a_plain_folder_passes(folder):
    (folder / "pytorch_model.bin").write_bytes(b"ignored")
    assert safety.check_folder(str(folder)) == folder


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.PT", "weights.pkl", "a.ckpt"])
def test_pickles_alone_are_refused_with_the_reason(folder, name):
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(UserError, match=f"pickle.*{name}|{name}.*run code"):
        safety.check_folder(folder)


def test_no_weights(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no weights"):
        safety.check_folder(folder)


def test_no_folder(tmp_path):
    with pytest.raises(UserError, match="no folder"):
        safety.check_folder(tmp_path / "absent")


def test_links_must_stay_inside(folder, tmp_path):
    outside = tmp_path / "secret.json"
    write_json(outside, {})
    (folder / "tokenizer.json").symlink_to(outside)
    with pytest.raises(UserError, match="link"):
        safety.check_folder(folder)
    assert safety.check_folder(folder, root=tmp_path) == folder


def test_a_snapshot_s_links_reach_the_blobs_of_its_repository_alone(folder, tmp_path):
    repo = tmp_path / "models--ann--one"
    (repo / "snapshots").mkdir(parents=True)
    (repo / "blobs").mkdir()
    snapshot = folder.rename(repo / "snapshots" / "0123")
    (snapshot / "model.safetensors").rename(repo / "blobs" / "abc")
    (snapshot / "model.safetensors").symlink_to("../../blobs/abc")
    assert safety.check_folder(snapshot) == snapshot
    write_json(tmp_path / "secret.json", {})
    (snapshot / "tokenizer.json").symlink_to("../../../secret.json")
    with pytest.raises(UserError, match=r"tokenizer.json .* is a link to a file outside"):
        safety.check_folder(snapshot)


def test_a_broken_link_is_named(folder):
    (folder / "tokenizer.json").symlink_to(folder / "absent")
    with pytest.raises(UserError, match="tokenizer.json"):
        safety.check_folder(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_of_its_own_is_refused(folder, name):
    write_json(folder / name, {"auto_map": {"AutoModel": "evil.Model"}})
    with pytest.raises(UserError, match="auto_map"):
        safety.check_folder(folder)


def test_too_large(folder, monkeypatch):
    monkeypatch.setattr(safety, "MAX_BYTES", 1)
    with pytest.raises(UserError, match="over the limit"):
        safety.check_folder(folder)


def test_too_many_files(folder, monkeypatch):
    monkeypatch.setattr(safety, "MAX_FILES", 1)
    with pytest.raises(UserError, match="over the limit"):
        safety.check_folder(folder)


def onnx_file(path, location: str, where: str) -> None:
    from onnx import SparseTensorProto, TensorProto, helper, save

    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    constant = helper.make_node("Constant", [], ["y"], value=tensor)
    functions = []
    if where == "sparse":
        graph = helper.make_graph([], "g", [], [])
        graph.sparse_initializer.append(SparseTensorProto(values=tensor, dims=[1]))
    elif where == "function":
        graph = helper.make_graph([], "g", [], [])
        functions = [helper.make_function("own", "f", [], ["y"], [constant], [helper.make_opsetid("", 20)])]
    elif where == "nested":
        body = helper.make_graph([], "body", [], [], [tensor])
        graph = helper.make_graph([helper.make_node("If", ["c"], ["y"], then_branch=body)], "g", [], [])
    else:
        graph = helper.make_graph([constant], "g", [], [])
    save(helper.make_model(graph, functions=functions), str(path))


@pytest.mark.parametrize("where", ["node", "nested", "sparse", "function"])
@pytest.mark.parametrize(("location", "fine"), [("weights.bin", True), ("../secret", False), ("/etc/hosts", False)])
def test_onnx_data_stays_in_the_folder(folder, location, fine, where):
    onnx_file(folder / "model.onnx", location, where)
    if fine:
        with pytest.raises(UserError, match="lacks weights.bin"):
            safety.check_folder(folder)
        (folder / location).write_bytes(bytes(4))
        safety.check_folder(folder)
    else:
        with pytest.raises(UserError, match="outside"):
            safety.check_folder(folder)


def test_broken_onnx(folder):
    (folder / "model.onnx").write_bytes(b"\xff not onnx")
    with pytest.raises(UserError, match="no ONNX file"):
        safety.check_folder(folder)


@pytest.mark.parametrize("repo_id", ["owner/name", " name "])
def test_repo_ids(repo_id):
    assert safety.check_repo_id(repo_id) == repo_id.strip()


@given(st.text("ab1._-/é g", max_size=12) | st.sampled_from(["a.git", "a/b.git", "a" * 96, "a" * 97, "a/" + "b" * 97]))
def test_names_are_those_that_the_hub_knows(name):
    try:
        validate_repo_id(name.strip())
        known = True
    except HFValidationError:
        known = False
    try:
        ours = safety.check_repo_id(name) == name.strip()
    except UserError:
        ours = False
    assert ours is known, name


@pytest.mark.parametrize("repo_id", ["a/b/c", "../x", "a b", "x--y/z", "", "a" * 200, "💥"])
def test_wrong_repo_ids(repo_id):
    with pytest.raises(UserError, match="no model id"):
        safety.check_repo_id(repo_id)
