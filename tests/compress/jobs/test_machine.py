"""Jobs as a state machine: submitted, cancelled, retried, workers killed at any step, machines and apps restarted."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from compress.jobs import jobs, launchers, ledger, queue, supervisor
from compress.jobs.ledger import OPEN, Job, Ledger
from compress.recipe.load import load
from tests.compress.jobs import jobs_kit
from tests.compress.jobs.machine_kit import World
from zoo.errors import UserError
from zoo.files import write_json

RECIPE = load("static_int8")
ACTIONS = ("pass", "go on", "kill", "cancel", "retry", "submit", "another worker", "kill the runs")
STEPS = 12  # of a worker with one job, at most
# What happens at the steps of a worker: its death at one of them, or this and that, though mostly nothing.
DEATHS = st.integers(0, STEPS - 1).map(lambda step: ["pass"] * step + ["kill"])
PLANS = DEATHS | st.lists(st.sampled_from([*ACTIONS, *["pass"] * 6, "go on"]), min_size=STEPS, max_size=2 * STEPS)
MOST = 4  # jobs


class Jobs(RuleBasedStateMachine):
    """Everything that may happen to the jobs of a home, in any order; every step of a worker may be its last."""

    def __init__(self) -> None:
        super().__init__()
        self.stack, self.world = ExitStack(), World()
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # nothing here outlives the machine
        self.home = Path(self.stack.enter_context(tempfile.TemporaryDirectory(dir=memory)))
        patch = self.stack.enter_context(jobs_kit.home_of(self.home))
        world = self.world
        patch.setitem(launchers.LAUNCHERS, "stepped", lambda: world)
        # Of recipes, which have their own tests.
        patch.setattr(jobs, "check", lambda recipe, owner: None)
        patch.setattr(jobs, "disk_gib", lambda recipe: 0)
        patch.setattr(ledger, "save", lambda recipe, path: path.write_text(f"kind: {recipe.kind}\n"))
        slept: Any = SimpleNamespace(sleep=lambda _: world.point(True), time=time.time, monotonic=time.monotonic)
        patch.setattr(supervisor, "time", slept)
        patch.setattr(ledger, "write_json", self.write)
        world.actions = {
            "pass": lambda: None,
            "go on": world.go_on,
            "cancel": lambda: self.do(jobs.cancel),
            "retry": lambda: self.do(jobs.retry),
            "submit": self.submit,
            "another worker": self.work,
            "kill the runs": world.kill_runs,
        }
        self.known: dict[str, str] = {}  # names by id
        self.ended: dict[str, tuple[str, float | None, int]] = {}
        self.turn, self.depth = 0, 0

    def write(self, path: Path, row: object) -> None:
        self.world.point(is_free=False)
        write_json(path, row)
        self.world.point(is_free=False)

    def do(self, act: Any) -> None:
        """Somebody acts on a job, another one each time."""
        if self.known:
            self.turn += 1
            job_id = list(self.known)[self.turn % len(self.known)]
            try:
                self.world.survive(lambda: act(job_id))
            except UserError as error:
                assert "only a failed or cancelled one can be retried" in str(error)

    def work(self) -> None:
        """A worker of its own looks after one job, until that has ended or the worker is dead."""
        if self.depth < 2:
            self.depth += 1
            self.world.survive(lambda: queue.run_next(Ledger(self.home)))
            self.depth -= 1

    @initialize()
    def begin(self) -> None:
        self.submit()
        self.submit()

    @rule()
    def submit(self) -> None:
        if len(self.known) < MOST:
            self.world.survive(lambda: jobs.submit(RECIPE, f"job {len(self.known)}", launcher="stepped"))

    @rule(act=st.sampled_from([jobs.cancel, jobs.retry]))
    def change(self, act: Any) -> None:
        self.do(act)

    @rule(plan=PLANS)
    def run_a_worker(self, plan: list[str]) -> None:
        self.world.plan.extend(plan)
        self.work()
        self.world.plan.clear()

    @rule()
    def restart_the_app(self) -> None:
        ledger._ledger.cache_clear()

    @rule()
    def restart_the_machine(self) -> None:
        self.world.kill_runs()
        ledger._ledger.cache_clear()

    @invariant()
    def nothing_is_lost_or_done_twice(self) -> None:
        seen = {job.id: job for job in jobs.jobs()}
        assert self.known.items() <= {job.id: job.name for job in seen.values()}.items(), "a job is lost"
        self.known = {job.id: job.name for job in sorted(seen.values(), key=lambda job: job.created)}
        for job in seen.values():
            self.check(job)

    def check(self, job: Job) -> None:
        alive, world = self.world.alive(job.folder), self.world
        assert not job.is_broken
        assert len(alive) <= 1, f"{job.id} runs twice"
        assert world.done[job.folder] <= 1, f"what {job.id} has to do was done twice"
        if job.state == "done":
            assert world.done[job.folder] == 1, f"{job.id} is called done and did nothing"
        earlier = self.ended.get(job.id)
        if earlier and earlier[0] == "done" or earlier and job.attempt == earlier[2]:
            assert (job.state, job.ended, job.attempt) == earlier, f"{job.id} had ended as {earlier}"
        if job.state in OPEN:
            self.ended.pop(job.id, None)
            assert job.ended is None
        else:
            self.ended[job.id] = (job.state, job.ended, job.attempt)
            assert job.ended is not None and not alive, f"{job.id} is {job.state}, and runs"

    def teardown(self) -> None:
        try:
            for _ in range(4 * MOST):
                if any(job.is_open for job in jobs.jobs()):
                    self.work()
                    self.nothing_is_lost_or_done_twice()
            assert not any(job.is_open for job in jobs.jobs()), "a job that nobody ends"
        finally:
            self.stack.close()


Jobs.TestCase.settings = settings(
    max_examples=60,
    phases=[Phase.generate],  # making a failure smaller takes minutes: add Phase.shrink to do so
    stateful_step_count=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestJobs = Jobs.TestCase


@pytest.mark.parametrize("act", [None, jobs.cancel])
def test_a_worker_may_die_at_each_step(act):
    """Nobody may do anything, or cancel the job, before the next worker comes."""
    for step in range(STEPS):
        state = Jobs()
        state.begin()
        state.run_a_worker(["pass"] * step + ["kill"])
        state.nothing_is_lost_or_done_twice()
        if act:
            state.do(act)
            state.do(act)
        state.teardown()
