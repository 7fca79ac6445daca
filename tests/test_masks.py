"""Masks: spans are replaced in text and thoughts, parts follow, and nothing of what was masked is left in any file."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from audit_home import Wave, audit_inputs, write_home
from audit_spans import mask_the_river
from hypothesis import given
from hypothesis import strategies as st

from filters.license import LicenseOptions
from filters.pii import COLUMNS, KINDS
from filters.pii_policy import PiiConfig
from filters.registry import SPANS, rules
from flows.recipe import load
from flows.steps import shards as step
from flows.steps.scoring import RuleConfig, rule_works, scores_and_spans, span_rows
from flows.works import Works
from shards import mask_documents, read_shards
from shards.masks import Cut, replace, united
from synth import rows
from synth.audit.audit import AuditConfig, run_checks
from synth.audit.catalog import build_catalog
from synth.audit.sql import query
from synth.errors import IntegrityError
from synth.registry import Spec
from synth.store import Store
from tests.conftest import ScriptedServer
from tests.corpora import passage, run_recipe, shard_rows, write_recipe, write_seeds

EMAIL, PHONE, CARD = "anna@rivermill.org", "+49 30 1234567", "4012 8888 4567 1235"


def document(text: str, at: int = 0, reasoning: str | None = None, doc_id: str = "d") -> dict[str, Any]:
    """A document: the first `at` bytes are the source's, the rest is generated."""
    size = len(text.encode())
    cut = [("source", 0, at), ("generated", at, size)]
    parts = [{"role": role, "start_byte": start, "end_byte": end} for role, start, end in cut if start < end]
    return {"id": doc_id, "text": text, "parts": parts, "reasoning": reasoning}


def span(start: int, end: int, replacement: str = "<EMAIL>", doc_id: str = "d") -> dict[str, Any]:
    return {
        "doc_id": doc_id,
        "start_byte": start,
        "end_byte": end,
        "rule": "pii_email",
        "replacement": replacement,
    }


def masked(
    documents: Sequence[dict[str, Any]], spans: Sequence[dict[str, Any]], thoughts: Sequence[dict[str, Any]] = ()
) -> list[dict[str, Any]]:
    table = rows.table(documents, rows.DOCUMENT).select(["id", "text", "parts", "reasoning"])
    found = mask_documents(table, rows.table(spans, rows.SPAN), rows.table(thoughts, rows.SPAN))
    assert found.documents.schema == table.schema
    return found.documents.to_pylist()


def told(row: dict[str, Any]) -> list[str]:
    """The parts of a document, as in `source:abc`."""
    data = row["text"].encode()
    return [f"{part['role']}:{data[part['start_byte'] : part['end_byte']].decode()}" for part in row["parts"]]


@pytest.mark.parametrize(
    ("text", "at", "spans", "parts"),
    [
        pytest.param("ab cd ef", 3, [span(3, 5)], ["source:ab ", "generated:<EMAIL> ef"], id="at the border"),
        pytest.param("ab cd ef", 3, [span(1, 3)], ["source:a<EMAIL>", "generated:cd ef"], id="up to the border"),
        pytest.param("ab cd ef", 4, [span(3, 5)], ["source:ab <EMAIL>", "generated: ef"], id="across the border"),
        pytest.param("ab cd ef", 6, [span(5, 8)], ["source:ab cd<EMAIL>"], id="nothing generated is left"),
        pytest.param("ab cd ef", 3, [span(0, 8)], ["source:<EMAIL>"], id="the whole text"),
        pytest.param("ab cd ef", 3, [span(0, 3, "")], ["generated:cd ef"], id="a part removed"),
        pytest.param(
            "ab cd ef", 3, [span(3, 5), span(5, 8, "<X>")], ["source:ab ", "generated:<EMAIL><X>"], id="touching"
        ),
        pytest.param(
            "ab cd ef", 3, [span(0, 4), span(3, 5, "<X>")], ["source:<EMAIL>", "generated: ef"], id="overlapping"
        ),
        pytest.param("ab cd ef", 0, [span(3, 5), span(1, 7, "<X>")], ["generated:a<X>f"], id="one inside another"),
        pytest.param("ab cd ef", 0, [span(3, 5), span(3, 5)], ["generated:ab <EMAIL> ef"], id="twice the same"),
        pytest.param(
            "ab cd ab", 3, [span(0, 2)], ["source:<EMAIL> ", "generated:cd <EMAIL>"], id="stands elsewhere too"
        ),
        pytest.param("ab cd ab", 3, [span(0, 2, "")], ["source: ", "generated:cd ab"], id="a removal is of one place"),
        pytest.param("é–中 𝄞x 中", 6, [span(5, 8)], ["source:é–<EMAIL>", "generated: 𝄞x <EMAIL>"], id="many bytes"),
        pytest.param("é–中 𝄞x", 9, [span(9, 13)], ["source:é–中 ", "generated:<EMAIL>x"], id="four bytes"),
    ],
)
def test_text_and_parts(text: str, at: int, spans: list[dict[str, Any]], parts: list[str]) -> None:
    (found,) = masked([document(text, at)], spans)
    assert told(found) == parts
    assert found["text"] == "".join(part.partition(":")[2] for part in parts)


def test_thoughts_are_masked_as_the_text_is() -> None:
    text, thoughts = f"Write to {EMAIL}.", f"The user's {EMAIL} … or {PHONE}?"
    place = len("The user's … or ".encode()) + len(EMAIL) + 1
    found = span(place, place + len(PHONE), "<PHONE>")
    (row,) = masked([document(f"{text} {PHONE}", reasoning=thoughts)], [span(9, 9 + len(EMAIL))], [found])
    assert row["text"] == "Write to <EMAIL>. <PHONE>"
    assert row["reasoning"] == "The user's <EMAIL> … or <PHONE>?"


def test_other_documents_are_left_alone() -> None:
    others = [document(f"{EMAIL} {number}", 3, reasoning=None, doc_id=f"o{number}") for number in range(3)]
    given_ = [others[0], document("ab cd", 1), *others[1:]]
    found = masked(given_, [span(0, 2)])
    assert [row["id"] for row in found] == [row["id"] for row in given_]
    assert [found[0], *found[2:]] == others and found[1]["text"] == "<EMAIL> cd"
    assert masked(given_, []) == given_


@pytest.mark.parametrize(
    ("spans", "thoughts"),
    [
        pytest.param([span(3, 99)], [], id="past the end"),
        pytest.param([span(-1, 2)], [], id="before the start"),
        pytest.param([span(2, 2)], [], id="empty"),
        pytest.param([span(1, 3)], [], id="begins within a character"),
        pytest.param([span(0, 1)], [], id="ends within a character"),
        pytest.param([], [span(0, 1)], id="no reasoning"),
        pytest.param([span(0, 2, doc_id="nobody")], [], id="no document"),
    ],
)
def test_a_span_that_does_not_fit_is_an_error(spans: list[dict[str, Any]], thoughts: list[dict[str, Any]]) -> None:
    with pytest.raises(IntegrityError, match="span") as raised:
        masked([document("é secret", 2)], spans, thoughts)
    assert "secret" not in str(raised.value)


# Against a slow oracle.

TEXTS = st.text(alphabet="ab é中𝄞", max_size=24)


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    text = draw(TEXTS)
    edges = [len(text[:at].encode()) for at in range(len(text) + 1)]
    pairs = draw(
        st.lists(st.tuples(st.sampled_from(edges), st.sampled_from(edges), st.sampled_from(["<X>", "<YY>", ""])))
    )
    spans = [span(min(a, b), max(a, b), replacement) for a, b, replacement in pairs if a != b]
    return document(text, draw(st.sampled_from(edges))), spans


def slowly_united(cuts: Sequence[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Any two that share a byte become one, until none do; each keeps what it is made of."""
    groups = [(start, end, [(start, end, word)]) for start, end, word in cuts]
    while True:
        for one, other in ((a, b) for a in groups for b in groups if a is not b):
            if max(one[0], other[0]) < min(one[1], other[1]):
                groups = [group for group in groups if group is not one and group is not other]
                groups.append((min(one[0], other[0]), max(one[1], other[1]), one[2] + other[2]))
                break
        else:
            break
    longest = [(start, end, min(made, key=lambda c: (c[0] - c[1], c[0], c[2]))[2]) for start, end, made in groups]
    return sorted(longest)


def slowly_masked(row: dict[str, Any], spans: Sequence[dict[str, Any]]) -> tuple[str, list[str]]:
    """The text, and the role of each byte of it, a byte at a time."""
    data = row["text"].encode()
    cuts = [(one["start_byte"], one["end_byte"], one["replacement"]) for one in spans]
    values = {data[start:end]: word for start, end, word in cuts}
    cuts += [
        (at, at + len(value), word)
        for value, word in values.items()
        for at in range(len(data))
        if word and data[at : at + len(value)] == value
    ]
    roles = [part["role"] for part in row["parts"] for _ in range(part["end_byte"] - part["start_byte"])]
    out, owners, at = b"", [], 0
    for start, end, word in [*slowly_united(cuts), (len(data), len(data), "")]:
        out, owners = out + data[at:start] + word.encode(), owners + roles[at:start]
        owners += roles[start : start + 1] * len(word)
        at = end
    return out.decode(), owners


def repeats(row: dict[str, Any], spans: Sequence[dict[str, Any]]) -> bool:
    """Whether a value stands at two places that overlap, where the order of the search shows."""
    data = row["text"].encode()
    for one in spans:
        value = data[one["start_byte"] : one["end_byte"]]
        places = [at for at in range(len(data)) if data[at : at + len(value)] == value]
        if any(second - first < len(value) for first, second in pairwise(places)):
            return True
    words: dict[bytes, set[str]] = {}
    for one in spans:
        words.setdefault(data[one["start_byte"] : one["end_byte"]], set()).add(one["replacement"])
    return any(len(found) > 1 for found in words.values())  # one value, two replacements


@given(cases())
def test_masks_agree_with_the_oracle(case: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    row, spans = case
    (found,) = masked([row], spans)
    data = row["text"].encode()
    hidden = [data[one["start_byte"] : one["end_byte"]] for one in spans if one["replacement"]]
    if all(one["replacement"] for one in spans):
        assert not any(value in found["text"].encode() for value in hidden)
    ends = [0, *(part["end_byte"] for part in found["parts"])]
    assert [part["start_byte"] for part in found["parts"]] == ends[:-1] and ends[-1] == len(found["text"].encode())
    if not repeats(row, spans):
        text, owners = slowly_masked(row, spans)
        assert found["text"] == text
        assert [part["role"] for part in found["parts"] for _ in range(part["end_byte"] - part["start_byte"])] == owners


@given(
    st.lists(
        st.builds(lambda a, b, w: Cut(min(a, b), max(a, b) + 1, w), *[st.integers(0, 20)] * 2, st.sampled_from("XYZ"))
    )
)
def test_cuts_are_united_as_the_oracle_says(cuts: list[Cut]) -> None:
    found = united(cuts)
    assert [tuple(cut) for cut in found] == slowly_united([tuple(cut) for cut in set(cuts)])  # type: ignore[misc]
    assert all(first.end <= second.start for first, second in pairwise(found))
    assert len(replace(b"-" * 30, found)) == 30 + len(found) - sum(cut.end - cut.start for cut in found)


@pytest.mark.timeout(20)
def test_a_text_full_of_values_ends() -> None:
    addresses = [f"a{number}@rivermill.org" for number in range(20_000)]
    text = " ".join(addresses)
    found, at = [], 0
    for address in addresses:
        found.append(span(at, at + len(address)))
        at += len(address) + 1
    (row,) = masked([document(text)], found)
    assert row["text"] == " ".join(["<EMAIL>"] * len(addresses))


# The step.

TEXT = f"Größe: {EMAIL}, {PHONE}; once more {EMAIL}."
DROPPED = f"Never seen: bo@tinkershop.io {EMAIL}"


def shard_step(folder: Path, **config: Any) -> dict[str, Any]:
    """Run the step over five documents, one of them dropped by keep; e-mail and cards are masked, telephones are not."""
    texts = {"a": TEXT, "b": "Nothing here.", "c": DROPPED, "d": "Thoughts only.", "e": "Padding " * 40}
    thoughts = {"a": f"I know {EMAIL}.", "c": f"{EMAIL}", "d": f"Card {CARD} of {EMAIL}, {PHONE}"}
    shared = {"family": "distill", "seed_ids": ["s"], "root_id": "s", "models": ["m"], "generation_depth": 1}
    made = [{**document(text, 8, thoughts.get(doc_id), doc_id), **shared} for doc_id, text in texts.items()]
    documents = rows.table(made, rows.DOCUMENT)
    _, found = scores_and_spans(documents.select(["text"]), rule_works([RuleConfig(name="pii")], "score.rules"))
    tables = {
        "documents/t": documents,
        "spans/t": span_rows(documents["id"], found),
        "generate_drops/t": rows.DROP.empty_table(),
        "keep_drops/t": rows.table([rows.drop_row("c", "document", "keep", "words", "too_short")], rows.DROP),
        "resolve_drops/all": rows.DROP.empty_table(),
        "seeds/s": rows.table([{"id": "s", "source_id": "x"}], rows.SEED),
    }
    for name, table in tables.items():
        (folder / name).parent.mkdir(exist_ok=True)
        rows.write_table(table, folder / f"{name}.parquet")
    (folder / "out").mkdir()
    policy = PiiConfig(email="mask", card="drop")
    works = {"masks": policy.hidden(), "thoughts": rule_works([RuleConfig(name="pii")], "pii")}
    config = {"validation_share": 0.0, **works, **config}
    counts = step.run({name: folder / f"{name}.parquet" for name in tables}, step.ShardWork(**config), folder / "out")
    released = [row for batch in read_shards(sorted((folder / "out").glob("*.arrow"))) for row in batch.to_pylist()]
    return {"counts": counts, "rows": {row["doc_id"]: row for row in released}}


def everything_in(folder: Path) -> bytes:
    """All bytes of all files, as they lie and decompressed: every buffer of a shard with its padding, every cell of a table."""
    found = [path.read_bytes() for path in folder.iterdir()]
    for path in folder.glob("*.arrow"):
        arrays = [column for batch in read_shards([path]) for column in batch.columns]
        found += [buffer.to_pybytes() for array in arrays for buffer in array.buffers() if buffer is not None]
    found += [str(rows.read_table(path).to_pylist()).encode() for path in folder.glob("*.parquet")]
    return b"\n".join(found)


def test_the_step_masks_text_and_thoughts(tmp_path: Path) -> None:
    made = shard_step(tmp_path)
    released = made["rows"]
    assert released["a"]["text"] == f"Größe: <EMAIL>, {PHONE}; once more <EMAIL>."
    assert told(released["a"]) == ["source:Größe:", f"generated: <EMAIL>, {PHONE}; once more <EMAIL>."]
    assert released["a"]["reasoning"] == "I know <EMAIL>."
    assert released["b"]["text"] == "Nothing here." and released["b"]["reasoning"] is None
    assert released["d"]["reasoning"] == f"Card <CARD> of <EMAIL>, {PHONE}", (
        "thoughts do not drop a document: they are masked"
    )
    assert made["counts"].notes == {"masked_documents": 2, "masked_places": 5}
    thoughts = rows.read_table(tmp_path / "out/reasoning_spans.parquet").to_pylist()
    assert [(one["doc_id"], one["rule"]) for one in thoughts] == [
        ("a", "pii_email"),
        ("d", "pii_card"),
        ("d", "pii_email"),
    ]


def test_nothing_of_what_was_masked_is_in_any_file(tmp_path: Path) -> None:
    shard_step(tmp_path)
    held = everything_in(tmp_path / "out")
    assert PHONE.encode() in held, "the search finds what is there"
    for value in (EMAIL, "rivermill", "anna@", CARD, CARD.replace(" ", ""), "tinkershop"):
        assert value.encode() not in held, value


def test_without_masks_nothing_changes_and_no_spans_are_read(tmp_path: Path) -> None:
    made = shard_step(tmp_path, masks=(), thoughts=())
    assert made["rows"]["a"]["text"] == TEXT and made["rows"]["a"]["reasoning"] == f"I know {EMAIL}."
    assert not (tmp_path / "out/reasoning_spans.parquet").exists()


def test_tokens_are_counted_after_masking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "_counter", lambda config: lambda texts: [text.count("<EMAIL>") for text in texts])
    made = shard_step(tmp_path, tokenizer="placeholders")
    assert {doc_id: row["tokens"] for doc_id, row in made["rows"].items()} == {"a": 2, "b": 0, "d": 0, "e": 0}


def first_words(table: pa.Table, options: LicenseOptions) -> pa.Table:
    """A rule of somebody's own: where the first word stands."""
    found = [
        [{"start_byte": 0, "end_byte": len(text.split()[0].encode()), "rule": "first", "replacement": "<FIRST>"}]
        for text in table["text"].to_pylist()
    ]
    return pa.table({"first": [1] * len(found), "where": pa.array(found, SPANS)})


def test_any_rule_may_give_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "_specs", dict(rules._specs))
    rules.add(Spec("first", 1, LicenseOptions, first_words, ("text",), spans="where"))
    texts = pa.table({"text": [f"Ünser {EMAIL}", "zwei"]})
    works = rule_works([RuleConfig(name="pii"), RuleConfig(name="first")], "score.rules")
    scores, spans = scores_and_spans(texts, works)
    assert "where" not in scores.column_names and scores["first"].to_pylist() == [1, 1]
    found = span_rows(pa.chunked_array([["b"], ["a"]]), spans).to_pylist()
    assert [tuple(one.values()) for one in found] == [
        ("a", 0, 4, "first", "<FIRST>"),
        ("b", 0, 6, "first", "<FIRST>"),
        ("b", 7, 7 + len(EMAIL), "pii_email", "<EMAIL>"),
    ]


# The recipe.


def test_every_kind_has_a_setting_and_a_gate() -> None:
    assert set(PiiConfig.model_fields) == {*KINDS, "seeds"}
    for kind in KINDS:
        policy = PiiConfig(**{kind: "drop"})  # type: ignore[arg-type]
        (gate,) = policy.gates()
        assert (gate.column, gate.max, gate.reason, gate.evidence) == (f"pii_{kind}", 0, f"pii_{kind}", "pii_kinds")
        assert policy.hidden() == (COLUMNS[kind],) and policy.seed_gates() == (gate,)
        only_masked = PiiConfig(**{kind: "mask"})  # type: ignore[arg-type]
        assert only_masked.gates() == only_masked.seed_gates() == () and only_masked.hidden() == (COLUMNS[kind],)
        assert PiiConfig(**{kind: "drop"}, seeds="label").seed_gates() == ()  # type: ignore[arg-type]
    assert PiiConfig().hidden() == PiiConfig().gates() == ()


@pytest.mark.parametrize(("seeds", "looked_at", "dropped"), [("drop", 1, 1), ("label", 1, 0), ("none", 0, 0)])
def test_what_becomes_of_seeds(tmp_path: Path, seeds: str, looked_at: int, dropped: int) -> None:
    works = Works(load(write_recipe(tmp_path, "http://x", pii=f'[pii]\ncard = "drop"\nseeds = "{seeds}"')))
    seed_rules, gates = works.seed_judge
    assert [rule.name for rule in seed_rules].count("pii") == looked_at
    assert [gate.reason for gate in gates].count("pii_card") == dropped
    assert [rule.name for rule in works.document_judge[0]].count("pii") == 1


def test_a_rule_that_the_recipe_names_itself_is_not_added_twice(tmp_path: Path) -> None:
    blocks = {"score": '[score]\nmore_rules = [{ name = "pii" }]', "pii": '[pii]\nemail = "mask"'}
    works = Works(load(write_recipe(tmp_path, "http://x", **blocks)))
    assert [rule.name for rule in works.document_judge[0]].count("pii") == 1


# A run.


def objects(home: Path) -> dict[str, set[str]]:
    names = ("screen", "generate", "score", "keep", "sign", "resolve", "shards", "audit")
    return {name: set(Store(home).objects(f"objects/{name}")) for name in names}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory, scripted_server: ScriptedServer) -> Path:
    """A run in which everything is a label; two seeds have an address, one a card number."""
    folder = tmp_path_factory.mktemp("labelled")
    texts = {"s1": f"{passage(1)} Ask {EMAIL}.", "s2": f"{passage(2)} Ring {PHONE}, or {EMAIL}."}
    write_seeds(folder / "seeds/a.jsonl", range(4), **texts, s3=f"{passage(3)} Paid with {CARD}.")
    recipe = write_recipe(
        folder, scripted_server.base_url, families='[[families]]\nname = "diverse_qa"', pii='[pii]\nemail = "label"'
    )
    run_recipe(recipe, folder / "home")
    return folder


def test_labels_change_nothing_and_are_found_in_the_catalogue(labelled: Path) -> None:
    texts = [row["text"] for row in shard_rows(labelled / "home")]
    assert sum(EMAIL in text for text in texts) == 2 and sum(CARD in text for text in texts) == 1
    build_catalog(labelled / "home")
    for view in ("spans", "all_spans"):
        found = query(
            labelled / "home", f"SELECT rule, replacement, count(*) AS finds FROM {view} GROUP BY ALL ORDER BY ALL"
        )
        assert [tuple(row.values()) for row in found.to_pylist()] == [
            ("pii_card", "<CARD>", 1),
            ("pii_email", "<EMAIL>", 2),
            ("pii_phone", "<PHONE>", 1),
        ]
    shown = "encode(text)[start_byte + 1 : end_byte]"
    found = query(
        labelled / "home", f"SELECT decode({shown}) AS value FROM spans JOIN documents ON id = doc_id ORDER BY value"
    )
    assert found["value"].to_pylist() == [PHONE, CARD, EMAIL, EMAIL]


def test_a_mask_redoes_shards_and_audit_alone(labelled: Path) -> None:
    home, before = labelled / "home", objects(labelled / "home")
    (release,), engine = run_recipe(labelled / "recipe.toml", home, ["pii.email=mask"])
    after = objects(home)
    assert {name for name in after if after[name] != before[name]} == {"shards", "audit"}
    assert engine.stats.attempts == 0 and release.number >= 2
    released = shard_rows(home)
    assert len(released) == 4 and not any(EMAIL in row["text"] for row in released)
    assert sum("<EMAIL>" in row["text"] for row in released) == 2 and any(PHONE in row["text"] for row in released)
    for place in after["shards"] - before["shards"]:
        assert EMAIL.encode() not in everything_in(home / place)


def test_a_drop_scores_nothing_again(labelled: Path) -> None:
    home, before = labelled / "home", objects(labelled / "home")
    _, engine = run_recipe(labelled / "recipe.toml", home, ["pii.card=drop", "pii.seeds=label"])
    after = objects(home)
    assert engine.stats.attempts == 0 and {"generate", "score", "sign"} <= {n for n in after if after[n] == before[n]}
    assert len(shard_rows(home)) == 3 and not any(CARD in row["text"] for row in shard_rows(home))
    drops = [
        row
        for place in after["keep"] - before["keep"]
        for row in rows.read_table(home / place / "drops.parquet").to_pylist()
    ]
    (drop,) = [row for row in drops if row["reason"] == "pii_card"]
    assert (drop["rule"], drop["score"], drop["threshold"], drop["evidence"]) == ("pii_card", 1.0, 0.0, "card 1")


def test_a_seed_with_a_dropped_kind_is_sent_to_no_model(tmp_path: Path, new_server: Any) -> None:
    server: ScriptedServer = new_server()
    write_seeds(
        tmp_path / "seeds/a.jsonl", range(3), s1=f"{passage(1)} Paid with {CARD}.", s2=f"{passage(2)} Ask {EMAIL}."
    )
    pii = '[pii]\ncard = "drop"\nemail = "mask"'
    recipe = write_recipe(tmp_path, server.base_url, families='[[families]]\nname = "diverse_qa"', pii=pii)
    _, engine = run_recipe(recipe, tmp_path / "home")
    assert engine.stats.asks == 2, "of three seeds"
    (screened,) = objects(tmp_path / "home")["screen"]
    (drop,) = rows.read_table(tmp_path / "home" / screened / "drops.parquet").to_pylist()
    assert (drop["step"], drop["reason"], drop["evidence"]) == ("screen", "pii_card", "card 1")
    asked = [
        row["seed_id"]
        for place in objects(tmp_path / "home")["generate"]
        for row in rows.read_table(tmp_path / "home" / place / "asks.parquet").to_pylist()
    ]
    assert len(asked) == 2 and drop["item_id"] not in asked
    texts = [row["text"] for row in shard_rows(tmp_path / "home")]
    assert sum("<EMAIL>" in text for text in texts) == 1 and not any(EMAIL in text for text in texts)


# The audit.


def test_a_wave_that_is_masked_passes_its_audit(tmp_path: Path) -> None:
    wave, home = Wave(), tmp_path / "home"
    mask_the_river(wave)
    write_home(home)
    wave.write(home)
    (tmp_path / "out").mkdir()
    checks = run_checks(*audit_inputs(home, wave), False, AuditConfig(), tmp_path / "out").to_pylist()
    assert [check for check in checks if check["violations"]] == []
