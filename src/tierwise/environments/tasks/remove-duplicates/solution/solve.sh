#!/bin/bash
set -euo pipefail
cd /app/photos
export LC_ALL=C
find . -type f -printf '%P\0' | sort -z | xargs -0 sha256sum | awk 'seen[$1]++ { print substr($0, 67) }' > ../deleted.txt
while IFS= read -r path; do rm -- "$path"; done < ../deleted.txt
