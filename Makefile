# make demo   installs what it needs into .venv and runs the whole loop on real text
# make test   installs what it needs into .venv and runs the tests
PYTHON ?= python3
DEMO ?=
TESTS ?= -n 2
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench setup clean

demo: $(VENV)/ready
	$(BIN)/luthier demo $(DEMO)

test: $(VENV)/ready
	$(BIN)/pytest $(TESTS)

lint: $(VENV)/ready
	$(BIN)/ruff check src tests bench
	$(BIN)/ruff format --check src tests bench
	$(BIN)/mypy

bench: $(VENV)/ready
	for file in bench/bench_*.py; do $(BIN)/python $$file || exit 1; done

setup: $(VENV)/ready

$(VENV)/ready: requirements.lock pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'Luthier needs Python 3.11 or newer; this is ' + sys.version.split()[0] + '. Name another with: make PYTHON=python3.12 ...')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -q -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps -e .
	touch $@

clean:
	rm -rf $(VENV) luthier-demo
