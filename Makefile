PYTHON ?= python3
GB ?= 0
QUIET = --disable-pip-version-check -q

.PHONY: demo test clean

demo: .venv/installed
	.venv/bin/memmap_ts_demo --gb $(GB)

.venv/installed: setup.py settings.ini $(wildcard memmap_ts/*.py)
	$(PYTHON) -m venv .venv
	.venv/bin/pip install $(QUIET) .
	touch $@

test:
	PYTHON=$(PYTHON) bash .ci/test

clean:
	rm -rf .venv .venv-test-* build dist *.egg-info _proc docs/_build
