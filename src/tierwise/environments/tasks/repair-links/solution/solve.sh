#!/bin/bash
set -euo pipefail
cd /app/tree
: > ../dangling.txt
find . -type l -lname '/srv/old/tree/*' -printf '%P\n' | LC_ALL=C sort | while IFS= read -r link; do
  target=/app/tree/$(readlink "$link" | sed 's|^/srv/old/tree/||')
  if [ -e "$target" ]; then
    ln -sfnr "$target" "$link"
  else
    rm "$link"
    echo "$link" >> ../dangling.txt
  fi
done
