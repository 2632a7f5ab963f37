#!/bin/bash
set -euo pipefail
cd /app/notes
declare -A seen
for file in note_*.txt; do
  date=$(head -n 1 "$file" | cut -d ' ' -f 2)
  seen[$date]=$((${seen[$date]:-0} + 1))
  mv "$file" "${date}_${seen[$date]}.txt"
done
