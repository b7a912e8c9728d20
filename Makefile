# `make demo`, `make test`: each does all the set-up it needs.
PY := .venv/bin/python
CM := .venv/bin/causal-meta
STAMP := .venv/.installed

.PHONY: setup test lint demo
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

# The demonstration: a small model trained in three minutes, beside the embedded default, the baselines and a real table. Everything found in the
# store is not made again.
TASKS := held_in_d10
BASELINES := empty random sortnregress pc ges boss
demo: setup
	$(CM) build amortised --experiment experiments/demo.yaml --name demo
	$(CM) build tasks data=wide data.n_nodes=10 data.n_rows=400 n_tasks=20 seed=101 --name $(TASKS)
	$(CM) evaluate of=demo tasks=$(TASKS)
	$(CM) evaluate of=default tasks=$(TASKS)
	for kind in $(BASELINES); do $(CM) infer $$kind of=$(TASKS) --name $(TASKS)_$$kind && $(CM) evaluate of=$(TASKS) posterior=$(TASKS)_$$kind || exit $$?; done
	$(CM) build tasks data.table=sklearn:diabetes --name diabetes
	for kind in sortnregress pc ges boss; do $(CM) infer $$kind of=diabetes --name diabetes_$$kind || exit $$?; done
	$(CM) discover sklearn:diabetes --out runs/answers/diabetes
	$(CM) report
