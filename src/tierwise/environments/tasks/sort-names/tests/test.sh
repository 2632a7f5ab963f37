#!/bin/bash
# 1 if every check of check.py holds, else 0.
reward=0
python3 -B /tests/check.py && reward=1
echo "$reward" > /logs/verifier/reward.txt
