"""The named endpoints, over the wire."""

from __future__ import annotations

import json
import time

import httpx2
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

PASSAGE = "Ada Lovelace was born in London in 1815. She wrote the first program for the engine of Charles Babbage."


@pytest.fixture(scope="module")
def client(url):
    opened = Client(url, verbose=False)
    yield opened
    opened.close()


def test_only_the_named_endpoints_are_listed(client):
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == {
        "/answer",
        "/classify",
        "/label",
        "/embed",
        "/rank",
        "/measure",
        "/front",
        "/models",
        "/jobs",
    }


def test_models_and_jobs_are_looked_up_without_folders_of_this_machine(client):
    found = client.predict(api_name="/models")
    assert "minilm-l6-qa" in [row["name"] for row in found] and not any("folder" in row for row in found)
    assert [row["name"] for row in client.predict("length-adaptive", api_name="/models")]
    assert all({"id", "state"} <= set(job) and "folder" not in job for job in client.predict(api_name="/jobs"))


def test_front_answer_and_measure_agree(client):
    front = client.predict(api_name="/front")
    assert front["front"]["points"] and front["model"]
    found = client.predict(
        "Where was Ada Lovelace born?", PASSAGE, budget=1.0, unit="loss", compare=True, api_name="/answer"
    )
    assert found["answers"] and found["point"]["fractions"] and found["full_length"]["fp32"]
    loss = front["front"]["full"]["metrics"]["f1"] - found["point"]["score"]
    assert loss <= 1 + 1e-6
    measured = client.predict("Where was Ada Lovelace born?", PASSAGE, budget=1.0, unit="loss", api_name="/measure")
    assert measured["point"]["fractions"] == found["point"]["fractions"]
    assert set(measured["timings"]) == {"budget", "full", "float"}
    assert all(t["p50_ms"] > 0 and t["n"] == len(t["samples"]) for t in measured["timings"].values())
    assert measured["machine"]["cpu"] and isinstance(measured["disturbed"], bool)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"question": " "}, "question"),
        ({"unit": "miles"}, "unit|one of"),
        ({"model": "/no/such/folder"}, "no folder"),
        ({"engine": "gpu"}, "engine"),
        ({"budget": 5.0}, None),
    ],
)
def test_bad_input_is_explained(client, options, said):
    wanted = {"question": "Where was Ada born?", "passage": PASSAGE, **options}
    if said is None:
        assert "cheapest" in client.predict(**wanted, api_name="/answer")["point"]["message"]
        return
    with pytest.raises(AppError, match=said):
        client.predict(**wanted, api_name="/answer")


def test_what_a_client_who_left_has_asked_is_not_run(client, url):
    function = next(each for each in client.config["dependencies"] if each["api_name"] == "measure")["id"]
    model = "minilm-l6-qa-length-adaptive-int8"
    given = ["Who wrote it?", PASSAGE, model, 50.0, "macs", "onnxruntime"]
    asked = {"data": given, "fn_index": function, "session_hash": "leaves"}
    for _ in range(12):  # of two and a half seconds each
        httpx2.post(f"{url}/gradio_api/queue/join", json=asked, timeout=60).raise_for_status()
    with httpx2.stream("GET", f"{url}/gradio_api/queue/data?session_hash=leaves", timeout=60) as stream:
        heard = (json.loads(line.removeprefix("data: ")) for line in stream.iter_lines() if line)
        assert next(one for one in heard if one["msg"] == "process_starts")
        assert httpx2.get(f"{url}/gradio_api/queue/status", timeout=60).json()["queue_size"] >= 8
    end = time.monotonic() + 15
    while httpx2.get(f"{url}/gradio_api/queue/status", timeout=60).json()["queue_size"]:
        assert time.monotonic() < end
        time.sleep(0.05)
