"""A home on S3 in a bad world: throttling, lost answers, cut connections, killed uploads, races, damage, and what is refused."""

from __future__ import annotations

import itertools
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth import lease, s3
from synth.driver import Driver, File
from synth.errors import HomeError, IntegrityError, WorldError
from synth.s3 import Bucket, split_url
from synth.store import Store
from synth.store_s3 import S3Store
from tests.conftest import ROOT
from tests.s3_server import BUCKET, Faults, Seen, aws_environment, new_home, proxy, puts, use
from tests.test_store import files_of, manifest_of


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(s3, "GIVE_UP_SECONDS", 20.0)


@pytest.fixture
def faults(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """Homes lie behind a proxy, which plays what is asked of it."""
    played = Faults()
    with proxy(s3, played) as endpoint:
        use(monkeypatch, endpoint, tmp_path / "cache")
        yield played


def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts as small as S3 takes them."""
    monkeypatch.setattr(s3, "PART_BYTES", 5 << 20)


def uploads(endpoint: str, home: str) -> int:
    """How many uploads are neither complete nor aborted."""
    bucket = Bucket(home, print)
    return len(bucket._client.list_multipart_uploads(Bucket=BUCKET, Prefix=bucket.prefix).get("Uploads", ()))


def publish(store: Store, place: str, folder: Path, **contents: bytes) -> bytes:
    """Publish an object of these files; its manifest."""
    manifest = manifest_of(files_of(folder, **contents))
    assert store.publish(place, folder, manifest)
    return manifest


def test_a_throttled_bucket_is_asked_again(faults: Faults, tmp_path: Path) -> None:
    faults.slow_down_share = 0.4
    store = Store.open(new_home())
    with store.lock("me"):
        for number in range(4):
            publish(store, f"objects/x/{number}", tmp_path / "out", data=b"data", more=b"more")
        assert [store.create("releases/r/0001.json", b"{}") for _ in range(3)] == [True, False, False]
    assert len(store.objects("objects")) == 4
    assert store.read("objects/x/3/more") == b"more"
    assert faults.slowed > 10


def test_a_lost_answer_to_a_conditional_put_is_known_again(faults: Faults) -> None:
    """S3 has written, the answer never comes, the second try is refused: it was ours all the same."""
    store = Store.open(new_home())
    first = itertools.count()
    faults.lose = lambda seen: bool(puts([seen], "0001.json")) and next(first) == 0
    assert store.create("releases/r/0001.json", b"mine")
    assert faults.lost == 1
    assert len(puts(faults.seen, "0001.json")) == 2
    assert store.read("releases/r/0001.json") == b"mine"


def test_a_lost_answer_does_not_make_somebody_elses_put_ours(faults: Faults) -> None:
    """Not even when the bytes are the same."""
    store = Store.open(new_home())
    assert store.create("releases/r/0001.json", b"same")
    first = itertools.count()
    faults.lose = lambda seen: bool(puts([seen], "0001.json")) and next(first) == 0
    assert not store.create("releases/r/0001.json", b"same")
    assert faults.lost == 1


def test_a_lost_answer_at_the_end_of_an_upload_in_parts(
    faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_parts(monkeypatch)
    store = Store.open(new_home())
    first = itertools.count()
    faults.lose = lambda seen: seen.method == "POST" and "uploadId" in seen.path and next(first) == 0
    large = random.Random(1).randbytes(11 << 20)
    publish(store, "objects/x/1", tmp_path / "out", large=large)
    assert faults.lost == 1
    assert store.read("objects/x/1/large") == large
    parts = {re.search(r"partNumber=(\d+)", seen.path)[1] for seen in faults.seen if "partNumber" in seen.path}  # type: ignore[index]
    assert parts == {"1", "2", "3"}


def test_a_cut_download_goes_on_where_it_was(faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, data = new_home(), random.Random(2).randbytes(6 << 20)
    publish(Store.open(home), "objects/x/1", tmp_path / "out", data=data)
    monkeypatch.setenv("SYNTH_CACHE", str(tmp_path / "other machine"))
    store = Store.open(home)
    first = itertools.count()
    faults.seen.clear()
    faults.cut = lambda seen: seen.method == "GET" and seen.path.endswith("/data") and next(first) == 0
    assert store.local("objects/x/1/data").read_bytes() == data
    ranges = [seen.headers.get("range") for seen in faults.seen if seen.path.endswith("/data")]
    assert (faults.cuts, ranges) == (1, [None, f"bytes={3 << 20}-"])


UPLOADING = """
import sys
from pathlib import Path
from synth import s3
from synth.store import Store
from tests.test_store import manifest_of
s3.PART_BYTES = 5 << 20
store = Store.open(sys.argv[1])
with store.lock("killed"):
    store.publish("objects/x/1", Path(sys.argv[2]), manifest_of(Path(sys.argv[2])))
"""


def test_a_kill_in_the_middle_of_an_upload_leaves_nothing(faults: Faults, s3: str, tmp_path: Path) -> None:
    home = new_home()
    large = random.Random(3).randbytes(16 << 20)
    folder = files_of(tmp_path / "out", large=large, small=b"small")
    running: list[subprocess.Popen[bytes]] = []

    def kill(seen: Seen) -> None:
        if "partNumber=3" in seen.path:
            running[0].send_signal(signal.SIGKILL)
            time.sleep(0.1)

    faults.before = kill
    running.append(subprocess.Popen([sys.executable, "-c", UPLOADING, home, str(folder)], cwd=ROOT))
    assert running[0].wait(60) == -signal.SIGKILL
    store = Store.open(home)
    assert store.objects("objects") == []
    assert not store.exists("objects/x/1/large")
    assert uploads(s3, home) == 1
    with store.lock("the next run, on the same machine"):
        assert uploads(s3, home) == 0
        assert store.publish("objects/x/1", folder, manifest_of(folder))
    assert store.read("objects/x/1/large") == large


RACING = """
import sys
from synth import s3
from synth.store import Store
s3.FIRST_PAUSE_SECONDS = 0.01
store = Store.open(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print([number for number in range(8) if store.create(f"releases/r/{number:04d}.json", b"the same bytes")])
"""


def test_of_two_runs_one_releases(faults: Faults, tmp_path: Path) -> None:
    """Both write the same eight releases, and half of S3's answers are lost: each number is won exactly once."""
    faults.lose = lambda seen: bool(puts([seen], ".json")) and faults.random.random() < 0.5
    home = new_home()
    Store.open(home)
    racers = []
    for name in ("a", "b"):
        environment = {**os.environ, **aws_environment(os.environ["AWS_ENDPOINT_URL"], tmp_path / name)}
        command = [sys.executable, "-c", RACING, home]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        racers.append(subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes))  # type: ignore[call-overload]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    won = [number for racer in racers for number in numbers_in(racer.communicate(timeout=60)[0])]
    assert sorted(won) == list(range(8))
    assert faults.lost > 2


def numbers_in(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def test_of_two_that_publish_one_object_the_first_manifest_stays(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one has other bytes, as after a model's other answer: not one of its files gets in."""
    home = new_home()
    publish(Store.open(home), "objects/x/1", tmp_path / "out", data=b"first", more=b"1")
    monkeypatch.setenv("SYNTH_CACHE", str(tmp_path / "other machine"))
    folder = files_of(tmp_path / "out", data=b"second", more=b"2")
    late = S3Store(home)
    heads = itertools.count()
    real = late._bucket.head
    monkeypatch.setattr(
        late._bucket, "head", lambda key: None if next(heads) == 0 else real(key)
    )  # it looked too early
    assert not late.publish("objects/x/1", folder, manifest_of(folder))
    assert late.local("objects/x/1/data").read_bytes() == b"first"
    assert late.local("objects/x/1/more").read_bytes() == b"1"


# The lease


def held(home: str, cache: Path) -> subprocess.Popen[str]:
    """A process that holds a home."""
    code = "import sys,time; from synth.store import Store\n"
    code += "with Store.open(sys.argv[1]).lock('synth run other.toml'): print('held', flush=True); time.sleep(60)"
    environment = {**os.environ, **aws_environment(os.environ["AWS_ENDPOINT_URL"], cache)}
    holder = subprocess.Popen(
        [sys.executable, "-c", code, home], stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    return holder


def test_a_home_is_held_by_one_run_of_all_machines(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = new_home()
    holder = held(home, tmp_path / "elsewhere")
    store = Store.open(home)
    message = rf"(?s)in use by another run.*process {holder.pid} on .*: synth run other\.toml; .*run again in 1\d\d s"
    with pytest.raises(HomeError, match=message), store.lock("me"):
        pass
    holder.kill()
    holder.communicate()
    with pytest.raises(HomeError, match="in use"), store.lock("me"):
        pass  # it may live: nobody can know yet
    monkeypatch.setattr(lease, "STALE_SECONDS", 1.0)
    time.sleep(2.1)  # S3 counts in whole seconds
    with store.lock("me"):
        assert store.create("a", b"1")
    with Store.open(home).lock("given back"):
        pass


def test_a_killed_run_on_the_same_machine_is_no_hindrance(s3: str, tmp_path: Path) -> None:
    home = new_home()
    holder = held(home, tmp_path / "cache")
    with pytest.raises(HomeError, match="in use"), Store.open(home).lock("me"):
        pass
    holder.kill()
    holder.communicate()
    with Store.open(home).lock("me"):
        pass


def test_who_slept_too_long_writes_nothing_more(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = new_home()
    sleeper = Store.open(home)
    folder = files_of(tmp_path / "out", data=b"late")
    monkeypatch.setattr(lease, "STALE_SECONDS", 1.0)
    with sleeper.lock("sleeper"):
        time.sleep(2.1)
        monkeypatch.setenv("SYNTH_CACHE", str(tmp_path / "other machine"))
        with Store.open(home).lock("other"):
            with pytest.raises(HomeError, match="another run took over"):
                sleeper.create("releases/r/0001.json", b"late")
            with pytest.raises(HomeError, match="another run took over"):
                sleeper.publish("objects/x/1", folder, manifest_of(folder))
    assert Store.open(home).names("releases") == []
    assert Store.open(home).objects("objects") == []


def test_a_lease_is_kept_while_its_holder_lives(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.2)
    monkeypatch.setattr(lease, "STALE_SECONDS", 2.0)
    home = new_home()
    with Store.open(home).lock("holder"):
        time.sleep(4)
        monkeypatch.setenv("SYNTH_CACHE", str(tmp_path / "other machine"))
        with pytest.raises(HomeError, match="in use"), Store.open(home).lock("me"):
            pass


# The mirror


def test_a_damaged_copy_is_fetched_again(s3: str, tmp_path: Path) -> None:
    store = Store.open(new_home())
    publish(store, "objects/x/1", tmp_path / "out", data=b"data")
    store.local("objects/x/1/data").write_bytes(b"dat\x00")
    file = File("objects/x/1/data", sha256_of(b"data"), 4)
    assert Driver(store, tmp_path).verified(file).read_bytes() == b"data"


def sha256_of(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def test_damage_in_the_bucket_is_an_error(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = new_home()
    store = Store.open(home)
    publish(store, "objects/x/1", tmp_path / "out", data=b"data")
    store.replace("objects/x/1/data", b"dat\x00")
    assert store.local("objects/x/1/data").read_bytes() == b"data"  # the copy here is good
    store.recheck(["objects/x/1"])
    with pytest.raises(IntegrityError, match=r"(?s)objects/x/1/data is not what its manifest says"):
        store.local("objects/x/1/data")


@pytest.mark.parametrize("size", [0, 4, (11 << 20) + 5])
def test_good_copies_survive_a_recheck(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    small_parts(monkeypatch)
    store = Store.open(new_home())
    publish(store, "objects/x/1", tmp_path / "out", data=random.Random(4).randbytes(size))
    before = (store.root / "objects/x/1/data").stat().st_ino
    store.recheck(["objects/x/1"])
    assert (store.root / "objects/x/1/data").stat().st_ino == before


def test_an_object_that_was_made_anew_elsewhere_replaces_its_copies(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = new_home()
    here = Store.open(home)
    publish(here, "objects/x/1", tmp_path / "out", data=b"old", more=b"more")
    monkeypatch.setenv("SYNTH_CACHE", str(tmp_path / "other machine"))
    there = Store.open(home)
    there.remove("objects/x/1")
    manifest = publish(there, "objects/x/1", tmp_path / "out", data=b"new", more=b"more")
    assert here.manifests("objects") == {"objects/x/1": manifest}
    assert here.local("objects/x/1/data").read_bytes() == b"new"


def test_files_are_fetched_once_and_by_name_only(
    faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, told = new_home(), []
    store = Store.open(home)
    for number in range(5):
        publish(store, f"objects/x/{number}", tmp_path / "out", data=bytes([number]) * 100, large=b"x" * 1000)
    monkeypatch.setenv("SYNTH_CACHE", str(tmp_path / "other machine"))
    monkeypatch.setattr("synth.store_s3._TELL_BYTES", 400)
    other = Store.open(home, told.append)
    paths = [f"objects/x/{number}/data" for number in range(5)]
    other.fetch([*paths, "/an/absolute/path"])
    faults.seen.clear()
    assert [other.local(path).read_bytes()[0] for path in paths] == [0, 1, 2, 3, 4]
    other.fetch(paths)
    assert faults.seen == []
    assert told == [f"copying 5 files, 0 MB, from {home}"]
    assert not (other.root / "objects/x/1/large").exists()


def test_a_listing_takes_one_request_a_page(faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert s3.PAGE_KEYS == 1000
    monkeypatch.setattr(s3, "PAGE_KEYS", 10)
    store = Store.open(new_home())
    assert isinstance(store, S3Store)
    bucket = store._bucket
    s3.side_by_side(lambda number: bucket.put(f"objects/x/{number:04d}/manifest.json", b"{}"), range(25))
    faults.seen.clear()
    assert len(store.objects("objects")) == len(store.names("objects/x")) == 25
    assert len(faults.seen) == 6
    assert all(store.exists(f"objects/x/{number:04d}/manifest.json") for number in range(25))
    assert len(faults.seen) == 6  # a listing has told
    store.remove("objects/x")
    assert store.objects("objects") == []


def test_many_questions_about_one_step_become_one_listing(faults: Faults, tmp_path: Path) -> None:
    home = new_home()
    for number in range(3):
        publish(Store.open(home), f"objects/x/p{number}/{number}", tmp_path / "out", data=b"data")
    store = Store.open(home)
    for number in range(200):
        assert store.exists(f"objects/x/p{number}/{number}/manifest.json") == (number < 3)
    faults.seen.clear()
    assert store.objects("objects/x/p1") == ["objects/x/p1/1"]
    assert store.objects("objects/x/p") == store.objects("objects/x/p7") == []
    assert faults.seen == []
    publish(store, "objects/x/p7/7", tmp_path / "out", data=b"data")
    assert store.exists("objects/x/p7/7/manifest.json")
    assert store.objects("objects/x/p7") == ["objects/x/p7/7"]
    store.remove("objects/x/p7/7")
    assert store.objects("objects/x/p7") == []
    assert not store.exists("objects/x/p7/7/manifest.json")
    assert store.objects("objects") == [f"objects/x/p{number}/{number}" for number in range(3)]


def test_copies_make_room_on_a_full_disk(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    store = Store.open(new_home(), told.append)
    for number in range(4):
        publish(store, f"objects/x/{number}", tmp_path / "out", data=bytes(1000))
        old = time.time() - (10_000 if number < 3 else 0) + number
        os.utime(store.root / f"objects/x/{number}/data", (old, old))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(total=10_000, free=500))
    with store.lock("me"):
        here = [(store.root / f"objects/x/{number}/data").exists() for number in range(4)]
        assert here == [False, False, True, True]  # 500 + 2 x 1000 bytes are a fifth
        assert store.local("objects/x/0/data").read_bytes() == bytes(1000)
    assert len(told) == 1 and "nearly full" in told[0]


# What is refused


def test_a_server_that_ignores_conditions_is_refused(faults: Faults) -> None:
    faults.strip = ("if-none-match",)
    with pytest.raises(HomeError, match=r"(?s)overwrites objects.*If-None-Match.*do:"):
        Store.open(new_home())


def test_a_foreign_prefix_is_refused(s3: str) -> None:
    home = new_home()
    Bucket(home, print).put("thesis.tex", b"x")
    with pytest.raises(HomeError, match=r"(?s)not a home of synth.*thesis\.tex.*--home"):
        Store.open(home)


def test_a_newer_home_is_refused(s3: str) -> None:
    home = new_home()
    Bucket(home, print).put("home.json", b'{"format_version": 99}')
    with pytest.raises(HomeError, match=r"(?s)newer version.*format 99.*upgrade synth"):
        Store.open(home)


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        pytest.param(403, HomeError, r"(?s)S3 does not let us at s3://.*rights", id="forbidden"),
        pytest.param(503, WorldError, r"(?s)S3 failed for .*AWS_ENDPOINT_URL.*the same command", id="never well"),
        pytest.param(501, WorldError, r"(?s)S3 refused .*501", id="not implemented"),
    ],
)
def test_what_s3_says_for_good(
    faults: Faults, monkeypatch: pytest.MonkeyPatch, status: int, kind: type[Exception], words: str
) -> None:
    faults.status = status
    monkeypatch.setattr(s3, "FIRST_SECONDS", 0.3)
    with pytest.raises(kind, match=words):
        Store.open(new_home())


def test_no_bucket_no_server_no_credentials(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(HomeError, match="there is no bucket for s3://nowhere/x"):
        Store.open("s3://nowhere/x")
    monkeypatch.setattr("synth.s3.FIRST_SECONDS", 0.3)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(WorldError, match=r"(?s)S3 failed.*127\.0\.0\.1:9"):
        Store.open(new_home())
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(HomeError, match=r"(?s)no AWS credentials.*AWS_ACCESS_KEY_ID"):
        Store.open(new_home())


def test_no_secret_is_written_down(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    store = Store.open(new_home())
    with store.lock("me"):
        publish(store, "objects/x/1", tmp_path / "out", data=b"data")
    written = [path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    written += [store.read(path) for path in store.files("")]
    assert len(written) > 5
    assert not any(b"wJalrXUtnFEMI" in data for data in written)


@pytest.mark.parametrize(
    "url", ["s3://", "s3:///", "s3://b/../x", "s3://b//x", "s3://b/x y", "s3://b/x?y", "s3://b/x/./y"]
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(HomeError, match=r"(?s)bucket and a prefix.*s3://BUCKET/PREFIX"):
        split_url(url)


_PART = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,8}", fullmatch=True)


@given(_PART, st.lists(_PART, max_size=3), st.sampled_from(["", "/"]))
def test_urls(bucket: str, parts: list[str], end: str) -> None:
    prefix = "/".join(parts)
    assert split_url("/".join(["s3:/", bucket, *parts]) + end) == (bucket, prefix)
