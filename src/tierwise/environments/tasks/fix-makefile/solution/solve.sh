#!/bin/bash
set -euo pipefail
cat > /app/project/Makefile <<'END'
SUMMARIES := $(patsubst data/%.csv,build/%.sum,$(sort $(wildcard data/*.csv)))

report.txt: tools/join.sh $(SUMMARIES)
	bash tools/join.sh $(SUMMARIES) > $@

build/%.sum: data/%.csv tools/summarise.sh
	mkdir -p build
	bash tools/summarise.sh $< > $@

.PHONY: clean
clean:
	rm -rf build report.txt
END
