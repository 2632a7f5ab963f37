#!/bin/bash
set -euo pipefail
for name in src tests docs; do mkdir -p "/app/project/$name"; touch "/app/project/$name/README.md"; done
