# Everything runs in .venv, which is made from requirements.lock when it is missing or older than the lock.
#
#   make setup   the environment            make check   lint, types and tests: what CI runs
#   make demo    three clips, one dataset   make soak    the tests that take hours
#   make test    the quick tests            make lock    requirements.lock anew from pyproject.toml

PYTHON ?= python3
BIN := .venv/bin
PIP := .venv/bin/python -m pip install
INSTALLED := .venv/.locked
# The entries of requirements.lock for the packages named, hashes included.
locked = awk '/^[^ \#]/ { wanted = /^($(1))==/ } wanted && !/^ *\#/' requirements.lock

.DEFAULT_GOAL := setup
.PHONY: setup demo test check lint types soak lock clean

setup: $(INSTALLED)

# uv installs in seconds what takes pip minutes. It does not read pip's configuration, so it is handed pip's index;
# where it cannot run or cannot reach the index, pip installs the same lock.
$(INSTALLED): requirements.lock pyproject.toml | .venv/bin/python
	@$(call locked,setuptools) >.venv/setuptools.lock
	@$(call locked,uv) >.venv/uv.lock
	@$(PIP) --quiet --require-hashes -r .venv/setuptools.lock
	@{ $(PIP) --quiet --require-hashes --only-binary :all: -r .venv/uv.lock && \
	  index="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$($(BIN)/python -m pip config get global.index-url 2>/dev/null)}}"; \
	  env $${index:+UV_DEFAULT_INDEX="$$index"} VIRTUAL_ENV="$(CURDIR)/.venv" \
	    $(BIN)/uv pip sync --require-hashes --no-build-isolation --compile-bytecode requirements.lock; } || \
	  { echo "uv could not install the lock: going on with pip, which takes longer" >&2; \
	    $(PIP) --require-hashes --no-build-isolation -r requirements.lock; }
	@$(PIP) --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || \
	  { echo "vidlake needs Python 3.11 to 3.13, and $(PYTHON) is not: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make virtual environments: apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv --clear .venv

demo: $(INSTALLED)
	@$(BIN)/python -m demo

test: $(INSTALLED)
	@$(BIN)/python -m pytest -m 'not slow and not soak'

lint: $(INSTALLED)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(INSTALLED)
	@$(BIN)/mypy

# One run of pytest over quick and slow tests alike, so that the log ends with one closing line.
check: lint types
	@$(BIN)/python -m pytest -m 'not soak'

soak: $(INSTALLED)
	@$(BIN)/python -m pytest -m soak --timeout 0

lock: $(INSTALLED)
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --group dev \
	  pyproject.toml --output-file requirements.lock

clean:
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache build dist demo-output *.egg-info
	find pipeline serve tests demo -name __pycache__ -type d -exec rm -rf {} + 2>/dev/null || true
