"""Pid 1 of a sandbox in which an agent works: it mounts what the agent sees, gives up privileges, starts commands.

It is never imported: a bare interpreter gets it as text on stdin, in a list of JSON with the text of
`verifiers/sandbox/inside.py`, whose functions are `kit` here, and the settings: `control` (a socket's descriptor),
`as_root`, `network`, `view` (mounts), `files` (path: text), `storage`, `processes`, `cores`.

A command arrives on the socket as four bytes of length, with stdin, stdout and stderr attached, and then JSON: `id`,
`argv`, `cwd`, `env`; or `id` and `kill`, the id of a command whose processes are to end. On stdout: `ready`, then
one line of JSON for each command that ended: `id`, `code`. When the socket closes, everything ends.
"""

# pathlib takes as long to import as the rest together, and this /tmp is private:
# ruff: noqa: PTH211, S103, PTH101, PTH103, PTH118, PTH120, PTH123, PTH208, S108
from __future__ import annotations

import array
import contextlib
import json
import os
import select
import signal
import socket
import struct
from typing import Any

ROOT = 0
PR_SET_DUMPABLE = 4
OPEN_FILES = 1024
FOLDERS = ("/tmp", "/var/tmp", "/root", "/home", "/run", "/opt", "/srv", "/mnt", "/dev/shm")
NOT_STARTED = 127

kit: dict[str, Any] = {"__name__": "kit"}
settings: dict[str, Any] = {}


def call(*arguments: Any) -> None:
    kit["call"](*arguments)


def enter() -> None:
    """New namespaces and a root of our own; returns only in pid 1."""
    uid, gid = os.geteuid(), os.getegid()
    flags = kit["NEW_REST"] & ~(kit["NEW_NET"] if settings["network"] else 0)
    call("unshare", flags | (0 if settings["as_root"] else kit["NEW_USER"]))
    if not settings["as_root"]:
        kit["become"](ROOT, uid, gid)
    call("prctl", kit["PR_SET_PDEATHSIG"], kit["SIGKILL"])
    if first := os.fork():
        os.close(settings["control"])
        kit["outlive"](first)
    if not settings["network"]:
        kit["raise_loopback"]()
    kit["make_root"](settings["view"], size=b"%d" % settings["storage"])
    fill_root()
    kit["leave_host"]()


def fill_root() -> None:
    """Folders, files and devices beside the view. The kernel lets a user mount /proc only while it sees another."""
    for folder in FOLDERS:
        os.makedirs(folder, exist_ok=True)
    for path, text in settings["files"].items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
    for folder in ("/tmp", "/var/tmp", "/dev/shm"):
        os.chmod(folder, 0o1777)
    os.makedirs("/proc")
    os.makedirs("/dev/pts")
    flags = kit["NOSUID"] | kit["NOEXEC"]
    call("mount", b"proc", b"/proc", b"proc", flags | kit["NODEV"], None)
    call("mount", b"devpts", b"/dev/pts", b"devpts", flags, b"newinstance,ptmxmode=0666,mode=0620")
    for source, target in (("pts/ptmx", "ptmx"), ("/proc/self/fd", "fd"), ("/proc/self/fd/0", "stdin")):
        os.symlink(source, f"/dev/{target}")
    os.symlink("/proc/self/fd/1", "/dev/stdout")
    os.symlink("/proc/self/fd/2", "/dev/stderr")


def confine() -> None:
    """Give up identity and privileges for good; what the kernel limits per process or user is limited here."""
    if settings["as_root"]:
        nobody = kit["NOBODY"]
        give_away("/", nobody)
        kit["leave_root"]()
        call("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0)  # else /proc/self belongs to the root that we were
        kit["become"](ROOT, nobody, nobody)
    call("prctl", kit["PR_SET_PDEATHSIG"], kit["SIGKILL"])
    ours = 1 if settings["as_root"] else 2
    processes = settings["processes"] + ours
    kit["limit"](RLIMIT_NPROC=processes, RLIMIT_FSIZE=settings["storage"], RLIMIT_NOFILE=OPEN_FILES)
    if settings["cores"]:
        os.sched_setaffinity(0, settings["cores"])
    code = [*kit["refusals"](), *kit["sockets"](kit["NETWORK"])]
    kit["filter_system_calls"](kit["assembled"](code))


def give_away(top: str, owner: int) -> None:
    """Make the sandbox's user the owner of all that is not shown of this machine."""
    os.chown(top, owner, owner)
    device = os.lstat(top).st_dev
    for folder, folders, files in os.walk(top):
        folders[:] = [one for one in folders if os.lstat(os.path.join(folder, one)).st_dev == device]
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            if os.lstat(path).st_dev == device:
                os.lchown(path, owner, owner)


def serve(control: socket.socket) -> None:
    """Start commands and report their ends until the socket closes."""
    wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker)
    running: dict[int, int] = {}
    os.write(1, b"ready\n")
    watched: list[Any] = [control, wake]
    while True:
        ready = select.select(watched, [], [])[0]
        if wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 4096)
        reap(running)
        if control in ready:
            order, descriptors = receive(control)
            if "kill" in order:
                end([pid for pid, number in running.items() if number == order["kill"]])
                continue
            try:
                running[start(order, descriptors)] = order["id"]
            except OSError as error:  # no more processes, or no more memory: nobody else can say so
                os.write(descriptors[2], f"sandbox: cannot start a process: {error}\n".encode())
                tell(order["id"], 126)
            for descriptor in descriptors:
                os.close(descriptor)


def receive(control: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """One order, and the descriptors that came with it; exits when the other side has gone."""
    head, extra, _, _ = control.recvmsg(4, socket.CMSG_SPACE(3 * 4))
    if not head:
        os._exit(0)
    descriptors = array.array("i")
    for _, _, data in extra:
        descriptors.frombytes(data[: len(data) - len(data) % 4])
    head += exactly(control, 4 - len(head))
    return json.loads(exactly(control, struct.unpack("I", head)[0])), list(descriptors)


def exactly(control: socket.socket, count: int) -> bytes:
    parts = []
    while count:
        if not (part := control.recv(count)):
            os._exit(0)
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def start(order: dict[str, Any], descriptors: list[int]) -> int:
    if pid := os.fork():
        return pid
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        for place, descriptor in enumerate(descriptors):
            os.dup2(descriptor, place)
        os.closerange(3, OPEN_FILES)
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
        os.chdir(order["cwd"])
        os.execvpe(order["argv"][0], order["argv"], order["env"])  # noqa: S606
    except OSError as error:
        os.write(2, f"sandbox: {error}\n".encode())
    finally:
        os._exit(NOT_STARTED)


def end(leaders: list[int]) -> None:
    """Kill the processes of these sessions, until there are none; what has made a session of its own stays."""
    while True:
        found = False
        for name in os.listdir("/proc"):
            if name.isdigit() and session_of(name) in leaders:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(name), signal.SIGKILL)
                    found = True
        if not found:
            return


def session_of(pid: str) -> int:
    """The session of a living process; 0 if it is dead."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            state, _, _, session = file.read().rpartition(")")[2].split()[:4]
    except OSError:
        return 0
    return 0 if state in "ZX" else int(session)


def reap(running: dict[int, int]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        if pid in running:
            code = os.waitstatus_to_exitcode(status)
            tell(running.pop(pid), code if code >= 0 else 128 - code)


def tell(number: int, code: int) -> None:
    os.write(1, json.dumps({"id": number, "code": code}).encode() + b"\n")


def main() -> None:
    _, text, given = globals()["program"]
    exec(text, kit)  # noqa: S102 -- our own text
    settings.update(given)
    enter()
    confine()
    serve(socket.socket(fileno=settings["control"]))


if __name__ == "__main__":
    main()
