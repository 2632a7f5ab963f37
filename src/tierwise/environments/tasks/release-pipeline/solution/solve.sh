#!/bin/bash
set -euo pipefail
cd /app/repo
python3 -B -m unittest -q 2> /dev/null
echo 1.5.0 > VERSION
sed -i 's/^## Unreleased$/## 1.5.0/' CHANGELOG.md
git add VERSION CHANGELOG.md
git commit -q -m "Release 1.5.0"
git tag -a -m "Release 1.5.0" v1.5.0
mkdir -p dist
git archive --prefix=greet-1.5.0/ -o dist/greet-1.5.0.tar.gz v1.5.0
cd dist
sha256sum greet-1.5.0.tar.gz > SHA256SUMS
