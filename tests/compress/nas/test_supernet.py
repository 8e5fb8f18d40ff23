"""The supernet: sub-networks are leading slices, what is cut out computes the same, and order changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from compress.learn.masked_lm import MaskedLanguageModel
from compress.learn.shards import make_shards
from compress.nas.extract import extract
from compress.nas.ordering import arrange, importance, reorder
from compress.nas.ordering import run as order
from compress.nas.space import Arch, Space
from compress.nas.supernet import SuperNet, cut
from compress.recipe.nas import NasRecipe
from compress.recipe.nas_groups import GenerateData, SearchSpace, Supernet
from tests.compress.recipe_kit import context, load_as
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.files import read_json, write_json
from zoo.modeling import LengthAdaptiveModel
from zoo.tasks import QUESTIONS

SPACE = Space.spanned([1, 3], [8, 32], [16, 64], 8, 16)
MIDDLE = SPACE.arch(2, 16, 48)
HEADS = ["ForMaskedLM", "ForQuestionAnswering", "ForSequenceClassification"]
FAMILIES = ["Bert", "Roberta", "DistilBert"]
SIZES = {"vocab_size": 90, "max_position_embeddings": 40}


def original(family: str, head: str):
    """A random model of transformers in which every number matters."""
    import transformers

    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
    if family == "DistilBert":
        sizes = {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 64, "qa_dropout": 0.0}
    outputs = {"num_labels": 3} if head == HEADS[2] else {}
    config = getattr(transformers, f"{family}Config")(**SIZES, **sizes, **outputs, initializer_range=0.3)
    torch.manual_seed(0)
    model = getattr(transformers, family + head)(config).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith("bias"):
                parameter.normal_()
            if "LayerNorm.weight" in key or "layer_norm.weight" in key:
                parameter.uniform_(0.5, 2)
    return model


def opened(folder) -> MaskedLanguageModel | LengthAdaptiveModel:
    masked = read_json(folder / "config.json")["architectures"][0].endswith("MaskedLM")
    return MaskedLanguageModel.load(folder) if masked else LengthAdaptiveModel.load(folder)


def inputs(model=None) -> dict[str, torch.Tensor]:
    """Two inputs, the second one padded."""
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 90, (2, 12), generator=draw)
    alive = torch.ones_like(ids)
    alive[1, 8:] = 0
    ids[1, 8:] = 0 if model is None else model.config.pad_token_id
    types = torch.zeros_like(ids)
    if model is None or model.config.model_type == "bert":
        types[:, 5:] = 1
    return {"input_ids": ids, "attention_mask": alive, "token_type_ids": types}


def told(model, batch, **more) -> torch.Tensor:
    """What ours says at the real tokens, or at two holes."""
    net = getattr(model, "whole", model)
    alive = batch["attention_mask"].bool()
    if isinstance(net, MaskedLanguageModel):
        return model(batch["input_ids"], batch["attention_mask"], alive, **more)[1]
    logits = model(**batch, **more).logits
    return logits[alive] if net.head is QUESTIONS else logits


def theirs(model, batch) -> torch.Tensor:
    alive = batch["attention_mask"].bool()
    named = dict(batch)
    if type(model).__name__.endswith("MaskedLM"):
        named["token_type_ids"] = torch.zeros_like(named["input_ids"])
    if model.config.model_type == "distilbert":
        del named["token_type_ids"]
    out = model(**named)
    if hasattr(out, "start_logits"):
        return torch.stack([out.start_logits, out.end_logits], -1)[alive]
    return out.logits[alive] if type(model).__name__.endswith("MaskedLM") else out.logits


@pytest.mark.parametrize(("family", "head"), [("Bert", head) for head in HEADS] + [(f, HEADS[1]) for f in FAMILIES[1:]])
def test_what_is_cut_out_is_a_model_of_transformers_that_says_the_same(family, head, tmp_path):
    source = original(family, head)
    source.save_pretrained(str(tmp_path / "source"))
    batch = inputs(source)
    net = SuperNet.of(opened(tmp_path / "source"), SPACE).eval()
    torch.testing.assert_close(told(net, batch), theirs(source, batch), atol=1e-5, rtol=1e-5)
    seen = []
    for arch in (SPACE.smallest, MIDDLE, SPACE.arch(3, 24, 16)):
        folder = extract(net, arch, tmp_path / arch.key)
        inside = told(net, batch, arch=arch)
        alone = type(source).from_pretrained(str(folder)).eval()
        torch.testing.assert_close(theirs(alone, batch), inside, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(told(opened(folder), batch), inside, atol=1e-6, rtol=0)
        assert Arch.from_config(read_json(folder / "config.json")) == arch
        seen.append(inside)
    assert not torch.allclose(seen[0], seen[1], atol=1e-2)
    assert sum(p.numel() for p in opened(folder).parameters()) < sum(p.numel() for p in net.parameters())


def test_training_a_sub_network_trains_the_supernets_leading_weights(tmp_path):
    original("Bert", HEADS[1]).save_pretrained(str(tmp_path))
    net = SuperNet.of(opened(tmp_path), SPACE).train()
    batch = inputs()
    told(net, batch, arch=MIDDLE).square().sum().backward()
    grads = {name: p.grad for name, p in net.named_parameters()}
    expand = grads["whole.layers.1.expand.weight"]
    assert expand is not None and expand[:48, :16].ne(0).all() and not expand[48:].any() and not expand[:, 16:].any()
    assert grads["whole.layers.2.expand.weight"] is None
    assert not any(name.startswith("_bodies") for name in net.state_dict())
    with torch.no_grad():
        before = told(net.eval(), batch, arch=MIDDLE)
        net.encoder.blocks[0].query.weight[0, 0] += 1.0
        after = told(net, batch, arch=MIDDLE)
    assert not torch.allclose(before, after), "a sub-network has no weights of its own"


@pytest.mark.parametrize("head", HEADS)
def test_order_puts_what_matters_first_and_changes_nothing(head, tmp_path):
    source = original("Bert", head)
    with torch.no_grad():  # heads and channels that say nothing and a column that says little, all in front
        for layer in source.bert.encoder.layer:
            layer.attention.output.dense.weight[:, :16] = 0
            layer.output.dense.weight[:, :16] = 0
        for name, parameter in source.named_parameters():
            if name.endswith(("LayerNorm.weight", "LayerNorm.bias")) and "transform" not in name:
                parameter[0] *= 1e-3
    source.save_pretrained(str(tmp_path))
    model, batch = opened(tmp_path), inputs(source)
    smaller = Arch(3, 32, 48, 2, 16)
    before = told(model, batch)
    assert not torch.allclose(told(cut(model, smaller), batch), before, atol=1e-2)
    found = importance(model, [batch])
    assert all(not each[:2].any() for each in found.heads) and all(not each[:16].any() for each in found.channels)
    assert found.hidden.argmin() == 0
    twice = importance(model, [batch, batch])
    assert twice.heads[0].allclose(2 * found.heads[0]) and twice.hidden.allclose(found.hidden)
    arrange(model, found)
    torch.testing.assert_close(told(model, batch), before, atol=1e-5, rtol=1e-5)
    again = importance(model, [batch])
    for sizes in (again.hidden, *again.heads, *again.channels):
        assert sizes.diff().le(1e-4 * sizes[0]).all(), "falling"
    torch.testing.assert_close(told(cut(model, smaller), batch), before, atol=1e-5, rtol=1e-5)


def test_any_order_keeps_what_the_model_says(tmp_path):
    original("Roberta", HEADS[0]).save_pretrained(str(tmp_path))
    model = opened(tmp_path)
    batch = inputs(original("Roberta", HEADS[0]))
    before, torch_seed = told(model, batch), torch.Generator().manual_seed(3)
    places = [torch.randperm(n, generator=torch_seed) for n in (32, 4, 4, 4, 64, 64, 64)]
    weight = model.encoder.blocks[0].query.weight.clone()  # type: ignore[union-attr]
    reorder(model, places[0], places[1:4], places[4:])
    torch.testing.assert_close(told(model, batch), before, atol=1e-5, rtol=1e-5)
    assert not weight.equal(model.encoder.blocks[0].query.weight)  # type: ignore[union-attr]


def test_the_stage_orders_the_checkpoint_that_a_recipe_starts_from(tiny_model, tmp_path):
    make_shards(tmp_path / "data", tiny_model, GenerateData(block_tokens=32))

    def stage(folder, **changes):
        recipe = load_as(NasRecipe, "nas_tiny", [f"model={tiny_model}"])
        recipe.space = SearchSpace(layers=[1, 2], hidden=[8, 32], intermediate=[16, 64], step=16)
        recipe.supernet = Supernet(order_blocks=10, **changes)
        return order(context(recipe, folder, {"generate_data": tmp_path / "data"}))

    assert stage(tmp_path / "none", checkpoint="elsewhere") == {}
    assert stage(tmp_path / "a") == {"words_head": False, "ordered": True, "blocks": 10}
    assert stage(tmp_path / "b", order=False) == {"words_head": False, "ordered": False}
    first, second = (LengthAdaptiveModel.load(tmp_path / name, QUESTIONS) for name in "ab")
    untouched = LengthAdaptiveModel.load(tiny_model)
    assert second.words.weight.equal(untouched.words.weight) and not first.words.weight.equal(untouched.words.weight)
    assert first.words.weight.sum(1).allclose(untouched.words.weight.sum(1), atol=1e-5)
    assert (tmp_path / "a" / "tokenizer.json").is_file()


def test_the_command_line_cuts_an_encoder_out(tiny_model, tmp_path):
    from typer.testing import CliRunner

    from compress.__main__ import app

    def called(*arguments):
        return CliRunner().invoke(app, ["extract", *map(str, arguments)])

    space = Space.spanned([1, 2], [8, 32], [16, 64], 8, 16)
    SuperNet.of(LengthAdaptiveModel.load(tiny_model), space).save(tmp_path / "net")
    load_tokenizer(tiny_model).save_pretrained(str(tmp_path / "net"))
    out = tmp_path / "out"
    done = called(tmp_path / "net", "l1-h16-f32-a2", out)
    assert done.exit_code == 0 and done.output.startswith(f"{out}: arch l1-h16-f32-a2, parameters ")
    assert LengthAdaptiveModel.load(out).shape.hidden == 16 and load_tokenizer(out).mask_token_id is not None
    for arguments, message in (
        (("l1-h16-f40-a2", tmp_path / "other"), "l1-h16-f40-a2 was never trained.* nearest is l1-h16-f32-a2"),
        (("l1-h16-f32-a4", tmp_path / "other"), "was never trained"),
        (("l1-h16-f32-a2-q32", tmp_path / "other"), "as wide as their hidden states"),
        (("small", tmp_path / "other"), "names no architecture"),
        (("l1-h16-f32-a2", out), "is not empty"),
    ):
        with pytest.raises(UserError, match=message):
            raise called(tmp_path / "net", *arguments).exception or AssertionError("it went through")


def test_a_supernet_of_another_space_is_refused(tmp_path):
    original("Bert", HEADS[1]).save_pretrained(str(tmp_path / "source"))
    net = SuperNet.of(opened(tmp_path / "source"), SPACE)
    net.save(tmp_path / "net")
    with pytest.raises(UserError, match="is no supernet: it has no space.json"):
        SuperNet.load(tmp_path / "source")
    for space, message in (
        (Space.spanned([1, 3], [8, 32], [16, 64], 8, 24), "another space: intermediate 40 was never trained in it"),
        (Space.spanned([1, 4], [8, 32], [16, 64], 8, 16), "another space: layers 4 was never"),
        (Space.spanned([1, 3], [16, 32], [16, 64], 16, 16), "heads of size 16, the supernet.* of size 8"),
    ):
        with pytest.raises(UserError, match=message):
            SuperNet.load(tmp_path / "net", space)
    narrow = SuperNet.load(tmp_path / "net", Space.spanned([1, 2], [8, 24], [16, 48], 8, 16)).eval()
    assert narrow.encoder.shape.hidden == 24 and len(SuperNet.load(tmp_path / "net").space) == len(SPACE)
    batch = inputs()
    torch.testing.assert_close(told(narrow, batch, arch=MIDDLE), told(net.eval(), batch, arch=MIDDLE))
    write_json(tmp_path / "net" / "space.json", {"space": {"layers": [1]}})
    with pytest.raises(UserError, match="is no search space"):
        SuperNet.load(tmp_path / "net")


def test_sizes_that_cannot_be_cut_are_refused(tmp_path):
    original("Bert", HEADS[1]).save_pretrained(str(tmp_path / "source"))
    net = SuperNet.of(opened(tmp_path / "source"), SPACE)
    with pytest.raises(UserError, match="5 heads do not divide"):
        Arch(1, 32, 64, 5, 32)
    with pytest.raises(UserError, match="heads of size 16, the supernet has heads of size 8"):
        net.extract(Arch(1, 32, 64, 2, 32))
    with pytest.raises(UserError, match="l1-h32-f80-a4 is larger than the supernet"):
        net.body(Arch(1, 32, 80, 4, 32))
    with pytest.raises(UserError, match="up to 40 as the hidden width"):
        SuperNet.of(opened(tmp_path / "source"), Space.spanned([1, 3], [8, 40], [16, 64], 8, 16))
    with pytest.raises(UserError, match="Cut it to size first"):
        SuperNet(opened(tmp_path / "source"), Space.spanned([1, 2], [8, 32], [16, 64], 8, 16))
    uneven = Arch(2, 32, 48, 2, 16)  # fewer heads than fill the width: ours to run, but nothing for transformers
    batch = inputs()
    torch.testing.assert_close(told(net.eval(), batch, arch=uneven), told(net.extract(uneven), batch))
    with pytest.raises(UserError, match="queries of 16 for a width of 32. Take 4 heads of size 8"):
        extract(net, uneven, tmp_path / "uneven")
    assert not (tmp_path / "uneven").exists()


def test_scorers_stay_with_the_sizes_that_they_learned_at(tiny_model):
    model = LengthAdaptiveModel.load(tiny_model, length_drop_significance="learned", length_drop_layers=[1])
    own = Arch.from_config(model.config)
    smaller = cut(model, replace(own, intermediate=own.intermediate // 2))
    assert isinstance(smaller, LengthAdaptiveModel)
    assert smaller.config["length_drop_layers"] == [1] and "length_drop_significance" not in smaller.config
    assert not [name for name in smaller.state_dict() if name.startswith("significance")]
