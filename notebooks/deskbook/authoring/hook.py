"""Fail a notebook cell that leaves work behind, in every kernel that loads `%load_ext deskbook`.

A notebook with background tasks can look green while it is broken. IPython shows nothing when a task
fails, drops what a task prints after its cell, and prints an uncaught ExceptionGroup to stderr only, which
on the first error of a kernel even hangs the cell until its time-out. With the hook installed

* a task still pending at the end of a cell fails that cell (`PendingTaskError`);
* a failure in a task, future or thread that nobody looked at fails the cell (`LostFailureError`);
* an uncaught exception group is an ordinary error of the cell.

Example:
    >>> with long_lived("the server of running_app()"):
    ...     pass  # a task created here may outlive its cell
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import traceback
import weakref
from collections.abc import Iterator
from typing import Any

from deskbook.authoring.interrupts import interruptible, was_stopped
from deskbook.authoring.kernel_exit import end_without_waiting
from deskbook.authoring.left_behind import (
    CreationSite,
    LostFailureError,
    PendingTaskError,
    describe_failure,
    describe_task,
    find_creation_site,
    is_infrastructure,
    is_infrastructure_frame,
    with_cell_names,
)

#: Turns of the event loop that a cancelled or finishing task gets before it counts as pending.
GRACE_TURNS = 5

_owner: contextvars.ContextVar[str | None] = contextvars.ContextVar("deskbook_task_owner", default=None)
_watch: CellWatch | None = None


@contextlib.contextmanager
def long_lived(owner: str) -> Iterator[None]:
    """Let tasks that are created inside outlive their cell, because somebody owns and ends them.

    Tasks created by those tasks are covered as well. Their failures are still reported.

    Args:
        owner: Who ends the tasks, for the person who reads the code.

    Raises:
        ValueError: If nobody is named as the owner.
    """
    if not owner.strip():
        raise ValueError("long_lived() needs the name of the object that ends the task, got an empty string.")
    token = _owner.set(owner)
    try:
        yield
    finally:
        _owner.reset(token)


def record_failure(error: BaseException, where: str) -> None:
    """Report a failure that happened outside of the cell's own code, so that the cell fails.

    For helpers that must swallow an exception, such as a test client that shows the 500 response of an app.
    Without a watched kernel this does nothing.

    Args:
        error: What was raised.
        where: A short, stable name of the place, such as "background task of POST /orders".
    """
    if _watch is not None:
        _watch.failures.append(describe_failure(error, where))


class CellWatch:
    """Watches one kernel: wraps the execution of its cells and collects what they leave behind."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.failures: list[str] = []
        # Weak: a strong reference would keep alive a task that Python would have collected: a hidden bug.
        self.sites: weakref.WeakKeyDictionary[asyncio.Task[Any], CreationSite] = weakref.WeakKeyDictionary()
        # When a task is collected, its weak reference is gone before asyncio reports it: kept by id as well.
        self._sites_by_id: dict[int, CreationSite] = {}
        self._stopped = False
        self._originals: dict[str, Any] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        # Bound once: a bound method is a new object each time, and `is` tells whether a cell replaced ours.
        self._make_task: Any = self._task_factory
        self._next_factory: Any = None
        self._handler: Any = self._on_loop_failure
        self._next_handler: Any = None

    def install(self) -> None:
        """Wrap the execution and the traceback display of the kernel, and the last resort of threads."""
        kernel = getattr(self.shell, "kernel", None)
        if kernel is None:  # a terminal IPython runs no cells
            return
        # ipykernel reads this after a failed cell, but only some failures set it; unset, the cell hangs.
        if not hasattr(self.shell, "_last_traceback"):
            self.shell._last_traceback = None
        self._originals = {
            "execute": kernel.do_execute,
            "showtraceback": self.shell.showtraceback,
            "excepthook": threading.excepthook,
        }
        kernel.do_execute = self._execute
        self.shell.showtraceback = self._show_traceback
        threading.excepthook = self._on_thread_failure

    def remove(self) -> None:
        """Put everything back as it was."""
        if not self._originals:
            return
        self.shell.kernel.do_execute = self._originals["execute"]
        self.shell.showtraceback = self._originals["showtraceback"]
        threading.excepthook = self._originals["excepthook"]
        if self._loop is not None:
            self._loop.set_task_factory(None)
            self._loop.set_exception_handler(None)

    async def _execute(self, *args: Any, **kwargs: Any) -> Any:
        """Run the cell, then turn what it left behind into an error of the cell."""
        loop = asyncio.get_running_loop()
        self._watch_loop(loop)
        known = asyncio.all_tasks(loop)
        with interruptible(loop):
            reply = await self._originals["execute"](*args, **kwargs)
        if self._stopped or reply.get("ename") == "KeyboardInterrupt":
            self._stopped = False
            self._collect_silent_failures()
            self.failures = []  # the learner knows; the next cell shall not be blamed
            return reply | {"ename": "KeyboardInterrupt", "evalue": "the cell was stopped"}
        for _ in range(GRACE_TURNS):
            if not self._pending(loop, known):
                break
            await asyncio.sleep(0)
        for error in self._left_behind(loop, known):
            self._fail(reply, error)
        return reply

    def _watch_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Put the hook's task factory and exception handler on the loop; a cell may have replaced them."""
        self._loop = loop
        if loop.get_task_factory() is not self._make_task:
            self._next_factory = loop.get_task_factory()
            loop.set_task_factory(self._make_task)
        if loop.get_exception_handler() is not self._handler:
            self._next_handler = loop.get_exception_handler()
            loop.set_exception_handler(self._handler)

    def _task_factory(self, loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> Any:
        """Create the task as before and remember where."""
        following, self._next_factory = self._next_factory, None  # one set by a cell may call ours again
        try:
            make = following or _plain_task
            task = make(loop, coro, **kwargs)
        finally:
            self._next_factory = following
        site = find_creation_site(self.shell, owner=_owner.get())
        self.sites[task] = self._sites_by_id[id(task)] = site
        return task

    def _on_loop_failure(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Record what asyncio would only log: failures never retrieved, tasks that vanished while pending."""
        task = context.get("task") or context.get("future")
        site = self._sites_by_id.get(id(task))
        error = context.get("exception")
        if error is not None:
            where = describe_task(task, site) if isinstance(task, asyncio.Task) else context["message"]
            self.failures.append(describe_failure(error, where))
        elif isinstance(task, asyncio.Task):
            what = "vanished before it was done, because nobody held a reference to it"
            self.failures.append(f"{describe_task(task, site)} {what}")
        else:
            following, self._next_handler = self._next_handler, None  # one set by a cell may call ours again
            try:
                following(loop, context) if following else loop.default_exception_handler(context)
            finally:
                self._next_handler = following

    def _on_thread_failure(self, args: Any) -> None:
        """Record an exception that ended a thread."""
        name = args.thread.name if args.thread is not None else "a thread"
        if isinstance(args.exc_value, SystemExit) or args.exc_value is None:
            return
        self.failures.append(describe_failure(args.exc_value, f"thread {name}"))

    def _pending(
        self, loop: asyncio.AbstractEventLoop, known: set[asyncio.Task[Any]]
    ) -> list[tuple[asyncio.Task[Any], CreationSite | None]]:
        """Return the tasks that this cell started and that are neither done, owned nor the kernel's own."""
        left = []
        for task in asyncio.all_tasks(loop) - known - {asyncio.current_task(loop)}:
            site = self.sites.get(task)
            if is_infrastructure(task) or (site is not None and site.owner is not None):
                continue
            left.append((task, site))
        return sorted(left, key=lambda pair: pair[1].number if pair[1] else 0)

    def _left_behind(
        self, loop: asyncio.AbstractEventLoop, known: set[asyncio.Task[Any]]
    ) -> list[PendingTaskError | LostFailureError]:
        """Build the errors of the cell that has ended, at most one of each kind."""
        errors: list[PendingTaskError | LostFailureError] = []
        if pending := self._pending(loop, known):
            errors.append(PendingTaskError(pending))
        self._collect_silent_failures()
        if self.failures:
            errors.append(LostFailureError(self.failures))
            self.failures = []
        self._sites_by_id = {id(task): site for task, site in self.sites.items()}
        return errors

    def _collect_silent_failures(self) -> None:
        """Find tasks that have failed and still wait for somebody to look at their exception."""
        failed = [t for t in self.sites if t.done() and getattr(t, "_log_traceback", False)]
        for task in sorted(failed, key=lambda t: self.sites[t].number):
            error = task.exception()  # marks it as retrieved, so that it is reported once
            if error is not None:
                self.failures.append(describe_failure(error, describe_task(task, self.sites.get(task))))

    def _fail(self, reply: dict[str, Any], error: PendingTaskError | LostFailureError) -> None:
        """Show the error under the cell and make the reply an error, unless it is one already."""
        error.details = tuple(with_cell_names(self.shell, detail) for detail in error.details)
        self.shell.showtraceback((type(error), error, None))
        if reply.get("status") != "error":
            reply.update(
                status="error",
                ename=type(error).__name__,
                evalue=str(error),
                traceback=list(self.shell._last_traceback or []),
                user_expressions={},
            )

    def _show_traceback(self, exc_tuple: Any = None, *args: Any, **kwargs: Any) -> None:
        """Show an exception group as an error of the cell; IPython only prints it to stderr."""
        etype, value, tb = self.shell._get_exc_info(exc_tuple)
        if was_stopped(value):
            etype, value = KeyboardInterrupt, KeyboardInterrupt("the cell was stopped")
            exc_tuple = (etype, value, tb)
            self._stopped = True
        if not _holds_group(value):
            self._originals["showtraceback"](exc_tuple, *args, **kwargs)
            return
        while tb is not None and is_infrastructure_frame(tb.tb_frame):
            tb = tb.tb_next
        text = "".join(traceback.format_exception(etype, value, tb))
        self.shell._showtraceback(etype, value, with_cell_names(self.shell, text).splitlines())


def _plain_task(loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
    return asyncio.Task(coro, loop=loop, **kwargs)


def _holds_group(error: BaseException | None) -> bool:
    """Say whether the exception, or one it was raised while handling, is a group."""
    while error is not None:
        if isinstance(error, BaseExceptionGroup):
            return True
        error = error.__context__
    return False


def load_ipython_extension(shell: Any) -> None:
    """Install the hook in the running kernel; a second call does nothing."""
    global _watch
    if _watch is None:
        _watch = CellWatch(shell)
        _watch.install()
        end_without_waiting()


def unload_ipython_extension(shell: Any) -> None:
    """Remove the hook from the running kernel."""
    global _watch
    if _watch is not None:
        _watch.remove()
        _watch = None
