"""The rule `pii`: planted data of every kind is found exactly, near misses are not, and the compiled pass never loses a find."""

from __future__ import annotations

import importlib.resources
import json
from collections import Counter
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import filters.rules  # noqa: F401  adds the bundled rules
from filters.pii import FINDERS, KINDS, PLACEHOLDERS, PRIORITY, find_pii, masked, spans
from filters.registry import apply_rule, rules, score_columns
from flows.steps.scoring import RuleConfig, rule_works, score_table
from synth.errors import RecipeError
from synth.sources_python_docs import topic_passages, topics_file
from tests.pii_planted import PER_KIND, Planted, luhn, planted, token

PASSAGES = [
    json.loads(line)["text"]
    for line in importlib.resources.files("synth.data").joinpath("passages.jsonl").read_text("utf-8").splitlines()
]


def pii(texts: pa.Array | pa.ChunkedArray | list[str | None]) -> list[dict[str, Any]]:
    spec = rules.get("pii")
    column = pa.array(texts, pa.large_string()) if isinstance(texts, list) else texts
    return apply_rule(spec, pa.table({"text": column}), spec.Options()).to_pylist()


def everywhere(text: str) -> list[tuple[str, int, int]]:
    """The finds when every function is called at every byte: what the compiled pass must not change."""
    data = text.encode()
    return spans(data, [(number, at) for at in range(len(data)) for number in range(len(KINDS))])


def quick(text: str) -> list[tuple[str, int, int]]:
    return [(found.kind, found.start_byte, found.end_byte) for found in find_pii(text)]


@pytest.mark.parametrize("kind", KINDS)
def test_planted_data_is_found_exactly(kind: str) -> None:
    texts = [one for seed in range(3) for one in planted(seed) if one.kind == kind]
    assert len(texts) == 3 * PER_KIND
    missed = [
        one for one in texts if (kind, one.value) not in [(found.kind, found.text) for found in find_pii(one.text)]
    ]
    assert len(missed) <= 0.02 * len(texts), missed


def test_planted_data_is_nothing_else() -> None:
    others = [(one, found) for one in planted(7) for found in find_pii(one.text) if found.kind != one.kind]
    assert others == []


FOUND = """
email | Write to anna.b@rivermill.org. | anna.b@rivermill.org
email | (bo+lists@kanzlei-nord.de) | bo+lists@kanzlei-nord.de
email | 'c_d@postbus.nl' | c_d@postbus.nl
email | mailto:x@cs.lakeview.edu?subject=hi | x@cs.lakeview.edu
email | O'Neill, d.o'neill@a1.fr | d.o'neill@a1.fr
email | 邮箱zhang@lakeview.cn。 | zhang@lakeview.cn
email | UPPER@RIVERMILL.ORG, and lower | UPPER@RIVERMILL.ORG
email | the address a@b.de: yes | a@b.de
email | Páolo <főo@rivermill.org> | főo@rivermill.org
email | josé@rivermill.org | josé@rivermill.org
email | joe@net.com.py, in Paraguay | joe@net.com.py
phone | +49 30 1234567 | +49 30 1234567
phone | call +1 (212) 634-9876 now | +1 (212) 634-9876
phone | tel:+33142681234 | +33142681234
phone | ring 0049 30 9876543, please | 0049 30 9876543
phone | (212) 634-9876 | (212) 634-9876
phone | 212-634-9876. | 212-634-9876
phone | 1-800-634-9876 | 1-800-634-9876
phone | 030/9876543 | 030/9876543
phone | 01 42 68 53 12 | 01 42 68 53 12
phone | Phone: 98765 43210 | 98765 43210
phone | "phone": "5126349876" | 5126349876
phone | Mobile no. 612 345 678, 2 pm | 612 345 678
ipv4 | from 93.184.216.34 at noon | 93.184.216.34
ipv4 | http://93.184.216.34:80/x | 93.184.216.34
ipv4 | It was 93.184.216.34. | 93.184.216.34
ipv6 | 2606:4700:4700::64, it says | 2606:4700:4700::64
ipv6 | http://[2a02:26f0:10::17c8:1]/ | 2a02:26f0:10::17c8:1
ipv6 | is 2001:4860:4860:0:0:0:0:8888. | 2001:4860:4860:0:0:0:0:8888
iban | DE34370400440987654321 | DE34370400440987654321
iban | GB82 NWBK 6016 1331 9876 54 is | GB82 NWBK 6016 1331 9876 54
iban | to NL83ABNA0417169876, 10 euros | NL83ABNA0417169876
card | 4012 8888 4567 1235 | 4012 8888 4567 1235
card | 5105-1051-3456-7890, valid | 5105-1051-3456-7890
card | 378282246374514 | 378282246374514
card | 3782 822463 74514 | 3782 822463 74514
ssn | 536-22-8726 | 536-22-8726
ssn | SSN: 536228726 | 536228726
ssn | Social Security number 536 22 8726 | 536 22 8726
github_token | token=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 | 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
aws_key | id AKIAQX4BIPW3AHOV27GN; | AKIAQX4BIPW3AHOV27GN
""".strip().splitlines()


@pytest.mark.parametrize("case", FOUND)
def test_is_found(case: str) -> None:
    kind, text, value = case.split(" | ")
    found = find_pii(text)
    assert [(one.kind, one.text) for one in found] == [(kind, value)]
    assert text.encode()[found[0].start_byte : found[0].end_byte].decode() == value


NEAR_MISSES = """
@property
@functools.lru_cache(maxsize=None)
@pytest.mark.parametrize
user@host
ssh root@localhost -p 2222
git clone git@github.com:owner/name.git
https://user:secret@db.rivermill.org/x
ssh://git@rivermill.org/x
C = A@B.T
y = x@w.mean() + b
value@model.name(3)
npm install lodash@4.17.21
photo@2x.png
joe@example.com
foo@bar.com and joe@baz.org
a@b.com, then
aes256-gcm@openssh.com
File "foo-bar@baz.py", line 2
joe@mail.example.org and ann@site.test
a@b@c
x..y@rivermill.org.
joe@rivermill
joe@rivermill.zzzz
@joe said so
joe @ rivermill.org
version 3.11.4 of 2024-05-17
1.2.3.4
release 2.54.33.1
v48.55.1.2
Chrome/120.64.0.99
Chrome/120.0.6099.109
section 8.2.44.45
see 10.0.0.1 and 192.168.178.20
127.0.0.1:8000
0.0.0.0
the netmask 255.255.255.0
192.0.2.55 and 198.51.100.77 and 203.0.113.99
169.254.77.88
256.100.100.100
12.34.56.78
123.45.67.89
125.125.125.125
172.32.0.0
12.30.56.48+0800
093.184.216.34
93.184.0.0/16
1.3.6.1.4.1.311.55.66
1.3.101.112
93.184.216.34.55
libfoo==93.84.16.34
x[::2] and y[1::2]
std::vector<int> a::b
12:34:56 and 2012:10:10
2001:db8::1:2:3
2001:0:4136:e378:8000:63bf:3fff:fdd2
fe80::1ff:fe23:4567:890a
::1
2000::3
00:1a:2b:3c:4d:5e
2606:4700:4700:1:2:3:4:5:6
2606:4700::zz
DE34370400440987654322
GB82 NWBK 6016 1331 9876 55
XX34370400440987654321
DE3437040044098765432
de34370400440987654321
DE89370400440532013000
GB29 NWBK 6016 1331 9268 19
MD5SUM 0123456789
4012 8888 4567 1236
4111 1111 1111 1111
4012 8888 8888 1881
5105105105105100
default_rng(348932549825235)
4828147466240000*t**12
1012888845671235
0.4012888845671235
40128888456712350000
4012-8888 4567-1235
9012 8888 4567 1235
000-12-3456
666-12-3456
912-12-3456
536-00-8726
536-22-0000
123-45-6789
078-05-1120
111-22-3333
536-22-87261
1-536-22-8726
536 22 8726
536228726
2024-05-17
17.05.2024 10:30
2024-05-17 10:30:00
20240517103000
1700000000
1700000000000
ISBN 978-0-306-40615-7
ISBN 0-306-40615-2
ISBN 0306406152
ISSN 0317-8471
$1,234,567.89
1 234 567 890
3.14159265358979
0.1 0.2 0.3 0.4 0.5 0.6
1 2 3 4 5 6 7 8 9 10
01 02 03 04 05 06
01 02 03 04 05
00 01 02 03 04 05 06 07
x = 34009066266 + 25999077948732
a + 34009066266 * b
(1234567890)
the sum of 1234567 and 7654321
Boston, MA 02110-1301 USA
+0000 and -0700
2024-05-17T10:30:00+02:00
+37.774929
+1 212 634 98
+1 212 634 987 654
+999 123 456 789
+1 212 555 0123
555-0123
(212) 555-0199
+1 555 123 4567
+44 7700 900123
0044 7700 900 123
(020) 7946 0018
01632 960123
+33 1 99 00 12 34
06 39 98 12 34
+49 (0)30 23125 123
0221/4710123
03.05.16.0001.01
E 78, 046110 2008
08-01-3697739
212-634-987
912-134-9876
212-611-9876.5
phone 2024-05-17
phone: 12
telephone in 1876 and 1877
550e8400-e29b-41d4-a716-446655440000
12345678-1234-1234-1234-123456789012
d41d8cd98f00b204e9800998ecf8427e
da39a3ee5e6b4b0d3255bfef95601890afd80709
0xdeadbeefcafe1234
1e10 and 2.5e-12 and 6.02214076e23
0-9a-zA-Z
RFC 2822, sections 3.4.1 and 3.6.4
AKIAIOSFODNN7EXAMPLE
AKIA1234567890123456
AKIAAAAAAAAAAAAAAAAA
XAKIAQX4BIPW3AHOV27GN
AKIAQX4BIPW3AHOV27GNX
ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
ghp_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq18
ghp_short
eyJhbGciOiJIUzI1NiJ9
eyJxxxxxxxxxxxxxxxx.eyJxxxxxxxxxxxxxxxx.xxxxxxxxxxxxxxxxxxxxxx
-----BEGIN PRIVATE KEY-----
a "-----BEGIN RSA PRIVATE KEY-----" line, then base64
-----BEGIN CERTIFICATE-----
-----BEGIN PUBLIC KEY-----
sk_live_xxxxxxxxxxxxxxxxxxxxxxxx
sk_learn_model and sk-learn
hf_hub_download
npm_config_cache
xoxb-your-token-here
AIzaShort
""".strip("\n").splitlines()


@pytest.mark.parametrize("text", NEAR_MISSES)
def test_is_not_found(text: str) -> None:
    assert find_pii(f"It says {text} here.") == []
    assert find_pii(text) == []


def test_there_are_enough_cases() -> None:
    assert len(FOUND) + len(NEAR_MISSES) >= 120


def test_a_token_needs_a_header_that_names_an_algorithm() -> None:
    assert [found.kind for found in find_pii(token({"alg": "HS256"}, {"sub": 1}, "x" * 43))] == ["jwt"]
    assert find_pii(token({"typ": "JWT"}, {"sub": 1}, "x" * 43)) == []
    assert find_pii(token({"alg": "HS256"}, [1, 2, 3, 4], "x" * 43)) == []


def test_a_checksum_decides() -> None:
    digits = "453212345678901"
    assert [found.kind for found in find_pii(digits + luhn(digits))] == ["card"]
    wrong = [f"{digits}{digit}" for digit in range(10) if str(digit) != luhn(digits)]
    assert [find_pii(number) for number in wrong] == [[]] * 9
    for one in planted(3):
        if one.kind in ("iban", "github_token") and "github_pat" not in one.value:
            last = "1" if one.value[-1] != "1" else "2"
            assert one.kind not in [found.kind for found in find_pii(one.value[:-1] + last)]


def test_what_stands_inside_another_find_is_not_found_again() -> None:
    key = next(one.value for one in planted() if one.kind == "private_key" and "\n" in one.value)
    found = find_pii(f"{key} and 4012888845671235@rivermill.org")
    assert [one.kind for one in found] == ["private_key", "email"]
    assert sorted(PRIORITY) == sorted(KINDS)


def test_masks_write_placeholders_and_leave_the_rest() -> None:
    text = "Schön: anna@rivermill.org, +49 30 1234567 – 93.184.216.34"
    assert masked(text) == "Schön: <EMAIL>, <PHONE> – <IPV4>"
    assert masked(text, ["phone"]) == "Schön: anna@rivermill.org, <PHONE> – 93.184.216.34"
    assert masked(text, []) == text
    with pytest.raises(RecipeError, match="iris"):
        masked(text, ["email", "iris"])


@pytest.mark.parametrize("one", planted(11)[::7], ids=lambda one: f"{one.kind}")
def test_a_masked_text_has_nothing_left(one: Planted) -> None:
    hidden = masked(one.text)
    assert one.value not in hidden and PLACEHOLDERS[one.kind] in hidden
    assert find_pii(hidden) == []


PIECES = st.one_of(
    st.sampled_from([one.value for one in planted(5)]),
    st.sampled_from(NEAR_MISSES),
    st.text(alphabet="0123456789 .-+()/@:aeAE_\n", max_size=30),
    st.sampled_from(
        [
            "tel: ",
            "fax ",
            "SSN ",
            "+49",
            "0049",
            "(0) ",
            " - (",
            "1 (",
            "2606:",
            "AKIA",
            "eyJ",
            "é",
            "中",
            '"',
            "=",
            "v",
        ]
    ),
    st.text(max_size=8),
)


@settings(max_examples=250, deadline=None)
@given(st.lists(PIECES, max_size=5).map("".join))
def test_the_compiled_pass_loses_nothing(text: str) -> None:
    text = text.encode(errors="ignore").decode()
    found = quick(text)
    assert found == everywhere(text)
    assert all(first[2] <= second[1] for first, second in pairwise(found))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.none() | st.lists(PIECES, max_size=3).map("".join), max_size=6), st.integers(0, 6), st.booleans())
def test_the_rule_counts_what_find_pii_finds(texts: list[str | None], cut: int, large: bool) -> None:
    texts = [text and text.encode(errors="ignore").decode() for text in texts]
    kind = pa.large_string() if large else pa.string()
    padded = pa.array(["anna@rivermill.org", *texts, "bo@rivermill.org"], kind).slice(1, len(texts))
    rows = pii(pa.chunked_array([padded.slice(0, cut), padded.slice(cut)], kind))
    for text, row in zip(texts, rows, strict=True):
        counts = Counter(found.kind for found in find_pii(text or ""))
        assert {kind: row[f"pii_{kind}"] for kind in KINDS} == {kind: counts[kind] for kind in KINDS}
        assert row["pii_found"] == counts.total()
        assert (row["pii_kinds"] is None) == (counts.total() == 0)
        places = [(one["rule"], one["start_byte"], one["end_byte"], one["replacement"]) for one in row["pii_spans"]]
        assert places == [
            (f"pii_{one.kind}", one.start_byte, one.end_byte, PLACEHOLDERS[one.kind]) for one in find_pii(text or "")
        ]


def test_the_evidence_names_kinds_and_never_values() -> None:
    rows = pii(["anna@rivermill.org, bo@rivermill.org and +49 30 1234567", "nothing", " \n", "", None])
    assert [row["pii_kinds"] for row in rows] == ["email 2; phone 1", None, None, None, None]
    assert [len(row["pii_spans"]) for row in rows] == [3, 0, 0, 0, 0]
    assert "rivermill" not in str(rows) and "1234567" not in str(rows)
    assert [row["pii_checked"] for row in rows] == [1, 1, 0, 0, 0]
    assert [row["pii_found"] for row in rows] == [3, 0, 0, 0, 0]


def test_spans_are_no_score() -> None:
    spec = rules.get("pii")
    assert "pii_spans" not in score_columns(spec, spec.Options())
    works = rule_works([RuleConfig(name="pii")], "score.rules")
    assert "pii_spans" not in score_table(pa.table({"text": ["a"]}), works).column_names


def test_no_documents() -> None:
    assert pii([]) == []
    assert pii(pa.chunked_array([], pa.large_string())) == []
    assert set(FINDERS) == set(KINDS)


def test_documentation_holds_no_personal_data() -> None:
    texts = [*PASSAGES, *(passage for _, passage in topic_passages(topics_file()))]
    assert [find_pii(text) for text in texts if find_pii(text)] == []


HOSTILE = (
    "@",
    "a@",
    "a@a.",
    "a@a.de",
    "1",
    "1 ",
    "4012 ",
    "01 ",
    "+49 ",
    "(",
    ":",
    "2606:",
    "2606::",
    ".",
    "1.",
    "a.",
    "-",
    "eyJ",
    "eyJ.",
)
HOSTILE += (
    "-----BEGIN ",
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\nA: b\n",
    "AKIA",
    "DE89",
    "ghp_",
    "xoxb-",
    "sk-",
    "tel 1 ",
)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_text_ends_and_hides_nothing(unit: str) -> None:
    text = unit * (2**19 // len(unit)) + "\nanna@rivermill.org"
    assert find_pii(text)[-1].text == "anna@rivermill.org"
