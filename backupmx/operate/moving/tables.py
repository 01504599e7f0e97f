"""Pure.  tables: Postfix's "type:name" tables, and the text files behind them.

    hash:/etc/postfix/transport     the file /etc/postfix/transport, without its .db
    proxy:hash:...                  the same
    pcre:/..., regexp:/..., cidr:/...
    inline:{ key=value, { key = text } }
    static:value                    the same answer to every question
    ldap: mysql: pgsql: sqlite: memcache: tcp: socketmap: unix:    no file to read

Files are read through `Read`, so that a folder copied to another machine is
read there (write.Folder).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from backupmx.operate.moving.postfix_cf import CfTrouble, Main, logical_lines, split
from backupmx.operate.moving.translation import Copy, Translation

Read = Callable[[str], bytes]
"""The content of a file by the path Postfix knows it by.  Raises OSError."""

INDEXED = ("hash", "texthash", "lmdb", "btree", "cdb", "dbm", "sdbm")
ANSWERS = ("ldap", "mysql", "pgsql", "sqlite", "memcache", "tcp", "socketmap")


@dataclass(frozen=True, slots=True)
class Spec:
    kind: str
    """hash, pcre, ldap; "" for a bare path."""
    name: str
    """The path; of inline: what stands in its braces."""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.kind else self.name

    @property
    def indexed(self) -> bool:
        return self.kind in INDEXED


def specs(words: Iterable[str]) -> list[Spec]:
    """Words of a list of tables."""
    return [spec(word) for word in words]


def spec(word: str) -> Spec:
    word = word.removeprefix("proxy:")
    kind, colon, name = word.partition(":")
    if not colon or "/" in kind:
        return Spec("", word)
    return Spec(kind, name[1:-1].strip() if name.startswith("{") and name.endswith("}") else name)


def text_of(table: Spec, read: Read) -> bytes | None:
    """The lines of a table of keys and values; None: it is no such table.  Raises OSError."""
    if table.indexed:
        return read(table.name)
    if table.kind == "inline":
        return "".join(f"{key}\t{value}\n" for key, value in inline(table.name)).encode("utf-8", "surrogateescape")
    return None


def inline(inside: str) -> Iterator[tuple[str, str]]:
    """ "{ a = b c }, d=e" -> ("a", "b c"), ("d", "e")."""
    for word in split(inside):
        key, _, value = word.strip("{}").partition("=")
        if key.strip():
            yield key.strip(), value.strip()


def keys(content: bytes) -> list[str]:
    return [line.split(None, 1)[0] for _, line in logical_lines(content.decode("utf-8", "surrogateescape"))]


def joined(
    found: Translation, main: Main, parameter: str, read: Read, *, why_not: str = "wants a program, not a file"
) -> bytes:
    """The text of all the tables a parameter names that are files.  What is not is said."""
    contents = []
    for table in specs(words(found, main, parameter)):
        try:
            content = text_of(table, read)
        except OSError as error:
            unread(found, f"{parameter} = {table}", table.name, error)
            continue
        if content is None:
            found.leave(f"{parameter} = {table}", f"{table.kind or 'this'}: {why_not}")
        else:
            contents.append(content)
    return end_to_end(contents)


def end_to_end(contents: Iterable[bytes]) -> bytes:
    """Files as one, each ending with its line."""
    return b"".join(content if content.endswith(b"\n") or not content else content + b"\n" for content in contents)


def unread(found: Translation, said: str, name: str, error: OSError) -> None:
    """A file that a setting names and that is not with the others."""
    found.leave(said, f"{name} cannot be read ({error.strerror}): bring it and try again")


def copied(found: Translation, key: str, name: str, content: bytes, origin: str, why: str = "") -> None:
    """A file of ours, and the setting that names it."""
    found.copies.append(Copy(name, content))
    found.take(key, name, origin, why)


def words(found: Translation, main: Main, parameter: str) -> list[str]:
    """A list; trouble is said, and it is empty."""
    return split(value(found, main, parameter))


def value(found: Translation, main: Main, parameter: str) -> str:
    """A value; trouble is said, and it is empty."""
    try:
        return main.get(parameter)
    except CfTrouble as trouble:
        found.leave(parameter, str(trouble))
        return ""


def one_kind(tables: Sequence[Spec], kinds: Iterable[str]) -> str:
    """The kind all of them have; "" when they differ or it is none of these."""
    found = {table.kind for table in tables}
    return found.pop() if len(found) == 1 and found <= set(kinds) else ""
