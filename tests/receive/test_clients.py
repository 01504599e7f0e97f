"""Real clients: swaks and Postfix's smtp-source, against a real door."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest
import trustme

from backupmx.net.tls import ServerTls
from tests.receive.doors import running

pytestmark = pytest.mark.neighbours


def program(name: str) -> str:
    """Its path; skips the test where it is not installed."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        if os.environ.get("BACKUPMX_NEIGHBOURS") == "required":
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed")
    return found


async def run(*command: str) -> str:
    """What it prints; it must succeed."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_swaks_over_tls_with_pipelining(tmp_path: Path) -> None:
    """EHLO, STARTTLS, a pipelined transaction with a refused recipient, and an attachment."""
    chain, attached = tmp_path / "chain.pem", tmp_path / "attached.bin"
    trustme.CA().issue_cert("mx2.example.net").private_key_and_cert_chain_pem.write_to_path(str(chain))
    attached.write_bytes(bytes(range(256)) * 400)
    async with running(tls=ServerTls([chain])) as door:
        said = await run(
            program("swaks"), "--server", "127.0.0.1", "--port", str(door.port), "--ehlo", "client.example",
            "--from", "<>", "--to", "user@example.jp,nobody@elsewhere.example", "--tls", "--pipeline",
            "--header", "Subject: swaks", "--attach", f"@{attached}",
        )  # fmt: skip
    assert "=== TLS started with cipher TLSv1.3" in said
    assert "554 5.7.1 <nobody@elsewhere.example>: Relay access denied" in said
    (taken,) = door.recorder.messages
    assert taken.envelope.sender == ""
    assert taken.envelope.addresses == ("user@example.jp",)
    assert taken.client.with_protocol == "ESMTPS"
    assert b"Subject: swaks\r\n" in taken.content
    assert len(taken.content) > 100_000


@pytest.mark.parametrize("how", [["-d"], []])
async def test_smtp_source(how: list[str]) -> None:
    """Twenty sessions at once, a connection for each message or kept ones: every message arrives once."""
    async with running() as door:
        await run(
            program("smtp-source"), "-s", "20", "-m", "200", *how, "-l", "4096", "-N", "-r", "2",
            "-M", "client.example", "-f", "a@b.example", "-t", "user@example.jp", f"127.0.0.1:{door.port}",
        )  # fmt: skip
        await door.gone()
    assert len(door.recorder.messages) == 200
    assert len({taken.queue_id for taken in door.recorder.messages}) == 200
    assert {len(taken.envelope.recipients) for taken in door.recorder.messages} == {2}
    assert len({taken.content for taken in door.recorder.messages}) == 200
