"""Clients that do more than one thing, and the `.http` files that describe them."""

import asyncio
import json
import textwrap

import asyncpg
import pytest
from click.testing import CliRunner
from deskbook.races import AsyncpgGate, explore, get, in_sequence, post, replay, stream, websocket
from deskbook.races._subject.http_files import read_http_file
from deskbook.races.commands import explore as explore_command
from fastapi import FastAPI, HTTPException, Request, Response, WebSocketDisconnect
from fastapi import WebSocket as Socket
from fastapi.responses import StreamingResponse

SHOP = """
    import asyncio
    from fastapi import FastAPI, Header, HTTPException, Response

    stock = {"a": 1}
    users = {}

    app = FastAPI()

    @app.post("/register/{name}")
    async def register(name: str):
        if name in users:
            raise HTTPException(409)
        users[name] = f"token-{name}"
        return {"token": users[name]}

    @app.post("/login/{name}")
    async def login(name: str):
        return {"user": {"token": users[name], "roles": ["buyer"]}}

    @app.post("/buy")
    async def buy(order: dict, authorization: str = Header()):
        if authorization.removeprefix("Bearer ") not in users.values():
            raise HTTPException(401)
        if stock["a"] < order["amount"]:
            raise HTTPException(409)
        await asyncio.sleep(GAP)
        stock["a"] -= order["amount"]
        return {"left": stock["a"]}

    def create_app():
        stock["a"] = 1
        users.clear()
        return app

    def never_negative(app, answers):
        assert stock["a"] >= 0, f"{stock['a']} are left"
"""

CLIENT = """
    // as the desk sends it
    @name = ada
    @order = {"amount": {{amount}}}

    ### log in
    # @name login
    POST http://localhost:8000/login/{{name}} HTTP/1.1

    ###
    POST /buy
    # Authorization: Bearer an-old-one
    Authorization: Bearer {{login.response.body.user.token}}
    Content-Type: application/json

    {{order}}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project, and the command started in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    class Project:
        def write(self, name, text):
            (tmp_path / name).write_text(textwrap.dedent(text), encoding="utf-8")

        def explore(self, *arguments):
            for name in ("service", "shared"):
                monkeypatch.delitem(__import__("sys").modules, name, raising=False)
            found = CliRunner().invoke(explore_command, arguments)
            monkeypatch.delitem(__import__("sys").modules, "service", raising=False)
            assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
            return found

    found = Project()
    found.write("A.http", CLIENT)
    found.write("B.http", CLIENT)
    found.write("setup.http", "POST /register/ada\n")
    return found


COMMON = ("A.http", "B.http", "--setup", "setup.http", "--var", "amount=1")


def test_an_application_of_a_module_is_explored_with_a_login_and_a_set_up(project):
    project.write("service.py", SHOP.replace("GAP", "0.01"))
    found = project.explore("service:app", *COMMON)
    assert found.exit_code == 1, found.output
    assert 'then 200 {"left":-1}' in found.output
    assert "A then B: A: 200" in found.output


def test_the_same_without_a_gap_is_proven(project):
    project.write("service.py", SHOP.replace("await asyncio.sleep(GAP)", "pass"))
    found = project.explore("service:app", *COMMON)
    assert found.exit_code == 0, found.output
    assert "409" in found.output


def test_a_report_as_json_can_be_read(project):
    project.write("service.py", SHOP.replace("GAP", "0"))
    found = project.explore("service:create_app", *COMMON, "--json", "--invariant", "service:never_negative")
    report = json.loads(found.stdout)
    assert found.exit_code == 1
    assert report["verdict"] == "counterexample"
    assert report["counterexample"]["kind"] == "invariant"
    assert report["answers"]["alone"]["A"].endswith('200 {"left":0}')
    assert report["answers"]["in_order"][0]["order"] == ["A", "B"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("/buy", "/bye"), "no request was accepted in any run: A was answered 404 Not Found"),
        (("Bearer {{login", "Basic {{login"), "no request was accepted in any run: A was answered 401"),
        (("{{name}}", "{{nobody}}"), "{{nobody}} has no value; write `@nobody = ...`"),
        (("body.user.token", "body.user.secret"), "no request was accepted in any run: A was answered with"),
        (("{{login.", "{{signin."), "there is no earlier request 'signin'"),
        (("{{order}}", "< ./missing.json"), "the body is in missing.json, No such file"),
    ],
)
def test_a_file_with_a_mistake_never_ends_with_status_0(project, change, sentence):
    project.write("service.py", SHOP.replace("GAP", "0"))
    for name in ("A.http", "B.http"):
        project.write(name, CLIENT.replace(*change))
    found = project.explore("service:app", *COMMON)
    assert found.exit_code == 2, found.output
    assert sentence in found.output + found.stderr


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("service:nothing", "service has no function 'nothing'"),
        ("service:stock", "service has no function 'stock'"),
        ("shared:app", "importing 'shared' failed: ZeroDivisionError"),
        ("service:no_app", "no_app returned None, which is no ASGI application"),
        ("service:broken_app", "make_app failed at «broken_app: return 1 / 0»: ZeroDivisionError"),
    ],
)
def test_an_application_that_cannot_be_made_is_a_sentence(project, target, sentence):
    more = "\n    def no_app():\n        return None\n\n    def broken_app():\n        return 1 / 0\n"
    project.write("service.py", SHOP.replace("GAP", "0") + more)
    project.write("shared.py", "1 / 0\n")
    found = project.explore(target, *COMMON)
    assert found.exit_code == 2, found.output
    assert sentence in found.output + found.stderr


def test_one_file_twice_and_files_with_numbers_get_letters(project):
    project.write("service.py", SHOP.replace("GAP", "0"))
    project.write("A1.http", CLIENT)
    found = project.explore("service:app", "A1.http", "A1.http", *COMMON[2:])
    assert found.exit_code == 1, found.output
    assert "A is A1.http\nB is A1.http" in found.stderr


def test_a_set_up_that_is_refused_is_told(project):
    project.write("service.py", SHOP.replace("GAP", "0"))
    project.write("setup.http", "POST /registre/ada\n")
    found = project.explore("service:app", *COMMON)
    assert found.exit_code == 2
    assert "request 1 of the set-up was answered 404" in found.output


# Files.


def read(folder, text, **variables):
    path = folder / "A.http"
    path.write_bytes(text.encode())
    return read_http_file(path, variables).encoded


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("\ufeffPOST /pay\r\nContent-Type: application/json\r\n\r\n{}\r\n", b"{}"),
        ('POST /pay\n// old: header\n# no colon\nAccept: a/b\n\n{\n  # cents\n  "n": 1}\n', b'{\n  "n": 1}'),
        ("@n = 7\n\nPOST /pay\n\n{{ n }}", b"7"),
        ("@n = {{m}}1\nPOST /pay\n\n{{n}}", b"31"),
        ("POST /pay\n\n<@ ./body.json", b'{"from": "a file"}'),
        ("POST https://desk.example/pay\n\n< ./body.json\n", b'{"from": "a file"}'),
    ],
)
def test_a_file_is_read_as_editors_write_it(tmp_path, text, content):
    (tmp_path / "body.json").write_bytes('\ufeff{"from": "a file"}'.encode())
    found = read(tmp_path, text, m="3")
    assert (found.method, found.url.path, found.content) == ("POST", "/pay", content)
    assert not any(name.startswith(("#", "/")) for name in found.headers)


# Clients.


def desk():
    app = FastAPI()
    app.state.sockets, app.state.queues = [], []

    @app.post("/login/{name}")
    async def login(name: str):
        return {"token": name}

    @app.post("/me")
    async def me(request: Request):
        await asyncio.sleep(0)
        return request.headers["authorization"]

    @app.websocket("/rooms/{room}")
    async def talk(socket: Socket, room: str):
        await socket.accept()
        app.state.sockets.append(socket)
        try:
            while True:
                text = await socket.receive_text()
                for other in list(app.state.sockets) if room == "right" else app.state.sockets:
                    await other.send_text(text)
        except WebSocketDisconnect:
            app.state.sockets.remove(socket)

    @app.websocket("/closed")
    async def closed(socket: Socket):
        await socket.close(4401)

    @app.get("/events")
    async def events():
        queue = asyncio.Queue()
        app.state.queues.append(queue)

        async def follow():
            try:
                while True:
                    yield f"data: {await queue.get()}\n\n"
            finally:
                app.state.queues.remove(queue)

        return StreamingResponse(follow(), media_type="text/event-stream")

    @app.post("/publish/{text}")
    async def publish(text: str):
        if not app.state.queues:
            raise HTTPException(404)
        for queue in list(app.state.queues):
            queue.put_nowait(text)
        return len(app.state.queues)

    return app


async def test_a_client_uses_what_the_first_answer_said():
    def of(name):
        return in_sequence(
            post(f"/login/{name}"),
            lambda answers: post("/me", headers={"authorization": answers[0].json()["token"]}),
        )

    def own(app, answers):
        return all(given[1].json() == name for name, given in answers.items())

    report = await explore(desk, {"A": of("A"), "B": of("B")}, invariant=own)
    assert report.verdict == "exhausted"


async def test_a_client_keeps_its_cookies():
    def make():
        app = FastAPI()

        @app.post("/login/{name}")
        async def login(name: str):
            response = Response()
            response.set_cookie("session", name)
            return response

        @app.get("/me")
        async def me(request: Request):
            await asyncio.sleep(0)
            return request.cookies.get("session")

        return app

    def own(app, answers):
        return all(given[1].json() == name for name, given in answers.items())

    clients = {name: in_sequence(post(f"/login/{name}"), get("/me")) for name in "AB"}
    assert (await explore(make, clients, invariant=own)).verdict == "exhausted"


@pytest.mark.parametrize(("room", "verdict"), [("wrong", "counterexample"), ("right", "exhausted")])
async def test_sockets_meet_in_a_room(room, verdict):
    def each_heard_itself(app, answers):
        return all(f"I am {name}" in talk.heard for name, talk in answers.items())

    both = {name: websocket(f"/rooms/{room}", send=[f"I am {name}"]) for name in "AB"}
    report = await explore(desk, both, invariant=each_heard_itself, max_seconds=60)
    assert report.verdict == verdict, report


async def test_a_socket_that_is_refused_says_so():
    report = await explore(
        desk,
        {"A": websocket("/closed", headers={"Origin": "https://desk.example"})},
        invariant=lambda app, answers: (answers["A"].is_accepted, answers["A"].close_code) == (False, 4401),
    )
    assert report.verdict == "exhausted"


@pytest.mark.parametrize("send", ["asgi", "httpx"])
async def test_a_reader_of_a_stream_leaves_after_some_events(send):
    two = {"A": stream("/events", leave_after=1), "B": in_sequence(post("/publish/x"), post("/publish/y"))}

    def one_event(app, answers):
        assert not app.state.queues, "the reader is still there"
        return "A" not in answers or answers["A"].text in ("data: x\n\n", "data: y\n\n", "")

    report = await explore(desk, two, invariant=one_event, send=send, max_seconds=30)
    assert report.verdict == "bounded", (
        report
    )  # where nothing is published any more the reader leaves in the end


# Servers.

BANK = """
    import contextlib
    import os
    import asyncpg
    from fastapi import FastAPI, HTTPException

    def create_app():
        @contextlib.asynccontextmanager
        async def lifespan(app):
            async with asyncpg.create_pool(os.environ["BANK_URL"], min_size=2, max_size=2) as app.state.pool:
                yield

        app = FastAPI(lifespan=lifespan)

        @app.post("/register/{name}", status_code=201)
        async def register(name: str):
            async with app.state.pool.acquire() as connection:
                if await connection.fetchval("select 1 from client where name = $1", name):
                    raise HTTPException(409)
                await connection.execute("insert into client (name) values ($1)", name)
            return name

        return app
"""


@pytest.fixture
async def bank(project, postgres_url, monkeypatch):
    """A service at a database, and that database."""
    monkeypatch.setenv("BANK_URL", postgres_url)
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("drop table if exists client; create table client (id serial, name text)")
    project.write("service.py", BANK)
    for name in ("A.http", "B.http"):
        project.write(name, "POST /register/ada\n")
    yield connection
    await connection.execute("drop table client")
    await connection.close()


@pytest.mark.parametrize("reset", ["truncate client", "auto"])
async def test_a_service_at_a_database_is_explored_by_the_command(project, bank, postgres_url, reset):
    arguments = ("service:create_app", "A.http", "B.http", "--database", postgres_url, "--reset", reset)
    found = await asyncio.to_thread(project.explore, *arguments, "--max-seconds", "30")
    assert found.exit_code == 1, found.output
    assert 'A then B: A: 201 "ada"; B: 409' in found.output
    assert "insert into client (name)" in found.output


async def test_a_table_that_holds_rows_is_not_emptied(project, bank, postgres_url):
    await bank.execute("insert into client (name) values ('bob')")
    arguments = ("service:create_app", "A.http", "B.http", "--database", postgres_url, "--reset", "auto")
    found = await asyncio.to_thread(project.explore, *arguments)
    assert found.exit_code == 2
    assert "--reset auto would empty public.client, which holds rows" in found.output
    assert await bank.fetchval("select count(*) from client") == 1


async def test_a_database_that_nobody_puts_back_is_noticed(project, bank, postgres_url):
    arguments = ("service:create_app", "A.http", "B.http", "--database", postgres_url)
    found = await asyncio.to_thread(project.explore, *arguments)
    assert found.exit_code == 2
    assert "no request was accepted" in found.output or "Something outlives a run" in found.output


@pytest.mark.parametrize("schedule", ["A3 B3 A9 B9", "A2 B9 A9"])
@pytest.mark.parametrize("in_a_loop", [False, True])
async def test_a_schedule_at_a_database_is_replayed(postgres_url, schedule, in_a_loop):
    async def make():
        connection = await asyncpg.connect(postgres_url)
        await connection.execute("drop table if exists tally; create table tally (n int)")
        await connection.execute("insert into tally values (0)")
        await connection.close()
        return postgres_url

    async def add(url):
        connection = await asyncpg.connect(url)
        n = await connection.fetchval("select n from tally")
        await connection.execute("update tally set n = $1", n + 1)
        await connection.close()

    async def added_twice(url, answers):
        connection = await asyncpg.connect(url)
        n = await connection.fetchval("select n from tally")
        await connection.close()
        return n == 2

    def run():
        return replay(
            make,
            {"A": add, "B": add},
            schedule=schedule,
            invariant=added_twice,
            gate=AsyncpgGate(postgres_url),
            strict=False,
        )

    found = run() if in_a_loop else await asyncio.to_thread(run)
    assert "update tally set n" in found.recorded.text()
    assert found.failure.kind == ("invariant" if schedule == "A2 B9 A9" else "none"), found.recorded
