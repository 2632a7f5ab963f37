"""The first process in the sandbox, whose child drops all privileges before it becomes the program.

It is never imported: a bare interpreter gets it as text, where Tierwise is not installed. An agent's sandbox
(`environments/inside.py`) calls its functions. Arguments: 1 if it starts as root, 1 if the program runs in this
interpreter, CPU seconds, bytes of memory of a process, processes, bytes of scratch, open files, 1 for IPC;
then, unless bubblewrap has set up the mounts, what to mount, three words each.
"""

# pathlib takes as long to import as the rest together, and this /tmp is private:
# ruff: noqa: PTH102, PTH103, PTH106, PTH112, PTH120, PTH123, PTH211, S108
from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct
import sys

NOBODY = 65534
PROGRAM = "/tmp/program.py"

NEW_USER = 0x10000000
NEW_NET = 0x40000000
NEW_REST = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x20000000 | NEW_NET  # mount cgroup uts ipc pid
READ_ONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8  # mount_setattr agrees on these
BIND, REC, PRIVATE = 0x1000, 0x4000, 0x40000
DETACH = 2
SIGKILL = 9  # `import signal` takes 4 ms
MOUNT_SETATTR = 442  # the same number on every architecture
RECURSIVE = 0x8000
HERE = -100
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38

ALLOW, KILL, DENY = 0x7FFF0000, 0x80000000, 0x00050000
LOAD, EQUAL, AT_LEAST, ANY_BIT, MASK, ANSWER = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06

# System calls that could bypass the limits (memory that no limit counts, new namespaces with new privileges) or that
# expose a large attack surface of the kernel: (x86_64, aarch64).
DENIED = {
    "unshare": (272, 97),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "vmsplice": (278, 75),
    "io_uring_setup": (425, 425),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
}
CLONE, SOCKET, MMAP, SETSOCKOPT, CLONE3 = (56, 220), (41, 198), (9, 222), (54, 208), 435
SOL_SOCKET, BUFFER_SIZES = 1, (7, 8, 32, 33)  # SO_SNDBUF, SO_RCVBUF, and both with FORCE
MAP_SHARED_ANONYMOUS = 0x21
NETWORK = (1, 2, 10, 16)
"""Families of sockets: unix, which asyncio and multiprocessing need and which reaches nothing outside; then IPv4, IPv6,
and netlink, which `ip` and libc's resolver use. In a network namespace of its own they reach only its loopback."""
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: int | bytes | None) -> None:
    """Call a libc function; raises OSError. Numbers are passed as long, as `prctl` and `syscall` expect."""
    words = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    if getattr(libc, name)(*words) == -1:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def enter(*, as_root: bool, view: list[str], scratch: int, ipc: bool) -> None:
    """Set up namespaces and mounts as bubblewrap does; returns only in pid 1 of the new namespace."""
    uid, gid = os.geteuid(), os.getegid()
    call("unshare", NEW_REST | (0 if as_root else NEW_USER))
    if not as_root:
        become(NOBODY, uid, gid)
    call("prctl", PR_SET_PDEATHSIG, SIGKILL)
    if first := os.fork():
        outlive(first)
    call("prctl", PR_SET_PDEATHSIG, SIGKILL)
    if ipc:
        raise_loopback()
    make_root(list(zip(view[::3], view[1::3], view[2::3], strict=True)), size=b"1m")
    os.mkdir("/tmp")
    call("mount", b"tmpfs", b"/tmp", b"tmpfs", NOSUID | NODEV, b"mode=1777,size=%d" % scratch)
    leave_host()
    protect("/", READ_ONLY | NOSUID | NODEV)


def become(user: int, uid: int, gid: int) -> None:
    """In a new user namespace: who has these ids outside is this user and group, and there is no other."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {uid} 1"), ("gid_map", f"{user} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def make_root(view: list[tuple[str, str, str]], *, size: bytes) -> None:
    """In new namespaces: a root in memory with the view; until `leave_host`, all of this machine is in `/.host`."""
    call("sethostname", b"sandbox", 7)
    call("mount", b"none", b"/", None, REC | PRIVATE, None)
    call("mount", b"tmpfs", b"/tmp", b"tmpfs", NOSUID | NODEV, b"size=%b,mode=0755" % size)
    os.mkdir("/tmp/.host")
    call("pivot_root", b"/tmp", b"/tmp/.host")
    os.chdir("/")
    for kind, source, target in view:
        show(kind, source, target)


def leave_host() -> None:
    call("umount2", b"/.host", DETACH)
    os.rmdir("/.host")


def raise_loopback() -> None:
    """Bring up `lo`, the only interface of the new network namespace: SIOCSIFFLAGS with IFF_UP and IFF_RUNNING."""
    import fcntl  # noqa: PLC0415 -- few programs want sockets
    import socket  # noqa: PLC0415

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x41))


def show(kind: str, source: str, target: str) -> None:
    place = os.fsencode(target)
    if kind == "empty":
        call("mount", b"tmpfs", place, b"tmpfs", READ_ONLY | NOSUID | NODEV, b"size=4k")
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if kind == "processes":
        show_processes(place)
        return
    if kind == "link":
        if not os.path.lexists(target):
            os.symlink(source, target)
        return
    source = f"/.host{source}"
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.close(os.open(target, os.O_CREAT))
    call("mount", os.fsencode(source), place, None, BIND | REC, None)
    if kind == "files":
        protect(target, READ_ONLY | NOSUID | NODEV, RECURSIVE)


def show_processes(place: bytes) -> None:
    """The /proc of a new pid namespace. The kernel lets a user mount it only while all of another is seen, as it is not
    in most containers: the folder is empty then.
    """
    os.makedirs(place, exist_ok=True)
    try:
        call("mount", b"proc", place, b"proc", NOSUID | NODEV | NOEXEC, None)
    except PermissionError:
        return


def protect(place: str, attributes: int, flags: int = 0) -> None:
    """`mount_setattr` (Linux 5.12): a remount would miss submounts and fail on locked flags."""
    settings = struct.pack("QQQQ", attributes, 0, 0, 0)
    call("syscall", MOUNT_SETATTR, HERE, os.fsencode(place), flags, settings, len(settings))


def outlive(child: int) -> None:
    """Wait for the child and exit with its status; reap orphans meanwhile."""
    for descriptor in range(3):
        os.close(descriptor)
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def confine(
    *, as_root: bool, cpu_seconds: int, memory: int, processes: int, scratch: int, open_files: int, ipc: bool
) -> None:
    """Drop identity, privileges and resources irreversibly."""
    if as_root:
        leave_root()
    own = {"RLIMIT_DATA" if ipc else "RLIMIT_AS": memory}  # JavaScript engines and JVMs reserve more than they use
    limit(RLIMIT_CPU=cpu_seconds, RLIMIT_NPROC=processes, RLIMIT_FSIZE=scratch, RLIMIT_NOFILE=open_files, **own)
    filter_system_calls(system_call_filter(ipc=ipc))


def leave_root() -> None:
    """Become nobody. RLIMIT_NPROC does not apply to root, hence another user. It counts a user's processes per user
    namespace (Linux 5.14), hence a namespace of our own, so that sandboxes do not share a limit.
    """
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    call("unshare", NEW_USER)


def limit(**most: int) -> None:
    """Limits of `resource` by name; what no sandbox needs has none of it."""
    for name, count in (most | {"RLIMIT_CORE": 0, "RLIMIT_MEMLOCK": 0, "RLIMIT_MSGQUEUE": 0}).items():
        resource.setrlimit(getattr(resource, name), (count, count))


def filter_system_calls(code: bytes) -> None:
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    held = ctypes.create_string_buffer(code)
    program = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(held))
    call("prctl", PR_SET_SECCOMP, 2, program, 0, 0)


def system_call_filter(*, ipc: bool) -> bytes:
    """What the program of a grade may call: no more than a computation needs; with `ipc`, what tests of servers do."""
    if ipc:
        return assembled([*refusals("memfd_create", "shmget"), *sockets(NETWORK)])
    column = machine()[0]
    code = [
        *refusals(),
        (EQUAL, 0, 5, MMAP[column]),  # such memory outlives its mapping, so it cannot be attributed to a process
        (LOAD, 0, 0, 16 + 3 * 8),
        (MASK, 0, 0, MAP_SHARED_ANONYMOUS),
        (EQUAL, 0, 1, MAP_SHARED_ANONYMOUS),
        (ANSWER, 0, 0, DENY | errno.EPERM),
        (ANSWER, 0, 0, ALLOW),
        (EQUAL, 0, 9, SETSOCKOPT[column]),  # no other limit covers what the buffers of a socket hold
        (LOAD, 0, 0, 16 + 8),
        (EQUAL, 0, 5, SOL_SOCKET),
        (LOAD, 0, 0, 16 + 2 * 8),
        *((EQUAL, len(BUFFER_SIZES) - place, 0, option) for place, option in enumerate(BUFFER_SIZES)),
        (ANSWER, 0, 0, ALLOW),
        (ANSWER, 0, 0, DENY | errno.EPERM),
        *sockets(NETWORK[:1]),
    ]
    return assembled(code)


def refusals(*allowed: str) -> list[tuple[int, int, int, int]]:
    """Classic BPF over `struct seccomp_data` (number at 0, architecture at 4, low halves of the arguments from 16) that
    refuses what no program in a sandbox may call, and falls through for the rest, with the number loaded.

    Args:
        allowed: names in `DENIED` that it may call.
    """
    column, architecture = machine()
    code = [
        (LOAD, 0, 0, 4),
        (EQUAL, 1, 0, architecture),
        (ANSWER, 0, 0, KILL),
        (LOAD, 0, 0, 0),
        (AT_LEAST, 0, 1, 0x40000000),  # x32, a second numbering of the same calls
        (ANSWER, 0, 0, KILL),
        (EQUAL, 0, 1, CLONE3),  # its flags are behind a pointer, so they cannot be filtered; libc falls back to clone
        (ANSWER, 0, 0, DENY | errno.ENOSYS),
    ]
    for numbers in (numbers for name, numbers in DENIED.items() if name not in allowed):
        code += [(EQUAL, 0, 1, numbers[column]), (ANSWER, 0, 0, DENY | errno.EPERM)]
    return [
        *code,
        (EQUAL, 0, 4, CLONE[column]),
        (LOAD, 0, 0, 16),
        (ANY_BIT, 0, 1, NEW_USER),
        (ANSWER, 0, 0, DENY | errno.EPERM),
        (ANSWER, 0, 0, ALLOW),
    ]


def sockets(families: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """The end of a filter: sockets of these families only, and every other call."""
    return [
        (EQUAL, 0, len(families) + 2, SOCKET[machine()[0]]),
        (LOAD, 0, 0, 16),
        *((EQUAL, len(families) - place, 0, family) for place, family in enumerate(families)),
        (ANSWER, 0, 0, DENY | errno.EPERM),
        (ANSWER, 0, 0, ALLOW),
    ]


def assembled(code: list[tuple[int, int, int, int]]) -> bytes:
    return b"".join(struct.pack("HBBI", *step) for step in code)


def machine() -> tuple[int, int]:
    """The column of this machine in the tables of numbers, and its name in a filter."""
    if os.uname().machine not in MACHINES:
        raise OSError(errno.ENOSYS, f"no system call filter for {os.uname().machine}: only for {', '.join(MACHINES)}")
    return MACHINES[os.uname().machine]


def exactly(count: int) -> bytes:
    """So many bytes of stdin and no more: what follows is the program's."""
    parts: list[bytes] = []
    while count:
        if not (part := os.read(0, count)):
            os._exit(1)  # nobody wants a program any more
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def become_the_program(*, stays: bool, open_files: int) -> None:
    """Report readiness, read the source from stdin, and run it: in a fresh interpreter, or here if it is our own, which
    saves the start of one.
    """
    os.chdir("/tmp")
    os.write(1, b"\n")
    length = b""
    while not length.endswith(b"\n"):
        length += exactly(1)
    source = exactly(int(length))
    home = {"HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8", "PATH": "/usr/bin", "PYTHONHASHSEED": "0"}
    if stays:
        os.closerange(3, open_files)
        os.environ.update(home)
        sys.argv[:] = [PROGRAM]
        program = sys.modules["__main__"] = type(sys)("__main__")
        exec(compile(source, PROGRAM, "exec", dont_inherit=True), program.__dict__)  # noqa: S102 -- it is our own
        return
    with open(PROGRAM, "wb") as file:
        file.write(source)
    os.closerange(3, open_files)
    os.execve(sys.executable, [sys.executable, "-s", "-P", "-S", "-B", "-X", "utf8", PROGRAM], home)  # noqa: S606


def main() -> None:
    as_root, stays, cpu_seconds, memory, processes, scratch, open_files, ipc = map(int, sys.argv[1:9])
    if view := sys.argv[9:]:
        enter(as_root=bool(as_root), view=view, scratch=scratch, ipc=bool(ipc))
    ours = 0 if as_root else 2 if view else 1  # processes of this file that share the program's user namespace
    limits = {
        "cpu_seconds": cpu_seconds,
        "memory": memory,
        "processes": processes + ours,
        "scratch": scratch,
        "open_files": open_files,
    }
    if not as_root:  # the program might write to the memory of pid 1, its own user's, so that is confined too
        confine(as_root=False, ipc=bool(ipc), **limits)
    if child := os.fork():
        outlive(child)
    if as_root:
        confine(as_root=True, ipc=bool(ipc), **limits)
    become_the_program(stays=bool(stays), open_files=open_files)


if __name__ == "__main__":
    main()
