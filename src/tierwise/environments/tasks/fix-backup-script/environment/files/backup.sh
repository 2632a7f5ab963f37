#!/bin/bash
# Copies what changed below SOURCE to TARGET, and prints how many files those were.
set -e
source=$1
target=$2
count=0
find $source -type f | while read path; do
  name=${path#$source/}
  copy=$target/$name
  if [ ! $copy -nt $path ]; then
    mkdir -p `dirname $copy`
    cp $path $copy
    count=$((count + 1))
  fi
done
echo $count
