"""On a tiny random BERT: every contender computes what transformers computes."""

from __future__ import annotations

import numpy as np
import pytest

from bench import contenders
from zoo import catalog, torchvision_fix
from zoo.features import load_tokenizer

torchvision_fix.mend()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForQuestionAnswering, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    words = sorted({w.lower() for e in catalog.examples() for w in (e["context"] + " " + e["question"]).split()})
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
    )
    BertForQuestionAnswering(config).half().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def batch(checkpoint):
    from bench.latency import passage

    return passage(load_tokenizer(checkpoint), 48)


@pytest.fixture(scope="module")
def expected(checkpoint, batch):
    out = contenders.pretrained(checkpoint, 1)(batch)()
    return np.stack([out.start_logits.numpy(), out.end_logits.numpy()])  # type: ignore[attr-defined]


def agreement(found, expected) -> float:
    return float(np.corrcoef(np.stack(list(found)).ravel(), expected.ravel())[0, 1])


def test_passages_fill_exactly_the_tokens_asked_for(checkpoint):
    from bench.latency import passage

    tokenizer = load_tokenizer(checkpoint)
    for tokens in (170, 384):
        batch = passage(tokenizer, tokens)
        assert all(batch[name].shape == (1, tokens) for name in contenders.INPUTS)
        assert batch["attention_mask"].all()


def test_pretrained_is_float32(expected):
    assert expected.dtype == np.float32 and expected.shape == (2, 1, 48)


@pytest.mark.parametrize("narrow", [False, True])
def test_onnxruntime_int8_agrees_and_is_made_once(checkpoint, batch, expected, tmp_path, narrow, monkeypatch):
    run = contenders.onnxruntime_int8(checkpoint, tmp_path, 1, narrow)(batch)
    assert agreement(run(), expected) > 0.97
    monkeypatch.setattr(contenders, "_export", lambda *_: pytest.fail("made a second time"))
    again = contenders.onnxruntime_int8(checkpoint, tmp_path, 1, narrow)(batch)
    assert agreement(again(), expected) > 0.97
    (path,) = (p for p in tmp_path.rglob("*") if p.is_file())
    assert path.name == ("dynamic-7bit.onnx" if narrow else "dynamic.onnx")


def test_onnxruntime_int8_is_fused_and_int8(checkpoint, batch, tmp_path):
    import onnx

    contenders.onnxruntime_int8(checkpoint, tmp_path, 1, False)
    (path,) = (p for p in tmp_path.rglob("*.onnx"))
    kinds = [node.op_type for node in onnx.load(str(path)).graph.node]
    assert kinds.count("QAttention") == 2
    assert "MatMulInteger" in kinds and "MatMul" not in kinds


def test_openvino_int8_agrees_and_is_quantized(checkpoint, batch, expected, tmp_path):
    import onnx

    from bench.latency import calibration

    samples = calibration(load_tokenizer(checkpoint))[:4]
    result = contenders.openvino_int8(checkpoint, tmp_path, 1, True, samples)(batch)()
    found = [result["start_logits"], result["end_logits"]]  # type: ignore[index]
    assert agreement(found, expected) > 0.97
    (path,) = (p for p in tmp_path.rglob("*.onnx"))
    model = onnx.load(str(path))
    assert any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    assert sum(tensor.data_type == onnx.TensorProto.INT8 for tensor in model.graph.initializer) >= 12


def test_products_alone_are_those_of_the_layers(checkpoint, batch, monkeypatch):
    import torch

    asked = []
    real = torch.ops.onednn.qlinear_pointwise

    def watched(x, *rest):
        out = real(x, *rest)
        asked.append((tuple(x.shape), out.shape[-1], out.dtype))
        return out

    monkeypatch.setattr(torch.ops.onednn, "qlinear_pointwise", watched)
    contenders.integer_products(checkpoint, 1)(batch)()
    layer = [((48, 32), 96), ((48, 32), 32), ((48, 32), 64), ((48, 64), 32)]
    assert asked == [(*shapes, torch.uint8) for shapes in layer * 2]


def test_bert_base_has_the_shape_of_bert_base(monkeypatch, batch):
    from transformers import BertForQuestionAnswering

    seen = {}

    def build(config, attn_implementation):
        seen.update(layers=config.num_hidden_layers, hidden=config.hidden_size, attention=attn_implementation)
        config.num_hidden_layers, config.vocab_size = 1, 100_000
        return BertForQuestionAnswering(config)

    monkeypatch.setattr(BertForQuestionAnswering, "_from_config", build)
    out = contenders.bert_base(1)(batch)()
    assert seen == {"layers": 12, "hidden": 768, "attention": "sdpa"}
    assert out.start_logits.shape == (1, 48)  # type: ignore[attr-defined]
