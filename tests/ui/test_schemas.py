"""What endpoints say they return is what they return."""

from __future__ import annotations

from ui.schemas import HIDDEN, JobReply


def test_a_jobs_reply_has_the_keys_of_a_job_that_are_no_secrets_of_this_machine(make_job):
    told = make_job().to_dict()
    assert set(JobReply.__annotations__) == set(told) - set(HIDDEN) and set(HIDDEN) <= set(told)
