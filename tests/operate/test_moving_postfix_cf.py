"""operate/moving/postfix_cf: main.cf and master.cf are read as Postfix reads them."""

import subprocess
from pathlib import Path

import pytest

from backupmx.operate.moving.postfix_cf import CfTrouble, parse_main, parse_master
from tests.neighbours.unbound import required

CASES = Path(__file__).parents[1] / "cases" / "first_user_postfix" / "postfix"
TRICKY = """\
compatibility_level = 3.6
myhostname = mx2.example.net
  # a comment between
relay_domains = one.example,
# another

\ttwo.example
smtpd_banner = $myhostname is ${relay_domains?here} ${empty_thing:nowhere}
empty_thing =
mydestination = ${{$myhostname} == {mx2.example.net} ? {same.example} : {other.example}}
mynetworks = ${relay_domains?{192.0.2.0/24, 127.0.0.0/8}:{10.0.0.0/8}}
message_size_limit = 1000
message_size_limit = 2000
alias_maps = $(empty_thing)
local_recipient_maps = $$x
mailbox_size_limit = ${{4} >= {3} ? {7000} : {8000}}
"""


@pytest.mark.neighbours
@pytest.mark.parametrize("text", [TRICKY, (CASES / "main.cf").read_text()], ids=["tricky", "first user"])
def test_values_are_postconfs(tmp_path: Path, text: str) -> None:
    """Every value is worked out to what `postconf -x` says."""
    required("postconf")
    (tmp_path / "main.cf").write_text(text)
    (tmp_path / "master.cf").write_text("")
    ran = subprocess.run(["postconf", "-c", tmp_path, "-nx"], capture_output=True, text=True, timeout=30, check=True)
    theirs = dict(line.split(" =", 1) for line in ran.stdout.splitlines() if " =" in line)
    ours = parse_main(text, {"config_directory": str(tmp_path), "queue_directory": "/var/spool/postfix"})
    assert {name: " ".join(value.split()) for name, value in theirs.items()} == {
        name: ours.get(name) for name in theirs
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = $b\nb = x${a}", "a: $a leads back"),
        ("a = ${b", "is not closed"),
        ("a = ${{1} ~ {2}?x}", "compares nothing"),
        ("a = " + "${{" * 400_000, "too long"),
        ("a = " + "${{" * 4_000, "not closed"),
        ("".join(f"a{i} = $a{i + 1}$a{i + 1}\n" for i in range(45)) + "a = $a0", "too many values"),
        ("b = " + "x" * 1000 + "\nc = " + "$b" * 1000 + "\na = " + "$c" * 1000, "beyond"),
    ],
)
def test_hostile_values_end_in_a_sentence(text: str, words: str) -> None:
    """Loops, braces without end and values that grow without end are told, at once."""
    with pytest.raises(CfTrouble, match=words.replace("$", r"\$")):
        parse_main(text).get("a")


def test_a_line_of_ten_megabytes_is_a_line() -> None:
    """A value that is long and plain is a value too, and the parameters around it are read."""
    main = parse_main("a = " + "x " * (5 << 20) + "\nb = 2\n")
    assert main.get("b") == "2"
    assert main.raw("a").startswith("x x")


def test_services_and_their_options() -> None:
    """master.cf: each service with its -o settings, in braces or not."""
    smtp, _ = parse_master(
        "smtp inet n - y - - smtpd\n  -o content_filter= -o smtpd_milters=\n  -o { smtpd_helo_restrictions = permit }\n"
        "# pickup\nqmgr unix n - n 300 1 qmgr\nnonsense\n"
    )
    assert smtp.options == {"content_filter": "", "smtpd_milters": "", "smtpd_helo_restrictions": "permit"}
