#!/bin/bash
set -euo pipefail
nohup python3 /app/bank.py > /tmp/bank.log 2>&1 &
ask() {
  exec 3<> /dev/tcp/127.0.0.1/7070
  echo "$@" >&3
  head -n 1 <&3
  exec 3>&-
}
for _ in $(seq 100); do (echo > /dev/tcp/127.0.0.1/7070) 2> /dev/null && break; sleep 0.1; done
ask open anna
ask open ben
ask deposit anna 120
ask deposit ben 30
ask transfer anna ben 45
{ echo "anna $(ask balance anna)"; echo "ben $(ask balance ben)"; } > /app/balances.txt
