#!/bin/bash
set -euo pipefail
cd /app/site
echo '{"ready": true}' > status.json
nohup python3 -m http.server 8123 --bind 127.0.0.1 > /tmp/server.log 2>&1 &
