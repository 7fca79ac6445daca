"""Embeddings: the vectors that sentence-transformers gives, whatever stands beside a text; and the rule that compares them."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import filters.rules  # noqa: F401  (registers the rule)
from filters import embedding
from filters.registry import INPUTS, apply_rule, rules, score_columns
from synth import weights
from synth.config import parse
from synth.engine import embeddings
from synth.engine.embeddings import DIMENSIONS, Embedder, gelu, read_safetensors
from synth.errors import IntegrityError, RecipeError
from tests.conftest import ROOT

PASSAGES: dict[str, str] = {
    passage["id"]: passage["text"]
    for passage in map(json.loads, (ROOT / "synth/data/passages.jsonl").read_text(encoding="utf-8").splitlines())
}
# What each passage says, in other words and much shorter.
REWRITES = {
    "honey-bees": "A hive is mostly female workers around one egg-laying queen; foragers dance to tell where nectar is.",
    "blue-whale": "The heaviest of all animals strains tiny krill out of the sea with its baleen.",
    "monarch-butterfly": "Orange and black butterflies from North America winter in the fir forests of Mexico.",
    "giant-sequoia": "The most massive trees on Earth grow in the Californian Sierra and live for thousands of years.",
    "emperor-penguin": "Through the Antarctic winter the father penguin keeps the only egg warm on his feet.",
    "octopus": "An eight-armed sea animal without bones has three hearts and blood coloured blue by copper.",
    "bats": "The only flying mammals find insects in the dark by listening to echoes of their calls.",
    "tardigrades": "Water bears are microscopic animals that survive drying out and other extremes.",
    "printing-press": "Gutenberg cast reusable metal letters in Mainz and printed a famous Bible with them.",
    "rosetta-stone": "A decree carved in three scripts let scholars learn to read Egyptian hieroglyphs.",
    "black-death": "In the fourteenth century a plague carried by fleas and rats killed a third of Europe.",
    "magna-carta": "At Runnymede the barons made King John accept a charter that limited his power.",
    "berlin-wall": "East Germany closed its border in 1961 with a concrete barrier through a divided city.",
    "great-fire-of-london": "In 1666 flames from a baker's shop burned down thousands of wooden houses in London.",
    "terracotta-army": "Well diggers in China came upon thousands of clay soldiers buried with the first emperor.",
    "steam-engine": "Watt's separate condenser made the coal-hungry pump engine of Newcomen far more efficient.",
    "transistor": "Three Bell Labs physicists made the small semiconductor switch that replaced vacuum tubes.",
    "world-wide-web": "At CERN, Berners-Lee devised pages, addresses and a protocol to share documents between computers.",
    "gps": "Satellites with atomic clocks let a receiver work out where it is on Earth.",
    "bicycle": "From a wooden running machine without pedals, two-wheeled vehicles developed into today's cycles.",
    "bar-code": "Striped product codes that lasers read at supermarket tills began with lines drawn in sand.",
    "telegraph": "Morse sent messages by wire as dots and dashes, and later a cable crossed the Atlantic.",
    "bread": "Yeast makes gas that raises wheat dough, which people have baked since prehistoric times.",
    "chocolate": "Fermented and roasted cacao seeds, once an Aztec drink and currency, became a sweet.",
    "coffee": "The roasted beans of an Ethiopian plant became a drink that spread from Yemen to London's houses of debate.",
    "tea": "Green, black and oolong are leaves of the same Chinese plant, treated differently after picking.",
    "potato": "A tuber from the Andes fed the Irish poor until a blight destroyed the harvest.",
    "rice": "Grown in flooded paddies, this grain feeds over half of humanity.",
    "salt": "Sodium chloride, won from the sea or from mines, preserved food before there was cooling.",
    "mona-lisa": "Leonardo's small portrait of a Florentine merchant's wife has soft transitions of light and shadow.",
    "beethoven-ninth": "The deaf composer's last symphony ends with singers and a choir.",
    "guernica": "Picasso painted a huge picture against the bombing of a Basque town.",
    "piano": "An instrument maker in Florence let hammers strike the strings, so keys could sound soft or loud.",
    "great-wave": "Hokusai's woodblock print shows boats under a towering wave with Mount Fuji far behind.",
    "lumiere-cinema": "Two French brothers showed the first short films to a paying audience in Paris.",
    "pi": "The ratio of a circle's circumference to its diameter is always the same number, a little over three.",
    "prime-numbers": "Whole numbers divisible only by one and themselves never run out, as Euclid proved.",
    "pythagorean-theorem": "In right-angled triangles the squares of the short sides sum to the square of the longest.",
    "zero": "A digit for nothing, developed in India, makes our place-value numerals work.",
    "konigsberg-bridges": "Euler proved that no walk can cross each of the seven bridges of a city exactly once.",
    "four-color-theorem": "Every map can be coloured with just four colours so that neighbours always differ.",
    "smallpox": "Jenner protected a boy with cowpox, the first vaccination against a deadly disease.",
    "penicillin": "Fleming noticed that a mould killed bacteria, which led to the first great antibiotic.",
    "scurvy": "Lind's trial aboard ship showed that citrus fruit cures sailors of bleeding gums.",
    "heart": "The fist-sized muscle pumps all our blood through lungs and body in four chambers.",
    "insulin": "Toronto researchers extracted the hormone that keeps people with diabetes alive.",
    "x-rays": "Röntgen discovered invisible rays that pass through flesh and show the bones.",
    "hand-washing": "Semmelweis cut deaths in a maternity ward by having doctors clean their hands.",
    "mount-everest": "Hillary and Tenzing were the first to climb the highest mountain, between Nepal and Tibet.",
    "sahara": "Africa's great desert is more rock and gravel than dunes, and was once green.",
    "dead-sea": "So salty that bathers float, this lake lies at the lowest point of dry land.",
    "amazon-river": "South America's greatest stream carries a fifth of all river water into the Atlantic.",
    "great-barrier-reef": "Off Queensland, tiny animals built the largest coral system, which warm water bleaches.",
    "lake-baikal": "The world's deepest and oldest lake, in Siberia, holds a fifth of its liquid fresh water.",
    "iceland": "An island on the mid-Atlantic ridge is full of volcanoes, geysers and hot springs.",
    "speed-of-light": "Nothing is faster than light, whose travel time Rømer noticed from Jupiter's moons.",
    "falling-bodies": "Without air a feather drops as fast as a hammer, as Galileo's experiments suggested.",
    "absolute-zero": "Nothing can get colder than minus 273 degrees, where the Kelvin scale begins.",
    "rainbow": "Raindrops bend and reflect sunlight into a coloured arc opposite the sun.",
    "radioactivity": "Becquerel and the Curies studied rays from uranium and discovered radium and polonium.",
    "sound": "Pressure waves need a medium and travel faster in water and steel than in air.",
    "moon": "Our planet's companion always shows the same face and raises the ocean tides.",
    "jupiter": "The solar system's largest planet is a quickly spinning ball of gas with a great red storm.",
    "halleys-comet": "An astronomer predicted that a comet would return every 76 years or so.",
    "sun": "Our star shines by fusing hydrogen to helium in its hot core.",
    "voyager-1": "A NASA probe flew past Jupiter and Saturn, pictured Earth as a pale dot and left the solar system.",
    "saturn-rings": "Huygens explained that a flat ring of countless small pieces surrounds the planet Galileo had puzzled over.",
    "mars": "The rusty red planet has thin air and the tallest volcano known.",
    "olympic-games": "Coubertin revived the ancient Greek sports festival in Athens in 1896.",
    "red-cross": "After seeing the wounded at Solferino, Dunant inspired a movement to help the victims of war.",
    "united-nations": "Countries founded a world organisation in 1945 with an assembly and a security council to keep the peace.",
    "metric-system": "Revolutionary France introduced decimal units and measured the meridian to define the meter.",
    "postage-stamp": "Hill's reform let senders prepay letters with the Penny Black.",
    "gregorian-calendar": "A pope dropped ten days and some leap years to correct Caesar's reckoning of the year.",
    "braille": "A blind French schoolboy created an alphabet of raised dots that fingers can read.",
    "hangul": "King Sejong gave Koreans an easy alphabet whose letters picture the mouth.",
    "esperanto": "An eye doctor invented a simple, regular language meant to be everyone's second.",
    "oxford-english-dictionary": "Murray and his volunteers collected quotations to record the history of English words.",
    "alphabet": "The Greeks took over Phoenician letters and added vowels, giving us alpha and beta.",
    "sign-languages": "The deaf have many full languages of gestures, taught in schools founded by de l'Épée and Gallaudet.",
}
# The first components, and the cosine with "The cat sat on the mat." (all components), as sentence-transformers 6.2.0 gives
# them with torch 2.13 in float32. Where that library would cut the text off, at 256 tokens: BertModel of transformers 5.19
# on each window, the mean of the windows' means weighted by their tokens.
ORACLE = [
    pytest.param(
        "", [-0.118838, 0.048299, -0.002548, -0.011011, 0.051951, 0.010292, 0.115433, 0.000701], 0.030635, id="empty"
    ),
    pytest.param(
        "The cat sat on the mat.",
        [0.130237, -0.015773, -0.036717, 0.057986, -0.059792, 0.033054, 0.030124, 0.028927],
        1.000000,
        id="english",
    ),
    pytest.param(
        "Die Bienen fliegen über Blüten; façade, naïve, Ærøskøbing.",
        [0.027795, 0.038584, 0.080362, -0.072661, 0.041288, 0.005436, -0.013137, 0.033378],
        0.013565,
        id="accents",
    ),
    pytest.param(
        "東京は日本の首都です。中文混排 text 한국어",
        [0.093823, 0.102838, 0.087678, -0.039212, -0.023521, 0.009547, 0.084194, -0.01208],
        -0.038740,
        id="scripts",
    ),
    pytest.param(
        "🙂🙃 👩\u200d👩\u200d👧\u200d👦 emoji \u200b zero\xa0width",
        [0.00312, 0.025327, 0.063831, 0.008774, -0.002407, -0.087597, 0.026418, -0.00065],
        0.029710,
        id="emoji",
    ),
    pytest.param(
        "[SEP] [CLS] literal [MASK] tokens",
        [-0.075501, -0.015024, 0.076702, 0.02242, -0.079289, 0.045725, 0.090673, -0.000446],
        0.043465,
        id="special-tokens",
    ),
    pytest.param(
        "def f(x):\n    return x**2  # twelve",
        [0.018665, 0.080107, -0.009798, -0.029137, -0.072372, -0.027948, 0.034422, 0.01092],
        0.043981,
        id="code",
    ),
    pytest.param(
        "x" * 150,
        [-0.041596, -0.024682, 0.077893, -0.006149, 0.017001, 0.001262, 0.12374, -0.001972],
        0.009922,
        id="a-word-too-long",
    ),
    pytest.param(
        "a\u0301 e\u0301 combining \0 nul \ufffd",
        [-0.050724, 0.037481, -0.018298, 0.004166, -0.067722, 0.008657, 0.074239, -0.000704],
        -0.050639,
        id="marks-and-nul",
    ),
    pytest.param(
        PASSAGES["honey-bees"],
        [0.02192, -0.009206, 0.006422, 0.024018, -0.02906, 0.057712, 0.045673, -0.066313],
        0.049120,
        id="passage",
    ),
    pytest.param(
        "word " * 254,
        [-0.008124, -0.095586, -0.038673, 0.049662, -0.043794, 0.02372, -0.018142, -0.020207],
        0.107911,
        id="just-one-window",
    ),
    pytest.param(
        "word " * 255,
        [0.010677, -0.067607, -0.028962, 0.016477, -0.041294, 0.019614, 0.039701, -0.025057],
        0.114433,
        id="just-two-windows",
    ),
    pytest.param(
        f"{PASSAGES['monarch-butterfly']} {PASSAGES['giant-sequoia']}",
        [0.086442, 0.014155, 0.033393, 0.11768, 0.08315, -0.063621, -0.055149, -0.015473],
        -0.044435,
        id="two-windows",
    ),
    pytest.param(
        " ".join(list(PASSAGES.values())[4:9]),
        [-0.012142, 0.095643, 0.002778, 0.087929, -0.001726, -0.023316, -0.01389, 0.008643],
        0.020064,
        id="three-windows",
    ),
]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder()


@pytest.fixture
def nothing_loaded() -> Iterator[None]:
    """No model is loaded before the test, nor what it loaded after it."""
    embeddings._load.cache_clear()
    yield
    embeddings._load.cache_clear()


@pytest.mark.model
@pytest.mark.parametrize(("text", "first", "cosine"), ORACLE)
def test_vectors_are_those_of_the_reference(embedder: Embedder, text: str, first: list[float], cosine: float) -> None:
    cat, vector = embedder.embed(["The cat sat on the mat.", text])
    assert vector.dtype == np.float32
    assert vector[:8].tolist() == pytest.approx(first, abs=2e-6)
    assert float(vector @ cat) == pytest.approx(cosine, abs=2e-6)


@pytest.mark.model
def test_all_of_a_long_text_counts_by_its_tokens(embedder: Embedder) -> None:
    """Three windows of 200 words: what sentence-transformers reads of it is the first of them and some more."""
    parts = ["river " * 200, "stone " * 200, "engine " * 200]
    whole, *alone = embedder.embed(["".join(parts), *parts])
    assert min(float(whole @ part) for part in alone) > 0.5
    once, often = embedder.embed(["word " * 254, "word " * (254 * 3)])
    assert once == pytest.approx(often, abs=1e-6)


@pytest.mark.model
def test_a_vector_does_not_depend_on_the_texts_beside_it(embedder: Embedder) -> None:
    texts = ["", "bee", *list(PASSAGES.values())[:3], "A short sentence about the sea.", "word " * 300]
    together = embedder.embed(texts)
    assert together.shape == (len(texts), DIMENSIONS)
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-6)
    backwards = embedder.embed(texts[::-1])[::-1]
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    assert np.array_equal(together, backwards)
    assert np.array_equal(together, alone)


@pytest.mark.model
def test_rewrites_are_nearer_than_other_passages(embedder: Embedder) -> None:
    assert REWRITES.keys() == PASSAGES.keys()
    passages = embedder.embed([text[:300] for text in PASSAGES.values()])  # their beginnings, for speed
    rewrites = embedder.embed([REWRITES[name] for name in PASSAGES])
    cosines = rewrites @ passages.T
    own = np.diag(cosines)
    others = cosines[~np.eye(len(cosines), dtype=bool)]
    assert len(own) >= 80
    assert (own[:, None] > others[None, :]).mean() > 0.99  # the area under the ROC curve


@pytest.mark.model
def test_threads_share_one_model(nothing_loaded: None, monkeypatch: pytest.MonkeyPatch) -> None:
    located: list[str] = []
    locate = weights.locate
    monkeypatch.setattr(weights, "locate", lambda name: located.append(name) or locate(name))
    texts = ["A bee.", PASSAGES["honey-bees"][:300], PASSAGES["octopus"][:100]]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: Embedder().embed(texts), range(8)))
    assert sorted(located) == ["all-minilm-l6-v2", "all-minilm-l6-v2-tokenizer"]
    assert max(np.abs(vectors - found[0]).max() for vectors in found) <= 1e-5


@pytest.mark.model
@pytest.mark.parametrize("damaged", ["all-minilm-l6-v2", "all-minilm-l6-v2-tokenizer"])
def test_a_damaged_file_is_refused(
    damaged: str, nothing_loaded: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {name: weights.locate(name) for name in ("all-minilm-l6-v2", "all-minilm-l6-v2-tokenizer")}
    monkeypatch.setenv("SYNTH_CACHE", str(tmp_path))
    for name, path in whole.items():
        target = tmp_path / "weights" / path.parent.name / path.name
        target.parent.mkdir(parents=True)
        shutil.copyfile(path, target)
        if name == damaged:
            with target.open("r+b") as file:
                file.seek(path.stat().st_size // 2)
                byte = file.read(1)[0]
                file.seek(-1, 1)
                file.write(bytes([byte ^ 1]))
    with pytest.raises(IntegrityError, match=damaged):
        Embedder().embed(["a text"])


def test_nothing_is_loaded_for_no_texts(nothing_loaded: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "locate", lambda name: pytest.fail(f"{name} was loaded"))
    assert Embedder().embed([]).shape == (0, DIMENSIONS)
    spec = rules.get("embedding")
    assert score_columns(spec, spec.Options()) == ["embedding_cosine"]


@settings(deadline=None)
@given(st.lists(st.floats(-40, 40, width=32), max_size=40), st.sampled_from([1, 3, 1 << 15]))
def test_gelu(values: list[float], chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embeddings, "_GELU_CHUNK", chunk)
        found = gelu(np.array(values, np.float32))
    exact = [x * 0.5 * math.erfc(-x / math.sqrt(2)) for x in values]
    assert np.abs(found - exact) == pytest.approx(0, abs=3e-7 * max([1.0, *map(abs, values)]))


def test_safetensors(tmp_path: Path) -> None:
    entries = {
        "__metadata__": {"format": "pt"},
        "numbers": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]},
        "matrix": {"dtype": "F32", "shape": [2, 3], "data_offsets": [8, 32]},
        "scalar": {"dtype": "F32", "shape": [], "data_offsets": [32, 36]},
    }
    header = json.dumps(entries).encode()
    values = np.arange(7, dtype="<f4")
    file = tmp_path / "model.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8) + values.tobytes())
    tensors = read_safetensors(file)
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {
        "matrix": [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]],
        "scalar": 6.0,
    }


def cosines(generated: list[str | None], seeds: list[str | None]) -> list[float | None]:
    table = pa.table({"generated": generated, "seed_text": seeds}).cast(
        pa.schema([INPUTS.field("generated"), INPUTS.field("seed_text")])
    )
    spec = rules.get("embedding")
    scored = apply_rule(spec, table, spec.Options())
    assert scored.schema == embedding.SCORES
    return scored["embedding_cosine"].to_pylist()


@pytest.mark.model
def test_the_rule() -> None:
    bees, whale = PASSAGES["honey-bees"], PASSAGES["blue-whale"]
    same, rewrite, other = cosines([bees, REWRITES["honey-bees"], bees], [bees, bees, whale])
    assert same == pytest.approx(1, abs=1e-6)
    assert same is not None and same <= 1
    assert rewrite is not None and other is not None
    assert 1 > rewrite > 0.5 > 0.3 > other


@pytest.mark.model
@pytest.mark.parametrize("nothing", [None, "", " \n\t\u00a0"])
def test_the_rule_gives_null_where_a_text_is_missing(nothing: str | None) -> None:
    found = cosines(["A bee.", nothing, nothing, "A bee."], [nothing, "A bee.", nothing, "A wasp."])
    assert found[:3] == [None, None, None]
    assert found[3] is not None
    assert cosines([nothing], [nothing]) == [None]


@pytest.mark.model
def test_the_rule_embeds_a_text_once(monkeypatch: pytest.MonkeyPatch) -> None:
    embedded: list[str] = []
    embed = Embedder.embed
    monkeypatch.setattr(Embedder, "embed", lambda self, texts: embedded.extend(texts) or embed(self, texts))
    found = cosines(["One.", "Two.", "One.", "Seed.", None], ["Seed.", "Seed.", "Seed.", "Seed.", "Unused."])
    assert sorted(embedded) == ["One.", "Seed.", "Two."]
    assert found[0] == found[2] != found[1]


@pytest.mark.model
def test_the_rule_s_scores_do_not_depend_on_order_or_batches() -> None:
    generated: list[Any] = [*list(PASSAGES.values())[:4], None, "Bees dance."]
    seeds: list[Any] = [REWRITES["octopus"], *list(PASSAGES.values())[:2], "", "Bees dance.", PASSAGES["honey-bees"]]
    whole = cosines(generated, seeds)
    assert cosines(generated[::-1], seeds[::-1])[::-1] == whole
    assert [cosines([one], [seed])[0] for one, seed in zip(generated, seeds, strict=True)] == whole


def test_the_options_are_known_by_the_files_bytes() -> None:
    files = [weights.identity(name)["sha256"] for name in ("all-minilm-l6-v2", "all-minilm-l6-v2-tokenizer")]
    assert parse(embedding.EmbeddingOptions, {}).content() == {"weights_sha256": files}


@pytest.mark.parametrize("name", ["all-minilm-l6", "lid.176.ftz", "all-minilm-l6-v2-tokenizer", ""])
def test_an_unknown_model_is_refused_before_anything_starts(name: str) -> None:
    options = parse(embedding.EmbeddingOptions, {"weights": name})
    with pytest.raises(RecipeError, match=r"unknown embedding model.*(?s:.*)allowed: all-minilm-l6-v2$"):
        options.check()
