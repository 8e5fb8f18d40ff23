"""Every native family with every head: transformers' own numbers, and the same budgets on every engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.zoo.family_kit import CASES, GRAPHS, VARIANTS, batch_of, expected, made
from tests.zoo.model_kit import CONFIGS, arrays, transformers
from zoo.checkpoints import architecture, in_group, theirs
from zoo.engines.onnx import OnnxEngine
from zoo.engines.openvino import OpenVinoEngine
from zoo.errors import UserError
from zoo.families import FAMILIES
from zoo.families.rotary import turns_of
from zoo.files import write_json
from zoo.layers import packed
from zoo.lengths import LengthConfig, macs
from zoo.modeling import LengthAdaptiveModel
from zoo.task_types import TASK_TYPES
from zoo.weights import float_weights, spec_of, write


def test_every_family_is_tested():
    assert {family for family, _ in VARIANTS.values()} == set(FAMILIES)


@pytest.mark.parametrize(("variant", "head"), CASES)
def test_says_what_transformers_says_and_is_saved_as_transformers_has_it(variant, head, tmp_path):
    reference, model = made(variant, head, tmp_path / "a")
    batch = batch_of(model)
    right = expected(reference, head, batch)
    with torch.no_grad():
        torch.testing.assert_close(model(**batch).logits, right, atol=1e-4, rtol=0)
    model.save(tmp_path / "b")
    cls = getattr(transformers, architecture(model.family, TASK_TYPES[head]))
    again, report = cls.from_pretrained(tmp_path / "b", output_loading_info=True)
    assert not report["unexpected_keys"] and not {k for k in report["missing_keys"] if "pooler" not in k}
    torch.testing.assert_close(expected(again.eval(), head, batch), right, atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_macs_are_those_of_transformers_modules(variant, tmp_path):
    """Products of linear layers and of attention, and what norms take, of the very modules that run."""
    reference, model = made(variant, "qa", tmp_path)
    tokens, count = 24, [0]

    def note(module, _args, out):
        count[0] += out.numel() * (module.in_features if isinstance(module, torch.nn.Linear) else 1)

    for module in reference.modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.LayerNorm)):
            module.register_forward_hook(note)
    ids = torch.full((1, tokens), 7)
    with torch.no_grad():
        reference(input_ids=ids, attention_mask=torch.ones_like(ids))
    attention = 3 * 2 * tokens * tokens * 32
    positions = 2 * tokens if model.row.counts_tokens else 0  # as the published figures count RoBERTa's
    assert macs(model.shape, tokens) == count[0] + attention + positions


@pytest.mark.parametrize("variant", FAMILIES)
def test_heads_that_were_cut_out_add_nothing(variant, tmp_path):
    _, model = made(variant, "qa", tmp_path)
    group, batch = model.groups[1], batch_of(model)
    layer = model.blocks[1]
    axes = {id(part): 0 for module in (layer.query, layer.key, layer.value) for part in module.parameters()}
    axes |= {id(layer.project.weight): 1}
    gone, left = torch.arange(16, 24), torch.tensor([*range(16), *range(24, 32)])  # the third head of four
    cut = dict[str, torch.Tensor]()
    with torch.no_grad():
        for name, part in model.named_parameters():  # each once, whichever layers share it
            if (axis := axes.get(id(part))) is not None:
                part.index_fill_(axis, gone, 0)
            cut[name] = part if axis is None else part.index_select(axis, left)
        right = model(**batch).logits
    names = {key: theirs(in_group(key, model.groups), model.family) for key in packed(cut, model.row)}
    save_file({names[key]: value for key, value in packed(cut, model.row).items()}, tmp_path / "model.safetensors")
    write_json(tmp_path / "config.json", {**model.config, "pruned_heads": {str(group): [2]}})
    with torch.no_grad():
        torch.testing.assert_close(LengthAdaptiveModel.load(tmp_path)(**batch).logits, right, atol=1e-5, rtol=0)


def test_attention_of_older_configurations_is_read_as_transformers_reads_it():
    older = {"num_hidden_layers": 7, "global_attn_every_n_layers": 2, "local_attention": 64, "global_rope_theta": 5e4}
    read = transformers.ModernBertConfig(**older)
    turning: Any = read.rope_parameters
    kinds = [turning[kind]["rope_theta"] for kind in read.layer_types or ()]
    assert [turn.theta for turn in turns_of(older)] == kinds == [5e4, 1e4, 5e4, 1e4, 5e4, 1e4, 5e4]
    assert [turn.reach for turn in turns_of(older)] == [0, 32, 0, 32, 0, 32, 0]
    assert turns_of(read.to_dict()) == turns_of(older)
    for change in ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, {"layer_types": ["full_attention"]}):
        with pytest.raises(UserError, match=r"scaled \(yarn\)|not 7 of"):
            turns_of({**older, **change})


@pytest.mark.parametrize(("variant", "head"), GRAPHS)
def test_engines_keep_the_same_tokens_and_say_the_same(variant, head, tmp_path):
    _, model = made(variant, head, tmp_path)
    batch = batch_of(model)
    folder = write(float_weights(model), spec_of(model), tmp_path / "float").parent
    counts = batch["attention_mask"].sum(1).tolist()
    for config in (LengthConfig.full(3), *CONFIGS[:2]):
        lengths = torch.tensor([config.tokens(count) for count in counts])
        with torch.no_grad():
            right = model(**batch, lengths=lengths)
            for row, count in enumerate(counts):  # what an input is batched with does not matter
                alone = {name: value[row : row + 1, :count] for name, value in batch.items()}
                logits = model(**alone, lengths=lengths[row : row + 1]).logits[0]
                together = right.logits[row, :count] if model.head.per_token else right.logits[row]
                torch.testing.assert_close(together, logits, atol=1e-4, rtol=0)
        for engine in (OnnxEngine, OpenVinoEngine):
            out = engine.open(folder, 1).run(arrays(batch), lengths.numpy())
            np.testing.assert_allclose(out.logits, right.logits, atol=1e-4, err_msg=engine.name)
            for got, kept in zip(out.kept, right.kept, strict=True):
                assert (got == kept.numpy()).all()
            alone = {name: value[1:2, :25] for name, value in batch.items()}  # without padding graphs are others
            logits = engine.open(folder, 1).run(arrays(alone), lengths[1:2].numpy()).logits[0]
            together = right.logits[1, :25] if model.head.per_token else right.logits[1]
            np.testing.assert_allclose(logits, together, atol=1e-4, err_msg=engine.name)
