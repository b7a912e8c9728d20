# `make demo`, `make test`: each does all the set-up it needs.
PY := .venv/bin/python
PYTEST := $(PY) -m pytest -q --durations=10
CM := .venv/bin/causal-meta
STAMP := .venv/.installed

.PHONY: setup test test-llc test-samplers test-processes test-rest lint demo
setup: $(STAMP)
$(STAMP): pyproject.toml constraints/tested.txt setup.sh
	./setup.sh
	@touch $(STAMP)

lint: setup
	.venv/bin/ruff check src tests benchmarks
	.venv/bin/ruff format --check src tests benchmarks
	.venv/bin/mypy

# JAX and processes that fork do not meet in one pytest process. Tests that start processes wait for
# much of their time, so five jobs fill two cores.
SAMPLERS := $(addprefix tests/llc/,samplers test_samplers.py test_annealing.py \
	test_calibration.py)
APART := tests/llc tests/workflow tests/store tests/cli tests/runners
test: setup
	$(MAKE) --no-print-directory -j5 --output-sync=target test-processes test-rest \
		test-llc test-samplers lint

test-llc:
	$(PYTEST) tests/llc $(SAMPLERS:%=--ignore=%)

test-samplers:
	$(PYTEST) $(SAMPLERS)

test-processes:
	$(PYTEST) $(filter-out tests/llc,$(APART))

test-rest:
	$(PYTEST) $(APART:%=--ignore=%)

# The demonstration: a small model trained here, beside the embedded default, the
# baselines and a real table. What is in the store already is not made again.
demo: setup
	$(CM) study experiments/demonstration.yaml
	$(CM) discover sklearn:diabetes --out runs/answers/diabetes
	$(CM) report
