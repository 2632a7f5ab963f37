"""The sandbox in which an agent works: what stays between commands, what it cannot reach, what ends it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tierwise.environments import Limits, Sandbox, SandboxEndedError
from tierwise.environments.transfer import TransferError, download, download_folder, read, upload
from tierwise.verifiers.sandbox import MIB
from tierwise.verifiers.sandbox.mechanism import is_root

pytestmark = pytest.mark.sandbox

SMALL = Limits(cpu_seconds=60, memory_bytes=256 * MIB, storage_bytes=64 * MIB, processes=64)
MARK = str(10**9 + os.getpid())
"""Seconds that only processes of these tests sleep, also where others run the same tests."""


def said(*commands: str, limits: Limits = SMALL, network: bool = False) -> list[str]:
    """What each of the commands writes, one after the other in one sandbox."""

    async def all_of_them():
        async with Sandbox(limits, network=network) as sandbox:
            return [(await sandbox.run(f"{{ {command}\n}} 2>&1", seconds=60)).text.strip() for command in commands]

    return asyncio.run(all_of_them())


def within(work, limits: Limits = SMALL):
    """The result of a coroutine function of a new sandbox."""

    async def run():
        async with Sandbox(limits) as sandbox:
            return await work(sandbox)

    return asyncio.run(run())


def test_files_stay_from_one_command_to_the_next_wherever_they_are():
    assert said("mkdir /data; echo one > /data/a; echo two > ~/b", "cat /data/a /root/b")[1] == "one\ntwo"


def test_processes_stay_and_can_be_found_and_ended():
    begun = "sleep 300 & echo $! > /tmp/pid; until ps -o comm= -p $! | grep -qx sleep; do :; done"
    ended = "pid=$(cat /tmp/pid); kill $pid; while kill -0 $pid 2>/dev/null; do sleep 0.02; done; pgrep sleep"
    found = said(begun, "ps -o comm= -p $(cat /tmp/pid)", ended)
    assert found[1:] == ["sleep", ""]


def test_a_server_that_is_left_running_answers_later_commands():
    serve = "cd /tmp && echo hello > x && (nohup python3 -m http.server 8001 >/dev/null &)"
    fetch = "import urllib.request as u; print(u.urlopen('http://localhost:8001/x').read().decode())"
    ask = f'for _ in $(seq 50); do python3 -c "{fetch}" 2>/dev/null && break; sleep 0.1; done'
    assert said(serve, ask)[1] == "hello"


def test_a_command_has_its_own_code_folder_environment_and_input():
    async def work(sandbox):
        return await sandbox.run(
            "cat; pwd; echo $A; echo wrong >&2; exit 7", cwd="/tmp", env={"A": "b c"}, stdin=b"in\n"
        )

    done = within(work)
    assert (done.code, done.text, done.stderr) == (7, "in\n/tmp\nb c\n", b"wrong\n")


def test_a_signal_gives_128_and_its_number_and_a_missing_folder_says_so():
    async def work(sandbox):
        return [await sandbox.run("kill -9 $$"), await sandbox.run("true", cwd="/nowhere")]

    killed, lost = within(work)
    assert killed.code == 128 + signal.SIGKILL
    assert lost.code == 127
    assert b"/nowhere" in lost.stderr


def test_a_command_and_its_children_end_at_its_time_and_the_sandbox_goes_on():
    async def work(sandbox):
        late = await sandbox.run("echo begun; sleep 301 & sleep 302", seconds=2)
        return late, await sandbox.run("pgrep -c sleep")

    late, after = within(work)
    assert (late.code, late.timed_out, late.text) == (124, True, "begun\n")
    assert after.text.strip() == "0"


def test_a_command_that_is_cancelled_ends_too():
    async def work(sandbox):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await sandbox.run("sleep 303")
        return await sandbox.run("for _ in $(seq 50); do pgrep sleep > /dev/null || break; done; pgrep -c sleep")

    assert within(work).text.strip() == "0"


def test_output_beyond_the_limit_is_counted_and_stops_nothing():
    async def work(sandbox):
        return await sandbox.run("head -c 1000000 /dev/zero; echo end >&2", most_bytes=1000)

    done = within(work)
    assert (len(done.stdout), done.cut, done.code, done.stderr) == (1000, 999_000, 0, b"end\n")


def test_commands_run_beside_each_other():
    async def work(sandbox):
        waiting = asyncio.create_task(sandbox.run("while [ ! -e /tmp/go ]; do sleep 0.02; done; echo went", seconds=30))
        await sandbox.run("touch /tmp/go")
        return (await waiting).text

    assert within(work) == "went\n"


def test_it_is_root_there_and_has_no_rights():
    found = said(
        "id -u",
        "unshare --mount true; echo $?",
        "mkdir /tmp/m; mount -t tmpfs none /tmp/m; echo $?",
        "touch /usr/bin/mine; echo $?",
        "hostname other; echo $?",
        "date -s 2001-01-01; echo $?",
    )
    assert found[0] == "0"
    assert all(text.splitlines()[-1] != "0" for text in found[1:])


def test_it_sees_no_file_of_users_and_no_process_of_this_machine(tmp_path):
    (tmp_path / "secret").write_text("mine")
    found = said(
        f"cat {tmp_path}/secret", "ls /root /home", "ls -d /proc/[0-9]* | wc -l", "cat /etc/shadow; ls /work /etc/ssh"
    )
    assert "No such file" in found[0]
    assert found[1] == "/home:\n\n/root:"
    assert int(found[2]) < 8
    assert found[3].count("No such file") == 3


def test_it_sees_neither_our_environment_nor_our_descriptors(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    found = said("env; cat /proc/1/environ; ls -l /proc/self/fd; tr '\\0' ' ' < /proc/1/cmdline")
    assert "sk-secret" not in found[0]
    assert "socket" not in found[0]


def test_without_a_network_there_is_loopback_only():
    found = said("cat /proc/net/dev | tail -n +3 | cut -d : -f 1", "echo x > /dev/tcp/192.0.2.1/80; echo $?")
    assert found[0].split() == ["lo"]
    assert "unreachable" in found[1]


def test_with_a_network_it_reaches_a_server_of_this_machine():
    async def work():
        async def answer(_, writer):
            writer.write(b"outside\n")
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, Sandbox(SMALL, network=True) as sandbox:
            return (await sandbox.run(f"cat < /dev/tcp/127.0.0.1/{port}", seconds=30)).text

    assert asyncio.run(work()) == "outside\n"


def test_too_much_memory_ends_the_command_and_not_the_sandbox():
    eat = "python3 -c 'import time; held = []\nwhile True: held.append(bytearray(8 << 20)); time.sleep(0.002)'; echo $?"
    found = said(eat, "echo alive")
    assert found[0].splitlines()[-1] == "137"
    assert found[1] == "alive"


def test_too_many_files_fill_the_storage_and_nothing_else():
    found = said("head -c 100M /dev/zero > /tmp/big; echo $?", "rm /tmp/big; echo ok > /tmp/small; cat /tmp/small")
    assert found[0].splitlines()[-1] != "0"
    assert found[1] == "ok"


def test_too_many_processes_are_refused():
    begin = "import subprocess\nfor _ in range(100): subprocess.Popen(['sleep', '20'])"  # bash would wait and try again
    assert "Resource temporarily unavailable" in said(f'python3 -c "{begin}"')[0]


def test_spent_cpu_time_ends_the_sandbox_and_says_so():
    async def work(sandbox):
        with pytest.raises(SandboxEndedError, match="of CPU time, and the limit is 1 s"):
            await sandbox.run("while :; do :; done")
        with pytest.raises(SandboxEndedError, match="CPU time"):
            await sandbox.run("true")

    within(work, Limits(cpu_seconds=1))


def test_it_uses_as_many_cores_as_it_may():
    assert said("nproc", limits=Limits(cores=1)) == ["1"]


def test_files_go_in_and_come_out_as_they_are(tmp_path):
    source = tmp_path / "in put"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "run me.sh").write_text("#!/bin/sh\necho ran\n")
    (source / "deep" / "run me.sh").chmod(0o755)
    (source / "data").write_bytes(bytes(range(256)) * 5000)

    async def work(sandbox):
        await upload(sandbox, source, "/there/it is")
        await upload(sandbox, source / "data", "/elsewhere/data2")
        ran = await sandbox.run("'/there/it is/deep/run me.sh'")
        await download_folder(sandbox, "/there/it is", tmp_path / "out")
        await download(sandbox, "/elsewhere/data2", tmp_path / "copies" / "one")
        with pytest.raises(TransferError, match="No such file"):
            await read(sandbox, "/nowhere")
        return ran.text

    assert within(work) == "ran\n"
    assert (tmp_path / "out" / "data").read_bytes() == (tmp_path / "copies" / "one").read_bytes()
    assert (tmp_path / "out" / "deep" / "run me.sh").stat().st_mode & 0o111


def test_links_and_devices_do_not_come_out(tmp_path):
    async def work(sandbox):
        await sandbox.run(
            "mkdir /o; cd /o; ln -s /etc/passwd link; ln -s .. up; mkfifo pipe; echo kept > kept; ln kept hard"
        )
        return await download_folder(sandbox, "/o", tmp_path / "out")

    left_out = within(work)
    assert {"./link", "./up", "./pipe"} <= set(left_out)
    assert "kept\n" in {path.read_text() for path in (tmp_path / "out").iterdir()}
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())


def test_it_leaves_nothing_behind():
    async def work():
        async with Sandbox(SMALL) as sandbox:
            await sandbox.run(f"setsid sleep {MARK} & nohup sleep {MARK} &")
            assert becomes(lambda: len(running()) == 2)
        return running()

    assert asyncio.run(work()) == []


def test_it_ends_with_its_maker_also_by_kill():
    program = (
        "import asyncio, sys\nfrom tierwise.environments import Sandbox\n"
        "async def main():\n    sandbox = Sandbox()\n    await sandbox.start()\n"
        f"    await sandbox.run('setsid sleep {MARK} &')\n    print('up', flush=True)\n    await asyncio.sleep(100)\n"
        "asyncio.run(main())"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as maker:
        assert maker.stdout.readline() == "up\n"
        assert becomes(running)
        maker.kill()
    assert becomes(lambda: not running())


def becomes(what) -> bool:
    """Whether it is so within 20 seconds."""
    end = time.monotonic() + 20
    while not what() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(what())


def running() -> list[str]:
    """The processes of the tests above, of whichever sandbox."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == f"sleep\0{MARK}\0".encode():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def test_a_command_after_the_end_says_why():
    async def work():
        sandbox = Sandbox(SMALL)
        with pytest.raises(SandboxEndedError, match="not started"):
            await sandbox.run("true")
        await sandbox.start()
        await sandbox.stop()
        await sandbox.stop()
        with pytest.raises(SandboxEndedError, match="stopped"):
            await sandbox.run("true")

    asyncio.run(work())


@pytest.mark.skipif(not is_root(), reason="only root can become another user")
def test_a_user_without_rights_gets_the_same_sandbox():
    program = (
        "import asyncio\nfrom tierwise.environments import Sandbox\n"
        "async def main():\n    async with Sandbox() as sandbox:\n"
        "        print((await sandbox.run('id -u; touch /x && echo made; cat /proc/net/dev | wc -l')).text)\n"
        "asyncio.run(main())"
    )
    readable = [
        Path(sys.executable),
        Path(__file__).parents[2] / "src" / "tierwise" / "__init__.py",
        Path(sys.base_prefix),
    ]
    if not all(others_can_reach(path.resolve()) for path in readable):
        pytest.skip("another user cannot read this interpreter or these sources")
    line = [sys.executable, "-c", program]
    done = subprocess.run(
        line, user=65534, group=65534, extra_groups=[], capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.stdout.split()[:2] == ["0", "made"], done.stderr


def others_can_reach(path: Path) -> bool:
    return all(one.stat().st_mode & 0o001 for one in path.parents)
