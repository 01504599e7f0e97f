"""Header fields of ours: nothing hostile gets into one."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.check.field import comment, folded, plain, pvalue, resinfo


@given(st.text())
def test_plain_lets_no_control_byte_through(text: str) -> None:
    """Whatever an engine or the DNS says, a field holds printable ASCII."""
    assert re.fullmatch(r"[\x20-\x7e]*", plain(text))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("example.com", "example.com"),
        ("rsa-sha256", "rsa-sha256"),
        ("a b", '"a b"'),
        ('say "no"\\', '"say \\"no\\"\\\\"'),
        ("x; dkim=pass", '"x; dkim=pass"'),
        ("x\r\nY: z", '"x??Y: z"'),
        ("あ.example", "?.example"),
    ],
)
def test_pvalue(value: str, written: str) -> None:
    """A value that is no token is quoted, so that it cannot say more than one thing."""
    assert pvalue(value) in (written, f'"{written}"')


def test_comment_ends_where_we_end_it() -> None:
    """A reason taken from a stranger's record cannot leave its parentheses."""
    assert comment("bad) dkim=pass (x\\") == "(bad? dkim=pass ?x?)"


def test_resinfo() -> None:
    """method=result (reason) and properties; empty ones are left out."""
    told = resinfo("dkim", "fail", "body hash mismatch", header_d="a.example", header_s="", header_b="AbCd")
    assert told == "dkim=fail (body hash mismatch) header.d=a.example header.b=AbCd"


def test_folded() -> None:
    """A field folds before a piece that would pass column 78, never inside one."""
    assert folded("Name:", ["x" * 40, "y" * 40, "z"]) == b"Name: " + b"x" * 40 + b"\n\t" + b"y" * 40 + b" z"
    assert folded("Name:", ["x" * 100]) == b"Name: " + b"x" * 100
    assert folded("Name:", []) == b"Name:"
