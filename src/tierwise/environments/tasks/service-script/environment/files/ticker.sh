#!/bin/bash
while :; do
  date +%s >> /app/ticks.log
  sleep 0.1
done
