# klaviyo-relay: `make` says what there is to make. Needs make and a Python from 3.11 on with venv,
# and a package registry for the first run; no root, no Redis, nothing installed outside .venv.

PYTHON = python3
ARGS =
# Test files at a time: with two cores a third one uses what the others wait for.
JOBS = 3
# What the tests run: the tree as it stands, or the wheel that users get.
PACKAGE = tree
# With any value the tests are measured, and fail below the bar in pyproject.toml.
COVERAGE =

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

# A stamp carries the checksum of what was installed, so that a changed lock file installs anew and
# an unchanged one costs nothing. pyproject.toml counts: it holds the console script and the extras.
checksum = $(shell cat requirements/$(1).txt pyproject.toml | cksum | cut -d' ' -f1)
RUN := .venv/.run-$(call checksum,run)
DEV := .venv/.dev-$(call checksum,dev)
UV := uv==0.13.9
AUDIT := pip-audit==2.10.1
# Twice quiet: errors only.
PIP_INSTALL := .venv/bin/python -m pip install --quiet --quiet --disable-pip-version-check

# The .venv that is there will do if its Python is from 3.11 on, and of the version of the PYTHON that
# was asked for by name, if any; else it is made anew.
ifeq ($(origin PYTHON),file)
will_do = .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
else
wanted := $(shell $(PYTHON) -c 'import sys; print(sys.version_info[:2])' 2>/dev/null)
will_do = .venv/bin/python -c 'import sys; v = sys.version_info[:2]; sys.exit(v < (3, 11) or str(v) != "$(wanted)")' 2>/dev/null
ifneq ($(shell $(will_do) && echo yes),yes)
$(RUN) $(DEV): FORCE
endif
endif

define check_python
command -v $(PYTHON) >/dev/null || { echo 'klaviyo-relay needs Python 3.11 or newer; there is no $(PYTHON). Name yours: make PYTHON=/path/to/python3.12' >&2; exit 1; }; \
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "klaviyo-relay needs Python 3.11 or newer; $(PYTHON) is %d.%d. Name another: make PYTHON=python3.12" % sys.version_info[:2])'; \
$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo '$(PYTHON) cannot make virtual environments: install its venv module (Debian: apt install python3-venv)' >&2; exit 1; }
endef

# $(1): run or dev.
define install
@set -e; $(will_do) || { $(check_python); echo 'Making .venv'; $(PYTHON) -m venv --clear .venv; }; \
.venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null; \
echo 'Installing requirements/$(1).txt into .venv'; \
$(PIP_INSTALL) --require-hashes --requirement requirements/$(1).txt; \
$(PIP_INSTALL) --no-deps --no-build-isolation --editable .; \
rm -f .venv/.$(1)-*; touch $@
endef

$(RUN):
	$(call install,run)

# dev.txt holds all of run.txt.
$(DEV):
	$(call install,dev)
	@rm -f .venv/.run-*; touch $(RUN)

.PHONY: help demo test check docs audit chaos bench requirements clean FORCE

help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile
	@echo '  PYTHON=python3.12 picks the interpreter; ARGS="..." is passed on by demo, test, docs, chaos and bench.'

demo: $(RUN) ## See it work: a private Redis, a stand-in Klaviyo, a worker, some commands
	@.venv/bin/klaviyo-relay demo $(ARGS)

pytest = .venv/bin/pytest -n $(JOBS) --dist loadfile $(if $(COVERAGE),--cov --cov-report=term) $(ARGS)

test_tree = $(pytest)

# The copy has all but the packages, so that what is imported can only be the wheel. Without its
# stamps .venv gets the tree back with the next make.
define test_wheel
set -e; rm -rf build; mkdir -p build/wheel build/tree; \
echo 'Building the wheel and installing it into .venv'; \
.venv/bin/python -m pip wheel --quiet --quiet --no-deps --no-build-isolation --wheel-dir build/wheel .; \
rm -f .venv/.run-* .venv/.dev-*; \
$(PIP_INSTALL) --no-deps --force-reinstall build/wheel/*.whl; \
cp -R $(filter-out build dist producer worker,$(wildcard * .ci)) build/tree; \
cd build/tree; ../../$(pytest)
endef

test: $(DEV) ## Run the tests; PACKAGE=wheel: of the wheel, not of the tree; COVERAGE=1: measured
	@$(or $(test_$(PACKAGE)),$(error PACKAGE is tree or wheel))

docs: $(DEV) ## Run what the documents show, and look that they leave nothing out
	@[ ! -d tests/docs ] || .venv/bin/pytest --quiet tests/docs $(ARGS)

check: $(DEV) ## Lint, formatting, types by two checkers, who imports whom, installed packages
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/mypy tests/typing
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 .venv/bin/pyright --pythonpath .venv/bin/python
	@.venv/bin/python tests/typing/completeness.py
	@.venv/bin/lint-imports
	@.venv/bin/python -m pip --disable-pip-version-check check

# Not a part of check, which must pass where no advisory service can be reached.
audit: $(DEV) ## Ask the advisories of the package registry for known faults in what users install
	@[ -x .venv/audit/bin/pip-audit ] || { .venv/bin/python -m venv .venv/audit && \
	.venv/audit/bin/python -m pip install --quiet --quiet --disable-pip-version-check $(AUDIT); }
	@.venv/audit/bin/pip-audit --requirement requirements/run.txt --require-hashes --disable-pip --progress-spinner off

chaos: $(DEV) ## Break everything at random, then see whether every rule held
	@.venv/bin/python tests/chaos $(ARGS)

bench: $(DEV) ## Measure it on this machine, peers beside it; writes docs/benchmarks.md
	@.venv/bin/python -m bench $(ARGS)

compile = .venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	--generate-hashes --no-strip-extras --no-header --no-emit-index-url --no-emit-find-links \
	--extra worker --extra embedded pyproject.toml requirements/$(1).in \
	--output-file requirements/$(1).txt

requirements: $(RUN) ## Bring requirements/*.txt up to date (newest versions that pyproject.toml allows)
	@$(PIP_INSTALL) $(UV)
	@$(call compile,run)
	@$(call compile,dev) --group dev
	@! grep -nE '://|find-links|index-url' requirements/run.txt requirements/dev.txt

clean: ## Remove .venv and all that tools have left behind
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@rm -rf .coverage .coverage.* coverage.xml htmlcov
	@find bench deploy examples producer tests worker -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

FORCE:
