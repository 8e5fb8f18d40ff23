from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.learn.evolution import GRID, Candidate, Evolution, Space, config_of, filled, frontier, thinned
from compress.learn.length_search import space_of, starts_of
from compress.progress import Progress
from compress.recipe.length_groups import Search
from zoo import catalog
from zoo.errors import UserError
from zoo.files import Archive, write_json
from zoo.lengths import LengthConfig, Shape, macs_ratio

SHAPE = Shape(6, 384, 1536)
ALL = Space(6, tuple(range(6)), (0.2,) * 6)
QUIET = Progress(None, "search", shown=False)


def wishes(**changes):
    plain = {"iterations": 8, "population": 12, "mutations": 10, "crossovers": 10, "mutation_prob": 0.5, "seed": 3}
    return Search.model_validate(plain | changes)


def measure(config):
    """A model that suffers most from what it loses early: smooth, deterministic, its best front known to be mixed."""
    lost = sum((1 - f) * weight for f, weight in zip(config.fractions, (9, 7, 5, 3, 2, 1), strict=False))
    return {"cost": macs_ratio(SHAPE, 384, config), "f1": 88.0 - lost}


def search(tmp_path, space=ALL, measure=measure, **changes):
    return Evolution(measure, space, wishes(**changes), Archive(tmp_path / "archive.jsonl"), QUIET).run()


def test_the_same_seed_gives_the_same_search_and_another_seed_another(tmp_path):
    one, two = search(tmp_path / "1"), search(tmp_path / "2")
    assert one == two
    assert (tmp_path / "1/archive.jsonl").read_bytes() == (tmp_path / "2/archive.jsonl").read_bytes()
    assert [f.config for f in search(tmp_path / "3", seed=4)] != [f.config for f in one]


def test_it_measures_as_many_as_asked_each_once_and_full_length_first(tmp_path):
    found = search(tmp_path)
    assert len(found) == 12 + 8 * 20 == len({f.config for f in found})
    assert found[0].config.is_full and found[0].cost == 1


def test_it_finds_better_than_constant_ratios(tmp_path):
    found = search(tmp_path, iterations=25)
    start, front = frontier(found[:12]), frontier(found)
    beaten = [s for s in start[1:-1] if any(f.cost <= s.cost and f.score > s.score + 0.3 for f in front)]
    assert len(beaten) >= 8
    assert len(front) > 2 * len(start)


def test_it_starts_from_what_an_earlier_search_found_too(tmp_path):
    long = search(tmp_path / "long", iterations=25)
    known = [one.config for one in frontier(long) if one not in long[:12]][::4]
    archive = Archive(tmp_path / "short.jsonl")
    found = Evolution(measure, ALL, wishes(iterations=1), archive, QUIET).run([*known, LengthConfig.full(6)])
    assert [one.config for one in found[12 : 12 + len(known)]] == known, "after its own starts, none of them twice"
    assert found[0].config.is_full and len(found) == 12 + len(known) + 20
    narrow = Space(6, (2,), (0.5,))
    mended = Evolution(measure, narrow, wishes(iterations=0), Archive(tmp_path / "a"), QUIET).run(known)
    assert all(one.config.fractions[:2] == (1.0, 1.0) for one in mended), "in this search's own space"


def test_the_front_to_start_from_is_an_entry_s_of_as_many_layers():
    front = catalog.find("minilm-l6-qa-length-adaptive-int8").front
    assert front and starts_of("minilm-l6-qa-length-adaptive-int8", 6) == [p.config for p in front.points]
    assert starts_of(None, 6) == []
    with pytest.raises(UserError, match="has 6 layers. Name a searched entry with 12"):
        starts_of("minilm-l6-qa-length-adaptive-int8", 12)
    with pytest.raises(UserError, match="minilm-l6-qa has no front"):
        starts_of("minilm-l6-qa", 6)


def test_a_short_front_is_filled_in_the_middle_of_its_gaps():
    def at(cost, score):
        return Candidate(LengthConfig((cost,)), cost, score)

    values = ((1.0, 80.0), (0.5, 81.0), (0.4, 70.0), (0.74, 79.0), (0.76, 79.5), (0.55, 80.9), (0.45, 60.0))
    found = [at(cost, score) for cost, score in values]
    front = frontier(found)
    assert [one.cost for one in front] == [0.4, 0.5]
    assert [one.cost for one in filled(front, found, 3)] == [0.4, 0.5, 0.76], "0.55 lies at the gap's edge"
    assert [one.cost for one in filled(front, found, 9)] == [0.4, 0.45, 0.5, 0.76], "full length is there in any case"
    assert filled(front, found, 2) == front


def test_the_frontier_has_no_dominated_point_not_even_at_its_ends(tmp_path):
    front = frontier(search(tmp_path))
    assert all(a.cost < b.cost and a.score < b.score for a, b in zip(front, front[1:], strict=False))
    worse_than_cheaper = Candidate(LengthConfig((1.0,)), 1.0, 80.0)
    assert frontier([worse_than_cheaper, Candidate(LengthConfig((0.5,)), 0.5, 81.0)]) == [
        Candidate(LengthConfig((0.5,)), 0.5, 81.0)
    ]


class Killed(Exception):
    pass


@pytest.mark.parametrize("after", [1, 12, 13, 57])
def test_interrupted_it_goes_on_without_measuring_twice(tmp_path, after):
    whole = search(tmp_path / "whole")
    calls = []

    def frail(config):
        if len(calls) == after:
            raise Killed
        calls.append(config)
        return measure(config)

    with pytest.raises(Killed):
        search(tmp_path / "parts", measure=frail)
    with (tmp_path / "parts/archive.jsonl").open("a") as file:
        file.write('{"key": "64,6')  # the line that was being written

    def counted(config):
        calls.append(config)
        return measure(config)

    assert search(tmp_path / "parts", measure=counted) == whole
    assert len(calls) == len(set(calls)) == len(whole)


@settings(deadline=None, max_examples=25)
@given(layers=st.integers(1, 8), drops=st.data(), seed=st.integers(0, 99))
def test_only_drop_layers_drop_and_nothing_is_cheaper_than_the_cheapest_start(tmp_path_factory, layers, drops, seed):
    chosen = tuple(sorted(drops.draw(st.sets(st.integers(0, layers - 1), min_size=1))))
    space = Space(layers, chosen, (0.4,) * len(chosen))
    found = Evolution(
        lambda c: {"cost": sum(c.fractions), "f1": c.fractions[-1]},
        space,
        wishes(iterations=2, seed=seed),
        Archive(tmp_path_factory.mktemp("space") / "a.jsonl"),
        QUIET,
    ).run()
    floor = sum(space.constant(1.0))
    for one in found:
        before = 1.0
        for layer, fraction in enumerate(one.config.fractions):
            assert fraction * GRID == int(fraction * GRID) and 0 < fraction <= before
            assert layer in chosen or fraction == before
            before = fraction
        assert sum(one.config.fractions) * GRID >= floor


def test_a_space_that_is_exhausted_ends_the_search(tmp_path):
    found = search(tmp_path, Space(2, (1,), (0.1,)), iterations=10_000)
    assert {f.config.fractions[1] for f in found} == {k / GRID for k in range(58, 65)}


def test_starting_genes_span_full_to_cheapest():
    genes = ALL.starting(20)
    assert genes[0] == (64,) * 6 and genes[-1] == ALL.constant(1.0) == (51, 41, 33, 26, 21, 17)
    assert len(genes) == 20
    assert config_of(genes[-1]).fractions[0] == 51 / 64
    assert Space(6, (3,), (0.5,)).constant(1.0) == (64, 64, 64, 32, 32, 32)


def test_progress_shows_the_front_so_far(tmp_path):
    told = []

    class Listening(Progress):
        def update(self, step, total, **figures):
            told.append((step, total, figures))

    listening = Listening(None, "search", shown=False)
    Evolution(measure, ALL, wishes(iterations=1), Archive(tmp_path / "a.jsonl"), listening).run()
    assert [step for step, _, _ in told] == [*range(1, 33), 32]
    assert told[10][1] == 12 + 20
    assert told[-1][2]["front"][-1] == (1.0, 88.0)


def test_thinning_keeps_the_ends_and_spreads_evenly():
    front = [Candidate(LengthConfig((1.0,)), cost, 80 + cost) for cost in (0.5, 0.51, 0.52, 0.53, 0.7, 0.74, 0.9, 1.0)]
    assert [f.cost for f in thinned(front, 4)] == [0.5, 0.7, 0.9, 1.0]
    assert len(thinned(front, 7)) == 7 and thinned(front, 8) == front == thinned(front, 99)


def test_what_may_be_searched_comes_from_checkpoint_and_recipe(tmp_path):
    write_json(tmp_path / "config.json", {"num_hidden_layers": 6, "length_drop_layers": [1, 3]})
    assert space_of(tmp_path, None, [0.3, 0.4]) == Space(6, (1, 3), (0.3, 0.4))
    assert space_of(tmp_path, 0.5, [0.3, 0.4]) == Space(6, (1, 3), (0.5, 0.5))
    with pytest.raises(UserError, match="1 numbers for 2 drop layers"):
        space_of(tmp_path, [0.1], 0.2)


def test_a_generation_keeps_as_many_as_survive_and_says_when_nothing_is_left(tmp_path):
    evolution = Evolution(measure, ALL, wishes(), Archive(tmp_path / "a.jsonl"), QUIET)
    alive = evolution.score(ALL.starting(12), 0)
    young = evolution.generation(alive, 1)
    assert young is not None and len(young) == 12 and len(evolution.candidates) == 32
    single = Evolution(measure, Space(2, (1,), (0.01,)), wishes(), Archive(tmp_path / "b.jsonl"), QUIET)
    assert single.generation(single.score(single.space.starting(2), 0), 1) is None
