"""Requests as websites, rebound names, proxies, tunnels and programs send them: who is obeyed by every route."""

from __future__ import annotations

import errno
import json
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import gradio_client
import pytest
from gradio import route_utils
from gradio.events import api
from gradio.routes import App
from starlette.datastructures import Headers
from starlette.testclient import TestClient

from tests.ui.page_kit import loops_closed, visitor
from ui import gate, people, serve
from ui.secret import page_secret
from ui.theme import launch_options
from zoo import publishing
from zoo.errors import FULL, UserError
from zoo.settings import get_settings

HERE, EVIL = "127.0.0.1:7860", "evil.example"
SPACE = "ann-budget-zoo.hf.space"
CALL = "/gradio_api/call/echo"


def echo(text: str = "") -> str:
    return text


@pytest.fixture(scope="module")
def demo():
    """A page with an endpoint that tells what it was called with, and a place for files."""
    with loops_closed(), gr.Blocks(analytics_enabled=False) as page:
        gr.File()
        api(echo, api_name="echo", queue=False)
        yield page


@pytest.fixture(scope="module")
def routes(demo):
    demo.max_file_size = None
    with loops_closed():
        yield App.create_app(demo, app_kwargs={"middleware": gate.guarded(demo)})


@pytest.fixture
def client(routes):
    """Sends requests to every route of gradio behind a fresh gate."""
    routes.middleware_stack = None
    return TestClient(routes, base_url=f"http://{HERE}", client=("127.0.0.1", 50_000))


@pytest.fixture
def on_space(monkeypatch):
    for key, value in {"SYSTEM": "spaces", "SPACE_ID": "ann/budget-zoo", "SPACE_HOST": SPACE}.items():
        monkeypatch.setenv(key, value)
    get_settings.cache_clear()


def page_of(host, **more):
    return {"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin", **more}


REBOUND = page_of(EVIL)
ROUTES = [
    ("GET", "/"),
    ("GET", "/config"),
    ("GET", "/gradio_api/info"),
    ("GET", "/gradio_api/queue/data?session_hash=a"),
    ("GET", "/gradio_api/file=app.py"),
    ("GET", "/gradio_api/heartbeat/a"),
    ("GET", "/theme.css"),
    ("POST", CALL),
    ("POST", "/gradio_api/run/echo"),
    ("POST", "/gradio_api/queue/join"),
    ("POST", "/gradio_api/upload"),
    ("POST", "/gradio_api/cancel"),
    ("POST", "/gradio_api/reset"),
    ("PUT", "/"),
    ("DELETE", "/gradio_api/upload"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_no_route_obeys_a_rebound_name_or_another_websites_page(client, method, path):
    refused = client.request(method, path, headers=REBOUND, json={"data": ["x"]})
    assert refused.status_code == 421 and "BUDGET_ZOO_NAMES=evil.example" in refused.json()["detail"]
    for headers in (
        {"origin": f"http://{EVIL}", "sec-fetch-site": "cross-site"},
        {"origin": "http://127.0.0.1:3000", "sec-fetch-site": "same-site"},  # another program's page of this machine
        {"origin": "null"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"},
        {"x-forwarded-host": EVIL, "origin": f"http://{EVIL}"},
    ):
        refused = client.request(method, path, headers=headers, json={"data": ["x"]})
        assert refused.status_code in (403, 421), headers
        assert "detail" in refused.json()


def test_what_a_browser_changes_carries_the_pages_secret(demo):
    secret = "s" * 43
    with loops_closed():
        routes = App.create_app(demo, app_kwargs={"middleware": gate.guarded(demo, secret=secret)})
    client = TestClient(routes, base_url=f"http://{HERE}", client=("127.0.0.1", 50_000))
    body: Any = {"json": {"data": ["x"]}}
    assert client.post(CALL, **body).status_code == 200  # a program's
    assert client.post(CALL, headers=page_of(HERE) | {"X-Budget-Zoo": secret}, **body).status_code == 200
    for more, said in (({}, gate.ELSEWHERE), ({"X-Budget-Zoo": "s" * 42}, gate.STRANGE)):
        for path in (CALL, "/gradio_api/queue/join", "/gradio_api/upload", "/gradio_api/cancel"):
            for headers in (page_of(HERE), {"sec-fetch-site": "same-origin"}, {"referer": f"http://{HERE}/"}):
                refused = client.post(path, headers=headers | more, **body)
                assert (refused.status_code, refused.json()["detail"]) == (403, said)
    assert client.get("/config", headers=page_of(HERE)).status_code == 200


def test_a_file_of_another_website_is_not_taken(client, tmp_path):
    files = {"files": ("a.csv", b"x" * 1000)}
    for headers in ({"origin": f"https://{EVIL}"}, {"referer": f"https://{EVIL}/form"}):  # very old browsers tell this
        assert client.post("/gradio_api/upload", files=files, headers=headers).status_code == 403
    assert client.post("/gradio_api/upload", files=files, headers=page_of(HERE)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="a program"),
        pytest.param(page_of(HERE), id="the page"),
        pytest.param(page_of("localhost:7860"), id="the page by its other name"),
        pytest.param(page_of("[::1]:7860"), id="the page at an IPv6 address"),
        pytest.param(page_of("192.168.1.5:7860"), id="the page at an address of this network"),
        pytest.param({"host": HERE, "x-forwarded-host": "192.168.1.5", "origin": "https://192.168.1.5"}, id="a proxy"),
    ],
)
def test_the_page_and_programs_are_obeyed(client, headers):
    assert client.get("/config", headers=headers).status_code == 200
    assert client.post(CALL, json={"data": ["hello"]}, headers=headers).status_code == 200
    assert client.post("/gradio_api/upload", files={"files": ("a", b"x")}, headers=headers).status_code == 200


def test_a_link_from_elsewhere_opens_the_page_but_no_frame_shows_it(client):
    visit = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    opened = client.get("/config?model=minilm-l6-qa", headers=visit)
    assert opened.status_code == 200 and opened.headers["content-security-policy"] == "frame-ancestors 'self'"
    assert client.get("/config", headers=visit | {"sec-fetch-dest": "iframe"}).status_code == 403
    assert client.get("/gradio_api/info", headers=visit).status_code == 403
    told = client.get("/", headers={**REBOUND, "accept": "text/html"})
    assert told.text.startswith("“evil.example” is no name of this page")


def test_names_that_a_person_set_are_the_pages(client, monkeypatch):
    assert client.get("/config", headers=page_of("zoo.example")).status_code == 421
    monkeypatch.setenv("BUDGET_ZOO_NAMES", "other.example, Zoo.Example")
    get_settings.cache_clear()
    assert client.post(CALL, json={"data": ["x"]}, headers=page_of("zoo.example")).status_code == 200
    # A proxy that asks under the address, as most do unless they are told to pass the name on.
    assert client.post(CALL, json={"data": ["x"]}, headers={"origin": "https://zoo.example"}).status_code == 200
    assert client.post(CALL, json={"data": ["x"]}, headers=page_of("notzoo.example")).status_code == 421


def test_the_name_it_is_launched_with_and_its_shared_link_are_the_pages(demo, monkeypatch):
    (given,) = gate.guarded(demo, "zoo.local")
    known: Any = given.kwargs["known"]
    assert "zoo.local" in known()
    monkeypatch.setattr(demo, "share_url", "https://0123456789abcdef.gradio.live", raising=False)
    assert "0123456789abcdef.gradio.live" in known()


def test_a_space_is_used_under_its_name_and_shown_by_the_hub(client, on_space):
    page = {"host": SPACE, "origin": f"https://{SPACE}", "sec-fetch-site": "same-origin"}
    assert client.post(CALL, json={"data": ["x"]}, headers=page).status_code == 200
    behind = {"host": "10.0.0.7:7860", "x-forwarded-host": SPACE, "origin": f"https://{SPACE}"}
    assert client.post(CALL, json={"data": ["x"]}, headers=behind).status_code == 200
    shown = {"host": SPACE, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}
    opened = client.get("/config", headers=shown)
    assert opened.status_code == 200 and "content-security-policy" not in opened.headers
    assert client.post(CALL, json={"data": ["x"]}, headers=page | {"origin": f"https://{EVIL}"}).status_code == 403
    assert client.get("/", headers={"host": EVIL}).status_code == 421


def test_a_large_body_is_refused_as_it_comes_and_not_kept_or_logged(client, caplog):
    body = json.dumps({"data": ["x" * (gate.MOST_BODY + 1)]})
    refused = client.post(CALL, content=body, headers={"content-type": "application/json"})
    assert refused.status_code == 413 and "4 MB" in refused.json()["detail"]

    taken = 0

    def endless():
        nonlocal taken
        while taken < 20 * gate.MOST_BODY:  # nobody tells how long it will be
            taken += 2**16
            yield b"x" * 2**16

    assert client.post(CALL, content=endless(), headers={"content-type": "application/json"}).status_code == 413
    assert all(len(record.getMessage()) < 1000 for record in caplog.records)
    assert len([record for record in caplog.records if "Refused" in record.getMessage()]) == 1


def test_a_visitor_uploads_so_much_within_an_hour(client, monkeypatch):
    monkeypatch.setenv("BUDGET_ZOO_UPLOAD_MIB", "1")
    get_settings.cache_clear()
    sent = [
        client.post("/gradio_api/upload", files={"files": ("a", bytes([i]) * 400_000)}).status_code for i in range(4)
    ]
    assert sent == [200, 200, 429, 429]


def test_the_quota_is_each_visitors_and_of_an_hour():
    now = [0.0]
    quota = gate.Quota(lambda: now[0])
    most = get_settings().upload_mib * 2**20
    for visitor_ in "abcd":
        quota.take(visitor_, most)
        with pytest.raises(gate.Refused, match="You have uploaded"):
            quota.take(visitor_, 1)
    with pytest.raises(gate.Refused, match="all visitors together"):
        quota.take("e", 1)
    now[0] = 3700.0
    quota.take("a", most)


def test_on_a_space_visitors_are_told_apart_by_what_its_proxy_saw(on_space):
    scope = {"type": "http", "client": ("10.0.0.1", 1)}
    assert gate.visitor_of(scope, Headers({"x-forwarded-for": "6.6.6.6, 1.2.3.4"})) == "1.2.3.4"
    assert gate.visitor_of(scope, Headers()) == "10.0.0.1"


def test_a_full_disk_takes_no_files(client, monkeypatch):
    monkeypatch.setattr(gate, "lacking_space", lambda needed: f"There is not enough disk space for {needed > 0}.")
    refused = client.post("/gradio_api/upload", files={"files": ("a", b"x")})
    assert refused.status_code == 507 and "not enough disk space for True" in refused.json()["detail"]


def test_a_disk_that_is_filled_by_what_comes_is_told(client, monkeypatch):
    """Where there was room when the upload began, and writing it failed for want of it."""

    async def full(_parser: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(route_utils.GradioMultiPartParser, "parse", full)
    refused = client.post("/gradio_api/upload", files={"files": ("a", b"x")})
    assert refused.status_code == 507 and refused.json() == {"detail": FULL}


def test_this_machines_token_is_not_for_who_comes_by_a_proxy_or_a_tunnel(monkeypatch):
    monkeypatch.setattr(publishing, "standard_token", lambda: "hf_here")
    assert people.token_here(visitor()) == "hf_here"
    for asked in ("0123456789abcdef.gradio.live", "zoo.example:443", ""):
        assert people.token_here(visitor(asked=asked)) is None
        with pytest.raises(UserError, match="open the page as localhost"):
            people.token_for(None, visitor(asked=asked))


def test_gradios_own_client_is_obeyed_by_a_running_page(demo):
    with loops_closed():
        _, url, _ = demo.launch(
            prevent_thread_lock=True, quiet=True, _frontend=False, app_kwargs={"middleware": gate.guarded(demo)}
        )
        try:
            assert gradio_client.Client(url, verbose=False).predict("hello", api_name="/echo") == "hello"
        finally:
            demo.close()


def test_the_app_is_served_behind_the_gate(monkeypatch):
    given = {}

    def launch(**options):
        given.update(options)
        raise InterruptedError

    monkeypatch.setenv("GRADIO_TEMP_DIR", "unused")
    monkeypatch.setattr("sys.stdout", sys.stdout)  # put back afterwards
    monkeypatch.setattr(serve, "Desk", object)
    page = SimpleNamespace(queue=lambda max_size: None, launch=launch, share_url=None)
    monkeypatch.setattr(serve, "build", lambda desk: page)
    monkeypatch.setattr(serve, "share_fairly", lambda demo: None)
    monkeypatch.setattr(serve.tools, "announce", lambda demo: None)
    monkeypatch.setattr("sys.argv", ["app.py", "--host", "zoo.local"])
    with pytest.raises(InterruptedError):
        serve.main()
    (one,) = given["app_kwargs"]["middleware"]
    known: Any = one.kwargs["known"]
    assert one.cls is gate.Gate and "zoo.local" in known()
    assert one.kwargs["secret"] and f'budgetZoo.carry("{one.kwargs["secret"]}");' in given["head"]


def test_a_secret_outlives_the_app_and_is_for_its_owner_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("BUDGET_ZOO_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    secret = page_secret()
    kept = tmp_path / "home/page-secret"
    assert page_secret() == secret == kept.read_text() and kept.stat().st_mode & 0o777 == 0o600
    kept.write_text("x")  # of somebody who would like to know it
    assert page_secret() not in ("x", secret)
    assert f'budgetZoo.carry("{page_secret()}");' in launch_options(page_secret())["head"]
    monkeypatch.setattr("ui.secret.write_text", failing)
    kept.unlink()
    assert page_secret() != page_secret()


def failing(*_args: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_the_page_goes_on_where_its_words_go_to_a_full_disk():
    with open("/dev/full", "w", buffering=1) as full:
        with pytest.raises(OSError, match="No space left"):
            print("Running on local URL", file=full, flush=True)
        said = serve.Unbroken(full)
        print("Running on local URL", file=said, flush=True)  # pyright: ignore[reportArgumentType]
        assert said.isatty() is False and said.fileno() == full.fileno()
        with suppress(OSError):
            full.close()


def test_a_worker_is_started_once_the_disk_has_room(monkeypatch, caplog):
    waits, disk = list[float](), iter((True, True, False))

    def keep_worker() -> None:
        if next(disk):
            raise UserError("The disk is full.")

    monkeypatch.setattr(serve.jobs, "keep_worker", keep_worker)
    monkeypatch.setattr(serve.time, "sleep", waits.append)
    serve.start_worker(7)
    assert waits == [7, 7] and caplog.text.count("No jobs will run for now: The disk is full.") == 1
