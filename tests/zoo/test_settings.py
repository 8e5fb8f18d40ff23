from __future__ import annotations

from pathlib import Path

import pytest

from zoo.errors import UserError
from zoo.settings import Settings, cpus, get_settings


@pytest.fixture(autouse=True)
def fresh():
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def test_the_environment_sets_every_field(monkeypatch, tmp_path):
    wanted = {"home": tmp_path, "data": Path("/d"), "host": "::", "port": 80, "threads": 3}
    wanted |= {"preset": "explorer", "hub_author": "ann"}
    for name, value in wanted.items():
        monkeypatch.setenv(f"BUDGET_ZOO_{name.upper()}", str(value))
    settings = get_settings()
    assert {name: getattr(settings, name) for name in wanted} == wanted
    assert get_settings() is settings


def test_defaults_stay_on_this_machine(monkeypatch):
    for name in ("HOME", "DATA", "HOST", "PORT", "THREADS"):
        monkeypatch.delenv(f"BUDGET_ZOO_{name}", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    settings = Settings()
    assert (settings.host, settings.port, settings.home.name) == ("127.0.0.1", 7860, "budget-zoo")
    assert settings.threads >= 1


def test_a_bad_value_is_named(monkeypatch):
    monkeypatch.setenv("BUDGET_ZOO_THREADS", "none")
    with pytest.raises(UserError, match="BUDGET_ZOO_THREADS"):
        get_settings()


@pytest.mark.parametrize(
    ("system", "space", "expected"), [("spaces", "a/b", True), ("spaces", "", False), ("", "a/b", False)]
)
def test_on_a_space(monkeypatch, system, space, expected):
    monkeypatch.setenv("SYSTEM", system)
    monkeypatch.setenv("SPACE_ID", space)
    assert Settings().on_space is expected


def test_a_space_explores_and_is_open_to_its_host(monkeypatch):
    assert (Settings().preset, Settings().host) == ("full", "127.0.0.1")
    monkeypatch.setenv("SYSTEM", "spaces")
    monkeypatch.setenv("SPACE_ID", "a/b")
    assert (Settings().preset, Settings().host) == ("explorer", "0.0.0.0")
    monkeypatch.setenv("BUDGET_ZOO_PRESET", "full")
    assert Settings().preset == "full"


def test_the_hubs_address_is_the_environments(monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    assert Settings().hub == "https://huggingface.co"
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:8899/")
    assert Settings().hub == "http://127.0.0.1:8899"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Makes a machine of eight CPUs out of files: what stands in `/proc/self/cgroup`, and quotas by their files."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)), raising=False)

    def make(groups: str, files: dict[str, str]) -> Path:
        for name, text in {"proc/self/cgroup": groups, **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("groups", "files", "count"),
    [
        pytest.param("0::/\n", {"sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2, id="docker --cpus=2"),
        pytest.param("0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"}, 8, id="no quota"),
        pytest.param("0::/\n", {"sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1, id="half a CPU"),
        pytest.param("0::/\n", {"sys/fs/cgroup/cpu.max": "350000 100000\n"}, 3, id="three and a half"),
        pytest.param(
            "0::/a/b\n",
            {"sys/fs/cgroup/a/cpu.max": "400000 100000", "sys/fs/cgroup/a/b/cpu.max": "max 100000"},
            4,
            id="the group above has the quota",
        ),
        pytest.param(
            "4:cpu,cpuacct:/docker/x\n0::/\n",
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
            2,
            id="version 1",
        ),
        pytest.param(
            "1:cpu:/\n",
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
            8,
            id="version 1 without a quota",
        ),
    ],
)
def test_threads_heed_the_quota_of_a_container(machine, groups, files, count):
    assert cpus(machine(groups, files)) == count


def test_without_control_groups_affinity_decides(machine, tmp_path):
    machine("", {})
    assert cpus(tmp_path / "elsewhere") == 8
