"""`synth explain`: each section against the files of a home in which something happened to every seed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from audit_home import rows_of

from flows import explain, explain_document, explain_seed
from flows.cli import main
from flows.steps.routing import Rival, Route, chosen
from shards.reader import find_row
from synth import rows
from synth.audit.catalog import build_catalog
from synth.config import parse
from synth.digest import digest
from synth.engine.model import Model
from synth.rows import SEED_MARK
from synth.s3 import Bucket
from synth.store import Store
from tests import s3_server
from tests.conftest import ScriptedServer
from tests.explain_home import EMAIL, QUESTION, STRICTER, made_of, run_corpus, seed_of, table, write_corpus

Explain = Callable[..., Any]


@dataclass
class Corpus:
    home: Path
    sent: list[list[dict[str, str]]]  # the messages of every request


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, scripted_server: ScriptedServer) -> Corpus:
    """Two runs, the second under a stricter policy."""
    folder = tmp_path_factory.mktemp("explain")
    write_corpus(folder, scripted_server.base_url)
    sent: dict[str, list[dict[str, str]]] = {}
    original = Model.body

    def body(self: Model, *arguments: Any) -> Any:
        made = original(self, *arguments)
        sent[digest(made[0])] = made[0]["messages"]
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Model, "body", body)
        run_corpus(folder)
        run_corpus(folder, STRICTER)
    return Corpus(folder / "home", list(sent.values()))


@pytest.fixture
def copy(corpus: Corpus, tmp_path: Path) -> Path:
    """The home, to be spoilt."""
    shutil.copytree(corpus.home, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def value(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> Explain:
    """The JSON of an item: `value(id)`, or of another home."""

    def explained(*words: str, home: Path = corpus.home) -> Any:
        capsys.readouterr()
        assert main(["explain", *words, "--json", "--home", str(home)]) == 0
        return json.loads(capsys.readouterr().out)

    return explained


@pytest.fixture
def told(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> Explain:
    """What is printed: (stdout, stderr)."""

    def explained(*words: str, home: Path = corpus.home, code: int = 0) -> tuple[str, str]:
        capsys.readouterr()
        assert main(["explain", *words, "--home", str(home)]) == code
        printed = capsys.readouterr()
        return printed.out, printed.err

    return explained


# --- fates


def test_every_documents_fate_is_what_the_catalogue_counts(corpus: Corpus) -> None:
    """All documents, by both doors: the views of the newest release, and explain."""
    dropped = {one: fate for one, *fate in rows_of(corpus.home, "SELECT item_id, step, counted_as FROM dropped")}
    placed = {one: place for one, *place in rows_of(corpus.home, "SELECT doc_id, path, row, split FROM rows")}
    seen = set()
    with closing(explain.Reader(corpus.home)) as reader:
        for (doc_id,) in rows_of(corpus.home, "SELECT id FROM documents"):
            fate = explain_document.first_fate(reader, explain.find(reader, doc_id))
            seen.add((fate["state"], fate["step"]))
            assert fate["current"] and fate["release"] == 2
            if doc_id in dropped:
                assert (fate["state"], [fate["step"], fate["counted_as"]]) == ("dropped", dropped[doc_id])
            else:
                shard = fate["shard"]
                assert (fate["state"], [shard["path"], shard["row"], shard["split"]]) == ("released", placed[doc_id])
    assert seen == {("dropped", "generate"), ("dropped", "keep"), ("dropped", "resolve"), ("released", None)}


def test_an_older_policy_that_judged_otherwise_is_told(corpus: Corpus, value: Explain, told: Explain) -> None:
    doc_id = made_of(corpus.home, "s4", "diverse_qa")
    found = value(doc_id[:12])
    assert (found["fate"]["state"], found["fate"]["counted_as"]) == ("dropped", "short")
    (older,) = found["other_fates"]
    assert (older["state"], older["current"]) == ("released", False)
    assert [(one["first"], one["last"], one["current"]) for one in older["shard"]["releases"]] == [(1, 1, False)]
    assert older["policy"] != found["fate"]["policy"]
    assert "was in release 1 of 'small', and is in the newest one no more" in told(doc_id)[0]


def test_a_row_of_a_shard_leads_to_its_document(corpus: Corpus, value: Explain) -> None:
    doc_id = made_of(corpus.home, "s8", "diverse_qa")
    shard = value(doc_id)["fate"]["shard"]
    for path in (shard["path"], str(corpus.home / shard["path"])):  # from inside the home, and from anywhere
        assert value("--shard", path, "--row", str(shard["row"]))["id"] == doc_id


def test_a_retracted_document_says_so_and_others_are_found_in_the_new_shard(
    copy: Path, corpus: Corpus, value: Explain, told: Explain
) -> None:
    gone, stays = (made_of(corpus.home, name, "diverse_qa") for name in ("s8", "s9"))
    before = value(stays, home=copy)["fate"]["shard"]
    assert before["path"] == value(gone, home=copy)["fate"]["shard"]["path"]
    why = ["--because", "the author asked", "--yes"]
    assert main(["retract", "small", "--seed", seed_of(corpus.home, "s8"), *why, "--home", str(copy)]) == 0
    fate = value(gone, home=copy)["fate"]
    assert (fate["state"], fate["current"]) == ("retracted", False)
    assert "RETRACTED by release 3 of 'small': seed " in told(gone, home=copy)[0]
    after = value(stays, home=copy)["fate"]
    assert (after["state"], after["current"]) == ("released", True)
    assert after["shard"]["path"] != before["path"]
    assert find_row(copy / after["shard"]["path"], after["shard"]["row"])["doc_id"] == stays


def test_what_a_killed_run_left_is_explained_as_far_as_it_came(copy: Path, corpus: Corpus, value: Explain) -> None:
    doc_id = made_of(corpus.home, "s8", "diverse_qa")
    shutil.rmtree(copy / "runs")
    shutil.rmtree(copy / "releases")
    for step in ("shards", "audit", "resolve"):
        shutil.rmtree(copy / "objects" / step)
    build_catalog(copy)
    found = value(doc_id, home=copy)
    fates = [found["fate"], *found["other_fates"]]
    assert [(fate["state"], fate["runs"], fate["current"]) for fate in fates] == [("open", [], False)] * 2
    assert {tuple(sorted(fate["objects"])) for fate in fates} == {("generate", "keep", "score")}
    assert found["asks"] and found["gates"] and {gate["set_by"] for gate in found["gates"]} == {None}


# --- what it was made of


def test_prompts_are_those_that_were_sent(corpus: Corpus, value: Explain) -> None:
    for name, family in (("s0", "diverse_qa"), ("s8", "distill"), ("s9", "textbook")):
        found = value(made_of(corpus.home, name, family))
        for ask in found["asks"]:
            assert ask["messages"] in corpus.sent
            assert found["seed"]["text"] in ask["messages"][-1]["content"]
            assert SEED_MARK not in ask["messages"][-1]["content"]
            assert ask["sampling"]["max_tokens"] > 0


def test_all_candidates_are_shown_and_which_one_won(corpus: Corpus, value: Explain) -> None:
    found = value(made_of(corpus.home, "s8", "distill"))
    assert [(ask["selection"], ask["wrote"]) for ask in found["asks"]] == [("won", True), ("lost", False)]
    assert found["asks"][0]["completion"] == found["text"] != found["asks"][1]["completion"]
    assert {ask["selector"]["selector"] for ask in found["asks"]} == {"shortest_valid"}


def test_every_attempt_is_told_with_what_was_wrong(corpus: Corpus, value: Explain, told: Explain) -> None:
    faulty = value(made_of(corpus.home, "s4", "diverse_qa"))["asks"][0]["attempts"]
    assert [(one["status"], one["verdict"]) for one in faulty] == [("http_500", None), ("ok", "accepted")]
    cut = made_of(corpus.home, "s5", "textbook")
    climbed = value(cut)["asks"][0]
    told_of = [(one["step"], one["rung"], one["verdict"]) for one in climbed["attempts"]]
    assert told_of == [(0, "first", "truncated_answer"), (1, "larger_budget", "accepted")]
    refused, accepted = climbed["attempts"]
    assert refused["completion"] and accepted["completion"] is None  # it stands in the ask
    assert all(one["seconds"] >= 0 and one["usage_completion_tokens"] > 0 for one in climbed["attempts"])
    text, _ = told(cut)
    assert "attempt 1: first, m/0" in text and json.dumps(refused["completion"])[:40] in text


# --- how it was judged


def test_each_score_stands_beside_its_bound_and_who_set_it(corpus: Corpus, value: Explain, told: Explain) -> None:
    doc_id = made_of(corpus.home, "s7", "distill")
    found = value(doc_id)
    (scores,) = [row for row in table(corpus.home, "score", "scores") if row["item_id"] == doc_id]
    assert found["scores"] == {name: scores[name] for name in scores if name not in ("item_id", "family")}
    failed = {(gate["column"], gate["reason"]) for gate in found["gates"] if not gate["passes"]}
    drops = [row for row in table(corpus.home, "keep", "drops") if row["item_id"] == doc_id]
    assert failed == {(row["rule"], row["reason"]) for row in drops} and ("copy_8gram_share", "copied") in failed
    by = {gate["reason"]: gate["set_by"] for gate in found["gates"]}
    assert (by["copied"], by["c4_few_sentences"], by["short"]) == ("default", "preset c4", "keep.more_gates")
    text, _ = told(doc_id)
    table_lines = text.partition("=== scores against their bounds\n")[2].splitlines()[1:]
    assert [line.split()[0] for line in table_lines[: len(failed)]] == ["DROPS"] * len(failed)
    assert not table_lines[len(failed)].startswith("DROPS")


def test_gates_of_other_families_are_not_held_against_it(corpus: Corpus, value: Explain) -> None:
    reasons = {gate["reason"] for gate in value(made_of(corpus.home, "s8", "diverse_qa"))["gates"]}
    assert "short" in reasons and "c4_few_sentences" not in reasons


def test_a_near_duplicate_stands_beside_the_one_that_stays(corpus: Corpus, value: Explain, told: Explain) -> None:
    drops = [row for row in table(corpus.home, "resolve", "drops") if row["rule"] == "near_duplicate"]
    gone = drops[0]
    found = value(gone["item_id"])["near_duplicates"]
    assert found["outcome"] == "dropped" and found["partner"]["id"] == gone["partner_id"]
    assert found["evidence"]["jaccard"] == gone["score"] >= 0.75
    partner = value(gone["partner_id"])
    assert (
        found["partner"]["compared_text"] in partner["text"]
        and found["compared_text"] in value(gone["item_id"])["text"]
    )
    stays_for = partner["near_duplicates"]["stays_for"]
    assert {one["item_id"] for one in stays_for} == {
        row["item_id"] for row in drops if row["partner_id"] == gone["partner_id"]
    }
    text, _ = told(gone["item_id"])
    mine, other = (line for line in text.splitlines() if line.startswith(("  this one: ", "  the other: ")))
    run = mine.partition("‹")[2].partition("›")[0]
    assert len(run.split()) > 3 and run in found["compared_text"].replace("\n", " ") and f"‹{run}›" in other


def test_contamination_and_masks_are_named(corpus: Corpus, value: Explain, told: Explain) -> None:
    found = value(made_of(corpus.home, "s9", "diverse_qa"))
    assert [(hit["rung"], hit["evidence"]["item"]) for hit in found["contamination"]] == [
        ("decontamination", "eggs/0"),
        ("decontamination_rendered", "eggs/0"),
    ]
    assert QUESTION in found["text"]
    masked = value(made_of(corpus.home, "s8", "diverse_qa"))
    (span,) = masked["spans"]
    assert masked["text"].encode()[span["start_byte"] : span["end_byte"]].decode() == EMAIL
    assert (span["rule"], span["replacement"], span["masked"]) == ("pii_email", "<EMAIL>", True)
    assert "masked in shards as <EMAIL>" in told(masked["id"])[0]


# --- money


def test_what_it_cost_is_what_the_catalogue_says_of_its_asks(corpus: Corpus, value: Explain) -> None:
    asks: list[str] = []
    for family in ("diverse_qa", "distill", "textbook"):
        found = value(made_of(corpus.home, "s5", family))
        mine = [ask["ask_id"] for ask in found["asks"]]
        asks += mine
        listed = ", ".join(f"'{one}'" for one in mine)
        sums = "count(*), sum(prompt_tokens)::BIGINT, sum(token_dollars), sum(gpu_dollars)"
        ((attempts, read, tokens, gpu),) = rows_of(
            corpus.home, f"SELECT {sums} FROM all_attempt_costs WHERE ask_id IN ({listed})"
        )
        cost = found["cost"]
        assert (cost["attempts"], cost["prompt_tokens"]) == (attempts, read)
        assert cost["token_dollars"] == pytest.approx(tokens) and cost["gpu_dollars"] == pytest.approx(gpu)
        assert tokens > 0 and gpu > 0
    whole = value(seed_of(corpus.home, "s5"))["cost"]
    assert whole["asks"] == len(asks) and whole["attempts"] == 2 * len(asks)  # each climbed one rung


# --- seeds


def test_a_seed_tells_what_was_made_of_it(corpus: Corpus, value: Explain, told: Explain) -> None:
    found = value(seed_of(corpus.home, "s8"))
    assert EMAIL in found["text"] and found["fate"]["state"] == "used"
    assert {one["family"]: one["state"] for one in found["families"]}.keys() == {"diverse_qa", "distill", "textbook"}
    theirs = {one["id"]: (one["state"], one["counted_as"]) for one in found["documents"] if one["current"]}
    for family in ("diverse_qa", "distill", "textbook"):
        doc_id = made_of(corpus.home, "s8", family)
        fate = value(doc_id)["fate"]
        assert (fate["state"], fate["counted_as"]) == theirs.pop(doc_id)
    assert not theirs
    assert "=== families" in told(found["id"])[0]


def test_why_a_family_left_a_seed(corpus: Corpus) -> None:
    """`textbook` is for seeds of 96 words and more."""
    states = set()
    with closing(explain.Reader(corpus.home)) as reader:
        for name in ("s0", "s1", "s7", "s9"):
            found = explain_seed.seed(reader, explain.find(reader, seed_of(corpus.home, name)))
            words = found["screen"]["scores"]["words"]
            (textbook,) = [one for one in found["families"] if one["family"] == "textbook"]
            states.add(textbook["state"])
            assert textbook["state"] == ("took" if words >= 96 else "route")
            assert bool(textbook["documents"]) == (words >= 96)
            if words < 96:
                assert textbook["why"] == f"its words is {words}, and the family is for at least 96"
    assert states == {"took", "route"}


def test_shares_and_weights_are_explained_as_they_were_drawn() -> None:
    """For sixty seeds and every family: it says `took` just where the step takes the seed, and else the family that won."""
    route = {"column": "quality", "min": 0.5, "below": None, "missing": "leave"}
    rivals = [{"family": "a", "weight": 1.0, "route": None}, {"family": "b", "weight": 2.0, "route": route}]
    configs = [
        {"family": "a", "share": 1.0, "route": None, "rivals": rivals},
        {"family": "b", "share": 1.0, "route": route, "rivals": rivals},
        {"family": "c", "share": 0.3, "route": None, "rivals": []},
    ]
    seen = set()
    for number in range(60):
        row = {"id": digest(number), "text": "t", "quality": number / 60, "generation_depth": 0}
        main = {"state": "passed", "scores": {"words": 9}}
        took = {}
        for config in configs:
            state, why = explain_seed._routed(config, row, main)
            mine = [parse(Rival, one) for one in config["rivals"]]
            its_route = parse(Route, config["route"]) if config["route"] else None
            seeds = rows.seeds_from(rows.table([row], rows.SEED))
            taken = bool(chosen(config["family"], seeds, {}, config["share"], its_route, mine))
            assert (state == "took") == taken
            took[config["family"]] = taken
            seen.add((config["family"], state))
            if state == "weight":
                assert took.get(why.rpartition(" ")[2], True)  # the winner took it
    assert seen == {
        ("a", "took"),
        ("a", "weight"),
        ("b", "took"),
        ("b", "weight"),
        ("b", "route"),
        ("c", "took"),
        ("c", "share"),
    }


def test_a_seed_that_the_screen_dropped(corpus: Corpus, value: Explain, told: Explain) -> None:
    found = value(seed_of(corpus.home, "s6"))
    assert (found["fate"]["state"], found["fate"]["step"], found["fate"]["counted_as"]) == (
        "dropped",
        "screen",
        "too_short",
    )
    assert {one["state"] for one in found["families"]} == {"screened"} and found["documents"] == []
    assert {gate["reason"] for gate in found["screen"]["gates"] if not gate["passes"]} == {
        "too_short",
        "few_stop_words",
    }
    assert found["cost"]["asks"] == 0
    assert "DROPPED by screen: too_short; words 3, bound 50" in told(found["id"])[0]


def test_a_seed_that_ingest_dropped(corpus: Corpus, value: Explain, told: Explain) -> None:
    (drop,) = table(corpus.home, "ingest", "drops")
    found = value(drop["item_id"][:16])
    assert (found["fate"]["step"], found["fate"]["counted_as"], found["text"]) == ("ingest", "equal_text", None)
    assert drop["partner_id"][:16] in told(drop["item_id"])[0]


# --- which item is meant


def test_an_ambiguous_start_lists_what_it_may_mean(
    corpus: Corpus, told: Explain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explain, "MIN_DIGITS", 1)
    monkeypatch.setattr(explain, "MOST_CANDIDATES", 2)
    items = {row["id"]: row["family"] for row in table(corpus.home, "generate", "documents")}
    items |= {row["id"]: row["source_id"] for row in table(corpus.home, "ingest", "seeds")}
    starts = [one[0] for one in items]
    first = max(starts, key=starts.count)
    several = sorted(one for one in items if one[0] == first)
    assert len(several) > 2
    _, error = told(first.upper(), code=2)
    assert f"{len(several)} items begin with {first}" in error and f"and {len(several) - 2} more" in error
    assert any(f"{one[:16]}  {items[one]}" in error for one in several)


def test_what_is_no_item_is_said_in_the_users_words(corpus: Corpus, told: Explain) -> None:
    for given, said in (
        ("not-hex", "this is not the start of an id"),
        ("abc", "4 to 64 hex digits"),
        ("0" * 16, "no document or seed begins with 0000000000000000"),
        (table(corpus.home, "generate", "asks")[0]["ask_id"], "is an ask, and neither a document nor a seed"),
    ):
        _, error = told(given, code=2)
        assert said in error and "Traceback" not in error
    for words in ((), ("abcd", "--row", "1"), ("--shard", "x.arrow"), ("--shard", "x.arrow", "--row", "1")):
        _, error = told(*words, code=2)
        assert error.startswith("synth: ")


def test_no_home_is_made_by_asking(tmp_path: Path, told: Explain) -> None:
    _, error = told("abcd", home=tmp_path / "nothing", code=2)
    assert "is not a home of synth" in error and not (tmp_path / "nothing").exists()


# --- the catalogue


def test_a_missing_catalogue_is_built(copy: Path, corpus: Corpus, value: Explain) -> None:
    (copy / "catalog.duckdb").unlink()
    doc_id = made_of(corpus.home, "s0", "distill")
    assert value(doc_id, home=copy)["fate"]["current"]
    assert (copy / "catalog.duckdb").is_file()


def test_a_catalogue_older_than_a_run_is_built_anew_when_it_lacks_the_id(
    copy: Path, corpus: Corpus, value: Explain, tmp_path: Path
) -> None:
    Store.open(tmp_path / "empty")
    shutil.copyfile(build_catalog(tmp_path / "empty"), copy / "catalog.duckdb")
    os.utime(copy / "catalog.duckdb", (0, 0))
    doc_id = made_of(corpus.home, "s0", "distill")
    assert value(doc_id, home=copy)["id"] == doc_id


def test_while_a_run_goes_on_it_says_as_of_when(corpus: Corpus, value: Explain, told: Explain) -> None:
    doc_id = made_of(corpus.home, "s0", "distill")
    assert value(doc_id)["catalogue"]["run_going_on"] is None
    with Store.open(corpus.home).lock("synth run x.toml"):
        assert "synth run x.toml" in value(doc_id)["catalogue"]["run_going_on"]
        assert "a run is going on (process" in told(doc_id)[1]
        assert "can be asked for when it has ended" in told("0" * 16, code=2)[1]


# --- what is printed


def test_a_terminal_obeys_nothing_that_a_text_says(corpus: Corpus, value: Explain, told: Explain) -> None:
    seed_id = seed_of(corpus.home, "s10")
    assert "\x1b[31m" in value(seed_id)["text"]
    for words in ((seed_id, "--full"), (made_of(corpus.home, "s10", "diverse_qa"), "--full")):
        text, _ = told(*words)
        assert "\x1b" not in text and "[31mred" in text


def test_long_texts_are_shortened_for_people_alone(corpus: Corpus, value: Explain, told: Explain) -> None:
    found = value(made_of(corpus.home, "s8", "distill"))
    assert len(found["text"]) > 700
    short, _ = told(found["id"])
    whole, _ = told(found["id"], "--full")
    last = found["text"].splitlines()[len(found["text"].splitlines()) // 2]
    assert "--full shows them whole" in short and "--full" not in whole
    assert len(short) < len(whole) and last in whole


# --- a home on S3


def test_a_home_on_s3_is_explained_from_another_machine(
    corpus: Corpus, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Explain, told: Explain
) -> None:
    """The local home's files in a bucket, and nothing of them in this machine's cache."""
    url = s3_server.new_home()
    bucket = Bucket(url, print)
    for path in sorted(corpus.home.rglob("*")):
        name = path.relative_to(corpus.home).as_posix()
        if path.is_file() and name.split("/")[0] in ("home.json", "objects", "releases", "runs"):
            bucket.put(name, path.read_bytes())
    s3_server.use(monkeypatch, s3, tmp_path / "another cache")
    item = made_of(corpus.home, "s8", "diverse_qa")
    there, here = value(item, home=Path(url)), value(item)
    assert {**there, "catalogue": None} == {**here, "catalogue": None}
    assert "is not a home of synth" in told("abcd", home=Path(f"{url}-other"), code=2)[1]
