"""The rule workbench: right, and not to be worn out."""

import time
from pathlib import Path

import pytest

from backupmx.operate.page import trial
from tests.operate.desk import Desk
from tests.operate.page.conftest import Page

MESSAGE = "From: a@b.example\r\nSubject: You have won\r\nX-Spam-Flag: YES\r\n\r\nHello.\r\n"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    made.config.write_text(made.config.read_text() + '[rules]\nheader_checks = "header_checks"\n')
    (tmp_path / "header_checks").write_text("/^X-Spam-Flag: YES/ DISCARD\n")
    return made


async def test_beside_todays(page: Page) -> None:
    """What is pasted is judged as the server would, and as today's rules judge it."""
    async with page.client() as client:
        sent = {"message": MESSAGE, "rules": "/^Subject:.*won/ REJECT no prizes\n/^X-/ IGNORE\n/(/ REJECT\n"}
        said = (await client.post("/api/workbench", json=sent)).json()
    assert (said["differs"], said["trouble"]) == (True, "")
    assert said["yours"]["verdict"].startswith("reject: 550 5.7.1 no prizes")
    assert said["today"]["verdict"].startswith("discard: 250")
    assert said["yours"]["lines"] == ["yours:1: REJECT 5.7.1 no prizes: Subject: You have won"]
    assert "line 3" in said["yours"]["warnings"][0] or ":3" in said["yours"]["warnings"][0]


async def test_in_the_browser(page: Page) -> None:
    """The form starts with today's rules, and shows the answer as text."""
    async with page.browser() as (client, csrf):
        assert "/^X-Spam-Flag: YES/ DISCARD" in (await client.get("/workbench")).text
        form = {
            "csrf": csrf,
            "message": MESSAGE + "<script>alert(1)</script>",
            "rules": "/^Subject/ WARN <img src=x>\n",
        }
        text = (await client.post("/workbench", data=form)).text
        assert (await client.post("/workbench", data={"message": "x"})).status_code == 403
    assert "Judged otherwise than today." in text
    assert "WARN &lt;img src=x&gt;" in text
    assert "<img" not in text
    assert "<script>" not in text


@pytest.mark.parametrize(
    ("message", "rules"),
    [
        ("", ""),
        ("\x00\x01\ud800", "\x00\x01\udfff"),
        ("no header at all", "/(a+)+$/ REJECT"),
        (f"Subject: {'a' * 100_000}!\n\n", "/^Subject: (a+)+$/ REJECT\n" * 300),
        ("\n".join(f"X-{n}: y" for n in range(3_000)), "/^X/ PREPEND Z: z\n" * 3),
        ("Content-Type: multipart/mixed; boundary=b\n\n" + "--b\n" * 100_000, "if /x/\n" * 5000),
        ("Subject: x\n\n", "/^S/ REJECT " + "x" * 1_000_000),
    ],
)
async def test_what_would_wear_it_out(page: Page, message: str, rules: str) -> None:
    """Rubbish, patterns that run away, thousands of headers: an answer, or a word that there is none, in time."""
    began = time.monotonic()
    said = await trial.attempt(page.config, message, rules)
    assert said.yours.verdict or said.trouble
    assert time.monotonic() - began < 60


async def test_one_that_does_not_end(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is killed at the limit, and nothing is left of it."""
    monkeypatch.setattr(trial, "SECONDS", 0.01)
    assert "was stopped" in (await trial.attempt(page.config, MESSAGE, "/x/ REJECT")).trouble


async def test_the_folder_we_stand_in(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies where the appliance was started is never run, and what its environment keeps is not passed on."""
    ran = tmp_path / "ran"
    (tmp_path / "json.py").write_text(f"open({str(ran)!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONSTARTUP", "/none")
    assert (await trial.attempt(page.config, MESSAGE, "/x/ REJECT")).trouble == ""
    assert not ran.exists()


async def test_a_paste_of_100_mb(page: Page) -> None:
    """It is refused before it is read; 4 MiB is the most."""
    async with page.client() as client:
        answer = await client.post("/api/workbench", content=b"x", headers={"content-length": str(100 << 20)})
        large = await client.post("/api/workbench", json={"message": "x" * (4 << 20)})
    assert (answer.status_code, large.status_code) == (413, 413)
