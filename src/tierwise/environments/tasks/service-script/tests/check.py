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
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def lines():
    return len(LOG.read_text().splitlines()) if LOG.exists() else 0


assert ctl("status") == (3, "stopped")
assert ctl("stop")[0] == 0
assert ctl("start")[0] == 0
pid = int(PID.read_text())
assert alive(pid)
assert ctl("status") == (0, "running")
before = lines()
time.sleep(0.5)
assert lines() > before, "the ticker does not tick"
assert ctl("start")[0] == 1
assert int(PID.read_text()) == pid, "a second start changed the pid file"
assert ctl("stop")[0] == 0
assert not alive(pid)
assert not PID.exists()
after = lines()
time.sleep(0.4)
assert lines() == after, "something still ticks"
assert ctl("start")[0] == 0
os.kill(int(PID.read_text()), signal.SIGKILL)
time.sleep(0.3)
assert ctl("status") == (3, "stopped"), "a stale pid file"
assert ctl("start")[0] == 0
assert ctl("stop")[0] == 0
