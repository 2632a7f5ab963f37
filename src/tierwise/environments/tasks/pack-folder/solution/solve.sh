#!/bin/bash
set -euo pipefail
cd /app
tar -czf photos.tar.gz photos
