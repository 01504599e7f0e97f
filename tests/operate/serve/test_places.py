"""Where engines and milters listen, as service files tell."""

import socket
from pathlib import Path

import pytest

from backupmx.config import Config, parse
from backupmx.net.endpoint import Endpoint
from backupmx.operate.cli.check import too_large_for_clamd
from backupmx.operate.serve.places import USUAL, Installed, Place, StreamLimit, present, services, stream_limit, told


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_systemd(tmp_path: Path) -> None:
    """A unit, its own options, its file in /etc/default and the program's configuration."""
    root = tree(tmp_path, {
        "lib/systemd/system/opendkim.service": "[Service]\nExecStart=/usr/sbin/opendkim\n",
        "etc/opendkim.conf": "# Socket inet:8892@localhost\nSocket\t\tlocal:/run/opendkim/opendkim.sock\nSyslog yes\n",
        "etc/default/opendkim": "RUNDIR=/run/opendkim\nSOCKET=local:$RUNDIR/other.sock\n",
        "etc/systemd/system/my-milter.service": "ExecStart=/opt/my-milter -v -p inet:9999@127.0.0.1 -d\n",
        "lib/systemd/system/my-milter.service": "ExecStart=/opt/my-milter -p inet:1@127.0.0.1\n",
        "lib/systemd/system/clamav-daemon.service": "[Unit]\n",
        "etc/clamav/clamd.conf": "LocalSocket /run/clamav/clamd.ctl\nTCPSocket 3310\nLocalSocketMode 666\n",
        "lib/systemd/system/nginx.service": "ExecStart=/usr/sbin/nginx -p /x\n",
    })  # fmt: skip
    assert sorted(services(root), key=lambda service: service.name) == [
        Installed("engine", "clamd", f"{root}/lib/systemd/system/clamav-daemon.service",
                  ("unix:/run/clamav/clamd.ctl", "tcp:127.0.0.1:3310")),
        Installed("milter", "my-milter", f"{root}/etc/systemd/system/my-milter.service", ("inet:127.0.0.1:9999",)),
        Installed("milter", "opendkim", f"{root}/lib/systemd/system/opendkim.service",
                  ("unix:/run/opendkim/opendkim.sock", "unix:/run/opendkim/other.sock")),
    ]  # fmt: skip


def test_rc_d(tmp_path: Path) -> None:
    """FreeBSD: the script's default, and what rc.conf says in its place."""
    root = tree(tmp_path, {
        "usr/local/etc/rc.d/milter-opendkim":
            ': ${milteropendkim_socket="local:/var/run/milteropendkim/dkim-milter"}\n',
        "usr/local/etc/rc.d/spamass-milter":
            'spamass_milter_socket=${spamass_milter_socket:-"/var/run/spamass-milter.sock"}\n',
        "usr/local/etc/rc.d/clamav-milter": 'name=clamav_milter\n',
        "usr/local/etc/clamav-milter.conf": "MilterSocket /var/run/clamav/clmilter.sock\n",
        "usr/local/etc/rc.d/sa-spamd": "name=sa_spamd\n",
        "etc/rc.conf": 'spamass_milter_enable="YES"\n'
            'spamass_milter_socket="/var/run/spamd/spamass.sock"\nother_socket="/z"\n',
    })  # fmt: skip
    assert {service.name: service.addresses for service in services(root)} == {
        "opendkim": ("unix:/var/run/milteropendkim/dkim-milter",),
        "spamass-milter": ("unix:/var/run/spamd/spamass.sock", "unix:/var/run/spamass-milter.sock"),
        "clamav-milter": ("unix:/var/run/clamav/clmilter.sock",),
        "spamd": (),
    }


@pytest.mark.parametrize(
    ("line", "address"),
    [
        ("Socket inet:8891@localhost", "inet:localhost:8891"),
        ("Socket inet:8891", "inet:127.0.0.1:8891"),
        ("Socket inet:8891@[127.0.0.1]", "inet:127.0.0.1:8891"),
        ('socket "/var/milter-greylist/milter-greylist.sock"', "unix:/var/milter-greylist/milter-greylist.sock"),
        ("MilterSocket unix:/run/x", "unix:/run/x"),
        ('OPTIONS="-u x -p /run/spamass.sock"', "unix:/run/spamass.sock"),
        ("Socket inet:smtp@localhost", ""),
        ("SOCKET=$NOWHERE/x", ""),
        ("LocalSocketGroup clamav", ""),
        ("# Socket local:/x", ""),
        ("mkdir -p $RUNDIR", ""),
        ("Socket \x00\xff", ""),
    ],
)
def test_how_sockets_are_written(line: str, address: str) -> None:
    """libmilter's words and a bare path, as ours; comments, unknown variables and other settings are nothing."""
    assert list(told("milter", line)) == ([address] if address else [])


def test_a_machine_without_services(tmp_path: Path) -> None:
    """Nothing is found, nothing fails; a link to nowhere and a folder are no service files."""
    folder = tmp_path / "lib/systemd/system"
    folder.mkdir(parents=True)
    (folder / "opendkim.service").symlink_to(tmp_path / "nowhere")
    (folder / "x-milter.service").mkdir()
    assert [service.addresses for service in services(tmp_path)] == [(), ()]
    assert services(tmp_path / "none") == []


def test_places_without_a_socket_are_not_tried(tmp_path: Path) -> None:
    """Only sockets that are there, and ports."""
    (tmp_path / "file").touch()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{tmp_path}/there")
        there, file, gone = (Place("milter", "x", f"unix:{tmp_path}/{name}") for name in ("there", "file", "gone"))
        port = Place("milter", "x", "inet:127.0.0.1:1")
        assert present([there, file, gone, port]) == [there, port]


def test_the_usual_places_can_be_written_down() -> None:
    """Each place has an address that the configuration takes; the first user's are among them."""
    for place in USUAL:
        Endpoint.parse(place.address, "inet" if place.kind == "milter" else "tcp")
    addresses = {place.address for place in USUAL}
    assert {
        "unix:/var/run/clamav/clamd", "unix:/var/run/clamav/clmilter.sock", "unix:/var/run/spamd/spamass.sock",
        "unix:/var/run/milteropendkim/dkim-milter", "tcp:127.0.0.1:11333",
    } <= addresses  # fmt: skip


@pytest.mark.neighbours
def test_debian_s_own() -> None:
    """The packages that are installed here."""
    found = {service.name: service.addresses for service in services()}
    assert "unix:/run/opendkim/opendkim.sock" in found["opendkim"]
    assert "unix:/var/run/clamav/clamav-milter.ctl" in found["clamav-milter"]
    assert "unix:/var/run/spamass/spamass.sock" in found["spamass-milter"]
    assert "unix:/var/run/clamav/clamd.ctl" in found["clamd"]
    assert {"rspamd", "spamd"} <= set(found)


CLAMD = "LocalSocket /run/clamav/clamd.ctl\nTCPSocket 3310\n"


@pytest.mark.parametrize(
    ("text", "address", "octets"),
    [
        ("StreamMaxLength 25M\n", "unix:/run/clamav/clamd.ctl", 25 << 20),
        ("StreamMaxLength 25M\n", "tcp:localhost:3310", 25 << 20),
        ("StreamMaxLength 1000\nStreamMaxLength\t2k\n", "tcp:127.0.0.1:3310", 2 << 10),
        ("#StreamMaxLength 25M\n", "tcp:127.0.0.1:3310", 100 << 20),
        ("StreamMaxLength 25M\n", "tcp:127.0.0.1:3311", None),
        ("StreamMaxLength 25M\n", "tcp:192.0.2.1:3310", None),
    ],
)
def test_what_clamd_takes(tmp_path: Path, text: str, address: str, octets: int | None) -> None:
    """As the clamd.conf says that names this address; another clamd's says nothing."""
    root = tree(tmp_path, {"etc/clamav/clamd.conf": CLAMD + text})
    assert stream_limit(address, root) == (StreamLimit(octets, "/etc/clamav/clamd.conf") if octets else None)


def configured(limit: str, address: str = "tcp:127.0.0.1:3310") -> Config:
    text = f'hostname = "mx2.example.net"\n[smtp]\nmessage_size_limit = {limit}\n[relay]\ntransport_map = "t"\n'
    return parse(f'{text}[checks.virus]\naddress = "{address}"\n', Path("b.toml"))


def test_mail_that_clamd_does_not_take(tmp_path: Path) -> None:
    """`check config` says it before a sender finds out, with what to write where."""
    root = tree(tmp_path, {"etc/clamav/clamd.conf": CLAMD + "StreamMaxLength 25M\n"})
    assert list(too_large_for_clamd(configured('"50MiB"'), root)) == [
        "checks.virus: clamd takes 25 MiB (/etc/clamav/clamd.conf: StreamMaxLength), smtp.message_size_limit is 50 MiB:"
        " larger mail is unscannable and on_unscannable (defer) decides; write StreamMaxLength 51M"
    ]
    assert list(too_large_for_clamd(configured('"24MiB"'), root)) == []
    assert "is none: larger" in next(too_large_for_clamd(configured("0"), root))
    assert list(too_large_for_clamd(configured('"50MiB"', "tcp:127.0.0.1:9"), root)) == []
