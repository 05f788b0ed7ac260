"""``lsr serve --workers N``: N processes answer searches, one more writes, this one watches them.

All workers accept on one socket and map the same segments, so memory holds these once. Where
documents can be written a *writer* process holds the collections for that; workers pass writes on
to it (`serving.forwarding`), so encoding and merging never share an interpreter with searches.

A process that dies is started again. What its clients had in flight fails; nothing else does: an
acknowledged write is on the disk, and the kernel lets a dead writer's lock go.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from lsr.core import console, errors
from lsr.core.errors import LsrError, ServiceError
from serving.forwarding import WRITER, Place
from serving.settings import IndexSource, ServeSettings

__all__ = ["run_workers"]

logger = logging.getLogger(__name__)

# A process that dies sooner than this after its start is started again ever more slowly.
_STEADY_S = 10.0
_LONGEST_PAUSE_S = 10.0
# Beyond the time that requests get to finish, before a process is killed.
_GRACE_S = 10.0


@dataclass
class _Member:
    """One process of the service and its fate so far."""

    place: Place
    process: SpawnProcess
    told: Connection
    started: float
    ready: bool = False
    pause_s: float = 0.0


@dataclass
class _Team:
    settings: ServeSettings
    sources: Sequence[IndexSource]
    bound: socket.socket
    quiet: bool
    places: list[Place]
    members: dict[str, _Member] = field(default_factory=dict)
    due: dict[str, tuple[float, float]] = field(default_factory=dict)

    def start(self, place: Place, pause_s: float = 0.0) -> None:
        context = multiprocessing.get_context("spawn")
        told, tells = context.Pipe(duplex=False)
        process = context.Process(
            target=_serve,
            name=f"lsr-{place.name}",
            args=(
                place,
                self.settings,
                tuple(self.sources),
                None if place.name == WRITER else self.bound,
                tells,
                self.quiet,
            ),
        )
        process.start()
        tells.close()
        self.members[place.name] = _Member(place, process, told, time.monotonic(), pause_s=pause_s)

    def read(self, member: _Member) -> LsrError | None:
        """Take what a process tells: that it is ready, or why it cannot be."""
        try:
            message = member.told.recv()
        except EOFError:
            return None
        if message is None:
            member.ready = True
            return None
        return _rebuilt(*message)


def run_workers(
    settings: ServeSettings,
    sources: Sequence[IndexSource],
    *,
    bound: socket.socket,
    writes: bool,
    quiet: bool,
    on_ready: Callable[[], None],
) -> None:
    """Serve in `settings.workers` processes, and one that writes, until a stop signal.

    Parameters
    ----------
    settings, sources, bound, on_ready
        As for `serving.server.run`.
    writes : bool
        Whether there is anything that can be written to.
    quiet : bool
        Log warnings and errors only.

    Raises
    ------
    LsrError
        Whatever keeps a process from starting at the beginning.
    """
    folder = Path(tempfile.mkdtemp(prefix="lsr-serve-"))
    workers = [str(number) for number in range(1, settings.workers + 1)]
    names = ((WRITER,) if writes and not settings.read_only else ()) + tuple(workers)
    places = [Place(name, folder, names) for name in names]
    team = _Team(settings, sources, bound, quiet, places)
    stop_read, stop_write = os.pipe()
    before = {
        number: signal.signal(number, lambda *_: os.write(stop_write, b"."))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        # The writer first: it puts a killed one's folder in order before others look.
        if _until_ready(team, names[:1], stop_read) and _until_ready(team, names[1:], stop_read):
            on_ready()
            _watch(team, stop_read)
    finally:
        _stop(team)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(stop_read)
        os.close(stop_write)
        shutil.rmtree(folder, ignore_errors=True)


def _until_ready(team: _Team, names: Sequence[str], stop: int) -> bool:
    """Start processes and wait for them; return whether nobody asked to stop."""
    for place in team.places:
        if place.name in names:
            team.start(place)
    members = [team.members[name] for name in names]
    while waiting := [member for member in members if not member.ready]:
        ready = wait([stop, *(m.told for m in waiting), *(m.process.sentinel for m in waiting)])
        if stop in ready:
            return False
        for member in waiting:
            failure = team.read(member) if member.told in ready else None
            if failure is not None:
                raise failure
            if not member.ready and member.process.sentinel in ready:
                raise ServiceError(
                    f"The process {member.place.name} of the service ended with status "
                    f"{member.process.exitcode} while it started.",
                    hint="Its last words stand above; try --workers 1.",
                )
    return True


def _watch(team: _Team, stop: int) -> None:
    """Start again what dies, until somebody asks to stop."""
    while True:
        alive = [m for name, m in team.members.items() if name not in team.due]
        waiting = [m.told for m in alive if not m.ready]
        soonest = min((at for at, _ in team.due.values()), default=None)
        ready = wait(
            [stop, *waiting, *(m.process.sentinel for m in alive)],
            timeout=None if soonest is None else max(0.0, soonest - time.monotonic()),
        )
        if stop in ready:
            return
        for member in alive:
            if member.told in ready and (failure := team.read(member)) is not None:
                logger.error("Process %s cannot serve: %s", member.place.name, failure)
            if member.process.sentinel in ready:
                _note_death(team, member)
        for place in team.places:
            at, pause_s = team.due.get(place.name, (0.0, 0.0))
            if at and time.monotonic() >= at:
                del team.due[place.name]
                team.start(place, pause_s)


def _note_death(team: _Team, member: _Member) -> None:
    member.process.join()
    member.told.close()
    steady = time.monotonic() - member.started > _STEADY_S
    pause_s = 0.0 if steady else min(_LONGEST_PAUSE_S, max(0.25, 2 * member.pause_s))
    logger.error(
        "Process %s (%d) ended with status %s; starting it again%s.",
        member.place.name,
        member.process.pid,
        member.process.exitcode,
        f" in {pause_s:g} s" if pause_s else "",
    )
    team.due[member.place.name] = time.monotonic() + pause_s, pause_s


def _stop(team: _Team) -> None:
    """Let the workers finish, then the writer, which they need for it."""
    deadline_s = team.settings.shutdown_s + _GRACE_S
    for writer in (False, True):
        members = [
            m for name, m in team.members.items()
            if (name == WRITER) is writer and m.process.is_alive()
        ]  # fmt: skip
        for member in members:
            member.process.terminate()
        until = time.monotonic() + deadline_s
        for member in members:
            member.process.join(max(0.0, until - time.monotonic()))
            if member.process.is_alive():
                logger.error("Process %s does not end; killing it.", member.place.name)
                member.process.kill()
                member.process.join()


# --- inside a process ------------------------------------------------------------------------


def _serve(
    place: Place,
    settings: ServeSettings,
    sources: Sequence[IndexSource],
    bound: socket.socket | None,
    tells: Connection,
    quiet: bool,
) -> None:
    # Ctrl-C reaches every process of the terminal; the parent stops them in their order.
    os.setpgrp()
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    console.configure(quiet=quiet)
    if settings.access_log:
        console.configure_lines("serving.access")
    from serving.server import serve_app

    told = False

    def started(failure: Exception | None) -> None:
        nonlocal told
        told = True
        tells.send(None if failure is None else _taken_apart(failure))

    own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path = place.socket(place.name)
    path.unlink(missing_ok=True)
    own.bind(str(path))
    own.listen(2048)
    try:
        serve_app(
            settings.model_copy(update={"read_only": place.name != WRITER}),
            sources,
            sockets=[own] if bound is None else [bound, own],
            on_started=started,
            place=place,
        )
    except LsrError as error:
        if not told:
            started(error)
        raise SystemExit(1) from None


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "this is a child"
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def _taken_apart(failure: Exception) -> tuple[str, str, str]:
    if isinstance(failure, LsrError):
        return type(failure).__name__, failure.message, failure.hint
    return ServiceError.__name__, f"{type(failure).__name__}: {failure}", ""


def _rebuilt(name: str, message: str, hint: str) -> LsrError:
    made = getattr(errors, name, ServiceError)
    try:
        rebuilt: LsrError = made(message, hint=hint)
    except TypeError:  # an error with a message of its own making
        rebuilt = ServiceError(message, hint=hint)
    return rebuilt
