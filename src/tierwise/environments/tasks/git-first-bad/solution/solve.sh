#!/bin/bash
set -euo pipefail
cd /app/repo
git bisect start main good > /dev/null
git bisect run bash check.sh > /dev/null
git rev-parse refs/bisect/bad > ../first_bad.txt
git bisect reset > /dev/null 2>&1
git checkout -q main
