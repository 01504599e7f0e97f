"""The page beside a running appliance: it comes and goes, the mail does not mind."""

import json
import smtplib
import socket
import threading
import urllib.error
import urllib.request

from tests.journeys.appliance import HOSTNAME, Appliance, bound_to, kill
from tests.journeys.conftest import Serve
from tests.journeys.patience import eventually
from tests.neighbours.unbound import free_port

MESSAGE = b"Subject: hello\r\n\r\nHello.\r\n"


def _ask(appliance: Appliance, port: int, path: str, body: object = None) -> tuple[int, str]:
    token = appliance.cli("page", "token").stdout.strip()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def _send(appliance: Appliance) -> None:
    with smtplib.SMTP("127.0.0.1", appliance.port) as client:
        client.sendmail("sender@sender.test", ["anna@example.jp"], MESSAGE)


def test_the_page_shows_and_does_what_the_commands_do(serve: Serve) -> None:
    """A message that waits is seen, held by the API, and the command line says so."""
    port = free_port()
    appliance = serve(bound_to(["example.jp"], free_port()), admin={"listen": f"127.0.0.1:{port}"})
    appliance.logged("started: page on")
    _send(appliance)
    (waiting,) = json.loads(_ask(appliance, port, "/api/messages")[1])["messages"]
    id = waiting["queue_id"]
    held = eventually(lambda: (said := _ask(appliance, port, f"/api/messages/{id}/hold", {}))[0] == 200 and said)
    assert json.loads(held[1]) == {"changed": 1}
    assert [one["queue_name"] for one in appliance.queue()] == ["hold"]
    appliance.logged(rf"backupmx/page\[\d+\]: operator: hold {id}: 1 recipient")
    assert json.loads(_ask(appliance, port, "/api/status")[1])["hostname"] == HOSTNAME
    assert _ask(appliance, port, "/healthz") == (200, "ok\n")
    assert "backupmx_queue_recipients{next_hop=" in _ask(appliance, port, "/metrics")[1]
    assert appliance.stop() == 0


def test_the_page_dies_and_comes_again(serve: Serve) -> None:
    """kill -9 of its process: mail is taken meanwhile, another one takes its place, and sessions with it."""
    port = free_port()
    appliance = serve(bound_to(["example.jp"], free_port()), admin={"listen": f"127.0.0.1:{port}"})
    appliance.logged("started: page on")
    kill(appliance.child("page"))
    _send(appliance)
    eventually(lambda: appliance.log.count("started: page on") == 2)
    assert len(json.loads(_ask(appliance, port, "/api/messages")[1])["messages"]) == 1


def test_a_reload_brings_a_page_and_takes_it(serve: Serve) -> None:
    """An appliance that began without one has one after a reload that says where, and none after the next."""
    port = free_port()
    appliance = serve(bound_to(["example.jp"], free_port()))
    assert "page" not in appliance.log
    appliance.settings = {**appliance.settings, "admin": {"listen": f"127.0.0.1:{port}"}}
    appliance.write()
    appliance.reload()
    eventually(lambda: "started: page on" in appliance.log)
    assert _ask(appliance, port, "/healthz")[0] == 200
    appliance.settings = {**appliance.settings, "admin": {"listen": ""}}
    appliance.write()
    appliance.reload()
    eventually(lambda: _refuses(port))
    assert appliance.stop() == 0


def _refuses(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) != 0


def test_a_port_that_is_taken_keeps_no_mail_out(serve: Serve) -> None:
    """The page says why it is not there; mail is taken; a reload with another port brings it."""
    port = free_port()
    appliance = serve(bound_to(["example.jp"], free_port()), started=False)
    appliance.settings = {**appliance.settings, "admin": {"listen": f"127.0.0.1:{appliance.port}"}}
    appliance.write()
    appliance.start()
    appliance.logged("no page: .*Address already in use")
    _send(appliance)
    appliance.settings = {**appliance.settings, "admin": {"listen": f"127.0.0.1:{port}"}}
    appliance.write()
    appliance.reload()
    appliance.logged(f"started: page on 127.0.0.1:{port}")
    assert len(json.loads(_ask(appliance, port, "/api/messages")[1])["messages"]) == 1


def test_hostile_mail_through_the_door(serve: Serve) -> None:
    """What strangers wrote into envelope and header is text on the page, as it came over the wire."""
    port = free_port()
    appliance = serve(bound_to(["example.jp"], free_port()), admin={"listen": f"127.0.0.1:{port}"})
    appliance.logged("started: page on")
    subject = b"Subject: </pre><script>alert(1)</script>\x1b[2J\x9b\r\n"
    hostile = subject + b'From: "<img src=x onerror=alert(2)>" <a@b.example>\r\n\r\nx\r\n'
    with smtplib.SMTP("127.0.0.1", appliance.port) as client:
        client.sendmail('"<svg onload=alert(3)>"@sender.test', ["anna@example.jp"], hostile)
    (waiting,) = json.loads(_ask(appliance, port, "/api/messages")[1])["messages"]
    for path in ("/queue", f"/message/{waiting['queue_id']}", "/trace?word=anna@example.jp"):
        status, text = _ask(appliance, port, path)
        assert status == 200
        assert not [bad for bad in ("<script>", "<img", "<svg onload", "\x1b", "\x9b") if bad in text]
    assert "&lt;script&gt;alert(1)" in _ask(appliance, port, f"/message/{waiting['queue_id']}")[1]


def test_a_page_that_is_killed_while_it_does_something(serve: Serve) -> None:
    """Each deed that was answered is done, at most one more is, and the queue is sound."""
    port = free_port()
    appliance = serve(bound_to(["example.jp"], free_port()), admin={"listen": f"127.0.0.1:{port}"})
    appliance.logged("started: page on")
    for _ in range(30):
        _send(appliance)
    token = appliance.cli("page", "token").stdout.strip()
    ids = [one["queue_id"] for one in json.loads(_ask(appliance, port, "/api/messages")[1])["messages"]]
    answered = 0
    for n, id in enumerate(ids):
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/api/messages/{id}/hold", b"{}", headers)
        if n == 10:
            threading.Timer(0.002, kill, [appliance.child("page")]).start()
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                answered += answer.status == 200
        except OSError:
            pass  # it is gone, or this message is just being tried
    held = sum(one["queue_name"] == "hold" for one in appliance.queue())
    assert answered <= held <= answered + 1
    assert appliance.cli("queue", "check").stdout.strip() == "The queue is sound."
