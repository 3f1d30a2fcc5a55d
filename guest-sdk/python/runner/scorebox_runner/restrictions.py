"""What there is not in a sandbox: network, processes, threads.

The system refuses them anyway, with messages that name neither the reason nor a way out. Here they are refused in the
script's words. Nothing here is a barrier: that is the sandbox.

What scripts may call all the same, as on Linux and up to Python 3.13, is here too: `time.tzset`, `asyncio.get_event_loop`.
"""

import errno
import os
import threading
import time
from types import ModuleType
from typing import Any, NoReturn

from .imports import after_import

NETWORK = (
    "a sandboxed scorer has no network: put what it needs into the model directory or into the request, "
    "or serve it outside the sandbox"
)
"""Why `socket` refuses."""

PROCESSES = "a sandboxed scorer cannot start processes: call what it needs as a Python module instead"
"""Why `subprocess` and `multiprocessing` refuse."""

THREADS = "can't start new thread: a sandboxed scorer has one thread, so do the work in run() itself, one item after the other"
"""Why `threading` refuses."""


def install() -> None:
    """Makes the modules refuse, now or as soon as they are imported."""
    # joblib, and with it scikit-learn, then does its work in sequence whatever n_jobs says.
    os.environ.setdefault("JOBLIB_MULTIPROCESSING", "0")
    threading.Thread.start = _no_thread
    os.system = _no_process
    if not hasattr(time, "tzset"):
        # Local time is UTC, whatever `TZ` says.
        time.tzset = lambda: None
    after_import("socket", _restrict_socket)
    after_import("subprocess", _restrict_subprocess)
    after_import("multiprocessing.process", _restrict_process)
    after_import("multiprocessing.context", _restrict_context)
    after_import("multiprocessing.pool", _restrict_pool)
    after_import("concurrent.futures.process", _restrict_process_pool)
    after_import("asyncio.selector_events", _restrict_event_loop)
    after_import("asyncio.events", _make_event_loops)


def _no_thread(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError(THREADS)


def _no_process(*_: Any, **__: Any) -> NoReturn:
    raise OSError(errno.ENOTSUP, PROCESSES)


def _no_network(*_: Any, **__: Any) -> NoReturn:
    raise OSError(errno.ENOTSUP, NETWORK)


def _restrict_socket(socket: ModuleType) -> None:
    def no_name(*_: Any, **__: Any) -> NoReturn:
        raise socket.gaierror(errno.ENOTSUP, NETWORK)

    socket.socket.__init__ = _no_network
    socket.socketpair = _no_network
    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getnameinfo"):
        setattr(socket, name, no_name)


def _restrict_subprocess(subprocess: ModuleType) -> None:
    subprocess.Popen.__init__ = _no_process


def _restrict_process(process: ModuleType) -> None:
    process.BaseProcess.start = _no_process


def _restrict_context(context: ModuleType) -> None:
    for name in (
        "Manager", "Pipe", "Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "Event", "Barrier", "Queue",
        "JoinableQueue", "SimpleQueue", "Pool",
    ):  # fmt: skip
        setattr(context.BaseContext, name, _no_process)


def _restrict_pool(pool: ModuleType) -> None:
    def no_pool(*_: Any, **__: Any) -> NoReturn:
        raise RuntimeError(THREADS)

    pool.Pool.__init__ = _no_process
    pool.Pool.__del__ = lambda self: None
    pool.ThreadPool.__init__ = no_pool


def _restrict_process_pool(process: ModuleType) -> None:
    process.ProcessPoolExecutor.__init__ = _no_process


def _restrict_event_loop(selector_events: ModuleType) -> None:
    """Event loops work, without the pair of sockets by which other threads wake them: there are none."""
    loop = selector_events.BaseSelectorEventLoop
    loop._make_self_pipe = lambda self: None
    loop._close_self_pipe = lambda self: None
    loop._write_to_self = lambda self: None


def _make_event_loops(events: ModuleType) -> None:
    """`asyncio.get_event_loop()` makes a loop where there is none, as it does by itself up to Python 3.13."""
    policy = getattr(events, "_BaseDefaultEventLoopPolicy", None)
    if policy is None:
        return

    def get_event_loop(self: Any) -> Any:
        if self._local._loop is None:
            self.set_event_loop(self.new_event_loop())
        return self._local._loop

    policy.get_event_loop = get_event_loop
