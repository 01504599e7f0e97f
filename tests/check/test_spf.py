"""SPF, with records from a real resolver."""

import asyncio
import os
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from backupmx.check.spf import Spf, evaluate, finding
from backupmx.mail.envelope import Client
from backupmx.net.dns import Answer, DNSTrouble, Resolver
from tests.check.messages import mail
from tests.check.zones import Zones

CLIENT = Client("192.0.2.1", 1, "mx1.sender.test", "mx1.sender.test")


@pytest.mark.neighbours
class TestLook:
    @pytest.mark.parametrize(
        ("sender", "address", "told"),
        [
            ("a@sender.test", "192.0.2.1", "spf=pass smtp.mailfrom=sender.test"),
            ("a@SENDER.test", "192.0.2.1", "spf=pass smtp.mailfrom=sender.test"),
            ("a@elsewhere.test", "192.0.2.1", "spf=fail smtp.mailfrom=elsewhere.test"),
            ("a@soft.test", "192.0.2.1", "spf=softfail smtp.mailfrom=soft.test"),
            ("a@example.test", "192.0.2.1", "spf=none smtp.mailfrom=example.test"),
            ("a@sender.test", "2001:db8::1", "spf=fail smtp.mailfrom=sender.test"),
            ("a@sender.test", "::ffff:192.0.2.1", "spf=pass smtp.mailfrom=sender.test"),
            ("a@chain.test", "192.0.2.1", "spf=pass smtp.mailfrom=chain.test"),
            ("a@chain.test", "192.0.2.2", "spf=fail smtp.mailfrom=chain.test"),
            ("a@loop.test", "192.0.2.1", "spf=permerror smtp.mailfrom=loop.test"),
            ("a@double.test", "192.0.2.1", "spf=permerror smtp.mailfrom=double.test"),
            ("a@huge.test", "192.0.2.1", "spf=permerror smtp.mailfrom=huge.test"),
            ("a@long-term.test", "192.0.2.1", "spf=permerror smtp.mailfrom=long-term.test"),
            ("a@void.test", "192.0.2.1", "spf=permerror smtp.mailfrom=void.test"),
            ("a@many.test", "192.0.2.1", "spf=permerror smtp.mailfrom=many.test"),
            ("a@early.test", "192.0.2.1", "spf=pass smtp.mailfrom=early.test"),
            ("a@broken-include.test", "192.0.2.1", "spf=temperror smtp.mailfrom=broken-include.test"),
            ("a@host.refused.test", "192.0.2.1", "spf=temperror smtp.mailfrom=host.refused.test"),
            ("a@no such domain", "192.0.2.1", "spf=none"),
            ("postmaster", "192.0.2.1", "spf=none"),
            ("a@sender.test", "unknown", "spf=none smtp.mailfrom=sender.test"),
        ],
    )
    async def test_mail_from(self, resolver: Resolver, sender: str, address: str, told: str) -> None:
        """The sender's domain and its record decide; only trouble of the DNS is temporary."""
        found = await Spf(resolver).look(mail(sender=sender, client=Client(address, 1, "unknown", "client")))
        assert found.results == (told,)

    async def test_null_sender(self, resolver: Resolver) -> None:
        """A bounce is checked by the name the client greets with."""
        found = await Spf(resolver).look(mail(sender="", client=CLIENT))
        assert (found.results, found.facts["domain"]) == (("spf=pass smtp.helo=mx1.sender.test",), "mx1.sender.test")

    @pytest.mark.parametrize(
        ("helo", "result"),
        [
            ("mx1.sender.test", "pass"),
            ("elsewhere.test", "fail"),
            ("[192.0.2.1]", "none"),
            ("localhost", "none"),
            ("", "none"),
            ("a..b", "none"),
            ("x" * 300, "none"),
        ],
    )
    async def test_helo_is_a_fact_beside_it(self, resolver: Resolver, helo: str, result: str) -> None:
        """The greeting's own result is known to the spam rules, whoever the sender is."""
        found = await Spf(resolver).look(mail(client=Client("192.0.2.1", 1, "unknown", helo)))
        assert (found.facts["helo"], found.facts["result"]) == (result, "pass")


def test_a_run_that_missed_something_does_not_count() -> None:
    """evaluate() names what it needs; a result counts only when nothing was missing."""
    record = Answer(("v=spf1 mx -all",), strings=(b"v=spf1 mx -all",))
    answers: dict[tuple[str, str], Answer | DNSTrouble] = {}
    steps: list[tuple[tuple[str, str], Answer]] = [
        (("a.test", "TXT"), record),
        (("a.test", "MX"), Answer(("10 m.test.", "20 n.test."))),
        (("m.test", "A"), Answer(("192.0.2.9",))),
        (("n.test", "A"), Answer(("192.0.2.1",))),
    ]
    asked = []
    while missing := evaluate("192.0.2.1", "x@a.test", "", answers.get)[1]:
        asked.append(missing)
        answers.update(step for step in steps if step[0] in missing)
    assert asked == [[("a.test", "TXT")], [("a.test", "MX")], [("m.test", "A"), ("n.test", "A")]]
    assert evaluate("192.0.2.1", "x@a.test", "", answers.get) == ("pass", [])


@given(st.binary(max_size=80), st.text(max_size=20))
def test_any_record(record: bytes, local: str) -> None:
    """Any record has a result; what pyspf raises on it is never ours to fall over."""
    text = b"v=spf1 " + record
    answers = {("a.test", "TXT"): Answer((text.decode("latin-1"),), strings=(text,))}
    result, _ = evaluate("192.0.2.1", f"{local}@a.test", "h.test", answers.get)
    assert result in ("pass", "fail", "softfail", "neutral", "none", "permerror", "temperror")


def test_odd_names_in_results() -> None:
    """A domain from the envelope cannot leave its place in the field."""
    assert finding("fail", "a.test; dkim=pass", "", "none").results == ('spf=fail smtp.mailfrom="a.test; dkim=pass"',)


def downloaded(folder: Path) -> Path:
    """pyspf's source, which has the suite: its licence is not ours, so it is fetched once and not kept here."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", "pyspf", "--dest", str(folder), f"pyspf=={version('pyspf')}"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=100, check=False)
        trouble = done.stderr.decode("utf-8", "replace")
    except subprocess.TimeoutExpired:
        trouble = "no answer in 100 s"
    if found := sorted(folder.glob("pyspf-*.tar.gz")):
        return found[-1]
    if os.environ.get("BACKUPMX_NEIGHBOURS") == "required":
        raise AssertionError(f"pyspf's source cannot be had: {trouble}")
    pytest.skip("pyspf's source, which has the suite, cannot be had from PyPI")


@pytest.fixture(scope="session")
def suite(request: pytest.FixtureRequest) -> list[Any]:
    """The documents of rfc7208-tests.yml."""
    assert request.config.cache
    folder = request.config.cache.mkdir("rfc7208")
    source = next(iter(folder.glob(f"pyspf-{version('pyspf')}.tar.gz")), None) or downloaded(folder)
    with tarfile.open(source) as archive:
        member = next(m for m in archive.getmembers() if m.name.endswith("rfc7208-tests.yml"))
        stream = archive.extractfile(member)
        assert stream
        return list(yaml.safe_load_all(stream.read().decode("utf-8")))


async def test_rfc_7208_suite(suite: list[Any]) -> None:
    """Every case of the official suite has the result it demands, asked over the wire by our resolver."""
    assert sum(len(document["tests"]) for document in suite) == 203
    loop = asyncio.get_running_loop()
    transport, zones = await loop.create_datagram_endpoint(Zones, ("127.0.0.1", 0))
    port, wrong = transport.get_extra_info("sockname")[1], []
    for document in suite:
        zones.records = {name.lower().rstrip("."): records for name, records in document["zonedata"].items()}
        for name, case in document["tests"].items():
            resolver = Resolver([f"127.0.0.1:{port}"], timeout=1.0)
            result = await Spf(resolver)._result(case["host"], case["mailfrom"], case.get("helo", ""))
            await resolver.close()
            if result not in (case["result"] if isinstance(case["result"], list) else [case["result"]]):
                wrong.append((name, case["result"], result))
    transport.close()
    assert wrong == []
