"""Personal data and secrets to plant: made by seed with valid checksums, in many formats, inside sentences. None is anybody's."""

from __future__ import annotations

import json
import random
import string
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise

from filters.pii_kinds import github_checksum

PER_KIND = 60
_SENTENCES = (
    "The mill was sold in 1887, and {} is all that the ledger says of it.",
    "Write it down: {}.",
    "| name | value |\n|---|---|\n| mine | {} |\n",
    "He used version 3.11.4 of the program on 2024-05-17 (see {}) and was content.",
    'config = {{"value": "{}", "retries": 3}}\n',
    "Noted in the margin – „{}“ – by a later hand.",
    "{}",
    "The two of them, {} and the other, were both found in the log; neither was needed any more!",
    "- first item\n- {}\n- third item with 42 parts\n",
    "为了测试，我们写下 {} 这一行。",
    "Is it {}? Nobody knew.",
    "    value: {}\n    unit: none\n",
)
_NAMES = ("anna", "bo.lind", "c_ortega", "d.o'neill", "erika-m", "farid99", "g.h.ito", "hana+lists", "ivan2", "JOAN.K")
_HOSTS = (
    "mail.rivermill.org",
    "kanzlei-nord.de",
    "uni-altdorf.ac.uk",
    "postbus.nl",
    "tinkershop.io",
    "cs.lakeview.edu",
    "a1.fr",
)
_BASE62 = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Planted:
    """A text in which `value`, of this kind, stands once."""

    kind: str
    value: str
    text: str


def planted(seed: int = 0) -> list[Planted]:
    """PER_KIND texts of each kind."""
    chance = random.Random(seed)
    made = []
    for kind, make in MAKERS.items():
        for number in range(PER_KIND):
            written = make(chance)
            value = written[written.find("«") + 1 : written.find("»") if "»" in written else None]
            text = _SENTENCES[number % len(_SENTENCES)].format(written.replace("«", "").replace("»", ""))
            made.append(Planted(kind, value, text))
    return made


def _some(chance: random.Random, alphabet: str, length: int) -> str:
    return "".join(chance.choices(alphabet, k=length))


def _filled(chance: random.Random, pattern: str) -> str:
    """The pattern with a digit for each #, one from 2 on for each ?."""
    digits = {"#": string.digits, "?": "23456789"}
    return "".join(chance.choice(digits.get(character, character)) for character in pattern)


def _email(chance: random.Random) -> str:
    address = f"{chance.choice(_NAMES)}@{chance.choice(_HOSTS)}"
    return chance.choice(("{}", "<«{}»>", "mailto:«{}»", "(«{}»)")).format(address)


_PHONES = """
+49 30 ?######
+49 (0)89 ?### ####
+44 20 7### ####
+33 1 ?# ?# ?# ?#
+1 212 634 ####
+1-415-634-####
+1 (646) 733-####
+81 3 3### ####
+34 612 ### ###
+4915112#####
0044 20 7### ####
+91 98### #####
(312) 634-####
415-726-####
(503)726-####
1-617-726-####
206.726.####
020 7### ####
030/9#######
0171-9######
01 42 68 ?# ?#
06.12.?#.?#.?#
(0211) 9#####
(020) 7### ####
phone: «612 ?## ?##»
tel. «5127####»
Mobile: «98### #####»
fax: «9#######»
+358 40 ?## ####
+55 11 9####-####
+61 4?# ?## ###
+46 8 ?## ?## ?#
""".strip().splitlines()


def _phone(chance: random.Random) -> str:
    return _filled(chance, chance.choice(_PHONES))


def _ipv4(chance: random.Random) -> str:
    while True:
        address = IPv4Address(chance.getrandbits(32))
        if address.is_global and not address.is_multicast:
            return chance.choice(("{}", "«{}»:8080", "http://«{}»/index", "[«{}»]")).format(address)


def _ipv6(chance: random.Random) -> str:
    address = IPv6Address(chance.choice((0x2600, 0x2A02, 0x2403)) << 112 | chance.getrandbits(100))
    short = IPv6Address(0x2A00 << 112 | chance.getrandbits(16) << 96 | chance.getrandbits(15) + 1)
    return chance.choice((str(address), address.exploded, str(short), f"[«{address}»]:443", str(address).upper()))


_IBAN_FORMS = (
    "DE" + "#" * 18,
    "GBNWBK" + "#" * 14,
    "FR" + "#" * 23,
    "NLABNA" + "#" * 10,
    "NO" + "#" * 11,
    "MTMALT" + "#" * 23,
    "BE" + "#" * 12,
)


def _iban(chance: random.Random) -> str:
    form = _filled(chance, chance.choice(_IBAN_FORMS))
    country, rest = form[:2], form[2:]
    check = 98 - int("".join(str(int(character, 36)) for character in rest + country + "00")) % 97
    plain = f"{country}{check:02d}{rest}"
    return plain if chance.random() < 0.5 else " ".join(plain[at : at + 4] for at in range(0, len(plain), 4))


_CARD_FORMS = (
    "4" + "#" * 14,
    "53" + "#" * 13,
    "2345" + "#" * 11,
    "37" + "#" * 12,
    "6011" + "#" * 11,
    "36" + "#" * 11,
    "3530" + "#" * 11,
)


def luhn(digits: str) -> str:
    """The check digit that goes behind these digits."""
    total = sum(sum(divmod(int(digit) * 2, 10)) if at % 2 == 0 else int(digit) for at, digit in enumerate(digits[::-1]))
    return str(-total % 10)


def _card(chance: random.Random) -> str:
    digits = _filled(chance, chance.choice(_CARD_FORMS))
    digits += luhn(digits)
    gap = chance.choice(("", " ", "-"))
    sizes = (4, 4, 4, 4) if len(digits) == 16 else (4, 6, 5)
    edges = [sum(sizes[:at]) for at in range(len(sizes) + 1)]
    return gap.join(filter(None, (digits[first:last] for first, last in pairwise(edges))))


def _ssn(chance: random.Random) -> str:
    area = chance.choice([number for number in range(1, 900) if number != 666])
    parts = (f"{area:03d}", f"{chance.randint(1, 99):02d}", f"{chance.randint(1, 9999):04d}")
    return chance.choice(
        ("-".join(parts), f"SSN «{' '.join(parts)}»", f"SSN: «{''.join(parts)}»", f"ssn=«{'-'.join(parts)}»")
    )


def _aws_key(chance: random.Random) -> str:
    return chance.choice(("AKIA", "ASIA")) + _some(chance, string.ascii_uppercase + "234567", 16)


def _checked_key(chance: random.Random, prefix: str) -> str:
    key = _some(chance, _BASE62, 30)
    return prefix + key + github_checksum(key.encode()).decode()


def _github_token(chance: random.Random) -> str:
    if chance.random() < 0.2:
        return f"github_pat_{_some(chance, _BASE62, 22)}_{_some(chance, _BASE62, 59)}"
    return _checked_key(chance, f"gh{chance.choice('pousr')}_")


def token(header: object, claims: object, signature: str) -> str:
    """A JSON Web Token of these parts."""
    parts = (urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, claims))
    return ".".join((*parts, signature))


def _jwt(chance: random.Random) -> str:
    claims = {"sub": _some(chance, string.digits, 9), "iat": chance.randint(10**9, 2 * 10**9)}
    return token(
        {"alg": chance.choice(("HS256", "RS256")), "typ": "JWT"}, claims, _some(chance, _BASE62 + "-_", 43)[:-1] + "x"
    )


def _private_key(chance: random.Random) -> str:
    name = chance.choice(("RSA ", "EC ", "OPENSSH ", "", "ENCRYPTED "))
    body = b64encode(chance.randbytes(chance.choice((48, 300, 1200)))).decode()
    lines = [
        f"-----BEGIN {name}PRIVATE KEY-----",
        *(body[at : at + 64] for at in range(0, len(body), 64)),
        f"-----END {name}PRIVATE KEY-----",
    ]
    return chance.choice(("\n", "\\n", "\r\n")).join(lines)


def _api_key(chance: random.Random) -> str:
    makers: tuple[Callable[[], str], ...] = (
        lambda: (
            f"xoxb-{_some(chance, string.digits, 12)}-{_some(chance, string.digits, 12)}-{_some(chance, _BASE62, 24)}"
        ),
        lambda: f"sk_live_{_some(chance, _BASE62, 24)}",
        lambda: f"rk_test_{_some(chance, _BASE62, 99)}",
        lambda: f"AIza{_some(chance, _BASE62 + '-_', 34)}a",
        lambda: f"glpat-{_some(chance, _BASE62, 20)}",
        lambda: _checked_key(chance, "npm_"),
        lambda: f"hf_{_some(chance, string.ascii_letters, 34)}",
        lambda: f"pypi-AgEIcHlwaS5vcmc{_some(chance, _BASE62, 120)}",
    )
    return chance.choice(makers)()


MAKERS: dict[str, Callable[[random.Random], str]] = {
    "email": _email,
    "phone": _phone,
    "ipv4": _ipv4,
    "ipv6": _ipv6,
    "iban": _iban,
    "card": _card,
    "ssn": _ssn,
    "aws_key": _aws_key,
    "github_token": _github_token,
    "jwt": _jwt,
    "private_key": _private_key,
    "api_key": _api_key,
}
