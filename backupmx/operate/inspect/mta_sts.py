"""mta_sts: a domain that asks senders for TLS names its MX hosts in a policy; are we among them?

A sender that heeds the policy gives mail to nobody else: a secondary that is
forgotten there gets none, and nobody notices while the primary is up.

    _mta-sts.DOMAIN  TXT  "v=STSv1; id=..."
    https://mta-sts.DOMAIN/.well-known/mta-sts.txt

No redirect is followed, no more than 64 KiB are read, all of it in one time limit
(RFC 8461 3.2, 3.3).  HTTP/1.0 is asked: its answer ends where the connection does.

Standards: RFC 8461.
"""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from backupmx.net.dns import DNSTrouble, Resolver
from backupmx.operate.inspect.finding import Finding, good, note, unknown, wrong

SECONDS = 20.0
_LARGEST = 64 << 10


class PolicyTrouble(Exception):
    """The policy cannot be had."""


@dataclass(frozen=True, slots=True)
class Policy:
    mode: str
    """enforce, testing, none"""
    patterns: tuple[str, ...]
    """mx: names, *.example.net covers one label"""

    def lists(self, name: str) -> bool:
        _, _, parent = name.partition(".")
        return name in self.patterns or f"*.{parent}" in self.patterns


def parse(text: str) -> Policy:
    """Raises PolicyTrouble."""
    mode, patterns, version = "", list[str](), ""
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "mx":
            patterns.append(value.lower().rstrip("."))
        elif key == "mode" and not mode:
            mode = value
        elif key == "version" and not version:
            version = value
    if version != "STSv1" or mode not in ("enforce", "testing", "none"):
        raise PolicyTrouble("it is no policy: version: STSv1 and mode: stand in none of its lines")
    return Policy(mode, tuple(patterns))


async def check(
    resolver: Resolver, domain: str, ours: Sequence[str], *, port: int = 443, context: ssl.SSLContext | None = None
) -> list[Finding]:
    """`ours`: what its MX set calls us."""
    try:
        answer = await resolver.lookup(f"_mta-sts.{domain}", "TXT")
    except DNSTrouble as trouble:
        return [unknown(domain, "mta-sts", str(trouble))]
    if not any(record.startswith("v=STSv1") for record in answer.records):
        return []
    try:
        policy = parse(await fetch(resolver, f"mta-sts.{domain}", port=port, context=context))
    except PolicyTrouble as trouble:
        text = f"its policy is announced and cannot be had: {trouble}"
        return [wrong(domain, "mta-sts", text, f"see https://mta-sts.{domain}/.well-known/mta-sts.txt")]
    return list(_judge(domain, policy, ours))


def _judge(domain: str, policy: Policy, ours: Sequence[str]) -> list[Finding]:
    if policy.mode == "none":
        return [note(domain, "mta-sts", "mode: none, so it asks nothing of senders")]
    missing = [name for name in ours if not policy.lists(name)]
    if missing:
        what = "give us no mail" if policy.mode == "enforce" else "report us"
        text = f"mode: {policy.mode}, and it does not list {', '.join(missing)}: senders that heed it {what}"
        return [
            wrong(domain, "mta-sts", text, f"add to the policy: mx: {missing[0]}, and give the TXT record a new id")
        ]
    return [good(domain, "mta-sts", f"mode: {policy.mode}, it lists us")]


async def fetch(
    resolver: Resolver, host: str, *, port: int = 443, context: ssl.SSLContext | None = None, seconds: float = SECONDS
) -> str:
    """The policy's text.  Raises PolicyTrouble."""
    try:
        async with asyncio.timeout(seconds):
            addresses = await resolver.addresses(host)
            if not addresses:
                raise PolicyTrouble(f"{host} has no address")
            return _text(await _get(addresses[0], port, host, context or ssl.create_default_context()))
    except TimeoutError:
        raise PolicyTrouble(f"{host} did not answer in {seconds:g} s") from None
    except DNSTrouble as trouble:
        raise PolicyTrouble(str(trouble)) from None
    except ssl.SSLCertVerificationError as error:
        raise PolicyTrouble(f"the certificate of {host}: {error.verify_message}") from None
    except OSError as error:
        raise PolicyTrouble(f"{host}: {error.strerror or error}") from None


async def _get(address: str, port: int, host: str, context: ssl.SSLContext) -> bytes:
    reader, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=host)
    try:
        fields = f"Host: {host}\r\nUser-Agent: backupmx\r\nAccept: text/plain\r\n"
        writer.write(f"GET /.well-known/mta-sts.txt HTTP/1.0\r\n{fields}\r\n".encode())
        answer = b""
        while len(answer) <= 2 * _LARGEST and (piece := await reader.read(_LARGEST)):
            answer += piece
        return answer
    finally:
        writer.transport.abort()


def _text(answer: bytes) -> str:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *fields = head.decode("latin-1").split("\r\n")
    words = first.split(None, 2)
    if len(words) < 2 or not words[0].startswith("HTTP/"):
        raise PolicyTrouble("it is no HTTP answer")
    if words[1] != "200":
        why = ": redirects are not followed" if words[1].startswith("3") else ""
        raise PolicyTrouble(f"HTTP status {words[1][:3]}{why}")
    if any(field.lower().replace(" ", "").startswith("transfer-encoding:chunked") for field in fields):
        raise PolicyTrouble("it answers HTTP/1.0 in chunks")
    if len(body) > _LARGEST:
        raise PolicyTrouble("it is larger than 64 KiB")
    return body.decode("utf-8", "replace")
