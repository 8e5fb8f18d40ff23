"""The local Hub as a person, or a browser test, starts it."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def url(tmp_path):
    command = [sys.executable, "-m", "tests.hub_server", "--port", "0", "--folder", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        line = process.stdout.readline()
        yield line.split("HF_ENDPOINT=")[1].split()[0]
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def ask(url: str, path: str, token: str = "", data: dict | None = None) -> dict:
    body = json.dumps(data).encode() if data is not None else None
    request = urllib.request.Request(url + path, body, {"Authorization": f"Bearer {token}"} if token else {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as answer:
        return json.loads(answer.read())


def test_it_says_where_it_is_who_one_is_and_has_the_faults_that_it_is_told(url):
    assert ask(url, "/api/whoami-v2", "hf_writer")["name"] == "writer"
    ask(url, "/faults", data={"whoami": [503]})
    with pytest.raises(urllib.error.HTTPError, match="503"):
        ask(url, "/api/whoami-v2", "hf_writer")
    assert ask(url, "/api/repos/create", "hf_writer", {"name": "x", "type": "model"})["url"] == f"{url}/writer/x"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        ask(url, "/api/repos/create", "hf_reader", {"name": "x", "type": "model"})
