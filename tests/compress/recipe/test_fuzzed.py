"""Recipes with something changed at random: they are checked, or the fault is told."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from compress.recipe import load, nncf_config
from tests.fuzz_kit import NASTY, changed, damaged, tries
from zoo.errors import UserError

QUICK = tries(25)


def take(path, raw: bytes, changes: tuple[str, ...] = ()) -> None:
    path.write_bytes(raw)
    try:
        load.load(path, changes)
    except UserError as error:
        assert 20 < len(str(error)) < 100_000


@QUICK
@given(data=st.data())
def test_changed_recipes(tmp_path_factory, data):
    raw = (load.RECIPES / f"{data.draw(st.sampled_from(load.shipped()))}.yaml").read_bytes()
    path = tmp_path_factory.mktemp("fuzzed") / "recipe.yaml"
    if data.draw(st.booleans()):
        raw = yaml.safe_dump(data.draw(changed(yaml.safe_load(raw)))).encode("utf-8", "surrogatepass")
    else:
        raw = data.draw(damaged(raw))
    take(path, raw)


@QUICK
@given(
    key=st.sampled_from(["finetune.epochs", "model", "dataset.train", "search.seed", "", ".", "a.b"]), value=st.text()
)
def test_changes(key, value):
    try:
        load.load("length_adaptive", [f"{key}={value}"])
    except UserError as error:
        assert len(str(error)) > 20


@QUICK
@given(data=st.data())
def test_configurations_of_nncf(data):
    values = st.recursive(
        st.sampled_from(["quantization", "CPU", 8, 0.5, *NASTY]),
        lambda inner: st.dictionaries(
            st.sampled_from(
                ["algorithm", "compression", "input_info", "sample_size", "initializer", "bits", "weights"]
            ),
            inner,
            max_size=4,
        ),
        max_leaves=6,
    )
    try:
        nncf_config.plan_of(data.draw(values))
    except UserError as error:
        assert len(str(error)) > 20


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "//" * 100_000])
def test_deep_configurations_of_nncf(text):
    with pytest.raises(UserError, match="not JSON"):
        nncf_config.parse_config(text)


def test_a_bomb_of_aliases_is_told(tmp_path):
    names = "abcdefghij"
    lines = [f"{b}: &{b} [{', '.join(['*' + a] * 9)}]" for a, b in zip(names, names[1:], strict=False)]
    (tmp_path / "bomb.yaml").write_text("\n".join(["a: &a [x, x, x]", *lines, "dataset: *j"]))
    with pytest.raises(UserError, match="alias"):
        load.load(tmp_path / "bomb.yaml")
    with pytest.raises(UserError, match="valid YAML"):
        load.load("length_adaptive", ["search.seed=" + "[" * 5000])
