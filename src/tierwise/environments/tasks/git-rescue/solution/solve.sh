#!/bin/bash
set -euo pipefail
cd /app/repo
for commit in $(git fsck --no-reflogs --unreachable --no-progress | awk '$2 == "commit" { print $3 }'); do
  if [ "$(git log -1 --format=%s "$commit")" = "Tune the sampler" ]; then git branch rescued "$commit"; fi
done
