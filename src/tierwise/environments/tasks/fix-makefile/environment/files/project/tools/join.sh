#!/bin/bash
cat "$@" | LC_ALL=C sort
