PYTHON ?= python3
GB ?= 0
QUIET = --disable-pip-version-check -q

.PHONY: demo bench record test lint clean

demo: .venv/installed
	.venv/bin/memmap_ts_demo --gb $(GB)

.venv/installed: setup.py settings.ini $(shell find memmap_ts -name "*.py")
	@echo "Installing into .venv, once: on Linux about 6.5 GB, most of it CUDA (2 GB without a GPU: Install in README.md)"
	$(PYTHON) -m venv .venv
	.venv/bin/pip install $(QUIET) .
	touch $@

bench: .venv/installed
	.venv/bin/pip install $(QUIET) '.[bench]'
	.venv/bin/memmap_ts_bench $(if $(filter-out 0,$(GB)),--gb $(GB)) $(if $(DEVICE),--device $(DEVICE))

record: # Measure again what the documentation tells: in the development environment, as root, with nothing beside it
	memmap_ts_bench --record nbs
	memmap_ts_bench --large --record nbs
	jupyter nbconvert --to notebook --execute --inplace nbs/830_bench.reading.ipynb nbs/924_is_memmap_slow.ipynb
	nbdev_clean

test:
	PYTHON=$(PYTHON) bash .ci/test

lint: # in the development environment
	bash .ci/lint

clean:
	rm -rf .venv .venv-test-* build dist *.egg-info _proc docs/_build
