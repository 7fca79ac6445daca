"""What each kind of personal data or secret looks like: one function per kind, from UTF-8 bytes and an anchor to a span.

The anchor is the `@` of an e-mail address and the first byte of everything else. A function is a pure test of the bytes
near its anchor, so that it does not matter who chose the anchors.

What is kept for documentation, or cannot name one person's machine, is nobody's and is not found, however real it looks:
example.com and .test (RFC 2606), foo@bar.com, private, loopback and documentation addresses (IANA's registries), numbers
that regulators keep for fiction (555-01xx; Ofcom's, ARCEP's and the Bundesnetzagentur's), the examples of SWIFT's registry
of IBANs, card numbers for testing, keys that end in EXAMPLE. A mask there would spoil the documentation it stands in.
"""

from __future__ import annotations

import binascii
import json
import re
import socket
import zlib
from base64 import urlsafe_b64decode
from collections.abc import Callable
from ipaddress import ip_address, ip_network

Span = tuple[int, int]
Finder = Callable[[bytes, int], Span | None]

_ISO = """ac ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bm bn bo br bs bt bw by bz ca cc cd
cf cg ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg er es et eu fi fj fk fm fo fr ga gd ge gf gg gh
gi gl gm gn gp gq gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in io iq ir is it je jm jo jp ke kg kh ki km kn kp kr kw
ky kz la lb lc li lk lr ls lt lu lv ly ma mc md me mg mh mk ml mm mn mo mp mq mr ms mt mu mv mw mx my mz na nc ne nf ng ni
nl no np nr nu nz om pa pe pf pg ph pk pl pm pn pr ps pt pw py qa re ro rs ru rw sa sb sc sd se sg sh si sk sl sm sn so sr
ss st su sv sx sy sz tc td tf tg th tj tk tl tm tn to tr tt tv tw tz ua ug uk us uy uz va vc ve vg vi vn vu wf ws ye yt za
zm zw"""
_GENERIC = """com org net edu gov mil int info biz name pro aero coop museum jobs mobi travel tel cat asia post xxx app dev
page cloud online site store tech xyz blog shop email live world life today news media agency group team work works company
solutions systems network digital academy school university institute health care clinic law legal bank finance capital
ventures studio design photography art music games social club community foundation center international global berlin
london paris tokyo nyc wien hamburg koeln bayern amsterdam brussels swiss scot wales eus bzh space science engineering
software consulting services support help host hosting website zone city earth green eco energy farm garden house homes
land rent estate properties auto cars bike taxi tours holiday hotel restaurant cafe bar pub wine beer pizza coffee food
kitchen recipes fit fitness yoga run sport football golf ski surf fish pet dog vet top vip icu fun guru ninja expert ltd
llc inc gmbh srl ngo ong google apple microsoft amazon"""
TOP_LEVEL_DOMAINS = frozenset(f"{_ISO} {_GENERIC}".encode().split())  # those that mail comes from; not all of IANA's
_RESERVED_DOMAIN = re.compile(  # single letters under .com, .net and .org are IANA's but for a few; ssh names algorithms
    rb"(?:^|\.)(?:example\.(?:com|org|net)|domain\.(?:com|tld)|(?:your|my)domain\.com|(?:foo|bar|baz|foobar)\.(?:com|org|net)"
    rb"|openssh\.com|libssh\.org)$|^[a-z]\.(?:com|net|org)$|^[^.]+\.py$"  # a file: Paraguay's names have three parts
)

_LOCAL_END = re.compile(rb"(?:[A-Za-z0-9._%+'-]|[\xc3-\xc9][\x80-\xbf]){1,65}\Z")  # with Latin letters such as é
_DOMAIN = re.compile(rb"@((?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}([A-Za-z]{2,24}))(?![\w@(\[-]|\.\w)")
_URL_USER = re.compile(rb"://[^\s/@]*\Z")
_LOCAL_BYTES = 64  # RFC 5321


def email(data: bytes, at: int) -> Span | None:
    """A mailbox with a top-level domain that mail comes from. Not `git@host:path`, nor the user of a URL, nor a call."""
    domain = _DOMAIN.match(data, at)
    local = _LOCAL_END.search(data[max(at - _LOCAL_BYTES - 1, 0) : at])
    if domain is None or local is None or len(local[0]) > _LOCAL_BYTES:
        return None
    name = local[0].lstrip(b"._%+'-")
    host = domain[1].lower()
    if domain[2].lower() not in TOP_LEVEL_DOMAINS or _RESERVED_DOMAIN.search(host):
        return None
    start = at - len(name)
    before = data[max(start - 100, 0) : start]
    remote = name == b"git" or (data[domain.end() : domain.end() + 1] == b":" and name == b"hg")
    if not name or name.endswith(b".") or b".." in name or remote or _URL_USER.search(before):
        return None
    return start, domain.end()


_V4 = re.compile(rb"(?<![\w.])(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?![\w%]|\.\w|-[A-Za-z]|[/+]\d)")
_V4_NOBODY = re.compile(
    rb"(\d+)(?:\.\1){3}|1?2\.?34\.?56\.?78\Z|123\.45\.67\.89|\d+\.\d+\.0\.0"
)  # typed in order; a network
_VERSION = re.compile(
    rb"(?:\b(?:version|release|ver|v|section|chapter|clause|oid|build)[.:=]?\s?|[A-Za-z]/|[<>=~^]=?\s?)\Z", re.I
)
_V4_RANGES = """0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/3"""
_V4_SPECIAL = tuple(
    (int(network.network_address), int(network.netmask)) for network in map(ip_network, _V4_RANGES.split())
)
_OBJECT_IDENTIFIERS = {(1, 2), (1, 3), (2, 5), (2, 16)}  # how those in use begin; few addresses do
_V4_HIGH = 32  # two groups are as high: in one address of 140 they are not, in versions and section numbers hardly ever


def ipv4(data: bytes, at: int) -> Span | None:
    """A public IPv4 address of a host (IANA's special-purpose registry apart). Not a network, nor a version or section."""
    found = _V4.match(data, at)
    if found is None or any(len(group) > 1 and group[0] == 48 for group in found.groups()):
        return None
    first, *others = (int(group) for group in found.groups())
    if (
        max(first, *others) > 255
        or sum(group >= _V4_HIGH for group in (first, *others)) < 2
        or _VERSION.search(data[max(at - 12, 0) : at])
        or _V4_NOBODY.fullmatch(found[0])
    ):
        return None
    address = int.from_bytes(bytes((first, *others)))
    special = (first, others[0]) in _OBJECT_IDENTIFIERS or any(
        address & mask == network for network, mask in _V4_SPECIAL
    )
    return None if special else found.span()


_V6 = re.compile(rb"(?<![\w:.])[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:.]{2,41}")
_V6_SPECIAL = tuple(map(ip_network, ("2001::/23", "2001:db8::/32", "3fff::/20")))
_V6_MIN_GROUPS = 3  # written ones: with fewer, `a[2000::3]` is a slice


def ipv6(data: bytes, at: int) -> Span | None:
    """A global unicast IPv6 address (2000::/3 without what IANA keeps for protocols and documentation), three groups or more
    written."""
    found = _V6.match(data, at)
    if found is None:
        return None
    written = found[0].rstrip(b".")
    written = written[:-1] if written.endswith(b":") and not written.endswith(b"::") else written
    end = at + len(written)
    if data[end : end + 1].isalnum() or data[end : end + 1] == b"_" or data[end : end + 1] == b"/":
        return None
    try:
        packed = socket.inet_pton(socket.AF_INET6, written.decode())
    except OSError:
        return None
    if sum(map(bool, written.split(b":"))) < _V6_MIN_GROUPS or any(ip_address(packed) in each for each in _V6_SPECIAL):
        return None
    return at, end


# The length of an IBAN by country (SWIFT's registry); the check digits are ISO 7064 mod 97-10.
_IBAN_COUNTRIES = """15:NO 16:BE 18:DK,FI,FK,FO,GL,NL,SD 19:MK,SI 20:AT,BA,EE,KZ,LT,LU,MN,XK 21:CH,CR,HR,LI,LV
22:BG,BH,DE,GB,GE,IE,ME,RS,VA 23:AE,GI,IL,IQ,OM,SO,TL 24:AD,CZ,ES,MD,PK,RO,SA,SE,SK,TN,VG 25:LY,PT,ST 26:IS,TR
27:BI,DJ,FR,GR,IT,MC,MR,SM 28:AL,AZ,BY,CY,DO,GT,HU,LB,NI,PL,SV 29:BR,EG,PS,QA,UA 30:JO,KW,MU,YE 31:MT,SC 32:LC 33:RU"""
_IBAN_LENGTHS = {
    country: int(row[:2]) for row in _IBAN_COUNTRIES.split() for country in row.removeprefix(row[:3]).split(",")
}
_IBAN = re.compile(rb"(?<!\w)[A-Z]{2}\d\d(?:[ -]?[A-Z0-9]){11,29}")

# The registry's examples, and two that are printed everywhere.
_IBAN_EXAMPLES = """DE89370400440532013000 GB29NWBK60161331926819 FR1420041010050500013M02606 NL91ABNA0417164300
ES9121000418450200051332 IT60X0542811101000000123456 CH9300762011623852957 AT611904300234573201 BE68539007547034
PL61109010140000071219812874 SE4550000000058398257466 NO9386011117947 DK5000400440116243 FI2112345600000785
PT50000201231234567890154 IE29AIBK93115212345678 LU280019400644750000 GR1601101250000000012300695
CZ6508000000192000145399 TR330006100519786457841326 SA0380000000608010167519 GB33BUKB20201555555555
GB82WEST12345698765432"""
_IBAN_NOBODY = frozenset(_IBAN_EXAMPLES.split())


def iban(data: bytes, at: int) -> Span | None:
    """An International Bank Account Number in capitals, whole or in groups: its country's length, and check digits that fit."""
    found = _IBAN.match(data, at)
    length = _IBAN_LENGTHS.get(data[at : at + 2].decode("latin-1"))
    if found is None or length is None:
        return None
    end = at
    for _ in range(length):
        while data[end : end + 1] in (b" ", b"-"):
            end += 1
        end += 1
    if end > found.end() or data[end : end + 1].isalnum():
        return None
    plain = data[at:end].replace(b" ", b"").replace(b"-", b"").decode()
    digits = "".join(str(int(character, 36)) for character in plain[4:] + plain[:4])
    return (at, end) if int(digits) % 97 == 1 and plain not in _IBAN_NOBODY else None


_CARD = re.compile(
    rb"(?<![\w.+])(?<!\d[ ,-])(?<!\$)(?<!\w\()"  # an argument is a number
    rb"(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|\d{4}([ -])\d{6}\2\d{4,5})(?!\w|[.,-]\d| \d{3}| ?\*)"
)
# Prefix and length: Visa, Mastercard, American Express, Discover, Diners Club, JCB, UnionPay, Maestro.
_ISSUER = re.compile(
    rb"4\d{15}\Z|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}\Z|3[47]\d{13}\Z"
    rb"|(?:6011|64[4-9]\d|65\d\d)\d{12}\Z|3(?:0[0-5]|[689]\d)\d{11}\Z|35(?:2[89]|[3-8]\d)\d{12}\Z|62\d{14,17}\Z"
    rb"|(?:5018|5020|5038|5893|6304|6759|676[1-3])\d{9,15}\Z"
)
# Issuers' and processors' numbers for testing.
_CARD_TESTS = b"""4012888888881881 4000056655665556 5105105105105100 5200828282828210 2223003122003222 378282246310005
371449635398431 378734493671000 6011111111111117 6011000990139424 6011981111111113 30569309025904 38520000023237
3530111333300000 3566002020360505 6200000000000005"""
_CARD_NOBODY = frozenset(_CARD_TESTS.split())


def card(data: bytes, at: int) -> Span | None:
    """A payment card's number, whole or in its usual groups: an issuer's prefix and length, and Luhn's check digit."""
    found = _CARD.match(data, at)
    if found is None:
        return None
    digits = found[0].replace(b" ", b"").replace(b"-", b"")
    if not _ISSUER.match(digits) or len(set(digits)) < 3 or digits in _CARD_NOBODY:
        return None
    doubled = (sum(divmod(2 * (digit - 48), 10)) for digit in digits[-2::-2])
    return found.span() if (sum(doubled) + sum(digit - 48 for digit in digits[-1::-2])) % 10 == 0 else None


_SSN = re.compile(rb"(?<![\w.+-])(?<!\d )(?!000|666|9)\d{3}([- ]?)(?!00)\d\d\1(?!0000)\d{4}(?![\w-]|[.,]\d| \d)")
_SSN_WORD = re.compile(rb"(?:\bssn|social.security)[^\d\n]{0,30}\Z", re.I)
_SSN_NOBODY = {b"123456789", b"078051120", b"219099999"}  # a placeholder, and two that were printed in advertisements


def ssn(data: bytes, at: int) -> Span | None:
    """A US social security number in a range that is given out: with dashes anywhere, otherwise after "SSN" or its name."""
    found = _SSN.match(data, at)
    if found is None:
        return None
    digits = found[0].replace(found[1] or b"-", b"")
    if digits in _SSN_NOBODY or len(set(digits)) < 4:  # 111-22-3333 is a sample
        return None
    return found.span() if found[1] == b"-" or _SSN_WORD.search(data[max(at - 50, 0) : at]) else None


_AWS = re.compile(rb"(?<![A-Za-z0-9_])(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}(?![A-Za-z0-9_])")
_GITHUB = re.compile(
    rb"(?<![A-Za-z0-9_])(?:gh[pousr]_([A-Za-z0-9]{36,251})|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59})(?![A-Za-z0-9_])"
)
_BASE62 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def aws_key(data: bytes, at: int) -> Span | None:
    """The id of an AWS access key (AKIA, ASIA, ABIA, ACCA)."""
    found = _AWS.match(data, at)
    return found.span() if found and not found[0].endswith(b"EXAMPLE") and _varied(found[0][4:]) else None


def github_token(data: bytes, at: int) -> Span | None:
    """A GitHub token. The last six of 36 characters are the CRC-32 of the other 30 in base 62, and are compared."""
    found = _GITHUB.match(data, at)
    if found is None or not _varied(found[0][4:]):
        return None
    key = found[1]
    return found.span() if key is None or len(key) > 36 or github_checksum(key[:30]) == key[30:] else None


def github_checksum(key: bytes) -> bytes:
    """The six characters that end a GitHub token whose other characters, behind the prefix, are `key`."""
    number, digits = zlib.crc32(key), b""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = _BASE62[digit : digit + 1] + digits
    return digits


def _varied(key: bytes) -> bool:
    return len(set(key)) >= 8  # a key of xxxx or 1234 stands for one


_JWT = re.compile(rb"(?<![\w.-])(eyJ[\w-]{10,2000}+)\.([\w-]{4,16000}+)\.[\w-]{16,1400}+(?![\w-])")


def jwt(data: bytes, at: int) -> Span | None:
    """A signed JSON Web Token: its header and its claims decode to JSON objects, and the header names an algorithm."""
    found = _JWT.match(data, at)
    if found is None:
        return None
    header, claims = (_json(part) for part in found.groups())
    return found.span() if header is not None and "alg" in header and claims is not None else None


def _json(part: bytes) -> dict[str, object] | None:
    try:
        value = json.loads(urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


_PRIVATE = re.compile(
    rb"(?<!-)-----BEGIN (?:[A-Z0-9]{1,12} ){0,2}PRIVATE KEY(?: BLOCK)?-----"
    rb"(?:(?:\s|\\n|\\r|[A-Za-z-]{3,20}: [^\n]{0,100}\n){0,12})(?=[A-Za-z0-9+/]{32})(?:[A-Za-z0-9+/=]|\s|\\n|\\r){32,16000}+"
    rb"(?:-----END [A-Z0-9 ]{0,40}-----)?"
)


def private_key(data: bytes, at: int) -> Span | None:
    """A private key's PEM block, its end line included when it is there; the bare header line in prose is none."""
    found = _PRIVATE.match(data, at)
    return found.span() if found and _varied(found[0][-200:]) else None


_API = re.compile(
    rb"(?<![A-Za-z0-9_])(?:xox[abeoprs]-(?=[\w-]{0,40}\d)[0-9A-Za-z]{1,20}-[0-9A-Za-z-]{18,240}|[sr]k_(?:live|test)_[0-9A-Za-z]{16,240}"
    rb"|AIza[\w-]{35}|glpat-[\w-]{20}|npm_([A-Za-z0-9]{36})|pypi-AgEIcHlwaS5vcmc[\w-]{50,240}|hf_[A-Za-z]{34}"
    rb"|sk-(?:[a-z]{3,10}-)?[\w-]{20,100}T3BlbkFJ[\w-]{20,100}|sk-ant-[a-z0-9]{3,10}-[\w-]{80,120})(?![\w-])"
)


def api_key(data: bytes, at: int) -> Span | None:
    """A key whose form its issuer made unmistakable: Slack, Stripe, Google, GitLab, npm (checked), PyPI, model services."""
    found = _API.match(data, at)
    if found is None or not _varied(found[0][8:]):
        return None
    return found.span() if found[1] is None or github_checksum(found[1][:30]) == found[1][30:] else None


# Country codes of E.164, and what may stand between two groups of digits.
_COUNTRY = (
    rb"(?:1|7|20|27|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|21[1-368]|2[2-69]\d|3[578]\d|42[013]|50\d|59\d"
    rb"|6[789]\d|80[08]|85[02356]|88[0168]|9[67]\d|99[2-68])"
)
_GAP = rb"(?:[ ./-]|\) ?| \(| - )"
_PLUS = re.compile(
    rb"(?<![\w.+*^/-])(?<!\d )(?<!\d, )(?:\(?\+|00(?=[1-9]))"
    + _COUNTRY
    + rb"\)?(?:"
    + _GAP
    + rb"?(?:\(0\) ?)?\d{1,12}){1,7}(?!\w|[.,:/*-]\d)"
)
_AMERICAN = re.compile(
    rb"(?<![\w.,+/-])(?<!\d )(?:1[ .-])?"
    rb"(?:\(([2-9][0-8]\d)\)[ -]?|([2-9][0-8]\d)([.-]))([2-9]\d\d)(?(3)\3|[ .-])(\d{4})(?!\w|[.,/:-]\d)"
)
_TRUNK = re.compile(
    rb"(?<![\w.,+/:-])(?<!\d )(?:\(0[1-9]\d{0,4}\)[ -]?|0[1-9]\d{0,4}(?: ?/ ?|[ .-]))"
    rb"\d{2,8}(?:([ .-])\d{2,8}(?:\1\d{2,4}){0,3})?(?!\w|[ .,/:-]\d)"
)
_NEAR_WORD = re.compile(rb"(?<![\w.,+/-])(?<!\d )(?:\d{7,15}(?= )|\(?\d(?:" + _GAP + rb"?\d){6,14})(?!\w|[.,/:-]?\d)")
_PHONE_WORD = re.compile(
    rb"\b(?:tel|phone|telephone|mobile|cell|cellphone|fax|whatsapp|handy|telefon|call us|call me)(?: ?(?:no|number|nr|num))?"
    rb"(?:\.|s| is| at| on)?[ \"']{0,2}[:=#]?[ \"']{0,2}\Z",
    re.I,
)
_DATE = re.compile(rb"(?:1[89]|20)\d\d([-/. ]?)[01]\d\1[0-3]\d|[0-3]?\d([-/. ])[0-3]?\d\2(?:1[89]|20)\d\d")
_AMERICAN_DIGITS = re.compile(rb"1[2-9][0-8]\d[2-9]\d{6}\Z")


def phone(data: bytes, at: int) -> Span | None:
    """A telephone number: international (+ or 00), North American, with a trunk 0 in groups, or any of 7 to 15 digits
    behind a word such as "phone:". Not one of fiction: 555-01xx, area 555."""
    for form in (_international, _american, _trunk, _near_word):
        found = form(data, at)
        if found is not None:
            return None if _is_fiction(data[slice(*found)]) else found
    return None


def _groups(written: bytes) -> list[bytes]:
    return re.findall(rb"\d+", written)


# What regulators keep for fiction: North America's, Ofcom, ARCEP, Bundesnetzagentur (Amtsblatt 7/2021, Mitteilung 148).
_FICTION = re.compile(
    rb"1?(?:555\d{7}|\d{3}55501\d\d)\Z"
    rb"|(?:(?:00)?440?|0)(?:7700900|2079460|1632960|1(?:1[3-8]|[2-6]1)4960|1914980|2896496|2920180|8081570|3069990)\d{3}\Z"
    rb"|(?:(?:00)?330?|0)(?:19900|26191|35301|46571|53649|63998)\d{4}\Z"
    rb"|(?:(?:00)?490?|0)(?:3023125|6990009|4066969|2214710|8999998)\d{3}\Z"
)


def _is_fiction(written: bytes) -> bool:
    """Whether a regulator keeps the number for fiction."""
    return _FICTION.match(b"".join(_groups(written))) is not None


def _international(data: bytes, at: int) -> Span | None:
    found = _PLUS.match(data, at)
    if found is None:
        return None
    groups = _groups(found[0])
    digits = b"".join(groups).removeprefix(b"00")
    plain = len(groups) == 1
    decimal = len(groups) == 2 and b"." in found[0]
    single = sum(len(group) == 1 for group in groups[1:] if group != b"0")
    wrong_american = digits.startswith(b"1") and not _AMERICAN_DIGITS.match(digits)
    if decimal or single > 1 or wrong_american or not (10 if plain else 8) <= len(digits) <= 15:
        return None
    return None if len(set(digits)) < 3 or (found[0].startswith(b"00") and plain) else found.span()


def _american(data: bytes, at: int) -> Span | None:
    found = _AMERICAN.match(data, at)
    return found.span() if found and not found[4].endswith(b"11") else None


def _trunk(data: bytes, at: int) -> Span | None:
    found = _TRUNK.match(data, at)
    if found is None:
        return None
    groups = _groups(found[0])
    sizes = [len(group) for group in groups]
    if not 9 <= sum(sizes) <= 12 or all(group.startswith(b"0") for group in groups):
        return None
    short = len(groups) == 2 and sizes[0] < 3  # 05 1234567
    address = b"." in found[0] and sizes[0] == 3 and max(sizes) < 4
    clause = b"." in found[0] and len(sizes) > 3 and sizes != [2] * 5  # of a numbered list
    year = len(groups) == 2 and re.match(rb"(?:19|20)\d\d\Z", groups[1])
    other = address or clause or year or sizes in ([5, 4], [3, 2, 4], [2, 2, 7])  # a US ZIP code, an SSN, a date
    return None if short or other or _DATE.search(found[0]) else found.span()


def _near_word(data: bytes, at: int) -> Span | None:
    found = _NEAR_WORD.match(data, at)
    if found is None or _DATE.match(found[0]) or not _PHONE_WORD.search(data[max(at - 40, 0) : at]):
        return None
    groups = _groups(found[0])
    return found.span() if max(map(len, groups)) >= 3 or len(groups) <= 5 else None
