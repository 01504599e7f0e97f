"""Pure.  address: paths of MAIL FROM and RCPT TO (RFC 5321 4.1.2, RFC 6531).

`parse_path` takes what stands after `FROM:` or `TO:` and gives the address
and the ESMTP parameters.  It is lenient where Postfix is: a blank after the
colon, no angle brackets, dots at the edges of a local part or in a row
(Japanese carriers sold such addresses until 2009, and people keep them), local
parts over 64 octets (VERP makes them; RFC 5321 4.5.3.1 names a least, not a
most), a dot after the domain, which is taken off.  It is strict where leniency
is a hole: control bytes, blanks outside quotes, and a hyphen in front, which a
program would take for an option (Postfix: allow_min_user = no), never pass.
A source route `@a,@b:user@c` is taken off (RFC 5321 appendix F.2).

Trouble
    Malformed   the bytes are no path; the session answers 501 5.1.7 or 5.1.3.
"""

import re

# The common path first, one regular expression: this runs for every command.
_USER = r"(?!-)[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}"
_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = rf"(?:{_NAME}\.)*{_NAME}"
_SIMPLE = re.compile(rf" ?<({_USER})@({_HOST})>(?: +(.*))?".encode())
_PLAIN = re.compile(rf"{_USER}@(?=.{{1,255}}\Z){_HOST}")
_LONGEST = 512
"""Octets of an address: twice what RFC 5321 4.5.3.1.3 makes everybody take."""

# Unicode's control characters and line separators are as little of an address as ASCII's are (RFC 5198 section 2);
# U+FFFF is no character at all (Unicode 23.7).
_ATOMS = re.compile(r"[^\x00-\x20\x7f-\x9f\u2028\u2029\uffff()<>\[\]:;@\\,\"]+")  # dots wherever they are
_QUOTED = re.compile(r'"(?:[^\x00-\x1f\x7f-\x9f\u2028\u2029\uffff"\\]|\\[\x20-\x7e])*"')
_LETTER = r"A-Za-z0-9_\xa0-\u2027\u202a-\ufffe\U00010000-\U0010ffff"
_LABEL = re.compile(rf"[{_LETTER}](?:[{_LETTER}-]{{0,61}}[{_LETTER}])?")
_LITERAL = re.compile(r"\[(?:IPv6:[0-9A-Fa-f:.]{2,45}|[0-9.]{7,15})\]", re.IGNORECASE)
_NEVER_EXTENDED = frozenset({"postmaster", "mailer-daemon", "double-bounce"})
_ROUTE = re.compile(r"@[^\x00-\x20<>:@]+(?:,@[^\x00-\x20<>:@]+)*:")


class Malformed(ValueError):
    """These bytes are no path.  The text says what is wrong with them."""


def domain_of(address: str) -> str:
    """The domain in lower case; "" for the null path and `postmaster` alone."""
    return address.rpartition("@")[2].lower() if "@" in address else ""


def local_of(address: str) -> str:
    return address.rpartition("@")[0] if "@" in address else address


def local_forms(local: str) -> tuple[str, ...]:
    """How Postfix looks a local part up: without quotes it does not need, else with them and then without.

    "user" -> user; "a b" -> "a b", a b.
    """
    if not _QUOTED.fullmatch(local):
        return (local,)
    plain = re.sub(r"\\(.)", r"\1", local[1:-1])
    if _ATOMS.fullmatch(plain) and not plain.startswith(".") and not plain.endswith(".") and ".." not in plain:
        return (plain,)
    return '"' + re.sub(r'(["\\])', r"\\\1", plain) + '"', plain


def folded(address: str) -> str:
    """As lists and memories have it: in lower case, without quotes it does not need.

    "User"@Example.JP -> user@example.jp; "a b"@example.jp stays.
    """
    lower = address.lower()
    if not lower.startswith('"'):
        return lower
    local, at, domain = lower.rpartition("@")
    return local_forms(local)[0] + at + domain


def without_extension(local: str, delimiter: str) -> str:
    """ "user+ext" -> "user".  No empty local part results, and some names are never split (Postfix: split_addr.c).

    `delimiter`: Postfix's recipient_delimiter, any number of characters; "" splits nothing.
    With "-" among them owner-list and list-request stay whole (Postfix: owner_request_special).
    """
    if not delimiter or local.lower() in _NEVER_EXTENDED:
        return local
    if "-" in delimiter and (local.lower().startswith("owner-") or local.lower().endswith("-request")):
        return local
    quote = '"' if local.startswith('"') and local.endswith('"') else ""
    places = [at for at in map(local.find, delimiter) if at >= 0]
    base = local[: min(places)] if places else ""
    return base + quote if base.strip('"') else local


def parse_path(text: bytes, *, utf8: bool = False, allow: str = "") -> tuple[str, list[str]]:
    """What follows `FROM:` or `TO:` -> (address, parameters).  Raises Malformed.

    `allow` names the path without a domain that is right here: "" for MAIL
    (the null path), "postmaster" for RCPT (RFC 5321 4.5.1).
    """
    if match := _SIMPLE.fullmatch(text):
        address = f"{match[1].decode()}@{match[2].decode()}"
        if len(match[2]) <= 255:
            return address, _parameters(match[3] or b"")
    path, _, rest = _split_path(_decode(text, utf8))
    if path.lower() == allow:
        return path, _parameters(rest.encode("utf-8"))
    return check(path), _parameters(rest.encode("utf-8"))


def check(path: str) -> str:
    """The address of a path, its source route taken off.  Raises Malformed."""
    if _PLAIN.fullmatch(path):
        return path
    if route := _ROUTE.match(path):
        path = path[route.end() :]
    path = path.removesuffix(".")
    local, at, domain = path.rpartition("@")
    if not at or not local or not domain:
        raise Malformed("an address is local-part@domain")
    if len(path.encode()) > _LONGEST or len(domain.encode()) > 255:
        raise Malformed("address too long")
    if local.startswith("-") or not (_QUOTED.fullmatch(local) or _ATOMS.fullmatch(local)):
        raise Malformed("bad local part")
    if not (_LITERAL.fullmatch(domain) or all(_LABEL.fullmatch(label) for label in domain.split("."))):
        raise Malformed("bad domain")
    return path


def as_sent(text: str) -> str:
    """An address without its quotes, as a rule's action has it, the way it stands in a path.  Raises Malformed.

    a b@example.jp -> "a b"@example.jp.  What is quoted already stays.  A line end, or any other control byte, that a
    rule took over from a message is a blank (Postfix: canon_addr_external), so that nothing of it gets out of the path.
    """
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise Malformed("not UTF-8")
    local, at, domain = text.strip().rpartition("@")
    if local and not (_QUOTED.fullmatch(local) or _ATOMS.fullmatch(local)):
        local = '"' + re.sub(r'(["\\])', r"\\\1", re.sub(r"[\x00-\x1f\x7f]", " ", local)) + '"'
    return check(local + at + domain)


def _decode(text: bytes, utf8: bool) -> str:
    try:
        return text.decode("utf-8" if utf8 else "ascii")
    except UnicodeDecodeError:
        raise Malformed("not UTF-8" if utf8 else "non-ASCII address without SMTPUTF8") from None


def _split_path(text: str) -> tuple[str, str, str]:
    """-> (path, separator, parameters).  A `>` inside a quoted local part is not the end."""
    text = text.strip(" \t")
    if not text.startswith("<"):
        return text.partition(" ")
    quoted = False
    at = 1
    while at < len(text):
        character = text[at]
        if character == "\\" and quoted:
            at += 1
        elif character == '"':
            quoted = not quoted
        elif character == ">" and not quoted:
            after = text[at + 1 :]
            if after and not after.startswith((" ", "\t")):
                raise Malformed("text after >")
            return text[1:at].strip(" "), ">", after
        at += 1
    raise Malformed("no > at the end of the path")


def _parameters(text: bytes) -> list[str]:
    """RFC 5321 4.1.2 esmtp-params, split at blanks: ["SIZE=1000", "BODY=8BITMIME"]."""
    return [parameter.decode("utf-8", "replace") for parameter in text.split()]
