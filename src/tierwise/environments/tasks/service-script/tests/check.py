import os
import signal
import subprocess
import time
from pathlib import Path

LOG, PID = Path("/app/ticks.log"), Path("/app/ticker.pid")


def ctl(what):
    done = subprocess.run(["/app/ctl.sh", what], capture_output=True, text=True, timeout=20, cwd="/")
    return done.returncode, done.stdout.strip()


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def holds(what):
    """Whether it is so within 20 seconds."""
    end = time.monotonic() + 20
    while not what() and time.monotonic() < end:
        time.sleep(0.02)
    return what()


def lines():
    return len(LOG.read_text().splitlines()) if LOG.exists() else 0


assert ctl("status") == (3, "stopped")
assert ctl("stop")[0] == 0
assert ctl("start")[0] == 0
pid = int(PID.read_text())
assert alive(pid)
assert ctl("status") == (0, "running")
before = lines()
assert holds(lambda: lines() > before), "the ticker does not tick"
assert ctl("start")[0] == 1
assert int(PID.read_text()) == pid, "a second start changed the pid file"
assert ctl("stop")[0] == 0
assert not alive(pid)
assert not PID.exists()
after = lines()
time.sleep(0.4)
assert lines() == after, "something still ticks"
assert ctl("start")[0] == 0
pid = int(PID.read_text())
os.kill(pid, signal.SIGKILL)
assert holds(lambda: not alive(pid))
assert ctl("status") == (3, "stopped"), "a stale pid file"
assert ctl("start")[0] == 0
assert ctl("stop")[0] == 0
