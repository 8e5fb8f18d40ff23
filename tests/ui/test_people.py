from types import SimpleNamespace

import gradio as gr
import pytest

from compress.jobs import jobs
from tests.ui.page_kit import profile_of, visitor
from ui import people
from zoo import publishing
from zoo.errors import UserError

ANN, TOKEN = profile_of("ann"), gr.OAuthToken("hf_ann", "", 0)
HERE, AWAY = visitor(), visitor(host="10.0.0.9")


@pytest.fixture
def place(monkeypatch):
    """Where the page runs: `place(on_space=…, preset=…)`."""

    def set_(on_space=False, preset="full"):
        monkeypatch.setattr(people, "get_settings", lambda: SimpleNamespace(on_space=on_space, preset=preset))

    set_()
    return set_


@pytest.fixture
def queue(monkeypatch, make_job):
    known = [make_job(id="a", owner="ann"), make_job(id="b", owner="bob"), make_job(id="c", owner="")]

    def find(job_id):
        found = next((job for job in known if job.id == job_id), None)
        if found is None:
            raise UserError(f"There is no job {job_id}.")
        return found

    monkeypatch.setattr(jobs, "jobs", lambda owner=None, limit=None: [j for j in known if owner in (None, j.owner)])
    monkeypatch.setattr(jobs, "find", find)
    return known


def test_off_a_space_everybody_is_trusted_and_a_profile_says_nothing(place, queue):
    for profile in (None, ANN):
        person = people.who(profile)
        assert person == people.Person("", True) and len(people.jobs_of(person)) == 3
        assert people.job_of(person, "b").owner == "bob"
        people.must_start(person)


def test_on_a_space_everybody_has_their_own_jobs(place, queue):
    place(on_space=True)
    ann, nobody = people.who(ANN), people.who(None)
    assert [job.id for job in people.jobs_of(ann)] == ["a"] and people.jobs_of(nobody) == []
    assert people.job_of(ann, "a").id == "a"
    for person, job_id in ((ann, "b"), (ann, "c"), (nobody, "a"), (nobody, "c")):
        with pytest.raises(UserError, match="no job"):
            people.job_of(person, job_id)
    people.must_start(ann)
    with pytest.raises(UserError, match="Sign in"):
        people.must_start(nobody)


def test_a_read_only_page_starts_nothing(place):
    place(preset="explorer")
    assert people.read_only()
    with pytest.raises(UserError, match="off on this page"):
        people.must_start(people.who(None))


def test_no_job_is_asked_for(place):
    with pytest.raises(UserError, match="Pick a job"):
        people.job_of(people.who(None), "")


def test_on_a_space_only_the_signed_in_persons_token_counts(place, monkeypatch):
    place(on_space=True)
    monkeypatch.setattr(publishing, "standard_token", lambda: pytest.fail("the host's token is nobody's business"))
    assert people.token_for(TOKEN, AWAY) == "hf_ann"
    with pytest.raises(UserError, match="Sign in first"):
        people.token_for(None, HERE)


def test_this_machines_token_is_only_for_who_sits_at_it(place, monkeypatch):
    monkeypatch.setattr(publishing, "standard_token", lambda: "hf_here")
    assert people.token_for(TOKEN, HERE) == "hf_here"  # a profile's token off a Space is made up
    with pytest.raises(UserError, match="those who sit at it"):
        people.token_for(TOKEN, AWAY)
    monkeypatch.setattr(publishing, "standard_token", lambda: None)
    with pytest.raises(UserError, match="no token"):
        people.token_for(None, HERE)
