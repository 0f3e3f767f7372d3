# make up     start the lab on this machine; needs only Python 3.10 to 3.14
# make down   remove it
# make test   run all checks and tests
# make bench  run the benchmarks, and compare them with the last run
# make site   make a site of the documentation, in site/

PYTHONS ?= python3 python3.14 python3.13 python3.12 python3.11 python3.10
VENV := .venv
BIN := $(VENV)/bin
# pip only prints errors: its warnings are about the machine, and can't be fixed here
PIP := $(BIN)/python -m pip install --disable-pip-version-check -qq

.PHONY: up down status test check bench site clean
.DEFAULT_GOAL := up

up: $(VENV)/installed
	@# even if PYTHONDONTWRITEBYTECODE is set: compiling at every start would take longer than the start itself
	@$(BIN)/python -m compileall -q ecsconsul
	@$(BIN)/ecsconsul up

down: $(VENV)/installed
	@$(BIN)/ecsconsul down --yes

status: $(VENV)/installed
	@$(BIN)/ecsconsul status

test: check
	@# one worker runs the tests that start labs and mostly wait, the other all the rest (tests/conftest.py)
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder

check: $(VENV)/installed-dev
	@echo "ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "mypy"
	@$(BIN)/mypy --no-error-summary
	@# each service is a separate program with its own app.py
	@for folder in services/*/; do \
	  (cd $$folder && ../../$(BIN)/mypy --no-error-summary --config-file ../../setup.cfg --cache-dir ../../.mypy_cache/$$folder .) \
	  || exit 1; \
	done
	@echo "cfn-lint"
	@$(BIN)/cfn-lint templates/*.yaml
	@# as they are sent: with the boot scripts, and with each part, which is no template by itself
	@parts="$(basename $(notdir $(wildcard templates/parts/*.yaml)))"; for part in "" $$parts "$$parts"; do \
	  $(BIN)/python -m ecsconsul.deploy.template $$part | $(BIN)/cfn-lint || { echo "  in the template with: $$part"; exit 1; }; \
	done
	@echo "shellcheck"
	@PATH="$$PWD/$(BIN):$$PATH"; \
	if command -v shellcheck >/dev/null; then shellcheck .ci/run .ci/build $(wildcard templates/*.sh); \
	elif [ "$$CI" = true ]; then echo "shellcheck is missing"; exit 1; \
	else echo "  skipped: shellcheck is not installed"; fi

bench: $(VENV)/installed-dev
	@$(BIN)/python -m benchmarks

site: $(VENV)/installed-dev
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

clean:
	@if [ -x $(BIN)/ecsconsul ]; then $(BIN)/ecsconsul down --yes; fi
	rm -rf $(VENV) .bench build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/installed: setup.cfg pyproject.toml
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  for name in $(PYTHONS); do \
	    "$$name" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 15))' >/dev/null 2>&1 && { python=$$name; break; }; \
	  done; \
	  if [ -z "$$python" ]; then echo "Python 3.10 to 3.14 is needed (make PYTHONS=/path/to/python up)"; exit 1; fi; \
	  if ! $$python -c 'import venv, ensurepip' 2>/dev/null; then \
	    echo "$$python has no venv module; on Debian and Ubuntu: apt install python3-venv"; exit 1; \
	  fi; \
	  echo "Creating $(VENV) with $$($$python --version)"; \
	  $$python -m venv --clear $(VENV) || exit 1; \
	fi
	@echo "Installing ecsconsul and its dependencies into $(VENV); the first time takes about a minute"
	@$(PIP) --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@echo "Installing the development dependencies into $(VENV)"
	@$(PIP) --editable '.[dev]'
	@touch $@
