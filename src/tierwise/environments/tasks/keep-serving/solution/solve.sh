#!/bin/bash
set -euo pipefail
cd /app/site
echo '{"ready": true}' > status.json
nohup python3 -m http.server 8123 --bind 127.0.0.1 > /tmp/server.log 2>&1 &
for _ in $(seq 100); do curl -sf http://127.0.0.1:8123/ > /dev/null && break; sleep 0.1; done
