"""Who cannot reach the primary, and how we know it."""

from pathlib import Path

import pytest

from backupmx.mail.envelope import Client
from backupmx.recipients.store import Store
from backupmx.recipients.turned_away import APART, KEPT, TIMES, WITHIN, TurnedAway, _place, once_more

CLIENT = Client("192.0.2.1", 25)
MAIL = ("a@sender.example", "b@example.jp")
NOW = 1_800_000_000.0


class Scene:
    def __init__(self, path: Path) -> None:
        self.now = NOW
        self.store = Store(path)
        self.troubles: list[str] = []
        self.door = TurnedAway(self.store, self.troubles.append, lambda: self.now)

    def tries(self, *gaps: float, client: Client = CLIENT, mail: tuple[str, str] = MAIL) -> list[bool]:
        """Waits and comes, so often; True: put off."""
        said = []
        for gap in gaps:
            self.now += gap
            said.append(self.door.puts_off(client, *mail))
        return said


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "recipients.db")


def test_once_more() -> None:
    """A hurried try does not count, one after too long begins anew, and so does a clock that was set back."""
    assert once_more(None, NOW) == (1, NOW)
    assert once_more((2, NOW), NOW + APART) == (3, NOW + APART)
    assert once_more((2, NOW), NOW + APART - 1) == (2, NOW)
    assert once_more((2, NOW), NOW + WITHIN + 1) == (1, NOW + WITHIN + 1)
    assert once_more((2, NOW), NOW - 10) == (1, NOW - 10)


@pytest.mark.parametrize("gap", [APART, 300.0, 1800.0, 3600.0, WITHIN])
def test_a_server_that_retries_is_let_in(scene: Scene, gap: float) -> None:
    """After three refusals, however often it tries."""
    assert scene.tries(*[gap] * (TIMES + 1)) == [True] * TIMES + [False]


def test_a_tool_that_hammers_is_not(scene: Scene) -> None:
    """A thousand tries a second apart are as one; a thousand messages to others are one each."""
    assert all(scene.tries(*[0.05] * 1000))
    assert all(scene.tries(60.0, mail=(f"x{n}@sender.example", f"y{n}@example.jp"))[0] for n in range(1000))


def test_kin_is_let_in(scene: Scene) -> None:
    """Who was let in has its other mail let in, from its network, its domain, to the same domain: and nothing else."""
    scene.tries(*[300.0] * (TIMES + 1))
    assert scene.tries(1.0, client=Client("192.0.2.77", 25), mail=("c@Sender.example", "d@example.JP")) == [False]
    assert scene.tries(1.0, client=Client("198.51.100.1", 25)) == [True]
    assert scene.tries(1.0, mail=("c@other.example", "d@example.jp")) == [True]
    assert scene.tries(1.0, mail=("c@sender.example", "d@other.jp")) == [True]


def test_for_a_day_after_the_last(scene: Scene) -> None:
    """It stays so while it comes; a day without it, and it begins anew."""
    scene.tries(*[300.0] * (TIMES + 1))
    assert scene.tries(*[KEPT - 1] * 3) == [False] * 3
    assert scene.tries(KEPT + 1) == [True]


def test_many_machines_of_one_name(scene: Scene) -> None:
    """A large sender retries from several networks under one name."""
    farm = [Client(f"192.0.{n}.1", 25, f"out{n}.mail.example") for n in range(TIMES + 1)]
    assert [scene.tries(300.0, client=one)[0] for one in farm] == [True] * TIMES + [False]


def test_ipv6(scene: Scene) -> None:
    """A /64 is one client."""
    assert scene.tries(*[300.0] * TIMES, client=Client("2001:db8::1", 25)) == [True] * TIMES
    assert scene.tries(300.0, client=Client("2001:db8::2", 25)) == [False]


async def test_workers_and_restarts(scene: Scene) -> None:
    """What one worker counted another knows, and the next life too."""
    scene.tries(300.0, 300.0)
    scene.door.end()
    other = TurnedAway(Store(scene.store.path), scene.troubles.append, lambda: scene.now)
    scene.now += 300
    assert other.puts_off(CLIENT, *MAIL)
    other.end()
    assert scene.tries(300.0) == [False]
    scene.door.end()
    next_life = TurnedAway(Store(scene.store.path), scene.troubles.append, lambda: scene.now)
    assert not next_life.puts_off(CLIENT, "x@sender.example", MAIL[1])


def test_no_store(scene: Scene, tmp_path: Path) -> None:
    """Who cannot be looked up is put off, and comes again."""
    (tmp_path / "no").mkdir()
    door = TurnedAway(Store(tmp_path / "no"), scene.troubles.append)
    assert door.puts_off(CLIENT, *MAIL)
    assert len(scene.troubles) == 1


@pytest.mark.parametrize(
    ("name", "address", "place"),
    [
        ("mail-qv1-f51.google.com", "209.85.219.51", "google.com"),
        ("mail.example.co.jp.", "192.0.2.1", "example.co.jp"),
        ("Mail1.Example.JP", "192.0.2.1", "example.jp"),
        ("example.co.jp", "192.0.2.1", "192.0.2.0/24"),
        ("mail.com.au", "2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("example.jp", "192.0.2.1", "192.0.2.0/24"),
        ("unknown", "fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown", "unknown"),
    ],
)
def test_whom_a_client_is_one_of(name: str, address: str, place: str) -> None:
    """Its domain, never one where anybody may register; else its network."""
    assert _place(Client(address, 25, name)) == place
