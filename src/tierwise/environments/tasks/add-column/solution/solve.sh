#!/bin/bash
set -euo pipefail
tail -n +2 /app/sales.csv | awk -F , '{ sum += $2 } END { print sum }' > /app/total.txt
