# `make demo`, `make test`: each does all the set-up it needs.
PY := .venv/bin/python
CM := .venv/bin/causal-meta
STAMP := .venv/.installed

.PHONY: setup test lint demo clean
setup: $(STAMP)
$(STAMP): pyproject.toml constraints/tested.txt setup.sh
	./setup.sh
	@touch $(STAMP)

lint: setup
	.venv/bin/ruff check src tests benchmarks
	.venv/bin/ruff format --check src tests benchmarks
	.venv/bin/mypy

test: lint
	$(PY) -m pytest -q
