"""The FastCGI listener on real sockets: what is answered, who is closed, how it ends."""

import asyncio
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest
import uvloop

from authgate.credentials import Credentials
from authgate.credentials.basic import BasicVerifier
from authgate.credentials.passwords import Passwords
from authgate.credentials.session import KIND, Sessions, decode
from authgate.handlers import Handlers
from authgate.model import AccessRequest, Decision, allow
from authgate.pdp import Pdp
from authgate.protocols.authorizer import Authorizer
from authgate.protocols.fastcgi import MAX_CONNECTIONS, Asked
from authgate.server.fastcgi import FastcgiServer
from authgate.stores.cache import CachedRecords
from authgate.stores.memory import MemoryStore
from tests import fastcgi, servers
from tests.clock import MovableClock
from tests.credentials.people import logins, users
from tests.policies import SITES, compiled

SECRET = "0123456789abcdef0123456789abcdef"
USUAL: Mapping[str, str] = {
    "AG_SECRET": SECRET,
    "AG_PATH": "/public/x",
    "SERVER_NAME": "files.example.com",
    "REQUEST_METHOD": "GET",
    "REQUEST_SCHEME": "https",
    "REMOTE_ADDR": "192.0.2.1",
}
SLOW = {**USUAL, "AG_PATH": "/slow/x"}
QUESTION = fastcgi.question(USUAL)
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Broken(Authorizer):
    """An authorizer with a defect."""

    def ask(self, asked: Asked) -> bytes:
        raise ValueError("torn")


class House:
    """A server; rules below /slow/ are decided when the test lets them be."""

    def __init__(self, folder: Path, kind: type[Authorizer] = Authorizer) -> None:
        self.asked = asyncio.Semaphore(0)
        self.may_answer = asyncio.Event()
        self.listening = asyncio.Event()
        clock = MovableClock()
        people = users(folder, "", "")
        store = MemoryStore(clock)
        sessions = Sessions(CachedRecords(store, KIND, decode, 10), store, people, 60, 600, clock)
        credentials = Credentials(sessions, BasicVerifier(people, logins(people, Passwords(people)), clock))
        policy = compiled(
            {"paths": ["/public/**"], "allow": ["anyone"]}, {"paths": ["/slow/**"], "allow": ["handler:site::slow"]}
        )
        pdp = Pdp(policy, SITES, credentials, Handlers({"site::slow": self._slow}))
        self.server = FastcgiServer(kind(pdp, "files", clock, SECRET.encode()), self.listening.set)
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.socket.setblocking(False)

    async def _slow(self, _: AccessRequest) -> Decision:
        self.asked.release()
        await self.may_answer.wait()
        return allow()

    async def start(self) -> "asyncio.Task[None]":
        # The parent's copy stays open, as it does beside the workers.
        serving = asyncio.create_task(self.server.serve([self.socket.dup()]))
        await self.listening.wait()
        return serving

    async def connect(self) -> Stream:
        return await asyncio.open_connection(*self.socket.getsockname())

    async def ask(self, data: bytes = QUESTION) -> fastcgi.Reply:
        """Ask on a connection of its own, and read until it is closed."""
        stream = await self.connect()
        stream[1].write(data)
        return fastcgi.reply(await rest(stream))


async def rest(stream: Stream) -> bytes:
    """Return all that comes until the connection is closed."""
    try:
        return await stream[0].read()
    finally:
        stream[1].close()


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., None]:
    def run(story: Callable[[House], Awaitable[None]], kind: type[Authorizer] = Authorizer) -> None:
        async def tell() -> None:
            house = House(tmp_path, kind)
            with closing(house.socket):
                serving = await house.start()
                await asyncio.wait_for(story(house), 20)
                house.server.leave()
                await asyncio.wait_for(serving, 20)

        # As in a worker.
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(tell())

    return run


def test_question_is_answered_and_the_connection_closed(run: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        assert (await house.ask()).status == 200
        assert (await house.ask(fastcgi.question({**USUAL, "AG_SECRET": "wrong"}))).status == 403

    run(story)


def test_question_may_come_byte_by_byte(run: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        stream = await house.connect()
        for at in range(len(QUESTION)):
            stream[1].write(QUESTION[at : at + 1])
            await asyncio.sleep(0)

        assert fastcgi.reply(await rest(stream)).status == 200

    run(story)


def test_connection_is_kept_where_that_is_wished(run: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        reader, writer = await house.connect()
        for number in (1, 2, 1):
            writer.write(fastcgi.question(USUAL, number, keep=True))
            stdout = await reader.readexactly(8)
            length = struct.unpack(">BBHHBB", stdout)[3]
            answer = stdout + await reader.readexactly(length + 24)
            assert fastcgi.reply(answer, number).status == 200
        writer.write(QUESTION)

        assert fastcgi.reply(await rest((reader, writer))).status == 200

    run(story)


GARBAGE = {
    "HTTP": b"GET /check HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303"),
    "noughts": bytes(64),
    "wrong version": fastcgi.record(1, 1, bytes(8), version=2),
    "an answer": fastcgi.record(6, 1, b"Status: 200\r\n\r\n"),
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_garbage_ends_the_connection(run: Callable[..., None], data: bytes) -> None:
    async def story(house: House) -> None:
        stream = await house.connect()
        stream[1].write(data)

        assert await rest(stream) == b""

    run(story)


BEGUN = {
    "garbage": fastcgi.begin() + b"\xff" * 8,
    "begun twice": fastcgi.begin() + fastcgi.begin(),
    "parameters without end": fastcgi.question({"A": "x" * (1 << 20)}),
    "lying lengths": fastcgi.begin() + fastcgi.record(4, 1, b"\x7f\x7f") + fastcgi.record(4, 1),
    "lying lengths of four bytes": fastcgi.begin() + fastcgi.record(4, 1, b"\xff" * 8) + fastcgi.record(4, 1),
    "64 KiB of parameters": fastcgi.question({**USUAL, "HTTP_COOKIE": "x" * 65536}),
    "abort": fastcgi.begin() + fastcgi.record(2, 1),
}


@pytest.mark.parametrize("data", BEGUN.values(), ids=BEGUN)
def test_request_that_has_begun_ends_with_a_whole_refusal(run: Callable[..., None], data: bytes) -> None:
    async def story(house: House) -> None:
        assert (await house.ask(data)).status == 403

    run(story)


@pytest.mark.parametrize("length", [1, 8, 20, len(QUESTION) - 1])
def test_truncated_question_ends_with_a_refusal_or_nothing(run: Callable[..., None], length: int) -> None:
    async def story(house: House) -> None:
        stream = await house.connect()
        stream[1].write(QUESTION[:length])
        stream[1].write_eof()
        answer = await rest(stream)

        assert fastcgi.reply(answer).status == 403 if length >= 16 else answer == b""

    run(story)


def test_half_closed_connection_gets_its_answer(run: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        quick, slow = await house.connect(), await house.connect()
        for stream, question in ((quick, QUESTION), (slow, fastcgi.question(SLOW, keep=True))):
            stream[1].write(question)
            stream[1].write_eof()
        await house.asked.acquire()
        await asyncio.sleep(0)
        house.may_answer.set()

        assert fastcgi.reply(await rest(quick)).status == 200
        assert fastcgi.reply(await rest(slow)).status == 200

    run(story)


def test_another_role_is_refused_as_the_specification_says(run: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        stream = await house.connect()
        stream[1].write(fastcgi.begin(role=fastcgi.RESPONDER))

        (end,) = fastcgi.records(await rest(stream))
        assert (end.kind, end.content[4]) == (fastcgi.END, fastcgi.UNKNOWN_ROLE)

    run(story)


def test_values_unknown_types_and_a_second_request_are_answered_meanwhile(run: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        stream = await house.connect()
        stream[1].write(fastcgi.question(SLOW))
        await house.asked.acquire()
        stream[1].write(
            fastcgi.record(9, 0, fastcgi.encoded({"FCGI_MPXS_CONNS": ""}))
            + fastcgi.record(77, 0)
            + fastcgi.question(USUAL, 2)
        )
        ahead = await stream[0].readexactly(8 + 18 + 16 + 16)
        house.may_answer.set()

        values, unknown, end = fastcgi.records(ahead)
        assert values == (fastcgi.VALUES, 0, fastcgi.encoded({"FCGI_MPXS_CONNS": "0"}))
        assert unknown == (fastcgi.UNKNOWN, 0, b"\x4d" + bytes(7))
        assert (end.kind, end.id, end.content[4]) == (fastcgi.END, 2, fastcgi.CANT_MULTIPLEX)
        assert fastcgi.reply(await rest(stream)).status == 200

    run(story)


@pytest.mark.parametrize("at_once", [True, False])
def test_aborted_request_ends_before_its_decision(run: Callable[..., None], at_once: bool) -> None:
    async def story(house: House) -> None:
        stream = await house.connect()
        stream[1].write(fastcgi.question(SLOW) + fastcgi.record(2, 1) * at_once)
        if not at_once:
            await house.asked.acquire()
            stream[1].write(fastcgi.record(2, 1))

        assert fastcgi.reply(await rest(stream)).status == 403

    run(story)


def test_peer_that_goes_away_ends_its_decision(run: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        before = asyncio.all_tasks()
        stream = await house.connect()
        stream[1].write(fastcgi.question(SLOW))
        await house.asked.acquire()

        stream[1].transport.abort()
        while asyncio.all_tasks() - before:  # noqa: ASYNC110 - the task is the server's own
            await asyncio.sleep(0)

        assert (await house.ask()).status == 200

    run(story)


def test_decision_that_fails_is_a_whole_refusal(run: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    async def story(house: House) -> None:
        reply = await house.ask()

        assert reply == (403, {"Cache-Control": "no-store"})

    run(story, Broken)
    assert "a question of the web server failed" in caplog.text
    assert "torn" in caplog.text


def test_decision_that_takes_too_long_is_a_whole_refusal(run: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        assert (await house.ask(fastcgi.question(SLOW))).status == 403

    run(story)


def test_slow_sender_is_refused_in_time(run: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("authgate.server.fastcgi.ARRIVAL", 0.2)

    async def story(house: House) -> None:
        idle, slow = await house.connect(), await house.connect()
        slow[1].write(QUESTION[:-1])

        assert await rest(idle) == b""
        assert fastcgi.reply(await rest(slow)).status == 403

    run(story)


def test_slow_sender_has_its_time_in_all_and_not_for_each_byte(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("authgate.server.fastcgi.ARRIVAL", 0.2)

    async def story(house: House) -> None:
        reader, writer = await house.connect()
        writer.write(fastcgi.begin())
        answer = asyncio.create_task(reader.read())
        while not answer.done():
            writer.write(fastcgi.record(4, 1, b"x"))
            await asyncio.wait([answer], timeout=0.02)

        assert fastcgi.reply(answer.result()).status == 403
        writer.close()

    run(story)


def test_who_does_not_read_is_cut_off(run: Callable[..., None]) -> None:
    async def flood(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(fastcgi.record(77, 0) * 100_000)
            await writer.drain()

    async def story(house: House) -> None:
        _, writer = await asyncio.open_connection(*house.socket.getsockname(), limit=1)
        with pytest.raises(ConnectionError):
            await flood(writer)
        writer.close()

        assert (await house.ask()).status == 200

    run(story)


def test_thousand_idle_connections_keep_nobody_out(run: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        deciding = await house.connect()
        deciding[1].write(fastcgi.question(SLOW))
        await house.asked.acquire()
        idle = [await house.connect() for _ in range(1000)]

        assert (await house.ask()).status == 200

        house.may_answer.set()
        assert fastcgi.reply(await rest(deciding)).status == 200
        # The oldest made room.
        assert [await rest(stream) for stream in idle[: 1000 - MAX_CONNECTIONS]] == [b""] * (1000 - MAX_CONNECTIONS)
        for _, writer in idle:
            writer.close()

    run(story)


def test_what_was_accepted_is_answered_at_the_end(run: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        fresh, deciding, kept = [await house.connect() for _ in range(3)]
        kept[1].write(fastcgi.question(USUAL, keep=True))
        await kept[0].readexactly(8)
        deciding[1].write(fastcgi.question(SLOW, keep=True))
        await house.asked.acquire()

        house.server.leave()
        await asyncio.sleep(0.3)
        fresh[1].write(fastcgi.question(USUAL, keep=True))
        assert fastcgi.reply(await rest(fresh)).status == 200
        house.may_answer.set()
        assert fastcgi.reply(await rest(deciding)).status == 200
        kept[1].close()

    run(story)


def test_nothing_is_accepted_after_the_end_has_begun(run: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        silent = await house.connect()
        house.server.leave()
        await asyncio.sleep(0.1)
        later = await house.connect()
        later[1].write(QUESTION)

        # Closed when it has not asked for a second; the other waits in the queue for whoever accepts next.
        assert await rest(silent) == b""
        assert not later[0].at_eof()
        later[1].close()

    run(story)


# The service


@pytest.fixture
def folder() -> Iterator[Path]:
    with servers.open_folder() as made:
        secret = made / "secret"
        secret.touch(0o600)
        secret.write_text(SECRET)
        yield made


def configure(folder: Path, port: int, *, rule: str = "first", address: str = "127.0.0.1") -> Path:
    config = folder / "authgate.toml"
    config.write_text(
        '[[sites]]\norigin = "https://files.example.com"\n'
        f'[listen]\nfastcgi = "{address}:{port}"\nfastcgi_secret_file = "secret"\n'
        f'[[rules]]\nname = "{rule}"\npaths = ["/**"]\nallow = ["anyone"]\n'
    )
    return config


def ask(port: int, data: bytes = QUESTION, address: str = "127.0.0.1") -> fastcgi.Reply:
    with socket.create_connection((address.strip("[]"), port), timeout=servers.DEADLINE) as connection:
        connection.sendall(data)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return fastcgi.reply(answer)


@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]"])
def test_service_listens_on_its_port(folder: Path, address: str) -> None:
    port = servers.free_port()

    with servers.authgate(configure(folder, port, address=address)):
        assert ask(port, address=address).status == 200


def test_reload_loses_no_question_and_another_port_waits_for_the_next_start(folder: Path) -> None:
    port = servers.free_port()
    config = configure(folder, port)
    with servers.authgate(config) as server:
        configure(folder, servers.free_port(), rule="second")
        server.process.send_signal(1)
        rules = []
        while "second" not in rules:
            reply = ask(port)
            assert reply.status == 200
            rules.append(reply.headers["Variable-AUTHGATE_RULE"])
        servers.eventually(lambda: "listen.fastcgi" in server.text(), "it says so", server)

        assert "not in force before the next start: listen.fastcgi" in server.text()


def test_thousand_idle_connections_do_not_hurt_the_service(folder: Path) -> None:
    port = servers.free_port()
    with servers.authgate(configure(folder, port)) as server, ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=servers.DEADLINE))

        assert ask(port).status == 200
        transport = httpx.HTTPTransport(uds=str(folder / "run" / "check.sock"))
        with httpx.Client(transport=transport) as client:
            assert client.get("http://authgate/check").status_code == 403
        assert server.process.poll() is None


def test_port_in_use_is_refused_at_start(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "authgate", "serve", "--config", str(configure(folder, port))]
        with servers.child(command, folder / "log") as server:
            assert server.process.wait(servers.DEADLINE) == 2
            assert f"authgate.toml: listen.fastcgi: cannot listen on 127.0.0.1:{port}: address already" in server.text()
    assert not (folder / "run" / "check.sock").exists()


def test_port_of_systemd_is_taken(folder: Path) -> None:
    port = servers.free_port()
    activate = servers.require("systemd-socket-activate")
    command = [activate, "-l", f"127.0.0.1:{port}", "-E", f"PYTHONPATH={servers.PACKAGE_ROOT}"]
    command += [sys.executable, "-m", "authgate", "serve", "--config", str(configure(folder, port))]
    with servers.child(command, folder / "log") as server:
        servers.eventually(lambda: servers.listens(port), "it listens", server)

        assert ask(port).status == 200
        assert server.stop() == 0
