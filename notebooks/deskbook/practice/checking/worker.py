"""The warm worker: a process that has everything imported and forks a child for each check.

It reads jobs from a socket, one line of JSON each, and answers each with one line: the news that the child
told, how it ended, what it printed and, for one that was stopped, what ran. It ends when the socket closes.

One job at a time and no threads, so a fork copies no lock that another thread holds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import selectors
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from deskbook.practice.checking.protocol import Job, LineReader, News, Outcome, line_of
from deskbook.processes.leftovers import adopt_orphans, end_orphans, make_own_folder
from deskbook.processes.lifeline import end_with
from deskbook.processes.memory import settle
from deskbook.processes.termination import kill_group

PREFIX = "deskbook-practice-"

#: Most that is kept of what an answer prints, in bytes; the rest is read and counted.
OUTPUT_BYTES = 4_000

#: Most that a check may tell, in bytes.
NEWS_BYTES = 4 << 20

#: How long a child may take before its answer starts, in seconds.
START_LIMIT_S = 20.0

#: The longest that a busy machine can add to the time of a check, in seconds.
LONGEST_GRACE_S = 12.0

#: Processor time after which a check gets no such grace, as a share of its limit.
SHARE_OF_LIMIT = 0.2

_POLL_S = 0.05


class RunningCheck:
    """One forked child and the pipes to it."""

    def __init__(self, job: Job, folder: Path) -> None:
        self.limit_s = job["limit_s"]
        self.news: list[News] = []
        self.output = b""
        self.output_bytes = 0
        self.stacks = b""
        self.status: int | None = None
        self._news_reader = LineReader(NEWS_BYTES)
        ends = [os.pipe() for _ in range(3)]
        self.started = time.monotonic()
        worker = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _become_child(job, folder, worker, [write for _, write in ends])
        for _, write in ends:
            os.close(write)
        self._pipes = dict(
            zip((read for read, _ in ends), (self._on_news, self._on_output, self._on_stacks), strict=True)
        )
        for pipe in self._pipes:
            os.set_blocking(pipe, False)

    def follow(self, owner: socket.socket) -> bool:
        """Read until the check is over, then end its processes.

        Returns:
            Whether it was stopped because its time was up.
        """
        late = False
        with selectors.DefaultSelector() as selector:
            for pipe, reader in self._pipes.items():
                selector.register(pipe, selectors.EVENT_READ, reader)
            selector.register(owner, selectors.EVENT_READ, None)
            while not self._is_over():
                if time.monotonic() > self._deadline():
                    late = True
                    break
                for key, _ in selector.select(_POLL_S):
                    if key.data is None:
                        self.end()
                        raise SystemExit(0)  # the kernel has gone, or does not want to know any more
                    if not key.data(key.fd):
                        selector.unregister(key.fd)
        self.end()
        self._drain()
        return late

    def _deadline(self) -> float:
        if not self.news:
            return self.started + START_LIMIT_S
        end = self.started + self.limit_s
        return end if time.monotonic() < end else end + _grace_s(self.pid, self.limit_s)

    def _is_over(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if pid else None
        return self.status is not None or bool(self.news and self.news[-1]["kind"] == "finished")

    def end(self) -> None:
        """Kill the child, its group and whatever else it has started, and reap them."""
        kill_group(self.pid)
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.status = os.waitpid(self.pid, 0)[1]
        end_orphans()

    def _drain(self) -> None:
        for pipe, reader in self._pipes.items():
            while reader(pipe):
                pass
            os.close(pipe)

    def _on_news(self, pipe: int) -> bool:
        data = _read(pipe)
        told = [news for news in self._news_reader.feed(data) if "kind" in news]
        if told and not self.news:
            self.started = time.monotonic()  # the child is ready, and the time of the answer begins
        self.news += told
        return bool(data)

    def _on_output(self, pipe: int) -> bool:
        data = _read(pipe)
        self.output_bytes += len(data)
        self.output += data[: max(0, OUTPUT_BYTES - len(self.output))]
        return bool(data)

    def _on_stacks(self, pipe: int) -> bool:
        data = _read(pipe)
        self.stacks += data[: max(0, OUTPUT_BYTES * 8 - len(self.stacks))]
        return bool(data)

    def outcome(self, late: bool) -> Outcome:
        """Return what happened as plain data."""
        status = self.status or 0
        return {
            "news": self.news,
            "late": late,
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
            "output": self.output.decode(errors="replace"),
            "output_bytes": self.output_bytes,
            "stacks": self.stacks.decode(errors="replace"),
        }


def _read(pipe: int) -> bytes:
    try:
        return os.read(pipe, 1 << 16)
    except BlockingIOError:
        return b""


def _grace_s(pid: int, limit_s: float) -> float:
    """Return what a busy machine has taken from a process: time in which it was ready and got no processor.

    A process that had its share of processor time has had its chance: an endless loop gets nothing.
    Linux only: proc(5), /proc/pid/schedstat and /proc/pid/stat.
    """
    try:
        waited_s = int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError, IndexError):
        return 0.0
    used_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return min(LONGEST_GRACE_S, waited_s) if used_s < SHARE_OF_LIMIT * limit_s else 0.0


def _become_child(job: Job, folder: Path, worker: int, pipes: list[int]) -> None:
    """Go into a session, a folder and descriptors of one's own, and run the check; never returns."""
    from deskbook.practice.checking.child import run_check

    os.setsid()
    end_with(worker, signal.SIGKILL)
    news, output, stacks = (fcntl.fcntl(pipe, fcntl.F_DUPFD_CLOEXEC, 100) for pipe in pipes)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(3, 100)
    os.close(output)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout, sys.stderr = (os.fdopen(it, "w", 1, "utf-8", "replace", closefd=False) for it in (1, 2))
    os.chdir(folder)
    run_check(job, news, stacks)


def serve(owner: socket.socket) -> None:
    """Take jobs until the socket closes; get warm until the first one comes, and between them."""
    from deskbook.practice.checking.warm_up import import_needs, rehearsals

    left, reader = rehearsals(), LineReader()
    with own_folder() as folder:
        while True:
            while left and not select.select([owner], [], [], 0)[0]:
                left.pop(0)()
                settle()
            data = owner.recv(1 << 16)
            if not data:
                return
            for job in reader.feed(data):
                if import_needs(job["needs"]):
                    settle()
                here = Path(tempfile.mkdtemp(dir=folder))
                check = RunningCheck(job, here)
                late = check.follow(owner)
                owner.sendall(line_of(check.outcome(late)))
                shutil.rmtree(here, ignore_errors=True)


@contextlib.contextmanager
def own_folder() -> Iterator[Path]:
    """Give a folder for what answers write."""
    folder = make_own_folder(PREFIX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(descriptor: int) -> None:
    """Import what checks use, and serve."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    adopt_orphans()
    from deskbook.practice.checking.warm_up import import_what_checks_use

    import_what_checks_use()
    settle()
    with socket.socket(fileno=descriptor) as owner, contextlib.suppress(BrokenPipeError, ConnectionError):
        serve(owner)


if __name__ == "__main__":
    main(int(sys.argv[1]))
