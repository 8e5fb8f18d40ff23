"""The two-stage search: within the limit, better than chance, resumed without loss."""

from __future__ import annotations

import random
from math import log

import pytest

from compress.nas.search import Evolution, Scored, anchors, best_of, fastest_enough, limit_of, mutate, within
from compress.nas.space import Space
from compress.recipe.nas_groups import ArchSearch
from tests.compress.nas.nas_kit import SPACE, Silent, milliseconds
from zoo.errors import UserError
from zoo.files import Archive

PREDICTED = {arch: milliseconds(arch) for arch in SPACE}


def settings(**changes) -> ArchSearch:
    sizes = {"population": 6, "generations": 3, "children": 5, "parents": 4, "limit_share": 0.6, "band": [0.4, 1.0]}
    return ArchSearch.model_validate({**sizes, **changes})


def quality(arch) -> float:
    """A smooth hill: depth matters most, then width."""
    return 20 * arch.layers + arch.hidden + 0.2 * arch.intermediate


def search(tmp_path, chosen=None, score=None, name="archive", told=None):
    chosen = chosen or settings()
    limit = limit_of(chosen, PREDICTED[SPACE.largest])
    candidates = within(PREDICTED, limit, chosen.band)
    archive = Archive(tmp_path / f"{name}.jsonl")
    score = score or (lambda arch: {"f1": quality(arch), "em": 1.0, "n": 5})
    return Evolution(score, candidates, SPACE, chosen, "f1", limit).run(archive, told or Silent()), limit


def test_candidates_take_nearly_all_of_the_limit():
    limit = 0.5 * max(PREDICTED.values())
    found = within(PREDICTED, limit, (0.85, 1.0))
    assert found and all(0.85 * limit <= ms <= limit for ms in found.values())
    assert set(found) == {a for a, ms in PREDICTED.items() if 0.85 * limit <= ms <= limit}
    generous = within(PREDICTED, 100.0, (0.85, 1.0))
    assert SPACE.largest in generous and min(generous.values()) >= 0.85 * max(PREDICTED.values())


def test_a_limit_that_nothing_meets_tells_the_fastest():
    fastest = PREDICTED[SPACE.smallest]
    with pytest.raises(UserError, match=rf"the fastest encoder, {SPACE.smallest.key}, takes {fastest:.3g} ms"):
        within(PREDICTED, 0.9 * fastest, (0.85, 1.0))


RANKED = [Scored(arch, 4.0, 90.0 - i, 0, {}) for i, arch in enumerate(sorted(SPACE)[:6])]


@pytest.mark.parametrize(
    ("milliseconds", "verify", "winner", "measured"),
    [
        ((4.9, 4.0, 4.0, 4.0, 4.0, 4.0), 3, 0, 3),
        ((8.8, 5.1, 4.9, 1.0, 1.0, 1.0), 1, 2, 3),
        ((8.8, 4.0, 3.0, 2.0, 1.0, 1.0), 2, 1, 2),
        ((6.0, 6.0, 6.0, 6.0, 6.0, 5.0), 3, 5, 6),
    ],
)
def test_the_winner_is_the_best_that_keeps_the_limit_when_it_is_measured(milliseconds, verify, winner, measured):
    asked = []
    times = {one.arch: ms for one, ms in zip(RANKED, milliseconds, strict=True)}

    def measure(arch):
        asked.append(arch)
        return times[arch]

    assert fastest_enough(RANKED, 5.0, verify, measure) is RANKED[winner]
    assert asked == [one.arch for one in RANKED[:measured]]


def test_a_search_whose_candidates_all_break_the_limit_is_refused_with_what_they_take():
    words = rf"None of the 6 encoders that were scored takes 5 ms or less.* {RANKED[3].arch.key}, takes 8.8 ms"
    with pytest.raises(UserError, match=words):
        fastest_enough(RANKED, 5.0, 3, lambda arch: 8.8 if arch == RANKED[3].arch else 9.0)


def test_predictions_are_checked_from_the_fastest_to_the_slowest_encoder():
    few = anchors(PREDICTED)
    times = [PREDICTED[arch] for arch in few]
    assert len(few) == 5 and times == sorted(times)
    assert (times[0], times[-1]) == (min(PREDICTED.values()), max(PREDICTED.values()))
    assert anchors({SPACE.smallest: 1.0}) == [SPACE.smallest]


def test_a_limit_is_milliseconds_or_a_share():
    assert limit_of(settings(limit_ms=3.5), 10.0) == 3.5
    assert limit_of(settings(limit_ms=None, limit_share=0.25), 10.0) == 2.5


def test_what_is_scored_obeys_the_limit_and_nothing_is_scored_twice(tmp_path):
    told = Silent()
    found, limit = search(tmp_path, told=told)
    assert all(line["limit_ms"] == limit for line in told.lines)
    assert len(found) == 6 + 3 * 5 == len({one.arch for one in found})
    assert all(0.4 * limit <= one.predicted_ms <= limit for one in found)
    assert [one.generation for one in found] == [0] * 6 + [1] * 5 + [2] * 5 + [3] * 5
    last = told.lines[-1]
    assert (last["step"], last["total"], last["generation"]) == (21, 21, 3)
    assert last["best_f1"] == best_of(found).score and last["best"] == best_of(found).arch.key
    assert last["points"] == [[one.predicted_ms, one.score, one.generation, one.arch.key] for one in found]


def test_evolution_finds_more_than_chance(tmp_path):
    large = Space.spanned((2, 6), (128, 384), (256, 1536), 32, 64)
    predicted = {arch: arch.macs(128) / 1e7 for arch in large}
    lost = {"evolution": 0.0, "random": 0.0}
    for strategy in lost:
        for seed in range(10):
            chosen = settings(seed=seed, strategy=strategy, population=10, generations=5, children=8, limit_share=0.5)
            candidates = within(predicted, 0.5 * predicted[large.largest], chosen.band)
            worth = {a: 8 * log(a.layers) + 10 * log(a.hidden) + 4 * log(a.intermediate) for a in candidates}
            archive = Archive(tmp_path / f"{strategy}-{seed}.jsonl")
            evolution = Evolution(lambda a, w=worth: {"f1": w[a]}, candidates, large, chosen, "f1")
            found = evolution.run(archive, Silent())
            assert len(found) == 50
            lost[strategy] += max(worth.values()) - best_of(found).score
    assert lost["evolution"] < 0.7 * lost["random"]


def test_a_killed_search_loses_one_evaluation_and_ends_as_it_would_have(tmp_path):
    whole, _ = search(tmp_path, name="whole")
    asked = []

    def dies(arch):
        asked.append(arch)
        if len(asked) == 9:
            raise KeyboardInterrupt
        return {"f1": quality(arch), "em": 1.0, "n": 5}

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, score=dies, name="torn")
    again, _ = search(tmp_path, score=dies, name="torn")
    assert again == whole and len(asked) == len(whole) + 1


def test_a_small_space_ends_the_search(tmp_path):
    told = Silent()
    found, _ = search(tmp_path, settings(generations=50, children=50, limit_share=0.2), told=told)
    limit = 0.2 * PREDICTED[SPACE.largest]
    assert {one.arch for one in found} == set(within(PREDICTED, limit, (0.4, 1.0)))
    assert told.notes == ["every candidate has been scored"]


def test_equal_scores_go_on_and_the_faster_wins(tmp_path):
    found, _ = search(tmp_path, score=lambda _arch: {"f1": 50.0})
    assert best_of(found).predicted_ms == min(one.predicted_ms for one in found)


def test_mutations_stay_in_the_space_and_near():
    chance, arch = random.Random(0), SPACE.arch(2, 32, 56)
    made = [mutate(arch, SPACE, 0.25, chance) for _ in range(2000)]
    assert all(m in SPACE for m in made)
    assert all(abs(m.layers - 2) <= 1 and abs(m.hidden - 32) <= 8 and abs(m.intermediate - 56) <= 16 for m in made)
    shares = [sum(getattr(m, n) != getattr(arch, n) for m in made) / 2000 for n in ("layers", "hidden", "intermediate")]
    assert shares == pytest.approx([0.25, 0.5, 0.5], abs=0.05)


@pytest.mark.parametrize("band", [[0.9, 0.8], [0.5, 1.1], [0.5]])
def test_a_band_that_is_none_is_refused(band):
    with pytest.raises(ValueError, match="band has two shares"):
        settings(band=band)
