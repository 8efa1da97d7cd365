# make lab and make test are all that a fresh machine needs: Python 3.11 or later, and make.
# The environment is made on the first call and remade when requirements.lock changes.

SHELL := /bin/sh
.DEFAULT_GOAL := help
# A run starts a hundred processes: without compiled files each of them compiles our modules again.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help lab test prove serve bench lint notebooks env clean

# The first Python that every package of the lock has a build for; PYTHON=... names one instead. Where there is
# only a newer one, or a free-threaded one, that is taken too: deskbook.environment says what is missing.
PYTHON ?=
CANDIDATES = $(if $(PYTHON),"$(PYTHON)",python3 python3.14 python3.13 python3.12 python3.11 python3.15 python)
NONE_FOUND = Python 3.11 or later is needed, and none was found: $$(command -v python3 >/dev/null && python3 --version 2>&1 || echo there is no python3). Install one, or name it: make lab PYTHON=/path/to/python3.14
NOT_FOUND = $(if $(PYTHON),PYTHON=$(PYTHON) is no Python 3.11 or later.,$(NONE_FOUND))
FIND_PYTHON = for newer in False True; do for candidate in $(CANDIDATES); do \
	if "$$candidate" -c "import sys, sysconfig; sys.exit(sys.version_info < (3, 11) or not $$newer and \
	(sys.version_info >= (3, 15) or bool(sysconfig.get_config_var('Py_GIL_DISABLED'))))" >/dev/null 2>&1; \
	then python=$$candidate; break 2; fi; done; done; \
	if [ -z "$$python" ]; then echo "$(NOT_FOUND)" >&2; exit 1; fi
# `py` is the Python of the environment; everything it says on the way goes to stderr.
WITH_ENV = @python=; $(FIND_PYTHON); py=$$(PYTHONPATH=notebooks "$$python" -m deskbook.environment) || exit 1;

help: ## Show this list
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/'

lab: ## Open the lessons in JupyterLab (services included)
	$(WITH_ENV) exec "$$py" -m deskbook lab $(ARGS)

# A file stays with one worker: a notebook has one kernel, and a folder's servers are made once a worker.
# Three on two cores: a third of the time a test waits, for a server to start or for a lock.
WORKERS ?= 3
PYTEST = -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test: ## Run what CI runs
	$(WITH_ENV) exec "$$py" $(PYTEST) $(ARGS)

prove: ## The long run: repetitions, other Pythons, fresh environments (an hour at most)
	$(WITH_ENV) exec "$$py" $(PYTEST) -m "prove or not prove" -o faulthandler_timeout=1800 $(ARGS)

# A goal that is missed is printed as such; what could not be measured at all is named at the end.
bench: ## Measure; prints medians with their spread, and writes BENCHMARKS.md
	$(WITH_ENV) failed=; for bench in tests/*/bench_*.py; do \
	echo "== $$bench"; "$$py" "$$bench" || failed="$$failed $$bench"; done; \
	[ -z "$$failed" ] || { echo "These ended with an error, see above:$$failed" >&2; exit 1; }

serve: ## Run the reference app with its interactive docs
	$(WITH_ENV) exec "$$py" -m deskbook serve $(ARGS)

notebooks: ## Run every lesson from a fresh kernel and store its outputs
	$(WITH_ENV) exec "$$py" -m deskbook notebook run $(ARGS)

lint: ## Check style, types, layers and notebooks
	$(WITH_ENV) "$$py" -m ruff check . && "$$py" -m ruff format --check . && "$$py" -m mypy && exec "$$py" -m deskbook notebook lint

env: ## Make the environment and print its Python
	$(WITH_ENV) echo "$$py"

clean: ## Remove the environment and everything that was built; my-work/ stays
	rm -rf .venv .venv.log .venv.lock .artifacts .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
