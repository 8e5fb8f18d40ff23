"""Asking a tiny model: the whole way from text to answers, on every engine."""

from __future__ import annotations

import shutil

import numpy as np
import openvino
import pytest
import torch
from tokenizers import Tokenizer

from compress.int8.rounding import integer_weights
from zoo import catalog
from zoo.ask import QuestionAnswerer, predict
from zoo.engines import base, engines_here, names, open_engine
from zoo.engines.base import GRAPH, TENSORS
from zoo.engines.onnx import OnnxEngine
from zoo.engines.openvino import OpenVinoBf16Engine
from zoo.engines.torch import Bf16Engine
from zoo.errors import UserError
from zoo.files import write_json
from zoo.lengths import Front, LengthConfig, Point
from zoo.modeling import LengthAdaptiveModel
from zoo.weights import float_weights, linears, spec_of, write

QUESTION, CONTEXT = "Which river leaves the lake?", "The Angara is the only river that leaves the lake. " * 3
HALF = LengthConfig((0.7, 0.5))

OURS = names(GRAPH, TENSORS)  # the engines of what this program computes itself


@pytest.fixture(scope="module")
def entry(tiny_model, tmp_path_factory):
    """An int8 entry with its full-precision sibling beside it."""
    root = tmp_path_factory.mktemp("zoo")
    shutil.copytree(tiny_model, root / "tiny")
    shutil.copytree(tiny_model, root / "tiny-int8", ignore=shutil.ignore_patterns("*.safetensors"))
    model = LengthAdaptiveModel.load(tiny_model)
    weights = integer_weights(float_weights(model), linears(model), None, reduce_range=True)
    write(weights, spec_of(model), root / "tiny-int8")
    Front(Point(LengthConfig.full(2), 1.0, {"f1": 80, "em": 70}), [Point(HALF, 0.6, {"f1": 79, "em": 69})]).save(
        root / "tiny-int8" / "front.json"
    )
    write_json(root / "tiny-int8" / "entry.json", {"full_precision": "tiny", "method": "length-adaptive-int8"})
    return catalog.find(str(root / "tiny-int8"))


@pytest.fixture(scope="module")
def answerer(any_engine, entry):
    return QuestionAnswerer(entry, any_engine, threads=1)


def test_a_reply_is_whole(answerer):
    reply = answerer.ask(QUESTION, CONTEXT, HALF)
    best = reply.answers[0]
    assert reply.texts[0][best.start : best.end] == best.text
    assert 0 < best.probability <= 1
    assert len(reply.answers) <= 20
    (window,) = reply.kept
    count = reply.tokens[0]
    assert window.kept.shape == (2, count) and len(window.tokens) == len(window.spans) == count
    assert window.kept.sum(1).tolist() == list(HALF.tokens(count))
    assert reply.macs_ratio < 1 and not reply.no_answer


def test_full_length_keeps_everything(answerer):
    reply = answerer.ask(QUESTION, CONTEXT)
    assert reply.kept[0].kept.all()
    assert reply.macs_ratio == 1


def test_engines_agree(entry, multiplies):
    multiplies(True)
    replies = [QuestionAnswerer(entry, name, threads=1).ask(QUESTION, CONTEXT) for name in OURS]
    scores = np.array([reply.answers[0].score for reply in replies])
    assert np.ptp(scores) < 0.2 * abs(scores).max()


def test_mixed_precision_is_offered_where_the_cpu_has_it(entry, multiplies):
    multiplies(True)
    assert engines_here(entry) == [*entry.engines, OpenVinoBf16Engine.name, Bf16Engine.name]
    assert set(engines_here(entry)) == set(OURS)
    exact, mixed = (QuestionAnswerer(entry, name, threads=1) for name in ("torch", Bf16Engine.name))
    one, other = (answerer.ask(QUESTION, CONTEXT).answers[0].score for answerer in (exact, mixed))
    assert one != other and other == pytest.approx(one, rel=0.05)
    parts = open_engine(Bf16Engine.name, entry, 1).model.modules()  # type: ignore[attr-defined]
    kinds = {type(part): part.weight.dtype for part in parts if hasattr(part, "weight")}
    assert kinds[torch.nn.Linear] is torch.bfloat16 and kinds[torch.nn.LayerNorm] is torch.float32
    multiplies(False)
    assert engines_here(entry) == entry.engines
    for name in (Bf16Engine.name, OpenVinoBf16Engine.name):
        with pytest.raises(UserError, match="does not multiply bf16"):
            open_engine(name, entry)


def test_sessions_of_a_graph_are_as_many_as_are_kept(entry, monkeypatch):
    monkeypatch.setattr(base, "SESSIONS", 2)
    engine = OnnxEngine.open(entry.folder, 1)
    drops = engine.spec["drop_layers"]
    one, other, third = ((), False), ((drops[0],), False), ((), True)
    first = engine.session(*one)
    engine.session(*other)
    assert engine.session(*one) is first
    engine.session(*third)
    assert list(engine.sessions) == [one, third] and engine.session(*one) is first


def test_openvino_is_told_what_to_compute_in_and_how_many_kernels_to_keep(entry, multiplies, monkeypatch):
    multiplies(True)
    told = []
    real = openvino.Core.compile_model

    def compile_model(core, model, device, options):
        told.append(options)
        return real(core, model, device, options)

    monkeypatch.setattr(openvino.Core, "compile_model", compile_model)
    for name in ("openvino", "openvino-bf16"):
        assert QuestionAnswerer(entry, name, threads=1).ask(QUESTION, CONTEXT).answers[0].text
    assert [each["INFERENCE_PRECISION_HINT"] for each in told] == ["f32", "bf16"]
    assert {each["CPU_RUNTIME_CACHE_CAPACITY"] for each in told} == {64}


def test_many_questions_are_answered_as_one_by_one(entry):
    examples = catalog.examples()[:12]
    engine = open_engine("torch", entry, threads=1)
    answerer = QuestionAnswerer(entry, "torch", threads=1)
    told = []
    together = predict(
        engine,
        answerer.tokenizer,
        [(e["question"], e["context"]) for e in examples],
        HALF,
        progress=lambda done, of: told.append((done, of)),
    )
    alone = [answerer.ask(e["question"], e["context"], HALF).answers[0].text for e in examples]
    assert [p.text for p in together] == alone
    assert told[-1][0] == told[-1][1] >= 12


def test_a_runner_runs_the_engine_alone(answerer, monkeypatch):
    runs = []
    inner = answerer.engine.run
    monkeypatch.setattr(answerer.engine, "run", lambda *args: runs.append(args[1].tolist()) or inner(*args))
    run = answerer.runner(QUESTION, CONTEXT, HALF)
    assert runs == []
    run()
    assert runs == [[list(HALF.tokens(answerer.runner(QUESTION, CONTEXT).tokens[0]))]]


@pytest.mark.parametrize(
    ("question", "context"), [("", CONTEXT), ("  \n", CONTEXT), (QUESTION, ""), (QUESTION, "\x00\t ")]
)
def test_nothing_to_ask_or_to_read(answerer, question, context):
    with pytest.raises(UserError):
        answerer.ask(question, context)


@pytest.mark.parametrize("text", ["👩‍🚀🚀 " * 30, "שלום עולם " * 30, "a\x07b\x1b[31m c " * 20, "é" * 500, "x" * 25_000])
def test_odd_text_is_read_without_complaint(answerer, text):
    reply = answerer.ask("What is it?", text)
    assert all(reply.texts[0][a.start : a.end] == a.text for a in reply.answers)
    assert any("20,000" in notice for notice in reply.notices) == (len(text) > 20_000)


def test_a_configuration_for_another_model_is_refused(answerer):
    with pytest.raises(UserError, match="2 layers"):
        answerer.ask(QUESTION, CONTEXT, LengthConfig.full(6))


def test_unknown_or_missing_engines_are_refused(entry, tiny_model):
    with pytest.raises(UserError, match="no engine"):
        open_engine("tensorrt", entry)
    with pytest.raises(UserError, match="cannot run on onnxruntime"):
        open_engine("onnxruntime", catalog.find(str(tiny_model)))


def test_a_question_that_is_cut_is_told(tiny_model):
    asked = QuestionAnswerer(catalog.find(str(tiny_model)), "torch", 1)
    long = "river " * 80
    tokens = len(Tokenizer.from_file(str(tiny_model / "tokenizer.json")).encode(long, add_special_tokens=False).ids)
    assert asked.ask(long, CONTEXT).notices == [
        f"The question is long: only its first 64 of {tokens} tokens were read."
    ]
    assert not any("question" in notice for notice in asked.ask(QUESTION, CONTEXT).notices)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_batches_share_a_session_where_scorers_rank(name):
    """Of which layers drop tokens each batch has a set of its own, and every new one would take a tenth of a second."""
    engine = open_engine(name, catalog.find("minilm-l6-qa-length-adaptive-int8"), 1)
    assert isinstance(engine, base.GraphEngine)
    ids = np.random.default_rng(0).integers(1000, 2000, (3, 20))
    batch = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    for rows in ([20, 15, 15, 9, 9, 9], [18, 18, 12, 12, 6, 6], [20, 20, 20, 8, 8, 8]):
        lengths = np.array([rows] * 3)
        together = engine.run(batch, lengths)
        for i in range(3):
            alone = engine.run({key: value[i : i + 1] for key, value in batch.items()}, lengths[:1])
            assert np.abs(together.logits[i] - alone.logits[0]).max() < 0.05
            assert all((kept[i] == one[0]).all() for kept, one in zip(together.kept, alone.kept, strict=True))
    used = {active for active, _ in engine.sessions}
    assert used == {(1, 3), (0, 2, 4), (3,), (1, 2, 3, 4), (0, 1, 2, 3, 4), (3, 4)}
