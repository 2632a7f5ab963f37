#!/bin/bash
set -euo pipefail
cat > /app/greet.py <<'END'
import sys

name = sys.argv[1]
print("Hello, " + name + "!")
END
