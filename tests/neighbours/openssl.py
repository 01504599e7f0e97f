"""openssl: a client's TLS by libssl itself, for what Python's ssl cannot say: KeyUpdate."""

import ctypes
import ctypes.util
import socket
from contextlib import suppress

_Pointer = ctypes.c_void_p
_UPDATE_REQUESTED = 1


class Talk:
    """STARTTLS is done; what is sent and read goes through TLS 1.3.  Raises OSError where there is no libssl."""

    def __init__(self, port: int) -> None:
        self._library = library = ctypes.CDLL(ctypes.util.find_library("ssl") or "libssl.so.3")
        for name in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
            getattr(library, name).restype = _Pointer
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        with self.socket.makefile("rb") as said:
            said.readline()
            self.socket.sendall(b"HELO client.example\r\nSTARTTLS\r\n")
            assert [said.readline()[:3], said.readline()[:3]] == [b"250", b"220"]
        self.socket.settimeout(None)  # libssl reads the descriptor itself, and takes it to block
        self._connection = _Pointer(
            library.SSL_new(_Pointer(library.SSL_CTX_new(_Pointer(library.TLS_client_method()))))
        )
        library.SSL_set_fd(self._connection, self.socket.fileno())
        assert library.SSL_connect(self._connection) == 1

    def new_keys(self) -> bool:
        """A KeyUpdate that asks for one.  -> whether it could be sent"""
        sent = self._library.SSL_key_update(self._connection, _UPDATE_REQUESTED) == 1
        return sent and self._library.SSL_do_handshake(self._connection) == 1

    def say(self, line: bytes) -> bytes:
        """-> the reply; b"": the connection is gone."""
        self._library.SSL_write(self._connection, line, len(line))
        buffer = ctypes.create_string_buffer(4096)
        length = self._library.SSL_read(self._connection, buffer, 4096)
        return buffer.raw[: max(0, length)]

    def close(self) -> None:
        with suppress(OSError):
            self.socket.close()
