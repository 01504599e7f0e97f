"""write: a folder of Postfix' read, and ours written, never over an existing file.

A folder may be a copy: what main.cf calls /usr/local/etc/postfix/transport is looked
for in the folder that was named first, then where it says, then in the folder by its
last name.
"""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backupmx.operate.moving.postfix_cf import DEFAULTS, CfTrouble, Main, Service, parse_main, parse_master
from backupmx.operate.moving.translation import Copy, Translation, configuration

_LARGEST = 256 << 20


@dataclass(frozen=True, slots=True)
class Folder:
    """/etc/postfix, or a copy of it."""

    path: Path

    def main(self, here: str) -> Main:
        """main.cf.  `here`: this machine's name.  Raises OSError."""
        text = self._read(self.path / "main.cf").decode("utf-8", "surrogateescape")
        own = {**DEFAULTS, "config_directory": str(self.path), "myhostname": here}
        try:
            name = parse_main(text, own).get("myhostname")
        except CfTrouble:
            name = here  # translate says what is wrong with it
        return parse_main(text, {**own, "mydomain": name.partition(".")[2] or "localdomain"})

    def services(self) -> tuple[Service, ...]:
        """master.cf; () without one."""
        try:
            return parse_master(self._read(self.path / "master.cf").decode("utf-8", "surrogateescape"))
        except FileNotFoundError:
            return ()

    def read(self, name: str) -> bytes:
        """A file by the path Postfix knows it by.  Raises OSError, that of the path it was known by."""
        trouble: OSError | None = None
        for path in self._places(name):
            try:
                return self._read(path)
            except FileNotFoundError:
                pass
            except OSError as error:
                trouble = trouble or error
        raise trouble or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)

    def _places(self, name: str) -> Iterator[Path]:
        parts = Path(name).parts
        if "postfix" in parts:
            yield self.path.joinpath(*parts[parts.index("postfix") + 1 :])
        yield self.path / name  # an absolute one is itself
        yield self.path / parts[-1] if parts else self.path

    def _read(self, path: Path) -> bytes:
        # What only looks like a file (a pipe, /proc/kmsg) must not keep us waiting.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a file", str(path))
        with open(descriptor, "rb") as file:
            try:
                content: bytes | None = file.read(_LARGEST + 1)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from None
        if content is None or len(content) > _LARGEST:
            raise OSError(errno.EFBIG, "no configuration, or too large for one", str(path))
        return content


def files(translation: Translation, source: Path) -> list[Copy]:
    """Everything to be written."""
    heading = [
        f"backupmx.toml: what {source} says, in our words.",
        "",
        "Written by backupmx init --from-postfix.  Only what differs from the default stands here;",
        "docs/configuration.md has every setting.  What is behind # is where it comes from.",
        "Read by backupmx serve, and again on SIGHUP; before that: backupmx check config.",
    ]
    return [Copy("backupmx.toml", configuration(translation, heading).encode("utf-8", "replace")), *translation.copies]


def write(directory: Path, copy: Copy) -> bool:
    """-> False when a file is there already: it is left as it is.  Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        descriptor = os.open(directory / copy.name, flags, 0o600 if copy.secret else 0o644)
    except FileExistsError:
        return False
    with open(descriptor, "wb") as file:
        file.write(copy.content)
    return True
