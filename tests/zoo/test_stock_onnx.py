"""Folders as `optimum-cli export onnx` and the Hub's conversions lay them out, and graphs with data beside them."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from tests.zoo.model_kit import transformers
from ui.text import describe_entry
from zoo import catalog, publishing
from zoo.ask import QuestionAnswerer
from zoo.classify import TextClassifier
from zoo.commits import follow
from zoo.engines import open_engine, runs_int8
from zoo.errors import UserError
from zoo.features import load_tokenizer, make_texts, pad
from zoo.files import read_json
from zoo.graph import read
from zoo.lengths import LengthConfig
from zoo.onnx_files import data_files
from zoo.tasks import LOST

ENGINES = ["onnxruntime", "openvino"]
SMALL: dict[str, Any] = dict(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, initializer_range=0.3
)
THREE: dict[str, Any] = {"num_labels": 3}
FIRST, SECOND = "Where was Marie Curie born?", "Marie Curie was born in Warsaw in 1867."


def export(model: Any, path: Path, inputs: tuple[str, ...]) -> None:
    """A graph with the names that optimum gives, made by torch."""
    is_qa = type(model).__name__.endswith("QuestionAnswering")
    outputs = ["start_logits", "end_logits"] if is_qa else ["logits"]

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, *values: torch.Tensor) -> Any:
            out = self.inner(**dict(zip(inputs, values, strict=True)))
            return (out.start_logits, out.end_logits) if is_qa else out.logits

    path.parent.mkdir(parents=True, exist_ok=True)
    axes = {name: {0: "batch", 1: "tokens"} for name in (*inputs, *(outputs if is_qa else []))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter is deprecated
        torch.onnx.export(
            Plain().eval(),
            tuple(torch.ones(1, 16, dtype=torch.int64) for _ in inputs),
            str(path),
            input_names=list(inputs),
            output_names=outputs,
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
        )


def folder_of(kind: str, tiny_model: Path, folder: Path, graph: str = "model.onnx") -> Any:
    """A tiny exported model with its configuration and tokenizer; the model as transformers has it."""
    size = len(load_tokenizer(tiny_model))
    torch.manual_seed(0)
    if kind == "bert-qa":
        model: Any = transformers.BertForQuestionAnswering(transformers.BertConfig(vocab_size=size, **SMALL))
    elif kind == "bert-text":
        model = transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=size, **SMALL, **THREE))
    else:
        sizes: dict[str, Any] = dict(dim=32, n_layers=2, n_heads=4, hidden_dim=64, initializer_range=0.3, **THREE)
        model = transformers.DistilBertForSequenceClassification(
            transformers.DistilBertConfig(vocab_size=size, **sizes)
        )
    model.eval().save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_model / name, folder / name)
    inputs = ("input_ids", "attention_mask") + (("token_type_ids",) if "bert-" in kind and "distil" not in kind else ())
    export(model, folder / graph, inputs)
    return model


@pytest.fixture(scope="module")
def asks(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stock") / "bert-qa"
    return folder, folder_of("bert-qa", tiny_model, folder)


def outside(path: Path, name: str) -> None:
    """Saves a graph with its data in another file."""
    onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, location=name, size_threshold=0)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["bert-text", "distilbert-text"])
def test_a_classifier_gives_transformers_logits(tiny_model, tmp_path, kind, engine):
    model = folder_of(kind, tiny_model, tmp_path / "m")
    entry = catalog.find(str(tmp_path / "m"))
    assert entry.engines == ENGINES and entry.task == "classification" and not runs_int8(entry)
    windows = make_texts(load_tokenizer(tiny_model), ["the lake is deep", "who was the queen of chess and when?"], None)
    batch = pad(windows)
    inputs = {key: torch.from_numpy(value) for key, value in batch.items()}
    if "distil" in kind:
        del inputs["token_type_ids"]
    with torch.no_grad():
        expected = model(**inputs).logits.numpy()
    lengths = np.full((2, 2), batch["input_ids"].shape[1], np.int64)
    found = open_engine(engine, entry, 1).run(batch, lengths)
    np.testing.assert_allclose(found.logits, expected, atol=1e-4)
    with pytest.raises(UserError, match="full length only"):
        open_engine(engine, entry, 1).run(batch, np.full((2, 2), 3, np.int64))
    reply = TextClassifier(entry, engine, 1).classify("the lake is deep")
    assert {label.name for label in reply.labels} == {"LABEL_0", "LABEL_1", "LABEL_2"}


@pytest.mark.parametrize("engine", ENGINES)
def test_questions_are_answered_as_transformers_does(asks, engine):
    folder, model = asks
    entry = catalog.find(str(folder))
    answerer = QuestionAnswerer(entry, engine, 1)
    batch = pad(answerer.prepare(FIRST, SECOND).windows, length=60)
    with torch.no_grad():
        out = model(**{key: torch.from_numpy(value) for key, value in batch.items()})
    logits = answerer.engine.run(batch, np.full((1, 2), 60, np.int64)).logits
    real = batch["attention_mask"].astype(bool)
    np.testing.assert_allclose(logits[..., 0][real], out.start_logits.numpy()[real], atol=1e-4)
    np.testing.assert_allclose(logits[..., 1][real], out.end_logits.numpy()[real], atol=1e-4)
    assert (logits[~real] == LOST).all()
    reply = answerer.ask(FIRST, SECOND)
    assert reply.answers[0].text in SECOND and reply.macs_ratio == 1
    with pytest.raises(UserError, match="full length only"):
        answerer.ask(FIRST, SECOND, LengthConfig((0.5, 0.5)))


def test_the_page_says_why_there_is_no_budget(asks):
    entry = catalog.find(str(asks[0]))
    assert entry.front is None and entry.bytes == (asks[0] / "model.onnx").stat().st_size
    assert "no budget: its ONNX graph was exported without inputs for lengths" in describe_entry(entry)
    assert "no budget: no lengths were searched for it" in describe_entry(catalog.find("minilm-l6-qa"))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_quantized_graph_in_its_own_folder_comes_first(asks, tmp_path, engine):
    folder = shutil.copytree(asks[0], tmp_path / "m")
    (folder / "onnx").mkdir()
    (folder / "model.onnx").rename(folder / "onnx" / "model.onnx")
    quantize_dynamic(
        str(folder / "onnx/model.onnx"), str(folder / "onnx/model_quantized.onnx"), weight_type=QuantType.QInt8
    )
    shutil.copy(folder / "onnx/model.onnx", folder / "onnx/model_fp16.onnx")
    entry = catalog.find(str(folder))
    assert entry.bytes == (folder / "onnx/model_quantized.onnx").stat().st_size
    assert entry.weights_dtype == "int8" and runs_int8(entry)
    rounded = QuestionAnswerer(entry, engine, 1).ask(FIRST, SECOND)
    exact = QuestionAnswerer(catalog.find(str(asks[0])), engine, 1).ask(FIRST, SECOND)
    one, other = ({a.text: a.probability for a in r.answers} for r in (rounded, exact))
    both = set(one) & set(other)
    assert len(both) > 5 and 0 < max(abs(one[text] - other[text]) for text in both) < 0.2


@pytest.mark.parametrize("engine", ENGINES)
def test_data_beside_the_graph_are_read(asks, tmp_path, engine):
    folder = shutil.copytree(asks[0], tmp_path / "m")
    outside(folder / "model.onnx", "model.onnx_data")
    assert (folder / "model.onnx").stat().st_size < (folder / "model.onnx_data").stat().st_size
    entry = catalog.find(str(folder))
    assert entry.bytes == sum((folder / name).stat().st_size for name in ("model.onnx", "model.onnx_data"))
    found = QuestionAnswerer(entry, engine, 1).ask(FIRST, SECOND)
    expected = QuestionAnswerer(catalog.find(str(asks[0])), engine, 1).ask(FIRST, SECOND)
    assert [a.text for a in found.answers] == [a.text for a in expected.answers]


@pytest.mark.parametrize("where", ["../weights.data", "link.data"])
def test_data_elsewhere_are_refused(asks, tmp_path, where):
    folder = shutil.copytree(asks[0], tmp_path / "m")
    outside(folder / "model.onnx", "weights.data")
    (folder / "weights.data").rename(tmp_path / "weights.data")
    if where == "link.data":
        (folder / "link.data").symlink_to(tmp_path / "weights.data")
    model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = where
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="from outside of its folder"):
        catalog.find(str(folder))
    if where.startswith(".."):  # told by the name alone, too, as before the data are pulled off the Hub
        with pytest.raises(UserError, match=r"from outside of its folder \(\.\./weights"):
            data_files(folder / "model.onnx")


def test_data_that_are_not_there_are_named(asks, tmp_path):
    folder = shutil.copytree(asks[0], tmp_path / "m")
    outside(folder / "model.onnx", "weights.data")
    os.truncate(folder / "weights.data", 100)
    with pytest.raises(UserError, match=r"weights.data .*is cut short"):
        open_engine("onnxruntime", catalog.find(str(folder)), 1)
    (folder / "weights.data").unlink()
    with pytest.raises(UserError, match=r"lacks weights.data"):
        catalog.find(str(folder))


def test_other_inputs_are_refused(asks, tmp_path):
    folder = shutil.copytree(asks[0], tmp_path / "m")
    model = onnx.load(str(folder / "model.onnx"))
    model.graph.input.append(onnx.helper.make_tensor_value_info("pixel_values", 1, [1]))
    onnx.save(model, str(folder / "model.onnx"))
    with pytest.raises(UserError, match=r"wants pixel_values"):
        open_engine("onnxruntime", catalog.find(str(folder)), 1)


def test_our_own_graph_reads_data_beside_it(int8, tmp_path):
    before, spec = read(int8 / catalog.GRAPH)
    outside(int8 / catalog.GRAPH, "w.data")
    after, again = read(int8 / catalog.GRAPH)
    assert again == spec and set(after) == set(before)
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)
    paths = {path for path, _ in publishing.preview(int8, "writer/tiny", None).files}
    assert {"w.data", catalog.GRAPH} <= paths


@pytest.mark.filterwarnings("ignore:Use .content=:DeprecationWarning")
@pytest.mark.parametrize("within", ["", "onnx/"])
def test_it_is_published_with_its_data_and_pulled_again(local_hub, asks, tmp_path, within):
    folder = shutil.copytree(asks[0], tmp_path / "m")
    if within:
        (folder / "onnx").mkdir()
        (folder / "model.onnx").rename(folder / "onnx/model.onnx")
    outside(folder / within / "model.onnx", "model.onnx_data")
    preview = publishing.preview(folder, "writer/stock", None)
    assert {f"{within}model.onnx", f"{within}model.onnx_data"} <= {path for path, _ in preview.files}
    assert not any("Not published" in notice for notice in preview.notices)
    steps = publishing.publish(folder, "writer/stock", "hf_writer", private=False, collection=None)
    done = follow(steps, lambda _: None)
    assert done.verified, done.checks
    local_hub.put("writer/stock", {"onnx/model_fp16.onnx": b"another", "onnx/other.data": b"x"})
    entry = catalog.find("writer/stock")
    assert entry.engines == ENGINES and not (entry.folder / "onnx/model_fp16.onnx").exists()
    found = QuestionAnswerer(entry, "onnxruntime", 1).ask(FIRST, SECOND)
    expected = QuestionAnswerer(catalog.find(str(asks[0])), "onnxruntime", 1).ask(FIRST, SECOND)
    assert [a.text for a in found.answers] == [a.text for a in expected.answers]
    assert read_json(entry.folder / "config.json")["model_type"] == "bert"


def test_training_from_it_is_refused(asks):
    from zoo.modeling import LengthAdaptiveModel

    with pytest.raises(UserError, match=r"has no model.safetensors"):
        LengthAdaptiveModel.load(asks[0])
