#!/bin/bash
set -euo pipefail
grep -c ERROR /app/server.log > /app/count.txt
