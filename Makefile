# make up     the lab on this machine: needs Python 3.10 or newer, and nothing else
# make down   takes it away again
# make test   every check and every test

PYTHONS ?= python3 python3.14 python3.13 python3.12 python3.11 python3.10
VENV := .venv
BIN := $(VENV)/bin
# pip says nothing but errors: what it warns of is the machine's, and nobody can act on it here
PIP := $(BIN)/python -m pip install --disable-pip-version-check -qq

.PHONY: up down status test check bench clean
.DEFAULT_GOAL := up

up: $(VENV)/installed
	@# also where PYTHONDONTWRITEBYTECODE is set: compiling at every start would cost more than the start
	@$(BIN)/python -m compileall -q ecsconsul
	@$(BIN)/ecsconsul up

down: $(VENV)/installed
	@$(BIN)/ecsconsul down --yes

status: $(VENV)/installed
	@$(BIN)/ecsconsul status

test: check
	@# one worker for the labs on this machine, which mostly wait, the other for all else (tests/conftest.py)
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder

check: $(VENV)/installed-dev
	@echo "ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "mypy"
	@$(BIN)/mypy --no-error-summary
	@# each service is a program of its own, and all three have an app.py
	@for folder in services/*/; do \
	  (cd $$folder && ../../$(BIN)/mypy --no-error-summary --config-file ../../setup.cfg --cache-dir ../../.mypy_cache/$$folder .) \
	  || exit 1; \
	done
	@echo "cfn-lint"
	@$(BIN)/cfn-lint templates/*.yaml
	@echo "shellcheck"
	@PATH="$$PWD/$(BIN):$$PATH"; \
	if command -v shellcheck >/dev/null; then shellcheck .ci/run $(wildcard templates/*.sh); \
	elif [ "$$CI" = true ]; then echo "shellcheck is missing"; exit 1; \
	else echo "  left out: shellcheck is not installed"; fi

bench: $(VENV)/installed-dev
	@$(BIN)/python -m benchmarks

clean:
	@if [ -x $(BIN)/ecsconsul ]; then $(BIN)/ecsconsul down --yes; fi
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/installed: setup.cfg pyproject.toml
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  for name in $(PYTHONS); do \
	    "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1 && { python=$$name; break; }; \
	  done; \
	  if [ -z "$$python" ]; then echo "Python 3.10 or newer is needed (make PYTHONS=/path/to/python up)"; exit 1; fi; \
	  if ! $$python -c 'import venv, ensurepip' 2>/dev/null; then \
	    echo "$$python has no venv module; on Debian and Ubuntu: apt install python3-venv"; exit 1; \
	  fi; \
	  echo "Making $(VENV) with $$($$python --version)"; \
	  $$python -m venv --clear $(VENV) || exit 1; \
	fi
	@echo "Installing ecsconsul and what it needs into $(VENV); the first time this takes a minute"
	@$(PIP) --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@echo "Installing what the checks and tests need into $(VENV)"
	@$(PIP) --editable '.[dev]'
	@touch $@
