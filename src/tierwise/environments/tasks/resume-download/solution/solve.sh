#!/bin/bash
set -euo pipefail
cd /app
python3 source.py > /tmp/source.log 2>&1 &
server=$!
: > file.bin
for _ in $(seq 100); do
  size=$(stat -c %s file.bin)
  [ "$size" -ge 200000 ] && break
  curl -s -r "$size-" http://127.0.0.1:7171/file >> file.bin || sleep 0.1
done
kill $server
wait $server || true
