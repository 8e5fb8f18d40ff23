"""Checkpoints as people have them: each opens, and gives what transformers gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.zoo.model_kit import KINDS, SIZES, arrays, inputs, portable
from zoo import catalog
from zoo.checkpoints import labels_of, read_config
from zoo.errors import UserError
from zoo.files import read_json, write_json
from zoo.modeling import LengthAdaptiveModel
from zoo.tensors import INDEX, SINGLE, Tensors, plain, weight_files
from zoo.weights import float_weights, spec_of

TEXT = KINDS["bert-classification"]


def random_model(kind: str = "bert-classification", **more: Any) -> Any:
    """A random model of transformers."""
    config, cls, extra = KINDS[kind]
    torch.manual_seed(3)
    model = cls(config(**{**SIZES, **extra, **more})).eval()
    for parameter in model.parameters():  # far from initialization, where every token looks alike
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def logits_of(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return model(**batch).logits


def check(folder: Path, expected: torch.Tensor, batch: dict[str, torch.Tensor], **more: Any) -> LengthAdaptiveModel:
    """This program's logits, in torch and as a graph, are those of transformers."""
    model = LengthAdaptiveModel.load(folder)
    torch.testing.assert_close(logits_of(model, {**batch, **more}), expected, atol=1e-4, rtol=0)
    feed = {**arrays(batch), **{key: value.numpy() for key, value in more.items()}}
    lengths = np.full((len(feed["input_ids"]), 3), feed["input_ids"].shape[1], np.int64)
    np.testing.assert_allclose(portable(float_weights(model), spec_of(model))(feed, lengths)[0], expected, atol=1e-4)
    assert catalog.open_folder(folder).engines == ["torch"]
    return model


def change(folder: Path, **config: Any) -> None:
    """Writes a configuration with other keys; those that are ... are taken out."""
    old = read_json(folder / "config.json")
    write_json(folder / "config.json", {k: v for k, v in {**old, **config}.items() if v is not ...})


def test_weights_in_several_files(tmp_path):
    reference, batch = random_model(), inputs()
    reference.save_pretrained(tmp_path, max_shard_size="20kB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2 and not (tmp_path / SINGLE).exists()
    check(tmp_path, logits_of(reference, batch), batch)
    entry = catalog.open_folder(tmp_path)
    assert entry.parameters == sum(parameter.numel() for parameter in reference.parameters())
    assert entry.bytes == sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))


def test_a_missing_part_is_named(tmp_path):
    random_model().save_pretrained(tmp_path, max_shard_size="20kB")
    gone = weight_files(tmp_path)[1]
    gone.unlink()
    with pytest.raises(UserError, match=f"lacks {gone.name}"):
        LengthAdaptiveModel.load(tmp_path)


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/other.safetensors", "other.bin"])
def test_an_index_names_files_beside_it_only(tmp_path, name):
    random_model().save_pretrained(tmp_path, max_shard_size="20kB")
    write_json(tmp_path / INDEX, {"weight_map": {"a": name}})
    with pytest.raises(UserError, match="no safetensors file beside it"):
        Tensors.of(tmp_path)


def test_stray_files_are_not_the_models(tmp_path):
    reference, batch = random_model(), inputs()
    reference.save_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"whatever")
    save_file({"state": torch.zeros(3)}, tmp_path / "optimizer.safetensors")
    write_json(tmp_path / INDEX, {"weight_map": {"a": "gone.safetensors"}})  # left from an earlier saving
    check(tmp_path, logits_of(reference, batch), batch)
    assert catalog.open_folder(tmp_path).bytes == (tmp_path / SINGLE).stat().st_size


def test_a_stray_file_alone_is_no_model(tmp_path):
    random_model().save_pretrained(tmp_path)
    (tmp_path / SINGLE).unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"whatever")
    save_file({"state": torch.zeros(3)}, tmp_path / "optimizer.safetensors")
    with pytest.raises(UserError, match=r"pickle \(pytorch_model.bin\).*zoo convert"):
        catalog.find(str(tmp_path))


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module.{name}",
        lambda name: f"model.{name}",
        lambda name: f"module._orig_mod.model.{name}",
        lambda name: name.replace("encoder.layer", "encoder._orig_mod.layer"),
        lambda name: name.replace(".attention.", "._checkpoint_wrapped_module.attention."),
    ],
)
def test_wrappers_in_the_names_of_weights(tmp_path, wrapped):
    reference, batch = random_model(), inputs()
    reference.save_pretrained(tmp_path)
    save_file({wrapped(k): v.contiguous() for k, v in reference.state_dict().items()}, tmp_path / SINGLE)
    check(tmp_path, logits_of(reference, batch), batch)


def test_one_weight_under_two_names_is_refused(tmp_path):
    model = random_model()
    model.save_pretrained(tmp_path)
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    twice = {**state, "module.classifier.bias": state["classifier.bias"] + 1}
    save_file(twice, tmp_path / SINGLE)
    with pytest.raises(UserError, match=r"holds classifier.bias twice.*module.classifier.bias"):
        LengthAdaptiveModel.load(tmp_path)


def test_names_without_wrappers_stay():
    assert plain("bert.encoder.layer.0.output.dense.weight") == "bert.encoder.layer.0.output.dense.weight"
    assert plain("model") == "model"


def test_heads_that_were_cut_out(tmp_path):
    """A head without values and without a share in the output adds nothing: what is left when it is cut out."""
    reference, batch = random_model(), inputs()
    cut, size = {0: [1, 3], 2: [0]}, 8
    state = {key: value.clone() for key, value in reference.state_dict().items()}
    for layer, heads in cut.items():
        rows = torch.tensor([r for h in range(4) if h not in heads for r in range(h * size, h * size + size)])
        gone = torch.tensor([r for h in heads for r in range(h * size, h * size + size)])
        at = f"bert.encoder.layer.{layer}.attention."
        reference.get_submodule(f"{at}output.dense").weight.data[:, gone] = 0
        for name in ("query", "key", "value"):
            for kind in ("weight", "bias"):
                state[f"{at}self.{name}.{kind}"] = state[f"{at}self.{name}.{kind}"][rows]
        state[f"{at}output.dense.weight"] = state[f"{at}output.dense.weight"][:, rows]
    reference.save_pretrained(tmp_path)
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / SINGLE)
    change(tmp_path, pruned_heads={str(layer): heads for layer, heads in cut.items()})
    model = check(tmp_path, logits_of(reference, batch), batch)
    model.save(tmp_path / "again")
    again = LengthAdaptiveModel.load(tmp_path / "again")
    torch.testing.assert_close(logits_of(again, batch), logits_of(reference, batch), atol=1e-4, rtol=0)


def test_no_padding_token_in_bert(tmp_path):
    reference, batch = random_model(pad_token_id=None), inputs()
    reference.save_pretrained(tmp_path)
    change(tmp_path, pad_token_id=None)
    check(tmp_path, logits_of(reference, batch), batch)


def test_no_padding_token_in_roberta(tmp_path):
    """transformers itself cannot run it: positions are counted from the id that the family has."""
    reference, batch = random_model("roberta-classification", pad_token_id=1), inputs(True)
    reference.save_pretrained(tmp_path)
    change(tmp_path, pad_token_id=None)
    check(tmp_path, logits_of(reference, batch), batch)


def test_three_outputs_without_names(tmp_path):
    reference, batch = random_model(), inputs()
    reference.save_pretrained(tmp_path)
    change(tmp_path, id2label=..., label2id=...)
    model = check(tmp_path, logits_of(reference, batch), batch)
    assert labels_of(model.config) == labels_of(read_config(tmp_path)) == ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert catalog.open_folder(tmp_path).labels == ["LABEL_0", "LABEL_1", "LABEL_2"]


def test_fewer_names_than_outputs_are_refused(tmp_path):
    random_model().save_pretrained(tmp_path)
    change(tmp_path, id2label={"0": "no", "1": "yes"})
    with pytest.raises(UserError, match=r"classifier.weight has the shape \(3, 32\).*Name every output"):
        LengthAdaptiveModel.load(tmp_path)


def test_weights_of_another_size_are_refused(tmp_path):
    random_model().save_pretrained(tmp_path)
    change(tmp_path, vocab_size=91)
    with pytest.raises(UserError, match=r"word_embeddings.weight has the shape \(90, 32\).*\(91, 32\)"):
        LengthAdaptiveModel.load(tmp_path)


@pytest.mark.parametrize("kind", ["roberta-classification", "roberta-qa", "bert-classification"])
def test_one_token_type_and_a_tokenizer_that_writes_two(tmp_path, kind):
    reference, batch = random_model(kind, type_vocab_size=1), inputs("roberta" in kind)
    reference.save_pretrained(tmp_path)
    types = batch["attention_mask"] * (torch.arange(40) > 9)  # of a pair, as a WordPiece tokenizer has them
    expected = logits_of(reference, batch) if kind != "roberta-qa" else None
    if expected is not None:
        check(tmp_path, expected, batch, token_type_ids=types)
        return
    with torch.no_grad():
        spans = reference(**batch)
    found = logits_of(LengthAdaptiveModel.load(tmp_path), {**batch, "token_type_ids": types})
    real = batch["attention_mask"].bool()
    for i, side in enumerate((spans.start_logits, spans.end_logits)):
        torch.testing.assert_close(found[..., i][real], side[real], atol=1e-4, rtol=0)


def test_a_decoder_is_refused_which_reads_otherwise(tmp_path):
    """With the same weights transformers says something else."""
    reference, batch = random_model(), inputs()
    reference.save_pretrained(tmp_path)
    check(tmp_path, logits_of(reference, batch), batch)
    change(tmp_path, is_decoder=True)
    other = type(reference).from_pretrained(tmp_path).eval()
    assert (logits_of(other, batch) - logits_of(reference, batch)).abs().max() > 0.01
    with pytest.raises(UserError, match="is_decoder is true in config.json: .*set is_decoder to false"):
        LengthAdaptiveModel.load(tmp_path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(tmp_path, dtype):
    reference, batch = random_model().to(dtype), inputs()
    reference.save_pretrained(tmp_path)
    assert load_file(tmp_path / SINGLE)["classifier.weight"].dtype is dtype
    check(tmp_path, logits_of(reference.float(), batch), batch)  # stored in half precision, computed in float32


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none(tmp_path, value):
    model = random_model().half()
    model.bert.encoder.layer[1].output.dense.weight.data[0, 0] = value
    model.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"layer.1.output.dense.weight.*no finite numbers"):
        LengthAdaptiveModel.load(tmp_path)


def test_a_head_for_masked_words_in_several_files(tmp_path):
    import transformers

    from compress.learn.masked_lm import MaskedLanguageModel

    torch.manual_seed(0)
    reference = transformers.BertForMaskedLM(transformers.BertConfig(**SIZES)).eval()
    reference.save_pretrained(tmp_path, max_shard_size="20kB")
    model = MaskedLanguageModel.load(tmp_path)
    batch = inputs()
    _, words = model(**batch, holes=batch["attention_mask"].bool())
    torch.testing.assert_close(words, logits_of(reference, batch)[batch["attention_mask"].bool()], atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", ["LoRA", "unnamed"])
def test_an_adapter_is_told(tmp_path, family):
    kind = {"peft_type": "LORA"} if family == "LoRA" else {}
    write_json(tmp_path / "adapter_config.json", {**kind, "base_model_name_or_path": "google-bert/bert-base-uncased"})
    save_file({"base_model.model.x.lora_A.weight": torch.zeros(2, 2)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(UserError, match=r"adapter.*google-bert/bert-base-uncased.*merge_and_unload"):
        catalog.find(str(tmp_path))
