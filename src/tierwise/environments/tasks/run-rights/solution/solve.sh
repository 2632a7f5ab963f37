#!/bin/bash
set -euo pipefail
chmod a+x /app/bin/*.sh
