#!/bin/bash
set -euo pipefail
cd /app/repo
git merge -q feature > /dev/null 2>&1 || true
cat > settings.ini <<'END'
[server]
host = localhost
timeout = 60
retries = 5

[cache]
size = 256
ttl = 900
path = /var/cache/app
compress = yes
END
git add settings.ini
git commit -q -m "Merge feature"
