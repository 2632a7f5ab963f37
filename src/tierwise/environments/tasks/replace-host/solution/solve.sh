#!/bin/bash
set -euo pipefail
sed -i 's/localhost/db.internal/g' /app/conf/*.conf
