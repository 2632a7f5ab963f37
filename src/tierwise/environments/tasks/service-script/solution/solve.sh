#!/bin/bash
set -euo pipefail
cat > /app/ctl.sh <<'END'
#!/bin/bash
pid_file=/app/ticker.pid

running() {
  [ -s "$pid_file" ] || return 1
  pid=$(cat "$pid_file")
  [ -r "/proc/$pid/stat" ] && [ "$(sed 's/.*) //' "/proc/$pid/stat" | cut -c 1)" != Z ]
}

case "$1" in
  start)
    running && exit 1
    setsid /app/ticker.sh > /dev/null 2>&1 < /dev/null &
    echo $! > "$pid_file"
    ;;
  status)
    if running; then echo running; else echo stopped; exit 3; fi
    ;;
  stop)
    if running; then
      kill "$pid"
      while running; do sleep 0.05; done
    fi
    rm -f "$pid_file"
    ;;
esac
END
chmod +x /app/ctl.sh
