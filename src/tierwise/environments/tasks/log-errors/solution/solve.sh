#!/bin/bash
set -euo pipefail
export LC_ALL=C
# The request may contain spaces and quotes, so fields count from the quote before the status.
sed -E 's/^([^ ]+) .*" ([0-9]{3}) ([0-9]+|-) "[^"]*" "[^"]*"$/\1 \2 \3/' /app/access.log |
  awk '$2 >= 500 && $2 <= 599 { count[$1]++; bytes[$1] += $3 }
       END { for (one in count) print one "," count[one] "," bytes[one] + 0 }' |
  sort -t , -k 2,2nr -k 1,1 > /app/errors.csv
