#!/bin/bash
awk -F , '{ sum += $2 } END { print FILENAME, NR, sum }' "$1"
