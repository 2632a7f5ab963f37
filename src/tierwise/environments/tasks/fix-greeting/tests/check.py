import subprocess

for name in ("Ada", "Grace Hopper"):
    done = subprocess.run(["python3", "/app/greet.py", name], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout.strip()) == (0, f"Hello, {name}!"), done
