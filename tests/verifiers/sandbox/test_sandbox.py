"""Hostile programs against the sandbox, in every mechanism that works on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import re
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import uvloop

from tierwise.spec.errors import SpecError, TierwiseError
from tierwise.verifiers import sandbox
from tierwise.verifiers.sandbox import (
    Limits,
    Mechanism,
    SandboxResult,
    SandboxUnavailable,
    backend,
    family,
    live,
    memory_group,
    run_for_grade,
    run_python,
)
from tierwise.verifiers.sandbox import limits as limits_of

pytestmark = pytest.mark.sandbox

MIB = 1024 * 1024
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
SOURCES = Path(sandbox.__file__).parents[3]


def outcome(source: str, using: Mechanism, **limits) -> SandboxResult:
    return asyncio.run(run_python(textwrap.dedent(source), limits=Limits(**limits), using=using))


def said(source: str, using: Mechanism, **limits) -> str:
    """What a program printed that is expected to run to its end."""
    ended = outcome(source, using, **limits)
    assert (ended.exit_code, ended.stopped, ended.stderr) == (0, "", "")
    return ended.stdout


def named(name: str) -> list[int]:
    """Processes on the host that carry this name: a program's children inherit the one that it gave itself."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "comm").read_text().strip() == name:
                found.append(int(entry.name))
    return found


def name_itself(name: str) -> str:
    return f"import ctypes; ctypes.CDLL(None).prctl(15, {name.encode()!r}, 0, 0, 0)\n"


async def until_seen(name: str) -> None:
    async with asyncio.timeout(10):
        while not named(name):  # noqa: ASYNC110 -- it is a stranger's process that we wait for
            await asyncio.sleep(0.01)


DAEMONS = """
import os, signal, time
for _ in range(4):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in range(1, 32):
                if number not in (signal.SIGKILL, signal.SIGSTOP):
                    signal.signal(number, signal.SIG_IGN)
            os.closerange(0, 100)
            time.sleep(60)
        os._exit(0)
"""


# What works


def test_a_program_runs_with_the_standard_library_and_says_what_it_says(using):
    source = """
        import array, asyncio, bz2, collections, ctypes, dataclasses, datetime, decimal, enum, fractions, functools
        import hashlib, heapq, itertools, json, logging, lzma, math, multiprocessing, pathlib, pickle, random, re, ssl
        import sqlite3, statistics, subprocess, sys, tempfile, typing, unittest, uuid, xml.etree.ElementTree, zoneinfo
        from concurrent.futures import ThreadPoolExecutor

        @dataclasses.dataclass
        class Point:
            x: int

        async def later():
            await asyncio.sleep(0)
            return 3

        def double(x):
            return 2 * x

        assert pickle.loads(pickle.dumps(Point(1))) == Point(1)
        assert asyncio.run(later()) == 3
        assert sqlite3.connect("here.db").execute("select 2").fetchone() == (2,)
        with tempfile.TemporaryFile() as file:
            file.write(b"scratch")
        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(double, range(5))) == 20
        with multiprocessing.Pool(2) as pool:
            assert pool.map(double, [1, 2]) == [2, 4]
        assert list(multiprocessing.Array("i", [1, 2])) == [1, 2]
        assert subprocess.run([sys.executable, "-c", "print(5)"], capture_output=True).stdout == b"5\\n"
        assert (zoneinfo.ZoneInfo("Europe/Paris").key, sys.stdin.read(), __name__) == ("Europe/Paris", "", "__main__")
        print("né", file=sys.stdout)
    """
    assert said(source, using) == "né\n"


def test_a_program_reads_the_packages_that_it_is_given_and_cannot_change_them(using, tmp_path):
    """Wherever they are: `tmp_path` is below /tmp, which the sandbox has of its own."""
    (tmp_path / "single.py").write_text("value = 1")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "__init__.py").write_text("value = 2")
    source = """
        import os, sys
        sys.path.append('/packages')
        import folder, single
        print(folder.value, single.value, sorted(os.listdir('/packages')))
        for path in ('/packages/new', '/packages/single.py', '/packages/folder/__init__.py'):
            try:
                open(path, 'w')
            except OSError as error:
                print(type(error).__name__)
    """
    shown = [tmp_path / "single.py", tmp_path / "folder"]
    ended = asyncio.run(run_python(textwrap.dedent(source), using=using, packages=shown))
    listed, *refusals = ended.stdout.splitlines()
    assert listed == "2 1 ['folder', 'single.py']", ended.stderr
    assert len(refusals) == 3


def test_unittest_finds_the_tests_of_the_program(using):
    ended = outcome(
        """
        import unittest
        class Sums(unittest.TestCase):
            def test_sum(self):
                self.assertEqual(1 + 1, 3)
        unittest.main()
        """,
        using,
    )
    assert ended.exit_code == 1
    assert "AssertionError: 2 != 3" in ended.stderr


@pytest.mark.parametrize(("source", "code"), [("raise SystemExit(7)", 7), ("import os; os.abort()", 128 + 6)])
def test_the_exit_code_is_the_programs_own(using, source, code):
    assert (outcome(source, using).exit_code, outcome(source, using).stopped) == (code, "")


def test_an_exception_gives_1_and_a_traceback_that_shows_only_the_program(using):
    ended = outcome("def broken():\n    return 1 / 0\n\nbroken()\n", using)
    assert (ended.exit_code, ended.stdout) == (1, "")
    assert ended.stderr.startswith('Traceback (most recent call last):\n  File "/tmp/program.py", line 4, in <module>')
    assert ended.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_what_is_no_program_at_all_is_a_syntax_error_or_nothing(using):
    assert "SyntaxError" in outcome("def (", using).stderr
    assert "SyntaxError" in outcome("x = '\ud800'", using).stderr
    assert outcome("", using).exit_code == 0


def test_sets_have_one_order_in_every_run(using):
    source = "print({str(number) for number in range(20)})"
    assert said(source, using) == said(source, using)


def test_a_long_program_arrives_whole(using):
    assert said("x = 0\n" + "x += 1\n" * 50_000 + "print(x)", using) == "50000\n"


def test_runs_share_nothing_and_leave_the_event_loop_free(using):
    async def both():
        source = "import os, time; print(os.listdir()); open('mine', 'w').close(); time.sleep(1)"
        ticks, ending = [], asyncio.gather(*(run_python(source, using=using) for _ in range(2)))
        while not ending.done():
            ticks.append(time.monotonic())
            await asyncio.sleep(0.01)
        return await ending, max(after - before for before, after in itertools.pairwise(ticks))

    began = time.monotonic()
    ended, longest_pause = asyncio.run(both())
    assert [(one.exit_code, one.stdout) for one in ended] == [(0, "['program.py']\n")] * 2
    assert time.monotonic() - began < 1.9
    assert longest_pause < 0.8


def test_it_runs_in_the_servers_event_loop_too(using):
    async def all_endings():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(run_python("while True: pass", using=using), 0.2)
        limits = Limits(seconds=0.2, output_bytes=1000)
        sources = ("print(1)", "while True: pass", "while True: print('x')", "1/0")
        return await asyncio.gather(*(run_python(source, limits=limits, using=using) for source in sources))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        ended = runner.run(all_endings())
    assert [(one.exit_code, one.stopped) for one in ended] == [(0, ""), (None, "time"), (None, "output"), (1, "")]


# What it cannot see


def test_it_sees_no_file_of_the_host_but_the_interpreters(using, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    targets = ["/etc/shadow", "/etc/passwd", "/proc/self/environ", "/sys", "/work", "/home", "/var", "/bin/sh"]
    hidden = [secret, SOURCES, Path(__file__), Path(pytest.__file__), *Path.home().glob("*")]
    targets += [str(path) for path in hidden if not Path(sys.base_prefix).is_relative_to(path)]
    source = f"""
        import os
        print([target for target in {targets} if os.path.exists(target)])
        print(sorted(os.listdir('/etc')))
        print([name for place, _, names in os.walk('/') for name in names if 'tierwise' in name or 'pytest' in name])
        try:
            import pytest
        except ImportError:
            print('no packages')
    """
    assert said(source, using).splitlines() == ["[]", "['ld.so.cache']", "[]", "no packages"]


def test_it_sees_no_installed_package_even_if_it_looks_for_them(using):
    source = """
        import os
        print([(place, names) for place, names, files in os.walk('/')
               if place.endswith(('site-packages', 'dist-packages')) and (names or files)])
    """
    assert said(source, using) == "[]\n"


def test_it_sees_neither_our_environment_nor_our_descriptors(using, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("LD_PRELOAD", "")
    ours, _theirs = os.pipe()
    os.set_inheritable(ours, True)
    source = """
        import os, resource
        def is_open(number):
            try:
                os.fstat(number)
            except OSError:
                return False
            return True
        print(sorted(os.environ), [number for number in range(1024) if is_open(number)])
    """
    try:
        assert said(source, using) == "['HOME', 'LANG', 'PATH', 'PYTHONHASHSEED', 'TMPDIR'] [0, 1, 2]\n"
    finally:
        os.close(ours)
        os.close(_theirs)


def test_it_can_neither_see_nor_signal_the_hosts_processes(using):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        lines = said(_KILLING.format(pids=(os.getpid(), child.pid, 1)), using).splitlines()
        assert child.poll() is None
        child.kill()
    assert lines[:3] == ["True False", "ProcessLookupError", "ProcessLookupError"]
    assert "killed" not in lines


_KILLING = """
        import os, signal
        print(os.getpid() < 10, os.path.exists('/proc/1'))
        for pid in {pids}:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError as error:
                print(type(error).__name__)
            else:
                print('its own pid 1, which does not hear it' if pid == 1 else 'killed')
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            os.kill(-1, signal.SIGTERM)
        except OSError as error:
            print(type(error).__name__)
"""


# What it cannot reach


def test_it_can_reach_no_network_not_even_loopback_or_our_unix_sockets(using):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as hidden:
        hidden.bind(f"\0tierwise-{os.getpid()}")
        hidden.listen()
        source = f"""
            import socket
            def attempt(family, address):
                try:
                    socket.socket(family).connect(address)
                except OSError as error:
                    return type(error).__name__
                return 'connected'
            print(attempt(socket.AF_INET, {server.getsockname()}))
            print(attempt(socket.AF_INET, ('1.1.1.1', 53)))
            print(attempt(socket.AF_INET6, ('::1', 80)))
            print(attempt(socket.AF_UNIX, {hidden.getsockname()!r}))
        """
        assert said(source, using).split() == [*["PermissionError"] * 3, "ConnectionRefusedError"]


def test_it_shares_no_namespace_with_us(using):
    async def namespaces():
        running = asyncio.create_task(run_python(name_itself("tw-net") + "import time; time.sleep(5)", using=using))
        await until_seen("tw-net")
        (pid,) = named("tw-net")
        theirs = {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in NAMESPACES}  # noqa: PTH115
        running.cancel()
        await asyncio.wait([running])
        return theirs

    for name, theirs in asyncio.run(namespaces()).items():
        assert theirs != os.readlink(f"/proc/self/ns/{name}"), name  # noqa: PTH115


def test_it_can_write_nowhere_but_in_scratch(using):
    source = """
        import os
        written = []
        for place, names, files in os.walk('/'):
            for path in [os.path.join(place, 'new'), *[os.path.join(place, file) for file in files]]:
                try:
                    os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
                except OSError:
                    continue
                written.append(path)
        print(sorted(written))
    """
    devices = [f"/dev/{name}" for name in ("null", "random", "urandom")]
    assert said(source, using) == f"{[*devices, '/tmp/new', '/tmp/program.py']}\n"


def test_it_has_no_rights_and_can_get_none(using):
    source = """
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        libc.capget(header, data)
        print(os.getuid(), os.getgid(), os.getgroups() in ([], [65534]), list(data))
        print(libc.unshare(0x10000000), libc.mount(b'none', b'/tmp', b'tmpfs', 0, None), libc.ptrace(16, 1, 0, 0))
        print(libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0) if os.uname().machine == 'x86_64' else -1)
        try:
            os.setuid(0)
        except OSError:
            print('still nobody')
    """
    none = "65534 65534 True [0, 0, 0, 0, 0, 0]"
    assert said(source, using).splitlines() == [none, "-1 -1 -1", "-1", "still nobody"]


# What it cannot use up


def test_a_fork_bomb_is_contained_and_ends_and_disturbs_no_neighbour(using):
    bomb = """
        import os
        while True:
            try:
                os.fork()
            except OSError:
                pass
    """
    counted = """
        import os, time
        alive = 1
        try:
            while os.fork():
                alive += 1
            time.sleep(60)
        except OSError:
            print(alive)
    """

    async def both():
        limits = Limits(seconds=1, processes=20, cpu_seconds=60)
        bombing = asyncio.create_task(
            run_python(name_itself("tw-bomb") + textwrap.dedent(bomb), limits=limits, using=using)
        )
        await until_seen("tw-bomb")
        neighbour = await run_python(textwrap.dedent(counted), limits=limits, using=using)
        return len(named("tw-bomb")), neighbour, await bombing

    alive, neighbour, bombed = asyncio.run(both())
    assert alive <= 20
    assert (neighbour.exit_code, neighbour.stdout) == (0, "20\n")
    assert (bombed.exit_code, bombed.stopped) == (None, "time")
    assert named("tw-bomb") == []


def test_threads_count_as_processes(using):
    source = """
        import threading, time
        for number in range(100):
            try:
                threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
            except RuntimeError:
                print(number)
                break
    """
    assert said(source, using, processes=10) == "9\n"


def test_it_cannot_fill_the_disk(using):
    source = """
        import errno, os
        written = 0
        try:
            for name in range(100):
                with open(f'/dev/shm/{name}' if name % 2 else str(name), 'wb', buffering=0) as file:
                    for _ in range(10):
                        written += file.write(bytes(2**16))
        except OSError as error:
            print(errno.errorcode[error.errno], written < 2**21)
        try:
            with open('0', 'wb') as file:
                file.truncate(2**40)
        except OSError as error:
            print(errno.errorcode[error.errno])
    """
    assert said(source, using, scratch_bytes=2 * MIB).split() == ["ENOSPC", "True", "EFBIG"]


def test_it_cannot_make_files_without_end(using):
    source = """
        import itertools
        for name in itertools.count():
            open(str(name), 'w').close()
    """
    ended = outcome(source, using)
    assert (ended.exit_code, ended.stopped) == (None, "files")


def test_it_cannot_eat_memory(using):
    assert outcome("x = bytearray(2**40)", using).stderr.endswith("MemoryError\n")
    ended = outcome("x = []\nwhile True: x.append(bytearray(2**20))", using, memory_bytes=128 * MIB)
    assert ended.exit_code == 1
    # Python 3.13 has no memory left for the last line, and names the type only.
    assert re.search(r"^(object type name: )?MemoryError$", ended.stderr, re.MULTILINE)


def test_its_processes_cannot_eat_memory_together(using):
    source = """
        import os, time
        for _ in range(20):
            if os.fork() == 0:
                held = bytearray(b'1' * 2**26)
                time.sleep(60)
        time.sleep(60)
    """
    ended = outcome(source, using, memory_bytes=256 * MIB)
    assert (ended.exit_code, ended.stopped) == (None, "memory")


_SOCKETS = """
        import os, socket
        pairs = [socket.socketpair() for _ in range(25)]
        def fill(one):
            one.setblocking(False)
            try:
                while True:
                    one.send(bytes(65536))
            except BlockingIOError:
                pass
        for _ in range({forks}):
            if os.fork() == 0:
                held = [socket.socketpair() for _ in range(3)]
                for pair in held:
                    for one in pair:
                        fill(one)
                import time
                time.sleep(60)
        for pair in pairs:
            for one in pair:
                fill(one)
"""


def test_the_buffers_of_sockets_keep_the_size_that_the_kernel_gives_them(using):
    source = """
        import socket
        one, other = socket.socketpair()
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF, 32, 33):
            try:
                one.setsockopt(socket.SOL_SOCKET, option, 2**24)
            except OSError as error:
                print(type(error).__name__)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        one.sendall(b'works')
        print(other.recv(5).decode())
    """
    assert said(source, using).split() == [*["PermissionError"] * 4, "works"]


@pytest.mark.parametrize("has_group", [True, False])
def test_what_lies_in_the_buffers_of_sockets_counts_as_memory(using, has_group, monkeypatch):
    if not has_group:
        monkeypatch.setattr(live, "hold", lambda *given: None)
    ended = outcome(
        _SOCKETS.format(forks=28) + "\n        import time\n        time.sleep(60)", using, memory_bytes=48 * MIB
    )
    assert (ended.exit_code, ended.stopped) == (None, "memory")


def test_where_a_group_can_be_had_the_kernel_holds_the_memory_of_all_processes(using, monkeypatch):
    made = []
    monkeypatch.setattr(live, "hold", lambda *given: made.append(memory_group.hold(*given)) or made[-1])
    monkeypatch.setattr(live, "POLICE_SECONDS", 60)
    source = """
        import os, time
        for _ in range(20):
            if os.fork() == 0:
                held = bytearray(b'1' * 2**25)
                time.sleep(60)
        time.sleep(60)
    """
    if (group := memory_group.create(MIB)) is None:
        pytest.skip("this user can create no memory cgroup")
    group.remove()
    ended = outcome(source, using, memory_bytes=64 * MIB, scratch_bytes=MIB, seconds=5)
    assert (ended.exit_code, ended.stopped) == (None, "memory")
    assert made
    assert not made[0].place.exists()


CGROUPS = """
12:memory:/docker/abc
0::/system.slice/tierwise.service
"""
MOUNTS = """
cgroup {root}/memory cgroup rw,nosuid,memory 0 0
cgroup {root}/cpu cgroup rw,nosuid,cpu 0 0
cgroup2 {root}/unified cgroup2 rw,nosuid 0 0
"""


def test_a_group_is_made_where_this_user_may_make_one_and_the_next_sandbox_sweeps_what_a_dead_server_left(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(memory_group, "PROC", tmp_path)
    for cached in ("places", "sweep"):
        monkeypatch.setattr(memory_group, cached, getattr(memory_group, cached).__wrapped__)
    (tmp_path / "mounts").write_text(MOUNTS.strip().format(root=tmp_path))
    (tmp_path / "cgroup").write_text(CGROUPS.strip())
    below, beside = tmp_path / "unified/system.slice/tierwise.service", tmp_path / "unified/system.slice"
    assert memory_group.places() == [tmp_path / "memory/docker/abc", below, beside]
    assert memory_group.create(MIB) is None  # a plain folder has no file with a limit
    below.mkdir(parents=True)
    (beside / "tierwise-999999999-0").mkdir()
    real, files = Path.mkdir, {"memory.max": "max", "memory.swap.max": "max", "cgroup.procs": "", "memory.events": ""}

    def mkdir(place):  # the kernel puts files into a new group, where its parent has the controller
        real(place)
        for name, text in files.items() if place.parent == beside else ():
            (place / name).write_text(text)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    group = memory_group.create(MIB)
    assert group.place.parent == beside
    assert not (beside / "tierwise-999999999-0").exists()
    assert (group.place / "memory.max").read_text() == str(MIB + memory_group.OVERHEAD)
    assert (group.place / "memory.swap.max").read_text() == "0"
    assert not group.has_killed
    (group.place / "memory.events").write_text("low 0\noom 1\noom_kill 1\n")
    assert group.has_killed


def test_memory_that_no_limit_would_count_is_refused(using):
    source = """
        import ctypes, mmap, os
        libc = ctypes.CDLL(None)
        for attempt in (lambda: os.memfd_create('hidden'), lambda: mmap.mmap(-1, 4096), lambda: open('/dev/zero')):
            try:
                attempt()
            except OSError as error:
                print(type(error).__name__)
        assert mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        print(libc.shmget(0, 4096, 0o1600), libc.msgget(0, 0o1600), libc.semget(0, 1, 0o1600))
    """
    assert said(source, using).splitlines() == ["PermissionError", "PermissionError", "FileNotFoundError", "-1 -1 -1"]


@pytest.mark.parametrize(
    "source",
    ["while True: pass", "import time\ntime.sleep(60)", "import os\nos.close(1)\nos.close(2)\nwhile True: pass"],
)
def test_it_cannot_outlive_its_time(using, source):
    ended = outcome(source, using, seconds=0.3)
    assert (ended.exit_code, ended.stopped) == (None, "time")
    assert 0.3 <= ended.seconds < 2


def test_what_it_said_before_its_time_was_up_is_kept(using):
    assert outcome("print('so far', flush=True)\nwhile True: pass", using, seconds=0.3).stdout == "so far\n"


def test_cpu_seconds_are_those_of_all_its_processes(using):
    ended = outcome("import os\nos.fork()\nos.fork()\nwhile True: pass", using, cpu_seconds=1, seconds=60)
    assert (ended.exit_code, ended.stopped) == (None, "cpu")


@pytest.mark.parametrize("field", ["cpu_seconds", "memory_bytes", "processes", "scratch_bytes"])
def test_a_limit_of_nothing_is_refused_since_it_would_mean_no_limit(field):
    with pytest.raises(SpecError) as caught:
        Limits(**{field: 0})
    assert caught.value.field == field


@pytest.mark.parametrize(("seconds", "stopped"), [(10.0, ""), (0.6, "time")])
def test_daemons_with_every_signal_ignored_end_with_the_program(using, seconds, stopped):
    ending = f"print('started', flush=True)\ntime.sleep({60 if stopped else 0.2})"
    ended = outcome(name_itself("tw-daemon") + DAEMONS + ending, using, seconds=seconds)
    assert (ended.stdout, ended.stopped) == ("started\n", stopped)
    assert named("tw-daemon") == []


@pytest.mark.parametrize("stream", [1, 2])
def test_endless_output_is_cut(using, stream):
    ended = outcome(f"import os\nwhile True: os.write({stream}, b'x' * 5000)", using, output_bytes=12_345)
    assert (ended.exit_code, ended.stopped) == (None, "output")
    assert (ended.stdout, ended.stderr)[stream - 1] == "x" * 12_345


def test_output_up_to_the_limit_is_whole_and_may_be_any_bytes(using):
    ended = outcome("import os\nos.write(1, b'a\\xff')\nos.write(2, b'b')", using, output_bytes=3)
    assert (ended.exit_code, ended.stdout, ended.stderr, ended.stopped) == (0, "a\ufffd", "b", "")


def busy(source: str, using: Mechanism) -> list[SandboxResult]:
    """The program four times at once, while other programs want every core four times over."""
    cores = len(os.sched_getaffinity(0))
    hog = [sys.executable, "-c", "while True: pass"]
    # Each in a session of its own: the kernel's autogroups share the cores between sessions, not processes.
    others = [subprocess.Popen(hog, start_new_session=True) for _ in range(4 * cores)]

    async def all_at_once():
        limits = Limits(seconds=1.5, cpu_seconds=1)
        return await asyncio.gather(*(run_python(source, limits=limits, using=using) for _ in range(4)))

    try:
        return asyncio.run(all_at_once())
    finally:
        for other in others:
            other.kill()
            other.wait()


def test_a_busy_machine_takes_no_time_from_a_program(using):
    source = "import time\nwhile time.process_time() < 0.6: pass\nprint('done')"
    ended = busy(source, using)
    assert [(one.stdout, one.stopped) for one in ended] == [("done\n", "")] * 4
    assert max(one.seconds for one in ended) > 1.5


def test_a_program_that_sleeps_is_stopped_on_a_busy_machine_too(using):
    assert {one.stopped for one in busy("import time\ntime.sleep(60)", using)} == {"time"}


def test_a_program_is_told_from_a_machine_that_never_let_it_run():
    clock = family.Clock()
    clock.tick({1: family.Usage(cpu=0.1, waited=0.0)})
    clock._seen -= 10
    clock.tick({1: family.Usage(cpu=0.2, waited=9.9)})
    assert clock.own < 0.5
    clock._seen -= 10  # many of its own processes wait for each other: that saves up no time
    clock.tick({pid: family.Usage(cpu=10 * family.CORES / 10, waited=100.0) for pid in range(1, 11)})
    assert clock.own > 9


def test_a_wait_that_is_counted_when_it_is_over_costs_no_time():
    """A processor for 10 of 100 ms, and a look each 50 ms: every second look sees a wait that is longer than 50 ms."""
    clock = family.Clock()
    for number in range(1, 101):
        clock._seen -= 0.05
        clock.tick({1: family.Usage(cpu=number // 2 / 100, waited=number // 2 * 0.09)})
    assert clock.own < 1
    for _ in range(200):  # and then it sleeps
        clock._seen -= 0.05
        clock.tick({1: family.Usage(cpu=0.5, waited=4.5)})
    assert clock.own > 10


def test_a_wait_that_is_not_over_costs_no_time_and_is_counted_once():
    """It runs for 10 ms, and then waits for three seconds, of which the kernel tells nothing until they are over."""
    clock = family.Clock()
    clock._seen -= 0.05
    clock.tick({1: family.Usage(cpu=0.01, waited=0.01, ran=0.01, is_runnable=True)})
    for _ in range(60):
        clock._seen -= 0.05
        clock.tick({1: family.Usage(cpu=0.01, waited=0.01, ran=0.01, is_runnable=True)})
        assert clock.own < 0.1
    clock._seen -= 0.05
    clock.tick({1: family.Usage(cpu=0.02, waited=3.05, ran=0.02, is_runnable=True)})
    assert clock.own < 0.1
    for number in range(3, 63):  # and then it has a processor for itself
        clock._seen -= 0.05
        clock.tick({1: family.Usage(cpu=0.01 * number, waited=3.05, ran=0.01 * number, is_runnable=True)})
    assert clock.own > 2.9


def test_a_look_that_comes_late_does_not_make_a_program_late():
    """All was stopped for a minute, with the process that looks. Who kept the cores busy meanwhile is told from it."""
    clock = family.Clock()
    clock._seen -= 60
    clock.tick({1: family.Usage(cpu=0.2, waited=0.1, ran=0.2)})
    assert clock.own < 0.5
    clock._seen -= 60
    clock.tick({1: family.Usage(cpu=0.2 + 60 * family.CORES, waited=0.1, ran=60.2)})
    assert clock.own > 59


def test_a_process_that_sleeps_is_not_waiting():
    clock = family.Clock()
    for _ in range(60):
        clock._seen -= 0.05
        clock.tick({1: family.Usage(cpu=0.01, waited=0.01, ran=0.01)})
    assert clock.own > 2.9


@pytest.mark.parametrize("stops", [["load", ""], ["load", "load"], ["time"]])
def test_only_what_ran_out_of_wall_time_is_repeated_alone_and_then_nobody_knows(stops, monkeypatch):
    calls = []

    async def run(source, *, alone, **_):
        calls.append(alone)
        stopped = stops[len(calls) - 1]
        return SandboxResult(exit_code=0, stdout="", stderr="", seconds=99, cpu_seconds=0.5, stopped=stopped)

    monkeypatch.setattr(live, "run_python", run)
    grading = run_for_grade("", limits=Limits())
    if stops[-1] == "load":
        with pytest.raises(TierwiseError, match=r"overloaded: in 99 s, .* got 0.5 s"):
            asyncio.run(grading)
    else:
        assert asyncio.run(grading).stopped == stops[-1]
    assert calls == [False, True][: len(stops)]


def test_a_machine_that_never_lets_it_run_is_told_from_a_program_that_waits(using, monkeypatch):
    monkeypatch.setattr(limits_of, "WALL", (0.0, 1.0))
    monkeypatch.setattr(family.Clock, "tick", lambda self, used: None)  # as if it had waited for a processor all along
    assert outcome("import time\ntime.sleep(60)", using).stopped == "load"


def test_what_it_needs_to_prepare_is_not_on_its_time(using):
    source = "import os, time\nwhile time.process_time() < 0.8: pass\nos.write(1, b'!')\nprint('begun')\n{rest}"
    limits = Limits(seconds=2, cpu_seconds=0.4)
    run = functools.partial(run_python, limits=limits, using=using, prepares=True)
    ended = asyncio.run(run(source.format(rest="")))
    assert (ended.stdout, ended.stopped, ended.exit_code) == ("begun\n", "", 0)
    assert asyncio.run(run(source.format(rest="while True: pass"))).stopped == "cpu"
    assert asyncio.run(run("raise SystemExit(3)")).exit_code == 3


def test_it_reads_from_stdin_what_it_is_given(using):
    source = "import sys\ndata = sys.stdin.read()\nprint(len(data), data[-3:])"
    given = b"x" * 500_000 + b"end"
    ended = asyncio.run(run_python(source, using=using, stdin=given))
    assert ended.stdout == "500003 end\n"
    assert asyncio.run(run_python("", using=using, stdin=given)).exit_code == 0


def test_about_as_many_run_at_once_as_there_are_cores_and_the_rest_wait(using):
    most = max(2, len(os.sched_getaffinity(0)))

    async def seen():
        source = name_itself("tw-slots") + "import time; time.sleep(0.4)"
        running = asyncio.gather(*(run_python(source, using=using) for _ in range(3 * most)))
        counts = []
        while not running.done():
            counts.append(len(named("tw-slots")))
            await asyncio.sleep(0.05)
        return max(counts), await running

    count, ended = asyncio.run(seen())
    assert count <= most
    assert {(one.exit_code, one.stopped) for one in ended} == {(0, "")}


def test_one_that_runs_alone_waits_for_the_others_and_they_for_it(using):
    order = []

    async def one(name, *, alone):
        await run_python("import time; time.sleep(0.3)", using=using, alone=alone)
        order.append(name)

    async def all_of_them():
        await asyncio.gather(one("first", alone=False), one("alone", alone=True), one("last", alone=True))

    asyncio.run(asyncio.wait_for(all_of_them(), 60))
    assert order[0] == "first"
    assert len(order) == 3


# How it is ended from outside


def test_cancelling_kills_everything_at_once(using):
    async def cancelled() -> float:
        source = name_itself("tw-cancel") + DAEMONS + "time.sleep(60)"
        running = asyncio.create_task(run_python(source, using=using))
        await until_seen("tw-cancel")
        began = time.monotonic()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return time.monotonic() - began

    assert min(asyncio.run(cancelled()) for _ in range(3)) < 0.15  # the best of three: this machine may be busy
    assert named("tw-cancel") == []


def test_cancelling_while_it_starts_leaves_nothing_behind(using):
    async def cancelled() -> None:
        for milliseconds in range(0, 40, 2):
            running = asyncio.create_task(run_python("import time; time.sleep(60)", using=using))
            await asyncio.sleep(milliseconds / 1000)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    def ours() -> list[str]:
        return Path("/proc/thread-self/children").read_text().split()

    before = ours()
    asyncio.run(cancelled())
    assert ours() == before


def test_it_dies_with_the_server(using):
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, using, name_itself("tw-orphan") + DAEMONS + "time.sleep(60)"]
    )
    asyncio.run(until_seen("tw-orphan"))
    server.kill()
    server.wait()
    deadline = time.monotonic() + 2
    while named("tw-orphan") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert named("tw-orphan") == []


SERVER = """
import asyncio, sys
from tierwise.verifiers.sandbox import run_python
asyncio.run(run_python(sys.argv[2], using=sys.argv[1]))
"""


def test_a_program_with_ipc_shares_memory_and_its_sockets_reach_nothing_else_of_this_machine(using):
    with socket.create_server(("127.0.0.1", 0)) as server:
        source = f"""
            import ctypes, mmap, os, socket
            mmap.mmap(-1, 4096)
            os.memfd_create("shared")
            assert ctypes.CDLL(None).shmget(0, 4096, 0o1600) >= 0  # PostgreSQL does not start without
            with socket.create_server(("127.0.0.1", 0)) as own:
                print(socket.create_connection(own.getsockname()).getpeername() == own.getsockname())
            for place in ({server.getsockname()}, ("1.1.1.1", 53)):
                try:
                    print("reached", socket.create_connection(place, timeout=3))
                except OSError as error:
                    print(type(error).__name__)
        """
        assert said(source, using, ipc=True) == "True\nConnectionRefusedError\nOSError\n"


def test_a_program_with_ipc_may_reserve_more_addresses_than_it_has_memory_and_write_no_more(using):
    source = """
        import ctypes, mmap
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        libc.mmap.restype = ctypes.c_ssize_t
        print(libc.mmap(None, 64 << 30, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0) > 0)
        try:
            bytearray(400 << 20)
        except MemoryError:
            print("no more")
    """
    assert said(source, using, ipc=True, memory_bytes=256 * MIB) == "True\nno more\n"
    assert said(source, using, memory_bytes=256 * MIB) == "False\nno more\n"


PROCESSES = """
import os
names = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
print(os.getpid() in names, 1 in names, len(names) < 6, open("/proc/self/stat").read().split()[0] == str(os.getpid()))
for path in ("/proc/1/mem", "/proc/sys/kernel/domainname", "/proc/sysrq-trigger"):
    try:
        open(path, "r+b", buffering=0).write(b"x")
        print("wrote to", path)
    except OSError:
        print("refused")
"""


def test_a_program_that_is_shown_processes_sees_its_own_and_can_write_to_none(using):
    shown = [("processes", "", "/proc")]
    ended = asyncio.run(run_python(PROCESSES, using=using, shown=shown))
    if "No such file or directory: '/proc" in ended.stderr or "not permitted" in ended.stderr:
        pytest.skip("this machine lets no sandbox mount a /proc")
    assert ended.stdout.splitlines() == ["True True True True", "refused", "refused", "refused"], ended.stderr


# Where it cannot be had, and for whom it can


def test_without_any_mechanism_it_refuses_and_says_why():
    ended = subprocess.run([sys.executable, "-c", FORBIDDEN], capture_output=True, text=True, check=True)
    bubblewrap, unshare, refusal = ended.stdout.splitlines()
    assert bubblewrap == "none bubblewrap: bwrap is not installed"
    assert unshare == "none unshare: PermissionError: [Errno 1] unshare: Operation not permitted"
    assert "never run outside of one" in refusal
    assert "bwrap is not installed; unshare: PermissionError" in refusal
    assert "Install bubblewrap" in refusal


FORBIDDEN = """
import asyncio, os
from tierwise.verifiers import sandbox
from tierwise.verifiers.sandbox import inside
inside.filter_system_calls(inside.system_call_filter(ipc=False))  # this process can make no user namespace now
os.environ["PATH"] = "/nowhere"
for name in ("bubblewrap", "unshare"):
    found = sandbox.backend(name)
    print(found.name, found.reason)
try:
    asyncio.run(sandbox.run_python("print('never')"))
except sandbox.SandboxUnavailable as error:
    print(error)
"""


def test_the_mechanism_that_it_chooses_by_itself_is_one_that_works():
    found = backend()
    if found.name == "none":
        with pytest.raises(SandboxUnavailable):
            asyncio.run(run_python("print('never')"))
        pytest.skip(found.reason)
    assert asyncio.run(run_python("print(1)")).stdout == "1\n"


def test_it_works_for_a_user_who_is_not_root(using):
    if os.geteuid():
        pytest.skip("these tests run as such a user already")
    nobody = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": "/"}
    command = ["/usr/bin/python3", "-I", "-c", UNPRIVILEGED, str(SOURCES), using]
    ended = subprocess.run(command, **nobody, capture_output=True, text=True, check=False)
    if "not here" in ended.stdout:
        pytest.skip("no interpreter of this version, or no source tree, that another user may read")
    assert ended.stdout.splitlines() == [
        f"{using} a probe ran in it within its limits",
        "65534 [0, 0, 0, 0, 0, 0] 20 PermissionError",
        "pid 1: ['2']",  # else its memory, which the program's user may write to, would lead out of the filter
        "None memory",
        "None files",
        "None time",
    ], ended.stderr


UNPRIVILEGED = '''
import asyncio, os, sys, types
sources, using = sys.argv[1:]
path = sources + "/tierwise/verifiers/sandbox/live.py"
if sys.version_info < (3, 11) or not os.access(path, os.R_OK):
    raise SystemExit("not here")
sys.path.insert(0, sources)
room = sys.modules["tierwise.verifiers"] = types.ModuleType("tierwise.verifiers")  # its own would import dependencies,
room.__path__ = [os.path.dirname(os.path.dirname(path))]  # which are not installed here
from tierwise.verifiers import sandbox
found = sandbox.backend(using)
print(found.name, found.reason)
def run(source, **limits):
    return asyncio.run(sandbox.run_python(source, limits=sandbox.Limits(**limits), using=using))
print(run("""
import ctypes, os, socket
data = (ctypes.c_uint32 * 6)()
ctypes.CDLL(None).capget((ctypes.c_uint32 * 2)(0x20080522, 0), data)
alive = 1
try:
    while os.fork():
        alive += 1
    import time; time.sleep(60)
except OSError:
    pass
try:
    socket.socket()
except OSError as error:
    print(os.getuid(), list(data), alive, type(error).__name__)
""", processes=20).stdout, end="")
seen = "print([line.split()[1] for line in open('/proc/1/status') if line.startswith('Seccomp:')])"
shown = [("processes", "", "/proc")]
print("pid 1:", asyncio.run(sandbox.run_python(seen, using=using, shown=shown)).stdout.strip())
for source, seconds in (
    ("import os\\nfor _ in '12345':\\n  os.fork()\\nx = bytearray(b'1' * 2**26)\\nwhile True: pass", 20),
    ("for name in range(10**9): open(str(name), 'w')", 20),
    ("while True: pass", 0.5),
):
    ended = run(source, memory_bytes=200 * 2**20, seconds=seconds)
    print(ended.exit_code, ended.stopped)
'''
