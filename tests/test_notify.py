"""Hooks: real programs and a real HTTP server hear of releases, failed gates and failures; none of them can fail a run."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flows import notify
from flows.cli import main
from flows.notify import Hooks, NotifyConfig
from synth.config import parse
from synth.errors import RecipeError
from synth.store import Store
from tests.conftest import ScriptedServer
from tests.corpora import passage, write_recipe, write_seeds

ABOUT = {"recipe": "small", "recipe_file": "recipe.toml", "home": "corpus"}


class Listener(ThreadingHTTPServer):
    """Answers POSTs by its list of codes, the last one for ever; keeps what it got."""

    def __init__(self, codes: list[int]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.codes = codes
        self.got: list[dict[str, Any]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/secret-path?token=hush"


class Handler(BaseHTTPRequestHandler):
    """Of a Listener."""

    server: Listener

    def do_POST(self) -> None:
        self.server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        codes = self.server.codes
        code = codes.pop(0) if len(codes) > 1 else codes[0]
        self.send_response(code)
        if code == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def do_GET(self) -> None:
        self.server.got.append({"event": "redirected"})
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def listener() -> Iterator[Listener]:
    server = Listener([200])
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def told(config: dict[str, Any], event: notify.Event = "released") -> tuple[dict[str, int], list[str]]:
    """One event through hooks: their counts, and what they said."""
    said: list[str] = []
    hooks = Hooks(parse(NotifyConfig, config), ABOUT, said.append)
    hooks.tell(event, "small: release 7", lambda: {"release": 7})
    return hooks.close(), said


def program(folder: Path, text: str) -> str:
    path = folder / "hook.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_command_gets_the_event_on_its_input_and_its_name_in_the_environment(tmp_path: Path) -> None:
    hook = program(tmp_path, f'cat > "{tmp_path}/$SYNTH_EVENT"; echo "$1" > "{tmp_path}/argument"')
    counts, said = told({"command": [hook, "a b; rm -rf $HOME"]})
    assert (counts, said) == ({"told": 1, "failed": 0}, [])
    event = json.loads((tmp_path / "released").read_text())
    assert event["at"].endswith("+00:00")
    assert {**ABOUT, "event": "released", "text": "small: release 7", "release": 7}.items() <= event.items()
    assert (tmp_path / "argument").read_text() == "a b; rm -rf $HOME\n"  # no shell between


@pytest.mark.parametrize(
    ("script", "message"),
    [
        pytest.param("echo of no use >&2; exit 3", "exit code 3: of no use", id="exit code"),
        pytest.param("sleep 30", r"took longer than 0\.3 s", id="too slow"),
        pytest.param("kill -9 $$", "exit code -9", id="killed"),
        pytest.param("exec 0<&-; exit 1", "exit code 1", id="reads nothing"),
    ],
)
def test_a_command_that_fails_is_counted_and_said(tmp_path: Path, script: str, message: str) -> None:
    counts, said = told({"command": [program(tmp_path, script)], "timeout_seconds": 0.3 if "30" in script else 20.0})
    assert counts == {"told": 0, "failed": 1}
    assert len(said) == 1
    assert re.search(rf"notification failed, the run is not: run\.notify\.command: {message}", said[0])


def test_nothing_of_a_command_that_is_too_slow_stays_behind(tmp_path: Path) -> None:
    mark = tmp_path / "alive"
    script = f'(while true; do touch "{mark}"; sleep 0.05; done) & sleep 30'
    assert told({"command": [program(tmp_path, script)], "timeout_seconds": 0.5})[0] == {"told": 0, "failed": 1}
    mark.unlink()
    time.sleep(0.3)
    assert not mark.exists()


def test_what_a_command_leaves_in_the_background_is_not_waited_for(tmp_path: Path) -> None:
    began = time.monotonic()
    assert told({"command": [program(tmp_path, "sleep 5 & exit 0")]})[0] == {"told": 1, "failed": 0}
    assert time.monotonic() - began < 4


def test_an_address_gets_the_event_by_post(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told({"url": listener.url})[0] == {"told": 1, "failed": 0}
    monkeypatch.setenv("HOOK_URL", listener.url)
    assert told({"url_env": "HOOK_URL"}, "failed")[0] == {"told": 1, "failed": 0}
    assert [(one["event"], one["release"]) for one in listener.got] == [("released", 7), ("failed", 7)]


def test_an_address_is_tried_again_while_there_is_time(listener: Listener) -> None:
    listener.codes = [503, 200]
    assert told({"url": listener.url})[0] == {"told": 1, "failed": 0}
    assert len(listener.got) == 2


@pytest.mark.parametrize("code", [404, 302])
def test_a_refusal_is_final_and_names_no_secret(listener: Listener, code: int) -> None:
    listener.codes = [code]
    counts, said = told({"url": listener.url})
    assert counts == {"told": 0, "failed": 1}
    assert f"run.notify.url (127.0.0.1): answered {code}" in said[0]
    assert "secret" not in said[0]
    assert "hush" not in said[0]
    assert len(listener.got) == 1


def test_nobody_listens() -> None:
    counts, said = told({"url": "http://127.0.0.1:9/x", "timeout_seconds": 0.5})
    assert counts == {"told": 0, "failed": 1}
    assert "refused" in said[0]


def test_only_the_events_that_are_wanted(listener: Listener) -> None:
    config = {"url": listener.url, "on": ["failed", "gate_failed"]}
    assert told(config, "released")[0] == {"told": 0, "failed": 0}
    assert told(config, "gate_failed")[0] == {"told": 1, "failed": 0}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param({"url": "ftp://example.com"}, r"run\.notify\.url: given 'ftp.*an address such as", id="scheme"),
        pytest.param({"url": "https://user:word@example.com"}, "without a password", id="password in the address"),
        pytest.param({"url": "https://a.example", "url_env": "X"}, "url or url_env, not both", id="both"),
        pytest.param({"on": ["release"]}, r"run\.notify\.on.*'released'", id="event"),
        pytest.param({"command": "mail me"}, r"run\.notify\.command: given 'mail me'", id="a string"),
        pytest.param({"comand": ["x"]}, "did you mean 'command'", id="key"),
        pytest.param({"timeout_seconds": 0.0}, "greater than 0", id="no time"),
    ],
)
def test_wrong_tables_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse(NotifyConfig, config, "run.notify")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        pytest.param('run.notify.command=["no-such-program"]', r"run\.notify\.command: no such program", id="command"),
        pytest.param("run.notify.url_env=NO_SUCH_HOOK", "NO_SUCH_HOOK holds no address", id="variable"),
    ],
)
def test_hooks_are_checked_before_anything_starts(
    tmp_path: Path, setting: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_seeds(tmp_path / "seeds/a.jsonl", range(2))
    path = write_recipe(tmp_path, "http://127.0.0.1:9/v1")
    assert main(["run", str(path), "--home", str(tmp_path / "corpus"), "--set", setting]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "corpus").exists()


# Through `synth run`


def run(path: Path, *arguments: str) -> int:
    return main(["run", str(path), "--home", str(path.parent / "corpus"), "--no-prefect", "--json", *arguments])


def test_a_run_tells_of_each_release(
    tmp_path: Path, scripted_server: ScriptedServer, listener: Listener, capsys: pytest.CaptureFixture[str]
) -> None:
    write_seeds(tmp_path / "seeds/a.jsonl", range(8))
    path = write_recipe(tmp_path, scripted_server.base_url)
    hook = f"run.notify.url={listener.url}"
    assert run(path, "--set", hook, "--set", "run.wave_partitions=1") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["notifications"] == {"told": 2, "failed": 0}
    first, second = listener.got
    assert (first["release"], second["release"], second["continues"]) == (1, 2, 1)
    assert first["documents"] + second["documents"] == summary["documents"] == 16
    assert first["kept"] + second["kept"] == summary["kept"]
    tokens = sum(event["families"]["distill"]["kept_tokens"] for event in listener.got)
    assert tokens == summary["families"]["distill"]["kept_tokens"]
    assert {shard["path"] for event in listener.got for shard in event["shards"]} == {
        str(tmp_path / "corpus" / shard["path"].removeprefix(str(tmp_path / "corpus") + "/"))
        for shard in summary["shards"]
    }
    assert run(path, "--set", hook) == 0  # nothing to do: nothing to tell
    assert len(listener.got) == 2


def test_a_run_tells_of_a_failed_gate_and_of_a_failure(
    tmp_path: Path, scripted_server: ScriptedServer, listener: Listener, capsys: pytest.CaptureFixture[str]
) -> None:
    marked = {f"s{number}": f"{passage(number)} [[scripted: outcome=refuse]]" for number in range(30)}
    write_seeds(tmp_path / "seeds/a.jsonl", range(31), **marked)
    path = write_recipe(tmp_path, scripted_server.base_url, ingest="[ingest]\npartition_rows = 50")
    assert run(path, "--set", f"run.notify.url={listener.url}") == 3
    (gate,) = listener.got
    assert (gate["event"], gate["outcome"], gate["release"]) == ("gate_failed", "gate_failed", None)
    assert "dropped_share" in gate["error"]
    listener.got.clear()
    assert run(path, "--set", f"run.notify.url={listener.url}", "--set", "sources.texts.license=MIT") == 2
    (failed,) = listener.got
    assert failed["event"] == "failed"
    assert failed["error"] in capsys.readouterr().err
    assert "license changed" in failed["text"]


def test_a_hook_that_fails_fails_no_run(
    tmp_path: Path, scripted_server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    write_seeds(tmp_path / "seeds/a.jsonl", range(2))
    path = write_recipe(tmp_path, scripted_server.base_url)
    program(tmp_path, "exit 5")
    assert run(path, "--set", 'run.notify.command=["./hook.sh"]') == 0  # the path starts from the recipe's folder
    printed = capsys.readouterr()
    assert json.loads(printed.out)["notifications"] == {"told": 0, "failed": 1}
    assert printed.err.count("notification failed, the run is not: run.notify.command: exit code 5") == 1
    stored = next((tmp_path / "corpus/runs").iterdir()) / "summary.json"
    assert json.loads(stored.read_text())["notifications"] == {"told": 0, "failed": 1}


def test_a_home_in_use_is_no_failure(tmp_path: Path, listener: Listener, capsys: pytest.CaptureFixture[str]) -> None:
    write_seeds(tmp_path / "seeds/a.jsonl", range(2))
    path = write_recipe(tmp_path, "http://127.0.0.1:9/v1")
    with Store.open(tmp_path / "corpus").lock("somebody"):
        assert run(path, "--set", f"run.notify.url={listener.url}") == 2
    assert "in use by another run" in capsys.readouterr().err
    assert listener.got == []
