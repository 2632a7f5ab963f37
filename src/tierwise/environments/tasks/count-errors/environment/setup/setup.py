from pathlib import Path

levels = ["INFO", "INFO", "WARNING", "DEBUG", "INFO"]
lines = [
    f"12:{number // 60:02}:{number % 60:02} {'ERROR' if number % 11 == 3 else levels[number % 5]} request {number}\n"
    for number in range(407)
]
Path("/app/server.log").write_text("".join(lines))
