"""aiosmtpd's own tests, as its package brings them, against our session: aiosmtpd_suite.py puts it in."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SUITES = [f"aiosmtpd.tests.{name}" for name in ("test_smtp", "test_starttls", "test_smtpsmuggling")]
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_their_suite(tmp_path: Path) -> None:
    """Whoever knows aiosmtpd finds its reply codes here, but for those whose reason is written down."""
    arguments = ["-q", "-c", "/dev/null", "--rootdir", str(tmp_path), "--timeout=30", "--tb=short", "-W", "ignore"]
    plugins = [*(f"-pno:{name}" for name in ("randomly", "xdist", "cacheprovider")), "-ptests.receive.aiosmtpd_suite"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, *plugins, "--pyargs", *SUITES],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    said = done.stdout[-6000:] + done.stderr[-2000:]
    assert done.returncode == 0, said
    passed = re.search(r"(\d+) passed", said)
    assert passed, said
    assert int(passed[1]) >= 150, said  # so many of 1.4.6's apply
