# `make demo`, `make test`: each does all the set-up it needs.
PY := .venv/bin/python
PYTEST := $(PY) -m pytest -q --durations=10
CM := .venv/bin/causal-meta
STAMP := .venv/.installed

.PHONY: setup test test-workflow test-llc test-samplers test-commands test-datasets test-rest
.PHONY: lint demo
setup: $(STAMP)
$(STAMP): pyproject.toml constraints/tested.txt setup.sh
	./setup.sh
	@touch $(STAMP)

lint: setup
	.venv/bin/ruff check src tests benchmarks
	.venv/bin/ruff format --check src tests benchmarks
	.venv/bin/mypy

# JAX and processes that fork do not meet in one pytest process. Tests that start processes wait for
# much of their time, so five jobs fill two cores; the long ones come first.
SAMPLERS := $(addprefix tests/llc/,samplers test_samplers.py test_annealing.py \
	test_calibration.py)
COMMANDS := tests/runners tests/cli tests/store
DATASETS := tests/datasets tests/conf
test: setup
	$(MAKE) --no-print-directory -j5 --output-sync=target test-workflow test-llc \
		test-samplers test-commands test-datasets test-rest lint

test-workflow:
	$(PYTEST) tests/workflow

test-llc:
	$(PYTEST) tests/llc $(SAMPLERS:%=--ignore=%)

test-samplers:
	$(PYTEST) $(SAMPLERS)

test-commands:
	$(PYTEST) $(COMMANDS)

test-datasets:
	$(PYTEST) $(DATASETS)

test-rest:
	$(PYTEST) $(patsubst %,--ignore=%,tests/llc tests/workflow $(COMMANDS) $(DATASETS))

# The demonstration: a small model trained here, beside the embedded default, the
# baselines and a real table. What is in the store already is not made again.
demo: setup
	$(CM) study experiments/demonstration.yaml
	$(CM) discover sklearn:diabetes --out runs/answers/diabetes
	$(CM) report
