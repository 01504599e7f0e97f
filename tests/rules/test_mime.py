"""mime: where headers begin again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.rules.mime import Mime, State, parameters


def opened(value: bytes) -> Mime:
    mime = Mime()
    mime.header(b"content-type", b"Content-Type:" + value)
    mime.blank()
    return mime


@pytest.mark.parametrize(
    ("value", "state"),
    [
        (b" text/plain", State.BODY),
        (b" message/rfc822", State.NESTED),
        (b" MESSAGE/RFC822; x=y", State.NESTED),
        (b" message/global", State.NESTED),
        (b" message/partial", State.BODY),
        (b" message/delivery-status", State.BODY),
        (b' "message"/rfc822', State.BODY),
        (b" (comment) message (again) / rfc822", State.NESTED),
        (b"", State.BODY),
        (b" multipart/mixed; boundary=b", State.BODY),
    ],
)
def test_what_follows_the_header_block(value: bytes, state: State) -> None:
    """Only message/rfc822 and message/global begin with headers at once."""
    assert state is opened(value).state


@pytest.mark.parametrize(
    ("value", "line", "expected"),
    [
        (b" multipart/mixed; boundary=b", b"--b", True),
        (b' multipart/mixed; boundary="a b"', b"--a b", True),
        (b' multipart/mixed; boundary="a \n b"', b"--ab", False),
        (b' multipart/mixed; boundary="a\\"b"', b'--a"b', True),
        (b" multipart/mixed; boundary=b; boundary=c", b"--b", True),
        (b" multipart/mixed; boundary=b", b"--bcruft", True),
        (b" multipart/mixed; boundary=b", b"--B", False),
        (b" multipart/mixed", b"--", False),
        (b' multipart/mixed; boundary=""', b"--", False),
        (b' multipart/mixed; boundary=""', b"--x", True),
        (b" text/plain; boundary=b", b"--b", False),
    ],
)
def test_a_boundary_is_known_by_its_beginning(value: bytes, line: bytes, expected: bool) -> None:
    """What follows it on the line does not matter, its case does; an unfolded blank stays behind the fold."""
    assert expected is opened(value).boundary(line)


def test_a_digest_has_messages_in_its_parts() -> None:
    """Unless a part says it is text."""
    mime = opened(b" multipart/digest; boundary=b")
    mime.boundary(b"--b")
    mime.blank()
    assert State.NESTED is mime.state
    mime.boundary(b"--b")
    mime.header(b"content-type", b"Content-Type: text/plain")
    mime.blank()
    assert State.BODY is mime.state


def test_an_outer_boundary_closes_what_was_open_inside() -> None:
    """A missing end of the inner multipart hides nothing."""
    mime = opened(b" multipart/mixed; boundary=out")
    mime.boundary(b"--out")
    mime.header(b"content-type", b"Content-Type: multipart/mixed; boundary=in")
    mime.blank()
    assert mime.boundary(b"--out--")
    assert (mime.state, mime.searching) == (State.BODY, False)


def test_nesting_has_a_limit() -> None:
    """Postfix takes 102 open boundaries and refuses the next."""
    mime = Mime()
    for n in range(102):
        mime.header(b"content-type", b"Content-Type: multipart/mixed; boundary=b%d" % n)
    assert not mime.too_deep
    mime.header(b"content-type", b"Content-Type: multipart/mixed; boundary=c")
    assert mime.too_deep


def test_disabled_nothing_begins_headers() -> None:
    """disable_mime_input_processing."""
    mime = Mime(enabled=False)
    mime.header(b"content-type", b"Content-Type: message/rfc822")
    mime.blank()
    assert State.BODY is mime.state


@given(st.binary(max_size=200), st.binary(max_size=20))
def test_any_bytes_are_a_content_type(value: bytes, line: bytes) -> None:
    """Whatever stands there: tokens, states, no exception."""
    assert all(len(item) <= 3 for item in parameters(value))
    opened(b" multipart/mixed;" + value).boundary(b"--" + line)
