"""What other programs open: the standard layouts beside this program's own graph, opened by those programs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino
import pytest

from compress.int8.exported import Exported
from compress.int8.rounding import integer_weights
from compress.recipe.groups import Quantize
from tests.compress.embedding_kit import sentence_encoder
from tests.zoo import family_kit
from tests.zoo.encoder_kit import checkpoint
from tests.zoo.layout_kit import MEASURED, SENTENCES, batch_of, float_folder, full_lengths, int8_entry
from zoo import catalog, layouts
from zoo.card import body, render
from zoo.embed import TextEmbedder
from zoo.engines import open_engine
from zoo.engines.base import logits_of
from zoo.engines.onnx import load
from zoo.engines.openvino import properties
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.files import read_json, sha256, write_json
from zoo.graph import build
from zoo.graph_standard import STATES, build_standard
from zoo.pooling import prompts_in, stated_in
from zoo.pretrained import Pretrained
from zoo.task_types import TASK_TYPES
from zoo.weights import float_weights, linears, spec_of

OUTPUTS = {task: list(kind.outputs) for task, kind in TASK_TYPES.items()} | {"embeddings": [STATES]}


@pytest.fixture(scope="module")
def entries(tiny_model, tmp_path_factory):
    """An int8 entry of a task, and the folder with its layouts; each made once."""
    made: dict[str, tuple[catalog.Entry, Path]] = {}

    def of(task: str) -> tuple[catalog.Entry, Path]:
        if task not in made:
            root = tmp_path_factory.mktemp(task)
            entry = int8_entry(float_folder(task, tiny_model, root / "tiny"), root / "tiny-int8", task=task)
            layouts.write(entry, root / "out")
            made[task] = entry, root / "out"
        return made[task]

    return of


def pooled(states: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mean of the states of real tokens, of length 1."""
    mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


@pytest.mark.parametrize("task", MEASURED)
def test_each_library_opens_its_layout_and_says_what_this_program_says(entries, task):
    entry, out = entries(task)
    batch = batch_of(entry)
    session = onnxruntime.InferenceSession(str(out / layouts.ONNX), providers=["CPUExecutionProvider"])
    compiled = openvino.Core().compile_model(str(out / layouts.OPENVINO), "CPU", properties(1))
    assert [one.name for one in session.get_inputs()] == ["input_ids", "attention_mask", "token_type_ids"]
    assert [port.get_any_name() for port in compiled.inputs] == ["input_ids", "attention_mask", "token_type_ids"]
    assert [one.name for one in session.get_outputs()] == OUTPUTS[task]
    given = {
        "onnxruntime": session.run(None, dict(batch)),
        "openvino": [compiled(batch)[name] for name in OUTPUTS[task]],
    }
    for name, parts in given.items():
        engine = open_engine(name, entry, 1)
        expected = engine.run(batch, full_lengths(batch, engine.layers)).logits
        logits = pooled(parts[0], batch["attention_mask"]) if task == "embeddings" else logits_of(list(parts))
        np.testing.assert_allclose(logits, expected, atol=2e-3)
        assert expected.std() > 0.01, "texts that all look alike would compare nothing"


@pytest.mark.parametrize("variant", ["roberta", "mpnet", "albert-groups", "modernbert", "electra"])
def test_every_family_has_the_inputs_that_it_reads_and_the_same_integers(variant, tmp_path):
    _, model = family_kit.made(variant, "qa", tmp_path)
    weights = integer_weights(float_weights(model), linears(model), None, reduce_range=True)
    batch = {name: value.numpy() for name, value in family_kit.batch_of(model).items()}
    batch["token_type_ids"] = np.zeros_like(batch["input_ids"])
    graph = build_standard(weights, spec_of(model))
    types = ["token_type_ids"] if "types.w" in weights else []
    assert [part.name for part in graph.graph.input] == ["input_ids", "attention_mask", *types]
    own = load(build(weights, spec_of(model)).SerializeToString(), 1)
    lengths = full_lengths(batch, model.shape.layers)
    expected = own.run({name: value for name, value in {**batch, "lengths": lengths}.items() if name in own.inputs})
    session = load(graph.SerializeToString(), 1)
    given = session.run({name: value for name, value in batch.items() if name in session.inputs})
    for one, other in zip(given, expected[:2], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    integers = {part.name for part in graph.graph.initializer if part.data_type == 3}
    assert integers >= {f"layers.0.{name}.q" for name in ("qkv", "project", "expand", "contract")}


def test_the_bytes_are_the_same_whenever_they_are_written(entries, tmp_path):
    entry, out = entries("classification")
    names = layouts.write(entry, tmp_path)
    assert names == layouts.planned(entry) == list(layouts.GRAPHS) + [layouts.TOKENIZER]
    assert [sha256(tmp_path / name) for name in names] == [sha256(out / name) for name in names]
    kept = read_json(entry.folder / layouts.TOKENIZER)
    assert kept["tokenizer_class"] == layouts.NEW_CLASS, "which the libraries of transformers 4 do not know"
    assert read_json(out / layouts.TOKENIZER) == {**kept, "tokenizer_class": layouts.OLD_CLASS}


def test_what_they_add_is_told_before(entries):
    entry, out = entries("qa")
    real = sum((out / name).stat().st_size for name in layouts.planned(entry) if name.endswith((".onnx", ".bin")))
    assert layouts.added(entry) == 2 * entry.bytes and 0.5 < real / layouts.added(entry) < 1.5


@pytest.mark.parametrize("mode", ["mean", "cls"])
def test_the_folder_of_sentence_transformers_says_what_the_entry_computes(tiny_model, tmp_path, mode):
    source = sentence_encoder(tmp_path / "float", tiny_model, mode)
    entry = int8_entry(source, tmp_path / "int8", task="embeddings")
    layouts.write(entry, tmp_path / "out")
    assert stated_in(tmp_path / "out") == stated_in(source) == {"mode": mode, "normalize": True, "max_length": 128}
    assert read_json(tmp_path / "out" / layouts.POOLING)["word_embedding_dimension"] == 32
    floats = catalog.open_folder(source)
    assert layouts.planned(floats) == [*layouts.SENTENCES, layouts.TOKENIZER] and layouts.added(floats) == 0


def test_what_it_says_of_prompts_is_kept_and_told(tiny_model, tmp_path):
    source, name = sentence_encoder(tmp_path / "float", tiny_model, "cls"), "config_sentence_transformers.json"
    said = {
        "prompts": {"query": "Find this: ", "document": ""},
        "default_prompt_name": None,
        "similarity_fn_name": "dot",
    }
    write_json(source / name, {"prompts": {"query": ["x"]}, "default_prompt_name": ["query"]})
    assert prompts_in(source) == {}, "what is no text is none"
    write_json(source / name, said)
    entry = int8_entry(source, tmp_path / "int8", task="embeddings")
    layouts.write(entry, tmp_path / "out")
    assert read_json(tmp_path / "out" / name) == {**said, "prompts": {"query": "Find this: "}}
    reply = TextEmbedder(entry, "onnxruntime", 1).ask("Who?", "Nobody.")
    assert any("which you write yourself: “Find this: ” (query)." in notice for notice in reply.notices)


OTHERS = """
import json, sys
import numpy as np
from optimum import intel, onnxruntime
from sentence_transformers import CrossEncoder, SentenceTransformer

job = json.load(sys.stdin)
for task, ending in job["tasks"].items():
    folder = job["root"] + "/" + task
    batch = dict(np.load(folder + "/batch.npz"))
    for cls, where, name in (("ORTModel", "onnx", job["onnx"]), ("OVModel", "openvino", job["openvino"])):
        library = onnxruntime if where == "onnx" else intel
        exact = {"ov_config": {"INFERENCE_PRECISION_HINT": "f32"}} if where == "openvino" else {}
        model = getattr(library, cls + ending).from_pretrained(folder, subfolder=where, file_name=name, **exact)
        said = model(**batch)
        options = {"backend": where, "model_kwargs": {"file_name": name, **exact}}
        more = {}
        if task == "embeddings":
            model = SentenceTransformer(folder, **options)
            more = {"vectors": model.encode(job["sentences"]), "most": model.max_seq_length}
        if task == "ranking":
            first, *rest = job["sentences"]
            more = {"scores": CrossEncoder(folder, **options).predict([(first, other) for other in rest])}
        np.savez(f"{folder}/{where}.npz", **{key: np.asarray(said[key]) for key in said}, **more)
"""  # in a Python of its own: these libraries want other versions of transformers than this program


def python_of_others() -> str:
    """A Python that has optimum, optimum-intel and sentence-transformers."""
    if named := os.environ.get("BUDGET_ZOO_OTHER_PYTHON"):
        return named
    if all(find_spec(name) for name in ("optimum", "sentence_transformers")):
        return sys.executable
    pytest.skip(
        "optimum-onnx, optimum-intel and sentence-transformers are not installed: BUDGET_ZOO_OTHER_PYTHON names a "
        "Python that has them"
    )


@pytest.mark.timeout(600)
def test_optimum_and_sentence_transformers_open_them(entries, tmp_path):
    python, tasks = python_of_others(), {}
    for task in MEASURED:
        entry, out = entries(task)
        shutil.copytree(entry.folder, tmp_path / task)
        shutil.copytree(out, tmp_path / task, dirs_exist_ok=True)
        batch: Any = batch_of(entry)
        np.savez(tmp_path / task / "batch.npz", **batch)
        tasks[task] = TASK_TYPES[task].ending.replace("Model", "ForFeatureExtraction")
    names = {"onnx": layouts.ONNX.rpartition("/")[2], "openvino": layouts.OPENVINO.rpartition("/")[2]}
    job = {"root": str(tmp_path), "tasks": tasks, "sentences": SENTENCES, **names}
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([python, "-c", OTHERS], input=json.dumps(job), env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for task in MEASURED:
        entry, _ = entries(task)
        batch = batch_of(entry)
        real = batch["attention_mask"].astype(bool)
        for where, engine in (("onnx", "onnxruntime"), ("openvino", "openvino")):
            said = dict(np.load(tmp_path / task / f"{where}.npz"))
            opened = open_engine(engine, entry, 1)
            expected = opened.run(batch, full_lengths(batch, opened.layers)).logits
            atol = {"onnx": 1e-4, "openvino": 2e-3}[where]
            if task == "embeddings":
                assert int(said["most"]) == 128
                np.testing.assert_allclose(said["vectors"], expected, atol=atol)
                continue
            logits = logits_of([said[name] for name in OUTPUTS[task]])
            keep = real if logits.ndim == 3 else slice(None)
            np.testing.assert_allclose(logits[keep], expected[keep], atol=atol)
            assert task != "ranking" or len(said["scores"]) == len(SENTENCES) - 1


def test_what_has_no_other_layout_is_refused_in_a_sentence(entries, tiny_model, tmp_path):
    entry, _ = entries("qa")
    with pytest.raises(UserError, match="is not in int8: other programs open it as it is"):
        layouts.write(catalog.open_folder(tiny_model), tmp_path)
    (tmp_path / "inc").mkdir()
    shutil.copy(entry.folder / "config.json", tmp_path / "inc")
    (tmp_path / "inc" / "model.inc.safetensors").write_bytes(b"integers")
    integers = catalog.look_at(tmp_path / "inc", "mine")
    with pytest.raises(UserError, match="mine holds integers of neural-compressor"):
        layouts.planned(integers)
    assert layouts.added(integers) == 0


def test_the_card_says_how_other_programs_open_what_was_added(entries):
    entry, _ = entries("embeddings")
    card = render(entry, "me/it", added=layouts.planned(entry))
    assert 'SentenceTransformer("me/it", backend="openvino", model_kwargs={"file_name": "openvino_model_qint8' in card
    assert '{ pooling: "mean", normalize: true }' in card and "- transformers.js\n- sentence-transformers" in card
    code = body(card).split("sentence-transformers:\n\n```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    alone = render(entry, "me/it")
    assert "In other programs" not in alone and "transformers.js" not in alone
    asked, _ = entries("qa")
    told = render(asked, "me/it", added=layouts.planned(asked))
    assert 'ORTModelForQuestionAnswering.from_pretrained("me/it", subfolder="onnx", file_name="model_quan' in told
    assert 'pipeline("question-answering", "me/it", { dtype: "q8" })' in told and "sentence-transformers" not in told


def test_what_openvino_computes_wrongly_is_not_written_for_it(tiny_model, tmp_path):
    """FNet has a Fourier transform; and a graph of another program has its own name, so the usual one is added."""
    checkpoint(tmp_path / "fnet", "fnet", tiny_model, "classification")
    model, tokenizer = Pretrained.load(tmp_path / "fnet"), load_tokenizer(tmp_path / "fnet")
    Exported(model, tokenizer, Quantize(approach="dynamic"), lambda _: []).store(tmp_path / "int8")
    (tmp_path / "int8" / layouts.ONNX).rename(tmp_path / "int8" / "model_quantized.onnx")
    entry = catalog.open_folder(tmp_path / "int8")
    assert entry.engines == ["onnxruntime"]
    assert layouts.write(entry, tmp_path / "out") == [layouts.ONNX, layouts.TOKENIZER]
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / layouts.ONNX), providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_outputs()] == ["logits"]
    assert "OVModel" not in layouts.describe(entry, "me/it", [layouts.ONNX])
