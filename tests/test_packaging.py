"""What is shipped: a wheel and a source archive with everything a host needs, and they work."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`python -m build` of what git has; without a network: setuptools is here already."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    subprocess.run(["tar", "cf", str(tree / "x.tar"), "-T", "-"], cwd=ROOT, input=names, text=True, check=True)
    subprocess.run(["tar", "xf", "x.tar"], cwd=tree, check=True)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out)], cwd=tree, capture_output=True,
        text=True, timeout=110, env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return out


@pytest.mark.slow
def test_wheel(built: Path) -> None:
    """The wheel has the policy, the tables, the man pages and the services' files."""
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for path in (
        "backupmx/policy/header_checks", "backupmx/policy/backupmx.toml", "backupmx/policy/yara/eicar.yar",
        "backupmx/policy/samples/gtube.eml", "backupmx/queue/schema.sql", "backupmx/py.typed",
        "share/man/man1/backupmx.1", "share/man/man5/backupmx.toml.5", "share/backupmx/systemd-freebsd/rc.d/backupmx",
    ):  # fmt: skip
        assert any(name.endswith(path) for name in names), path
    assert not any("tests/" in name for name in names)


@pytest.mark.slow
def test_source(built: Path) -> None:
    """The source archive has what the wheel is built from."""
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert {"backupmx/policy/header_checks", "man/backupmx.1", "README.ja.md", "LICENSE", "pyproject.toml"} <= names


@pytest.mark.slow
def test_demo_of_the_wheel(built: Path, tmp_path: Path) -> None:
    """What the wheel installs runs the demo, far from any checkout."""
    (wheel,) = built.glob("*.whl")
    place = tmp_path / "installed"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", place, wheel],
        check=True, timeout=100,
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "backupmx", "demo", "--port", "0"], cwd=tmp_path, capture_output=True, text=True,
        timeout=110, env={**os.environ, "PYTHONPATH": str(place)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert done.stdout.splitlines()[-1].endswith("steps as expected")
