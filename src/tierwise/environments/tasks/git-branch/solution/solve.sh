#!/bin/bash
set -euo pipefail
git -C /app/repo branch hotfix v1.0
