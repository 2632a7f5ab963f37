#!/bin/bash
set -euo pipefail
cd /app/data
find . -type f -size +1000c ! -name '*.tmp' -printf '%P\0' | tar --null --files-from=- -czf ../backup.tar.gz
