PYTHON ?= python3
GB ?= 0
QUIET = --disable-pip-version-check -q

.PHONY: demo bench test lint clean

demo: .venv/installed
	.venv/bin/memmap_ts_demo --gb $(GB)

.venv/installed: setup.py settings.ini $(shell find memmap_ts -name "*.py")
	$(PYTHON) -m venv .venv
	.venv/bin/pip install $(QUIET) .
	touch $@

bench: .venv/installed
	.venv/bin/pip install $(QUIET) '.[bench]'
	.venv/bin/memmap_ts_bench $(if $(filter-out 0,$(GB)),--gb $(GB)) $(if $(DEVICE),--device $(DEVICE))

test:
	PYTHON=$(PYTHON) bash .ci/test

lint: # in the development environment
	bash .ci/lint

clean:
	rm -rf .venv .venv-test-* build dist *.egg-info _proc docs/_build
