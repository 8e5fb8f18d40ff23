import json
from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, model_validator

from compress.recipe import load as recipe
from ui.compress import form
from ui.compress.fields import fields as fields_of
from ui.compress.fields import groups


class Inner(BaseModel):
    """Inner keys.

    More about them.
    """

    rate: float = Field(default=0.5, gt=0, le=1, description="how fast; null: slow")
    bounds: float | list[float] = Field(default=0.2, description="one or many")
    layers: list[int] | None = Field(default=None, description="which")

    @model_validator(mode="after")
    def _fit(self):
        if self.layers is not None and self.layers != sorted(self.layers):
            raise ValueError("layers rise")
        return self


class Outer(BaseModel):
    """A recipe."""

    kind: Literal["outer"] = "outer"
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,60}$", description="what it is called")
    note: str | None = None
    titles: list[str] | None = None
    count: Annotated[int, Field(ge=1, le=5000)] = 3
    limit: int | None = Field(default=None, ge=1)
    on: bool = False
    method: Literal["a", "b"] = "a"
    auto: Literal["auto"] | bool = "auto"
    maybe: Literal["x"] | None = None
    odd: dict[str, int] = Field(default_factory=dict)
    inner: Inner = Inner()


def by_key():
    return {field.key: field for field in fields_of(Outer)}


def test_every_key_but_the_constant_has_a_field_of_its_kind():
    kinds = {key: field.kind for key, field in by_key().items()}
    assert kinds == {
        "name": "text",
        "note": "text",
        "titles": "lines",
        "count": "whole",
        "limit": "whole",
        "on": "switch",
        "method": "choice",
        "auto": "choice",
        "maybe": "choice",
        "odd": "yaml",
        "inner.rate": "number",
        "inner.bounds": "numbers",
        "inner.layers": "numbers",
    }


def test_help_says_meaning_and_bounds_in_the_words_of_a_form():
    fields = by_key()
    assert fields["inner.rate"].info == "How fast; empty: slow (more than 0, at most 1)"
    assert fields["count"].info.endswith("(1 to 5,000)") and fields["limit"].bounds == "at least 1"
    assert fields["inner.rate"].group == "inner" and fields["inner.rate"].label == "Rate"
    assert groups(Outer) == {"inner": "Inner keys."}


def test_choices_are_words():
    fields = by_key()
    assert fields["auto"].choices == (("auto", "auto"), ("yes", True), ("no", False))
    assert fields["maybe"].choices == (("x", "x"), ("none", None))
    assert fields["auto"].show(True) == "yes" and fields["auto"].read("no") is False
    assert fields["maybe"].show(None) == "none" and fields["maybe"].read("none") is None


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "kind": st.just("outer"),
            "name": st.from_regex(r"\A[a-z0-9][a-z0-9._-]{0,20}\Z"),
            "note": st.none() | st.from_regex(r"\A\w[\w ]{0,10}\w\Z"),
            "titles": st.none() | st.lists(st.from_regex(r"\A[\w*\[\]!/,-]{1,9}\Z"), min_size=1, max_size=3),
            "count": st.integers(1, 5000),
            "limit": st.none() | st.integers(1, 10**9),
            "on": st.booleans(),
            "method": st.sampled_from("ab"),
            "auto": st.sampled_from(["auto", True, False]),
            "maybe": st.sampled_from([None, "x"]),
            "odd": st.dictionaries(st.from_regex(r"\A[a-z]{1,5}\Z"), st.integers(), max_size=2),
            "inner": st.fixed_dictionaries(
                {
                    "rate": st.floats(1e-9, 1),
                    "bounds": st.floats(0, 1) | st.lists(st.floats(0, 1), min_size=1, max_size=4),
                    "layers": st.none() | st.lists(st.integers(0, 20), min_size=1, max_size=4).map(sorted),
                }
            ),
        }
    )
)
def test_what_a_form_shows_is_read_back_as_it_was(data):
    data = Outer.model_validate(data).model_dump(mode="json")
    assert form.check(Outer, form.collect(Outer, form.spread(Outer, data)))[0] == Outer.model_validate(data)


@pytest.mark.parametrize("name", recipe.shipped())
def test_shipped_recipes_survive_the_form_and_the_command_line(name, tmp_path):
    whole = recipe.load(name)
    model = recipe.KINDS[whole.kind]
    data = whole.model_dump(mode="json")
    again, faults = form.check(model, form.collect(model, form.spread(model, data)))
    assert again == whole and not faults
    assert form.changes(data, data, model) == []
    # From any other recipe of the kind, `--set` reaches this one.
    for other in recipe.shipped():
        base = recipe.load(other)
        if base.kind == whole.kind:
            wanted = form.changes(base.model_dump(mode="json"), data, model)
            assert recipe.load(other, wanted) == whole


@pytest.mark.parametrize(
    ("key", "raw", "said"),
    [
        ("inner.rate", 2, "less than or equal to 1"),
        ("inner.rate", None, "number"),
        ("count", 1.5, "integer"),
        ("limit", "many", "integer"),
        ("count", 0, "greater than or equal to 1"),
        ("name", "No Name", "Small letters"),
        ("inner.layers", "3, 1", "Layers rise"),
        ("inner.bounds", "many", "number"),
        ("method", "c", "'a' or 'b'"),
        ("odd", "[", "dictionary"),
    ],
)
def test_a_fault_is_told_on_its_field(key, raw, said):
    data = Outer(name="fine").model_dump(mode="json")
    raws = form.spread(Outer, data) | {key: raw}
    made, faults = form.check(Outer, form.collect(Outer, raws))
    assert made is None and list(faults) == [key] and said in faults[key] and faults[key].endswith(".")


def test_a_missing_key_is_told_too():
    made, faults = form.check(Outer, {})
    assert made is None and faults == {"name": "This is needed."}


def test_what_the_browser_leaves_out_is_the_default_and_what_it_adds_is_nothing():
    made, faults = form.check(Outer, form.collect(Outer, {"name": "fine", "count": "7", "no.such": 1, "kind": "x"}))
    assert made == Outer(name="fine", count=7) and not faults


def test_the_outline_tells_the_browser_all_it_needs():
    first, inner = form.outline("outer", Outer)
    assert (first["title"], first["open"], inner["title"], inner["open"]) == ("General", True, "Inner", False)
    assert inner["meaning"] == "Inner keys."
    told = [field["key"] for group in (first, inner) for field in group["fields"]]
    assert told == [field.key for field in fields_of(Outer)]
    rate = inner["fields"][0]
    assert rate["id"] == "field-outer-inner-rate" and rate["info"] == by_key()["inner.rate"].info
    assert next(f["choices"] for f in first["fields"] if f["key"] == "auto") == ["auto", "yes", "no"]
    json.dumps([first, inner])


def test_empty_means_none_only_where_that_is_allowed():
    fields = by_key()
    assert fields["note"].read(" ") is None and fields["name"].read(" ") == ""
    assert fields["titles"].read("") is None and fields["count"].read(None) is None
    assert fields["inner.bounds"].read("0.3") == 0.3 and fields["inner.bounds"].read("[0.3]") == [0.3]
    assert fields["inner.layers"].read("1; 2 3") == [1, 2, 3]
    assert fields["limit"].show(None) == "" and fields["limit"].show(7) == "7"
    assert fields["note"].read(" a ") == "a" and fields["note"].read("{\n}\n") == "{\n}\n"
    assert fields["limit"].read("7") == 7 and fields["limit"].read("7.5") == 7.5
    assert fields["titles"].read("squad/*\n\n[!A-C]*, b ") == ["squad/*", "[!A-C]*, b"]
