"""backupmx.toml: every error at once, with its key and what to write instead."""

from pathlib import Path

import pytest

from backupmx.config import Config, ConfigTrouble, find, home_of, load, octets, parse, seconds

SMALLEST = 'hostname = "mx2.example.net"\n[relay]\ntransport_map = "transport.map"\n'
HERE = Path("/etc/backupmx/backupmx.toml")
MILTERS = (("opendkim", 8891), ("clamav", 8892))


def errors(text: str) -> list[str]:
    with pytest.raises(ConfigTrouble) as caught:
        parse(text, HERE)
    return [error.removeprefix(f"{HERE}: ") for error in caught.value.errors]


def test_two_lines_are_a_configuration() -> None:
    """A host name and a transport map are enough; everything else has its default."""
    config = parse(SMALLEST, HERE)
    assert config.smtp.message_size_limit == 50 << 20
    assert config.checks.spam.required_score == 17.0
    assert config.relay.on_refusal == "hold"


def test_every_error_is_told_at_once() -> None:
    """An unknown key, a bad duration and a missing setting are one list, each with its key."""
    told = errors('hostname = "mx2"\n[smtp]\nworkrs = 2\ntimeout = "5 x"\n[relay]\non_refusal = "drop"\n')
    assert [error.split(": ")[0] for error in told] == [
        "hostname",
        "smtp.timeout",
        "smtp.workrs",
        "relay.transport_map",
        "relay.on_refusal",
    ]
    assert "did you mean workers?" in told[2]


def test_broken_toml_names_its_line() -> None:
    """A file that is no TOML says where it stops being it."""
    assert "line 1" in errors("hostname = \n")[0]


@pytest.mark.parametrize("extra", ["when_primary_up = 'refuse'", "when_primary_up_for = { 'a.jp' = 'no' }"])
def test_when_primary_up_has_three_words(extra: str) -> None:
    """Another word than accept, defer, verify is told with its key."""
    assert errors(SMALLEST + extra)[0].startswith("relay.when_primary_up")


def test_what_may_be_said_of_clients() -> None:
    """A postmaster is an address; waits and thresholds have their bounds; a wrong word is told."""
    assert errors(SMALLEST + "postmaster = 'nobody'")[0].startswith("relay.postmaster: write an address")
    assert parse(SMALLEST + "postmaster = 'a@b.example'", HERE).relay.postmaster == "a@b.example"
    smtp = "[smtp]\npregreet = 'on'\npregreet_wait = '2m'\ndnsbl_threshold = 0\n"
    told = errors(SMALLEST + smtp)
    assert [error.split(": ")[0] for error in told] == ["smtp.dnsbl_threshold", "smtp.pregreet", "smtp.pregreet_wait"]


@pytest.mark.parametrize("extra", ["digest_to = '{}'", "[alarms]\nmail_to = '{}'"])
@pytest.mark.parametrize(
    "address", ["oncall", "on call@example.jp", "a@b@example.jp", "a@-example.jp", "あ@example.jp"]
)
def test_a_reader_has_an_address(extra: str, address: str) -> None:
    """Who gets the digest or an alarm is an address as mail has it; anything else is told before mail goes nowhere."""
    assert "write an address" in errors(SMALLEST + extra.format(address))[0]
    parse(SMALLEST + extra.format("on.call@example.jp"), HERE)


@pytest.mark.parametrize("address", ["/run/x.sock", "local:/run/x.sock", "inet:8891@localhost", "unix:x", "inet::25"])
def test_a_milter_listens_somewhere(address: str) -> None:
    """The address of a milter is written as in Postfix; another way of writing it is told at once."""
    section = f"[[milter]]\nname = 'x'\naddress = '{address}'"
    assert errors(SMALLEST + section) == [f"milter.0.address: write unix:/PATH or inet:HOST:PORT (it says '{address}')"]


def test_milters_keep_their_order() -> None:
    """They are asked in the order of the file, with Postfix's time limits unless told otherwise."""
    text = "".join(f"[[milter]]\nname = '{name}'\naddress = 'inet:127.0.0.1:{port}'\n" for name, port in MILTERS)
    milters = parse(SMALLEST + text + "content_timeout = '1m'\n", HERE).milter
    assert [milter.name for milter in milters] == ["opendkim", "clamav"]
    assert [(m.connect_timeout, m.command_timeout, m.content_timeout) for m in milters] == [(30, 30, 300), (30, 30, 60)]


def test_paths_stand_beside_the_file() -> None:
    """What the operator writes is relative to the configuration, what we write to state_dir."""
    config = parse('state_dir = "/var/spool/backupmx"\n' + SMALLEST, HERE)
    assert config.policy_path("header_checks") == Path("/etc/backupmx/header_checks")
    assert config.table("regexp:rules") == "regexp:/etc/backupmx/rules"
    assert config.table("") == ""
    assert config.queue_store == "sqlite:/var/spool/backupmx/queue.db"


def test_the_queue_is_a_file() -> None:
    """Another kind of store is told with all other errors, and what to write."""
    told = errors(SMALLEST + 'postmaster = "x"\n[queue]\nstore = "postgres://x"\n')
    assert [error.partition(": ")[0] for error in told] == ["relay.postmaster", "queue.store"]
    assert 'write "sqlite:FILE"' in told[1]


def test_added_headers_meet_header_checks_by_default() -> None:
    """milter_header_checks left out is the header_checks table; "" is none."""
    shared = parse(SMALLEST + '[rules]\nheader_checks = "h"\n', HERE)
    none = parse(SMALLEST + '[rules]\nheader_checks = "h"\nmilter_header_checks = ""\n', HERE)
    assert (shared.rules.added, none.rules.added) == ("h", "")


def test_rspamd_listens_elsewhere() -> None:
    """Without an address rspamd is asked where it usually listens; with one, there."""
    usual = parse(SMALLEST + "[checks.spam]\nengine = 'rspamd'\n", HERE)
    named = parse(SMALLEST + "[checks.spam]\nengine = 'rspamd'\naddress = 'unix:/run/r.sock'\n", HERE)
    assert (usual.checks.spam.address, named.checks.spam.address) == ("tcp:127.0.0.1:11333", "unix:/run/r.sock")


def test_thresholds_are_for_domains() -> None:
    """A domain's own threshold, whatever its case; an address is no domain."""
    section = "[checks.spam.required_score_for]\n"
    assert parse(SMALLEST + section + '"Example.JP" = 10\n', HERE).checks.spam.required_score_for == {
        "example.jp": 10.0
    }
    assert errors(SMALLEST + section + '"a@example.jp" = 10\n')[0].startswith("checks.spam.required_score_for: ")


@pytest.mark.parametrize(("text", "value"), [("30s", 30.0), ("15m", 900.0), ("5d", 432000.0), (7, 7)])
def test_durations(text: object, value: float) -> None:
    """A duration is a number of seconds or a number with a unit."""
    assert seconds(text) == value


@pytest.mark.parametrize(("text", "value"), [("50MiB", 52428800), ("512 KiB", 524288), ("10", 10), (3, 3)])
def test_sizes(text: object, value: int) -> None:
    """A size is a number of octets or a number with a unit."""
    assert octets(text) == value


def test_where_it_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """-c, then $BACKUPMX_CONFIG, then ./backupmx.toml; else status 2 with all places named."""
    monkeypatch.chdir(tmp_path)
    assert find("x.toml", {"BACKUPMX_CONFIG": "y.toml"}) == Path("x.toml")
    assert find(None, {"BACKUPMX_CONFIG": "y.toml"}) == Path("y.toml")
    with pytest.raises(ConfigTrouble, match="no configuration found"):
        find(None, {})
    (tmp_path / "backupmx.toml").write_text(SMALLEST)
    assert find(None, {}) == Path("backupmx.toml")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A missing file is one clear sentence."""
    with pytest.raises(ConfigTrouble, match="No such file"):
        load(tmp_path / "none.toml")


def test_the_tree_is_frozen() -> None:
    """Nobody changes a setting while mail flows."""
    config: Config = parse(SMALLEST, HERE)
    with pytest.raises(ValueError, match="frozen"):
        config.hostname = "x"  # type: ignore[misc]


def test_what_is_left_of_a_wrong_configuration() -> None:
    """Wrong settings have their defaults meanwhile, so that the files of the others can be read."""
    with pytest.raises(ConfigTrouble) as caught:
        parse(SMALLEST + '[smtp]\nworkrs = 2\ntimeout = "5 x"\nrecipient_limit = 200\n[milters]\n', HERE)
    rest = caught.value.rest
    assert rest is not None
    assert (rest.smtp.timeout, rest.smtp.recipient_limit) == (300.0, 200)
    with pytest.raises(ConfigTrouble) as caught:
        parse('hostname = "mx2.example.net"\n', HERE)
    assert caught.value.rest is None


@pytest.mark.parametrize("key", ["limit_exceptions", "proxy_protocol_from", "xclient_from", "etrn_from"])
def test_networks(key: str) -> None:
    """Addresses and networks are taken, names are not: whoever answers for a name could be trusted by it."""
    config = parse(f"{SMALLEST}[smtp]\n{key} = ['192.0.2.1', '192.0.2.0/24', '2001:db8::/32']\n", Path("x.toml"))
    assert len(getattr(config.smtp, key)) == 3
    assert errors(f"{SMALLEST}[smtp]\n{key} = ['proxy.example.jp']\n")[0].startswith(
        f"smtp.{key}: 'proxy.example.jp' is"
    )


STATES = ("", 'state_dir = "/var/spool/mx"\n', 'state_dir = "s"\nqueue = { store = "sqlite:q" }\n')


@pytest.mark.parametrize("more", STATES)
def test_the_home_of_a_file_is_that_of_its_configuration(tmp_path: Path, more: str) -> None:
    """Commands that read only where the appliance lives find the same queue as those that read everything."""
    file = tmp_path / "backupmx.toml"
    file.write_text(more + SMALLEST)
    assert home_of(file) == load(file).home
    assert home_of(file).queue_store == load(file).queue_store


@pytest.mark.parametrize("text", ["state_dir = 1\n", "queue = 1\n", "[queue]\nstore = 7\n", "state_dir = \n"])
def test_a_home_that_cannot_be_read_is_said(tmp_path: Path, text: str) -> None:
    """A file that does not tell where the queue is ends the command with a sentence, not a traceback."""
    file = tmp_path / "backupmx.toml"
    file.write_text(text)
    with pytest.raises(ConfigTrouble, match=str(file)):
        home_of(file)
