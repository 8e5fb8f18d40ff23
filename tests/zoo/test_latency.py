from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from zoo import latency
from zoo.errors import UserError
from zoo.latency import Timing, measure, speedup
from zoo.settings import get_settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("BUDGET_ZOO_HOME", str(tmp_path))
    get_settings.cache_clear()
    yield tmp_path
    get_settings.cache_clear()


class Clock:
    """Time that passes only inside the calls."""

    def __init__(self) -> None:
        self.now = 0
        self.order: list[str] = []

    def __call__(self) -> int:
        return self.now

    def call(self, name: str, milliseconds: float):
        def run() -> None:
            self.order.append(name)
            self.now += int(milliseconds * 1e6)

        return run


def test_calls_alternate_after_the_warm_up():
    clock = Clock()
    timings = measure({"a": clock.call("a", 2), "b": clock.call("b", 3)}, rounds=4, warmup=2, pause=0, clock=clock)
    assert "".join(clock.order) == "aabb" + "abababab"
    assert timings["a"] == Timing(2, 2, 2, 4, [2.0] * 4)
    assert timings["b"].p50_ms == 3


def test_a_slow_call_takes_part_in_fewer_rounds_spread_over_the_run():
    clock = Clock()
    calls = {"slow": clock.call("s", 1000), "fast": clock.call("f", 1)}
    timings = measure(calls, rounds=12, warmup=1, seconds=4, pause=0, clock=clock)
    assert timings["slow"].n == 4 and timings["fast"].n == 12
    assert "".join(clock.order[2:]) == "ffsf" * 4


def test_even_the_slowest_is_measured_a_few_times():
    clock = Clock()
    timings = measure({"a": clock.call("a", 5000)}, rounds=9, warmup=1, seconds=1, least=3, pause=0, clock=clock)
    assert timings["a"].n == 3


def test_percentiles():
    timing = Timing.from_samples([float(x) for x in range(101)])
    assert (timing.p50_ms, timing.p90_ms, timing.p99_ms, timing.n) == (50, 90, 99, 101)


def test_speedup_is_the_ratio_of_medians_and_its_interval_uses_the_pairs():
    shared = np.random.default_rng(1).lognormal(3, 0.5, 40)
    slow, fast = Timing.from_samples(list(2 * shared)), Timing.from_samples(list(shared))
    assert speedup(slow, fast) == pytest.approx((2, 2, 2))
    shuffled = Timing.from_samples(list(np.random.default_rng(2).permutation(shared)))
    ratio, low, high = speedup(slow, shuffled)
    assert ratio == pytest.approx(2) and low < 2 < high
    assert speedup(slow, shuffled) == (ratio, low, high)


def test_speedup_refuses_different_rounds():
    with pytest.raises(ValueError, match="paired"):
        speedup(Timing.from_samples([1.0]), Timing.from_samples([1.0, 2.0]))


@pytest.mark.parametrize(
    ("flags", "vnni", "amx", "avx512"),
    [
        ("fpu avx2", False, False, False),
        ("avx512f avx512_vnni amx_tile amx_int8", True, True, True),
        ("avx_vnni", True, False, False),
        ("amx_tile", False, False, False),
    ],
)
def test_machine_reads_the_int8_instructions(tmp_path, flags, vnni, amx, avx512):
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor\t: 0\nmodel name\t: Chip: 9\nflags\t\t: {flags}\n\n")
    stamp = latency.machine(path)
    assert (stamp["cpu"], stamp["vnni"], stamp["amx"], stamp["avx512"]) == ("Chip: 9", vnni, amx, avx512)
    assert set(stamp) == {"cpu", "cores", "threads", "vnni", "amx", "avx512", "python", "date"}


def test_machine_without_cpuinfo(tmp_path):
    assert latency.machine(tmp_path / "none")["vnni"] is False


@pytest.mark.parametrize(("flags", "able"), [("avx2 avx512_bf16", True), ("amx_bf16", True), ("avx512f avx2", False)])
def test_bf16_is_for_cpus_that_multiply_it(tmp_path, flags, able):
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor : 0\nflags\t: {flags}\n")
    assert latency.multiplies_bf16(path) is able
    assert not latency.multiplies_bf16(tmp_path / "none")


def in_a_thread(function) -> object:
    result = []

    def run() -> None:
        try:
            result.append(function())
        except UserError as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return result[0]


def take() -> str:
    with latency.device_lock(timeout=0.05):
        return "taken"


def test_the_device_is_for_one_thread_which_may_take_it_again():
    with latency.device_lock(timeout=0.05):
        assert take() == "taken"
        assert isinstance(in_a_thread(take), UserError)
    assert in_a_thread(take) == "taken"


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()


def test_the_device_is_for_one_process():
    code = (
        "from zoo import latency, errors\n"
        "try:\n with latency.device_lock(timeout=0.05): print('taken')\n"
        "except errors.UserError: print('busy')"
    )
    with latency.device_lock():
        assert run_python(code) == "busy"
    assert run_python(code) == "taken"


def test_a_running_job_disturbs_and_a_killed_one_does_not(monkeypatch):
    monkeypatch.setattr(latency, "_others_load", lambda: 0.0)
    code = "from zoo import latency; print(latency.disturbed(busy=1e9))"
    assert not latency.disturbed()
    with latency.running_job():
        assert run_python(code) == "True"
        assert latency.disturbed()
    assert not latency.disturbed()
    run_python("import os; from zoo.latency import running_job; job = running_job(); job.__enter__(); os._exit(0)")
    assert list((get_settings().home / "jobs").glob("*.lock"))
    assert not latency.disturbed()


def test_load_disturbs(monkeypatch):
    monkeypatch.setattr(latency, "_others_load", lambda: 0.7)
    assert latency.disturbed() and not latency.disturbed(busy=1)


def test_the_load_of_others_is_a_number_of_cpus():
    assert 0 <= latency._others_load(0.01) <= 4096
