"""The embedded engine and its shipped rules."""

from pathlib import Path

import pytest

from backupmx.check import parts
from backupmx.check.trouble import RulesTrouble, Unscannable
from backupmx.check.virus_yara import SHIPPED, Yara
from backupmx.mail.message import Message
from tests.check.messages import EICAR, MIXED, attached, mail

pytest.importorskip("yara_x")


@pytest.fixture(scope="module")
def yara() -> Yara:
    return Yara(SHIPPED, 10)


async def test_clean(yara: Yara) -> None:
    """An ordinary mail matches no shipped rule."""
    scan = await yara.scan(mail(attached(b"harmless"), MIXED).message)
    assert (scan.signature, scan.version.startswith("YARA-X ")) == ("", True)


@pytest.mark.parametrize("padding", [0, 200_000])
async def test_eicar(yara: Yara, padding: int) -> None:
    """EICAR is found bare and encoded, also in a large message."""
    filling = b"x" * padding + b"\r\n"
    for body in (filling + EICAR, filling + attached(EICAR)):
        assert (await yara.scan(mail(body, MIXED).message)).signature == "Eicar_Test_File"


@pytest.mark.parametrize("name", ["invoice.pdf.exe", "photo.JPG.scr", "list.xlsx      .vbs"])
async def test_disguised_programs(yara: Yara, name: str) -> None:
    """A program named like a document."""
    scan = await yara.scan(mail(attached(b"MZ", name), MIXED).message)
    assert scan.signature == "Program_Named_Like_A_Document"


@pytest.mark.parametrize("name", ["setup.exe", "report.pdf", "archive.tar.gz", "readme.txt.pdf", "a.doc.docx"])
async def test_honest_names(yara: Yara, name: str) -> None:
    """Programs and documents under their own names are left to other rules."""
    assert (await yara.scan(mail(attached(b"MZ", name), MIXED).message)).signature == ""


async def test_views_of_a_spooled_file(yara: Yara) -> None:
    """A body in slices is one body."""
    half = len(EICAR) // 2
    message = Message((b"Subject: x",), (b"\r\n", memoryview(EICAR)[:half], memoryview(EICAR)[half:]))
    assert (await yara.scan(message)).signature == "Eicar_Test_File"


async def test_a_bomb_is_unscannable(yara: Yara) -> None:
    """More encoded parts than anybody sends: not clean, not a virus."""
    part = b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\nQUJD\r\n"
    with pytest.raises(Unscannable):
        await yara.scan(mail(part * (parts.MOST + 1)).message)


def test_broken_rules(tmp_path: Path) -> None:
    """Every broken rule file is named at once."""
    (tmp_path / "a.yar").write_text("rule A {")
    (tmp_path / "b.yar").write_bytes(b"\xff\xfe")
    (tmp_path / "c.yar").write_text("rule C { condition: true }")
    with pytest.raises(RulesTrouble) as trouble:
        Yara(tmp_path, 10)
    assert [error.partition(": ")[0] for error in trouble.value.errors] == [f"{tmp_path}/a.yar", f"{tmp_path}/b.yar"]


async def test_own_rules(tmp_path: Path) -> None:
    """A site's own rule file is all it takes."""
    (tmp_path / "own.yar").write_text('rule Own { strings: $a = "forbidden" condition: $a }')
    assert (await Yara(tmp_path, 10).scan(mail(b"forbidden").message)).signature == "Own"


async def test_ping(yara: Yara) -> None:
    """An operator sees how many rules there are."""
    assert (await yara.ping()).endswith(", 2 rules")
