#!/bin/bash
set -euo pipefail
cd /app/repo
git add --all
git commit -q -m "Add notes"
