"""Journey: the first user's three milters as they were, before his own rules, on the way to a real Postfix.

swaks or a small client -> backupmx serve -> Primary, with Debian's opendkim, clamav-milter (AddHeader Replace) and
spamass-milter; our own checks are off.
"""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import dkim
import pytest

from tests.check.conftest import Key
from tests.journeys.appliance import FIRST_USERS_RULES, HOSTNAME, OFF, Appliance, bound_to
from tests.journeys.arrivals import arrived, subjects
from tests.journeys.client import message, send
from tests.journeys.primary import DOMAINS, Primary, real_primary
from tests.neighbours.clamav_milter import clamav_milter
from tests.neighbours.clamd import EICAR
from tests.neighbours.opendkim import opendkim
from tests.neighbours.spamass_milter import spamass_milter
from tests.neighbours.spamd import spamd
from tests.neighbours.unbound import required

pytestmark = pytest.mark.neighbours

GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
RULES = FIRST_USERS_RULES + "/^X\\-Virus\\-Status:\\s+Infected/  DISCARD\n"
"""His own lines; clamav-milter says Infected where he waited for Yes."""

_HIS_SPAMD = """
required_score 17.0
add_header spam Flag _YESNOCAPS_
add_header all Level _STARS(*)_
add_header all Status "_YESNO_, score=_SCORE_ required=_REQD_ tests=_TESTS_"
"""


class Milters:
    """The three of them; clamav-milter can be stopped."""

    def __init__(self, new: pytest.TempPathFactory, clamd: str, key: Key) -> None:
        self._new, self._clamd = new, clamd
        self._stack, self._clamav = ExitStack(), ExitStack()
        daemon = self._stack.enter_context(spamd(new.mktemp("spamd"), _HIS_SPAMD))
        keys = [("s1._domainkey.sender.test", key.record.decode())]
        self._folder = new.mktemp("clamav")
        self.opendkim = self._stack.enter_context(opendkim(new.mktemp("opendkim"), keys, HOSTNAME))
        self.spamass = self._stack.enter_context(spamass_milter(new.mktemp("spamass"), daemon))
        self.clamav = self.start_clamav()

    def start_clamav(self) -> str:
        return self._clamav.enter_context(clamav_milter(self._folder, self._clamd))

    def stop_clamav(self) -> None:
        self._clamav.close()

    def stop(self) -> None:
        self._clamav.close()
        self._stack.close()

    @property
    def sections(self) -> str:
        places = (("opendkim", self.opendkim), ("clamav-milter", self.clamav), ("spamass-milter", self.spamass))
        return "".join(f'[[milter]]\nname = "{n}"\naddress = "{a}"\non_error = "defer"\n' for n, a in places)


@pytest.fixture(scope="module")
def milters(tmp_path_factory: pytest.TempPathFactory, clamd_address: str, key: Key) -> Iterator[Milters]:
    running = Milters(tmp_path_factory, clamd_address, key)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def primary() -> Iterator[Primary]:
    with real_primary() as running:
        yield running


@pytest.fixture(scope="module")
def mx(tmp_path_factory: pytest.TempPathFactory, primary: Primary, dns: str, milters: Milters) -> Iterator[Appliance]:
    settings = {"dns": {"servers": [dns]}, "checks": OFF}
    appliance = Appliance(tmp_path_factory.mktemp("mx"), settings, bound_to(DOMAINS, primary.port), RULES)
    with appliance.config.open("a") as config:
        config.write(milters.sections)
    appliance.start()
    yield appliance
    assert appliance.stop() == 0
    assert "Traceback" not in appliance.log


def discarded(mx: Appliance, content: bytes, why: str) -> None:
    """The client reads 250, the quarantine has it with its reason."""
    sent = send(mx.port, content)
    assert sent.code == 250
    kept = {entry["queue_id"]: entry["reason"] for entry in mx.quarantine()}
    assert why in kept[sent.queue_id]


def test_clean_mail_by_swaks(mx: Appliance, primary: Primary) -> None:
    """What the milters say of clean mail is stripped by his rules; opendkim's word stays; forged headers are gone."""
    command = [
        required("swaks"), "--server", "127.0.0.1", "--port", str(mx.port), "--helo", "client.sender.test",
        "--from", "alice@sender.test", "--to", "bob@example.jp", "--header", "Subject: clean by milters",
        "--add-header", "X-Spam-Status: No, forged", "--add-header", "X-Virus-Status: Clean",
        "--add-header", "X-Spam-Level: *",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    mail = arrived(primary, "clean by milters")
    names = [line.partition(b":")[0] for line in mail.content.partition(b"\n\n")[0].split(b"\n")]
    assert [name for name in names if name.startswith((b"X-Spam", b"X-Virus"))] == []
    for milter in ("opendkim", "clamav-milter", "spamass-milter"):
        assert mx.logged(rf"check: milter=neutral engine={milter} \(END-OF-MESSAGE")


def test_opendkim_verifies(mx: Appliance, primary: Primary, key: Key) -> None:
    """A good signature is a pass in our name, and still good at the primary."""
    content = message("signed for milters")
    content = dkim.sign(content, b"s1", b"sender.test", key.private) + content
    assert send(mx.port, content).code == 250
    mail = arrived(primary, "signed for milters")
    (results,) = [*_values(mail.own, b"Authentication-Results"), *mail.values("Authentication-Results")]
    assert results.startswith(f"{HOSTNAME};")
    assert "dkim=pass" in results


def test_spam_is_discarded(mx: Appliance, primary: Primary) -> None:
    """spamass-milter's X-Spam-Flag: YES meets his first rule: what never worked for him does."""
    discarded(mx, message("spam for milters", GTUBE + "\n"), "header_checks:")
    mx.logged(r"milter-header-discard: header X-Spam-Flag: YES from")
    assert "spam for milters" not in subjects(primary)


def test_a_virus_is_discarded(mx: Appliance, primary: Primary) -> None:
    """clamav-milter's X-Virus-Status: Infected meets the rule that waits for it."""
    discarded(mx, message("virus for milters", EICAR.decode() + "\n"), "header_checks:")
    mx.logged(r"milter-header-discard: header X-Virus-Status: Infected \(Eicar-Test-Signature")
    assert "virus for milters" not in subjects(primary)


def test_check_services_finds_them_good(mx: Appliance) -> None:
    """All three answer, and the two that should find the test messages."""
    services = mx.objects("check", "services", "--detect", "--json")
    assert [(s["name"], s["answers"], s["detects"]) for s in services if s["listed"]] == [
        ("opendkim", True, None), ("clamav-milter", True, True), ("spamass-milter", True, True),
    ]  # fmt: skip


def test_one_is_stopped_and_comes_back(mx: Appliance, primary: Primary, milters: Milters) -> None:
    """on_error = "defer": 451 while clamav-milter is away, 250 as soon as it is there again, and the log says both."""
    milters.stop_clamav()
    refused = send(mx.port, message("while it is away"))
    assert (refused.code, refused.text) == (451, "4.7.1 Service unavailable - try again later")
    mx.logged("warning: clamav-milter is away: ")
    milters.start_clamav()
    assert send(mx.port, message("when it is back")).code == 250
    arrived(primary, "when it is back")
    mx.logged("clamav-milter answers again")
    assert "while it is away" not in subjects(primary)


def _values(own: bytes, name: bytes) -> list[str]:
    """Of what Postfix wrote on top: a header inserted above our Received may be taken for its own."""
    lines = own.replace(b"\n\t", b" ").replace(b"\n ", b" ").split(b"\n")
    return [line.partition(b":")[2].strip().decode() for line in lines if line.startswith(name + b":")]
