from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ui import links
from zoo.errors import UserError


def test_a_link_comes_back_as_it_was_written():
    query = links.write("owner/model name&x=1", 53.5, "macs", "openvino")
    link = links.read(dict(parse_qsl(query)))
    assert (link.model, link.budget, link.unit, link.engine) == ("owner/model name&x=1", 53.5, "macs", "openvino")
    assert not link.notices


def test_nothing_is_no_complaint():
    assert links.read({}) == links.Link()


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"unit": "miles"}, "unit"),
        ({"engine": "gpu"}, "engine"),
        ({"budget": "much"}, "budget"),
        ({"budget": "inf"}, "budget"),
        ({"model": "x" * 500}, "too long"),
    ],
)
def test_what_cannot_be_used_is_left_out_and_named(query, said):
    link = links.read(query)
    assert said in " ".join(link.notices)
    assert (link.model, link.budget, link.unit, link.engine) == (None, None, None, None)


def test_a_link_names_an_example_and_texts_come_as_the_browser_unpacks_them():
    assert links.read({"example": "3"}).example == 3 and links.write("m", 5, "macs", "torch", 0).endswith("&example=0")
    assert [links.read({"example": raw}).example for raw in ("-1", "x", "99999", "")] == [None] * 4
    assert links.read_texts('["q", "p"]') == ("q", "p") and links.read_texts("") is None


@pytest.mark.parametrize("broken", ["broken", "[1, 2]", '["q"]', "{}", "null"])
def test_texts_that_cannot_be_read_are_told(broken):
    with pytest.raises(UserError, match="cut when it was copied"):
        links.read_texts(broken)


def test_no_budget_is_no_part_of_the_link():
    assert links.write("m", None, "macs", "torch") == "model=m&unit=macs&engine=torch"


def test_who_is_compared_comes_back_as_it_was_written():
    query = links.write_pairs([("small", 100), (None, 50), ("owner/model@v1", 28.4), ("small", None)])
    assert query == "a=small:100&b=owner/model@v1:28"
    pairs, notices = links.read_pairs(dict(parse_qsl(query)), ["small", "owner/model@v1"])
    assert pairs == [("small", 100.0), ("owner/model@v1", 28.0)] and not notices
    assert links.read_pairs({}, ["small"]) == ([], [])


@pytest.mark.parametrize(
    "said", ["small", "small:", "small:much", "small:0", "small:101", ":50", "small:9999", "a:b:-1"]
)
def test_a_pair_that_cannot_be_used_is_left_out_and_named(said):
    pairs, (notice,) = links.read_pairs({"a": "small:60", "c": said}, ["small"])
    assert pairs == [("small", 60.0)] and notice == "The link's C is no checkpoint with a percent of compute."


def test_a_link_alone_downloads_nothing():
    pairs, (notice,) = links.read_pairs({"a": "small:60", "b": "owner/huge:50"}, ["small"])
    assert pairs == [("small", 60.0)] and "B is not a bundled checkpoint" in notice


@given(st.dictionaries(st.sampled_from(["model", "budget", "unit", "engine", "other"]), st.text()))
def test_no_link_breaks_the_page(query):
    link = links.read(query)
    assert link.model in (None, query.get("model", "").strip())
    assert all(isinstance(notice, str) and notice for notice in link.notices)
