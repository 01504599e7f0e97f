"""One SMTP reply."""

import pytest

from backupmx.mail.reply import Reply


def test_the_two_codes_agree() -> None:
    """A 451 never carries 5.x.x."""
    with pytest.raises(ValueError, match="disagree"):
        Reply(451, "5.7.1", "no")


def test_text_is_one_line() -> None:
    """CR, LF and control bytes from captures become question marks."""
    assert str(Reply(550, "5.7.1", "a\r\n250 ok\x00")) == "550 5.7.1 a??250 ok?"


@pytest.mark.parametrize(
    ("code", "lines", "reply"),
    [
        (250, ["2.0.0 Ok: queued"], Reply(250, "2.0.0", "Ok: queued")),
        (450, ["4.2.1 busy", "4.2.1 really"], Reply(450, "4.2.1", "busy 4.2.1 really")),
        (550, ["no such user"], Reply(550, "", "no such user")),
        (550, ["4.1.1 odd"], Reply(550, "", "4.1.1 odd")),
        (250, [""], Reply(250, "", "")),
        (250, ["2.0.0"], Reply(250, "2.0.0", "")),
    ],
)
def test_what_a_peer_says(code: int, lines: list[str], reply: Reply) -> None:
    """The enhanced code is taken out where it fits, and left in the text where it does not."""
    assert Reply.from_peer(code, lines) == reply


def test_a_line_is_as_long_as_a_client_expects() -> None:
    """512 octets with CR LF, whatever address or rule stands in it; no character is cut in two."""
    assert len(Reply(554, "5.7.1", "x" * 600).encode()) == 510
    cut = Reply(554, "5.7.1", "x" + "\N{HIRAGANA LETTER A}" * 300).encode()
    assert 506 < len(cut) <= 510
    assert cut.decode().endswith("\N{HIRAGANA LETTER A}")


def test_terminal_controls_beyond_ascii() -> None:
    """U+009B begins a terminal's escape sequence as well as ESC [ does, U+2028 ends a line for some."""
    assert Reply(554, "5.7.1", "a\x9b2Jb\x85c\u2028d").text == "a?2Jb?c?d"
