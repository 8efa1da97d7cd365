"""Whatever an answer does by accident: one sentence, and the next check is right."""

import signal
import subprocess
import sys
import time

import psutil
import pytest
from deskbook.practice.checking.client import Client
from deskbook.practice.learner.submission import submit
from deskbook.practice.learner.verdict_page import verdict_page

LIMIT_S = 1.0

LATE = {
    "an endless loop": "while True: pass",
    "an endless loop in a function": "RIGHT\ndef double(number):\n    while True:\n        pass",
    "a thread that never ends, and is waited for": (
        "import threading, time\n"
        "def spin():\n    while True:\n        time.sleep(0.01)\n"
        "thread = threading.Thread(target=spin)\nthread.start()\nthread.join()"
    ),
    "signals that are blocked": (
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass"
    ),
    "an await that never ends": (
        "RIGHT\nimport asyncio\nasync def double_later(number):\n    await asyncio.Event().wait()"
    ),
    "a lock that is taken twice": "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()",
}

ERRORS = {
    "sys.exit": ("import sys\nsys.exit(0)", "SystemExit"),
    "sys.exit in a function": ("RIGHT\nimport sys\ndef double(number):\n    sys.exit(0)", "SystemExit"),
    "KeyboardInterrupt": ("RIGHT\ndef double(number):\n    raise KeyboardInterrupt", "KeyboardInterrupt"),
    "pytest.skip": ("RIGHT\nimport pytest\ndef double(number):\n    pytest.skip('later')", "Skipped"),
    "pytest.exit": ("RIGHT\nimport pytest\ndef double(number):\n    pytest.exit('done', 0)", "Exit"),
    "os._exit(0)": ("import os\nos._exit(0)", "ended the whole program"),
    "os._exit(0) in a check": (
        "RIGHT\nimport os\ndef double(n):\n    os._exit(0)",
        "ended the whole program",
    ),
    "a crash in C": ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "signal 11"),
    "four gigabytes": ("data = bytearray(4 << 30)", "MemoryError"),
    "four gigabytes in small pieces": ("data = [bytes(1 << 20) for _ in range(4096)]", "MemoryError"),
    "deep recursion": ("def deep():\n    deep()\ndeep()", "RecursionError"),
    "a fork bomb": ("import os\nwhile True:\n    os.fork()", "too many processes"),
    "a replaced function": ("RIGHT\nimport time\ntime.sleep = lambda seconds: None", "replaces `time.sleep`"),
    "a replaced method": (
        "import asyncio\nasyncio.Lock.locked = lambda self: False",
        "`asyncio.Lock.locked`",
    ),
    "a replaced builtin, late": (
        "RIGHT\nimport builtins\ndef double(n):\n    builtins.sorted = list\n    return 2 * n",
        "replaces `sorted`",
    ),
    "input()": ("name = input()", "EOFError"),
    "a syntax error": ("def double(number)\n    return 1", "SyntaxError"),
    "await outside of a function": ("import asyncio\nawait asyncio.sleep(0)", "SyntaxError"),
    "an exit handler that hangs": (
        "import atexit, time\natexit.register(time.sleep, 60)\n1 / 0",
        "ZeroDivisionError",
    ),
    "all descriptors closed": ("import os\nos.closerange(3, 4096)", "ended the whole program"),
}

PASSES = {
    "threads left behind": (
        "RIGHT\nimport threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()"
    ),
    "a child left behind": "RIGHT\nimport subprocess\nsubprocess.Popen(['sleep', '61'])",
    "a child in a session of its own": (
        "RIGHT\nimport subprocess\nsubprocess.Popen(['sleep', '62'], start_new_session=True)"
    ),
    "a fork that goes on": "RIGHT\nimport os\nos.fork()",
    "a fork that dies": "RIGHT\nimport os\nif os.fork() == 0:\n    os.abort()",
    "a closed loop": (
        "RIGHT\nimport asyncio\nloop = asyncio.new_event_loop()\nasyncio.set_event_loop(loop)\nloop.close()"
    ),
    "ten megabytes of output": "RIGHT\nprint('x' * 10_000_000)",
    "closed output": "RIGHT\nimport sys\nsys.stdout.close()\nsys.stderr = None",
    "a module named checks": "RIGHT\nimport sys, types\nsys.modules['checks'] = types.ModuleType('checks')",
    "another folder": "RIGHT\nimport os\nos.chdir('/')",
    "files": "RIGHT\nopen('notes.txt', 'w').write('kept nowhere')",
    "a process pool": (
        "RIGHT\nfrom concurrent.futures import ProcessPoolExecutor\nfrom multiprocessing import get_context\n"
        "def double(number):\n"
        "    with ProcessPoolExecutor(2, mp_context=get_context('fork')) as pool:\n"
        "        return sum(pool.map(abs, [number, number]))"
    ),
}


@pytest.fixture(autouse=True)
def next_check_is_right(judged, right, worker):
    yield
    assert judged(right).state == "passed"
    assert psutil.Process(worker._worker.pid).children(recursive=True) == []


def filled(source, right):
    return source.replace("RIGHT", right)


@pytest.mark.parametrize("source", LATE.values(), ids=LATE)
def test_what_never_ends_is_stopped_in_time(judged, right, source):
    judged(right)
    started = time.monotonic()
    verdict = judged(filled(source, right))
    assert verdict.state == "too slow"
    # A busy machine may add what it took away, twelve seconds at most.
    assert LIMIT_S <= time.monotonic() - started < LIMIT_S + 13
    assert "Stopped: an answer gets 1 s." in str(verdict_page(verdict))


@pytest.mark.parametrize(("source", "sentence"), ERRORS.values(), ids=ERRORS)
def test_what_breaks_is_an_error_in_the_answer(judged, right, source, sentence):
    verdict = judged(filled(source, right))
    assert verdict.state == "error"
    page = verdict_page(verdict)
    assert sentence in str(page)
    assert "/site-packages" not in str(page)
    assert "Traceback" not in str(page)


@pytest.mark.parametrize("source", PASSES.values(), ids=PASSES)
def test_what_is_left_behind_does_not_count(judged, right, source):
    verdict = judged(filled(source, right))
    assert (verdict.state, verdict.message) == ("passed", "")
    assert len(str(verdict_page(verdict))) < 5_000


def test_the_lines_of_an_endless_loop_are_named(judged, right):
    source = right.replace("return 2 * number", "while True:\n        pass")
    verdict = judged(source)
    assert verdict.lines
    assert all(text in ("while True:", "pass") or "double(number)" in text for _, text in verdict.lines)


def test_only_the_learners_own_lines_are_shown(judged, right):
    source = right.replace("return 2 * number", "return number[0]")
    verdict = judged(source)
    number = source.splitlines().index("    return number[0]") + 2
    assert verdict.lines == ((number, "return number[0]"),)
    assert verdict.message == "TypeError: 'int' object is not subscriptable"


def test_a_worker_that_dies_is_replaced_without_a_word(judged, right, worker):
    judged(right)
    psutil.Process(worker._worker.pid).kill()
    assert judged(right).state == "passed"


def test_a_worker_ends_with_its_owner_even_in_the_middle_of_a_check(doubling, right):
    """The owner dies without a chance to say so; worker and child must go, and the folder with them."""
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from deskbook.practice.checking.client import client\n"
        "from deskbook.practice.exercise.definition import read\n"
        "from deskbook.practice.learner.submission import submit\n"
        "client.start()\n"
        "print(client._worker.pid, flush=True)\n"
        "submit(read(Path(sys.argv[1])), 'while True: pass', client)\n"
    )

    owner = subprocess.Popen(
        [sys.executable, "-c", program, str(doubling.folder)], stdout=subprocess.PIPE, text=True
    )
    worker = psutil.Process(int(owner.stdout.readline()))
    wait_until(lambda: worker.children())
    child = worker.children()[0]
    owner.kill()
    owner.communicate()
    psutil.wait_procs([worker, child], timeout=10)
    assert not worker.is_running()
    assert not child.is_running()


def wait_until(condition, limit_s=30):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_two_clients_do_not_meet(doubling, right):
    one, two = Client(), Client()
    try:
        one.start()
        two.start()
        assert submit(doubling, right, two).state == "passed"
        assert submit(doubling, right.replace("2 *", "3 *"), one).state == "wrong"
    finally:
        one.close()
        two.close()


def test_the_stop_button_ends_a_check_at_once(judged, right):
    def stop(number, frame):
        raise KeyboardInterrupt

    judged(right)
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            judged("while True: pass")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
