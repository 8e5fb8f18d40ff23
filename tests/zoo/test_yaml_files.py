"""YAML from elsewhere is plain values, or what is wrong with it is told."""

from __future__ import annotations

import pytest

from zoo import abstaining, card
from zoo.errors import UserError
from zoo.yaml_files import MAX_YAML, parse_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join(['*' + a] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, r"alias \(\*name\) in line 2"),
        ("a: &a\n  b: *a\n", "alias"),
        ("!!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("[" * 5000, "nested more than 100 deep"),
        ("- " * 5000 + "1", "nested more than 100 deep"),
        ("2024-99-99", "valid YAML"),
        ("a: 1" + "0" * 5000, "valid YAML"),
        ("a: [", "valid YAML"),
        ("? {a: 1}\n: 2", "valid YAML"),
        ("x" * (MAX_YAML + 1), "over the limit"),
    ],
    ids=range(10),
)
def test_what_is_no_plain_value_is_told(text, said):
    with pytest.raises(UserError, match=said):
        parse_yaml(text, "here")


def test_plain_values_are_read():
    assert parse_yaml("a: [1, 2.5, yes]\nb: {c: x}\nd: 2024-01-02", "here")["a"] == [1, 2.5, True]


def test_cards_are_read_so_too():
    assert not abstaining.may_abstain({}, "model", f"---\n{BOMB}---\n")
    with pytest.raises(UserError, match="front matter is not valid YAML.*alias"):
        card.read(f"---\n{BOMB}---\n")
