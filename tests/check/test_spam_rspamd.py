"""rspamd: Debian's own for what it says, fakes for what it will not do on demand."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.check.finding import Findings, Seen
from backupmx.check.spam import Score, Spam
from backupmx.check.spam_rspamd import Rspamd, accepted, context, score_of
from backupmx.check.trouble import EngineAway, Lost, Unscannable
from backupmx.mail.envelope import Client, Envelope, Recipient, Tls
from backupmx.net.endpoint import Endpoint
from tests.check.faults import closes, engine, floods, hangs, says
from tests.check.messages import GTUBE, mail
from tests.check.signing import with_headers
from tests.neighbours.rspamd import rspamd_scanner

NOTHING = Findings()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with rspamd_scanner(tmp_path_factory.mktemp("rspamd")) as address:
        yield address


@pytest.mark.neighbours
class TestRealRspamd:
    @pytest.fixture
    def rspamd(self, address: str) -> Rspamd:
        return Rspamd(Endpoint.parse(address), 30)

    async def test_ham(self, rspamd: Rspamd) -> None:
        """An ordinary mail has a score, symbols and an action; the version is rspamd's own."""
        score = await rspamd.score(mail(), NOTHING)
        assert (score.score < 5, score.certain, score.action, score.version[:8]) == (
            True,
            False,
            "no action",
            "rspamd 3",
        )
        assert "FROM_EQ_ENVFROM" in score.tests

    async def test_gtube(self, rspamd: Rspamd) -> None:
        """The line every spam filter knows is refused by force: spam, though its score is under ours."""
        found = await Spam(rspamd, 17.0, "mx2.example.net").look(mail(GTUBE + b"\r\n"), NOTHING)
        assert (found.seen, found.fields[-1]) == (Seen.FOUND, b"X-Spam-Flag: YES")
        assert found.fields[2] == b"X-Spam-Status: Yes, score=15.0 required=17.0 tests=GTUBE"

    async def test_a_thousand_links_do_not_hide_a_score(self, rspamd: Rspamd) -> None:
        """Its answer repeats every host of the message; twelve thousand long ones are no reason to give up."""
        links = b"".join(b"http://%s%d.%s.com/\r\n" % (b"a" * 55, n, b"b" * 60) for n in range(12_000))
        score = await rspamd.score(mail(links, b"Subject: x", standard=False), NOTHING)
        assert "MISSING_MID" in score.tests

    async def test_heaviest_first(self, rspamd: Rspamd) -> None:
        """What weighs most is named first."""
        score = await rspamd.score(mail(b"", b"Subject: x", standard=False), NOTHING)
        assert score.tests[0] == "MISSING_MID"
        assert score.score > 5

    async def test_our_received_is_not_shown(self, rspamd: Rspamd) -> None:
        """It sees what the client sent: RCVD_COUNT_ZERO is about that."""
        sample = replace(
            with_headers(mail(), b"Received: from x by mx2.example.net; Tue, 24 Nov 2026 04:00:00 +0000"), own=1
        )
        assert "RCVD_COUNT_ZERO" in (await rspamd.score(sample, NOTHING)).tests

    @pytest.mark.parametrize("body", [b"", b"\0" * 1000, b"\xff\xfe" * 1000, b"x" * 1_000_000])
    async def test_odd_content(self, rspamd: Rspamd, body: bytes) -> None:
        """Whatever the body, there is a score."""
        assert math.isfinite((await rspamd.score(mail(body), NOTHING)).score)

    async def test_ping(self, rspamd: Rspamd) -> None:
        """An operator sees its version."""
        assert (await rspamd.ping()).startswith("rspamd 3")


def answer(body: object, status: str = "200 OK", server: str = "rspamd/3.4") -> bytes:
    octets = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\nServer: {server}\r\nContent-Length: {len(octets)}\r\n\r\n".encode() + octets


async def test_answer(tmp_path: Path) -> None:
    """Score, symbols and action of an answer."""
    told = {
        "score": 7.5,
        "required_score": 15,
        "action": "add header",
        "symbols": {"A": {"score": 1}, "B": {"score": -6.5}},
    }
    async with engine(tmp_path, says(answer(told))) as address:
        assert await Rspamd(address, 5).score(mail(), NOTHING) == Score(
            7.5, ("B", "A"), "rspamd 3.4", action="add header"
        )


@pytest.mark.parametrize(
    ("told", "certain"),
    [
        ({"score": 16, "required_score": 15, "action": "reject"}, False),
        ({"score": 3, "required_score": 15, "action": "reject"}, True),
        ({"score": 15, "required_score": 15, "action": "reject", "is_skipped": True}, True),
        ({"score": 3, "required_score": 15, "action": "soft reject"}, False),
        ({"score": 16, "action": "reject"}, False),
    ],
)
def test_a_forced_reject(told: dict[str, object], certain: bool) -> None:
    """A reject that the score alone would not have brought is certain; one by score meets our threshold."""
    assert score_of("rspamd", json.dumps(told).encode()).certain is certain


@pytest.mark.parametrize(
    ("behaviour", "trouble"),
    [
        (closes, Lost),
        (hangs, Lost),
        (floods, Unscannable),
        (says(answer({"error": "x"}, "500 Internal Server Error")), Unscannable),
        (says(answer(b"not json")), Unscannable),
        (says(b"HTTP/1.1 200 OK\r\nServer: rspamd/3.4\r\n"), Unscannable),
        (says(answer({}, "403 Forbidden")), EngineAway),
        (says(answer({}, server="nginx")), EngineAway),
        (says(b"220 mail ready\r\n"), EngineAway),
    ],
)
async def test_no_score(tmp_path: Path, behaviour: object, trouble: type[Exception]) -> None:
    """Silence and nonsense are told apart from an rspamd that is not there."""
    async with engine(tmp_path, behaviour) as address:  # type: ignore[arg-type]
        with pytest.raises(trouble) as caught:
            await Rspamd(address, 0.5).score(mail(), NOTHING)
    assert type(caught.value) is trouble


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"score": "5"}',
        b'{"score": true}',
        b'{"score": NaN}',
        b'{"score": Infinity}',
        b'{"score": 1e400}',
        b'{"score": 1' + b"0" * 400 + b"}",
        b"[" * 200_000,
        b"\xff",
    ],
)
def test_nonsense(body: bytes) -> None:
    """An answer without a usable score is none."""
    with pytest.raises(Unscannable):
        score_of("rspamd", body)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["score", "symbols", "action", "A"]), inner)
        ),
        max_leaves=12,
    )
)
def test_any_json(told: object) -> None:
    """Any JSON is a score or Unscannable."""
    try:
        assert math.isfinite(score_of("rspamd", json.dumps(told).encode()).score)
    except Unscannable:
        pass  # the other allowed outcome


@given(st.binary(max_size=60))
def test_any_answer(octets: bytes) -> None:
    """Any octets are an answer or a named trouble."""
    for text in (octets, b"HTTP/1.1 200 OK\r\nServer: rspamd/3\r\n\r\n" + octets):
        try:
            accepted(text)
        except (EngineAway, Unscannable):
            pass  # the other allowed outcomes


def test_context() -> None:
    """It is told the client, the envelope, the queue id and TLS; nothing hostile ends a line."""
    client = Client("192.0.2.1", 1, "mx1.sender.test", "helo\r\nUser: x", "ESMTP", Tls("TLSv1.3", "C", 256))
    sample = replace(mail(client=client), envelope=Envelope("a@b\n", (Recipient("c@d"), Recipient("ü@d"))))
    assert context(sample).decode().split("\r\n") == [
        "IP: 192.0.2.1",
        "Helo: helo??User: x",
        "Hostname: mx1.sender.test",
        "From: a@b?",
        "Rcpt: c@d",
        "Rcpt: ü@d",
        "Queue-Id: 4hTESTz1",
        "TLS-Version: TLSv1.3",
        "TLS-Cipher: C",
        "",
    ]
    marked = replace(client, marks=("PREGREET", "PIPELINING"), dnsbl=-2)
    assert b"Client-Marks: PREGREET PIPELINING\r\nClient-Dnsbl: -2\r\n" in context(mail(client=marked))
    many = replace(mail(), envelope=Envelope("a@b", tuple(Recipient(f"u{n}@d") for n in range(1000))))
    assert context(many).count(b"Rcpt: ") == 200
