# make book   the built book, _build/html/index.html        make record  PyTorch's outputs anew
# make test   every test, the browser's included            make bench   speed, side by side with PyTorch
# make lab    the chapters in JupyterLab                    make exact   N new outputs an operator, and the table
# make install only the environment, .venv                 make pages   what the pages say, kept for other CPUs

PYTHON ?= python3
BIN := .venv/bin
PINNED := $(shell sed -n 's/^torch==/torch==/p' requirements.txt)
PYTORCH_CPU := https://download.pytorch.org/whl/cpu

.PHONY: book test lab pages record exact bench install browser
.DEFAULT_GOAL := book

book: .venv/installed
	$(BIN)/jupyter-book build . -W --keep-going
	@echo "The book: _build/html/index.html"

# Two processes share the tests; what needs NumPy alone runs once more, on the oldest that will do.
test: .venv/installed .venv-numpy/installed browser
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2 --dist loadgroup --no-loadscope-reorder
	PYTHONPATH=$(CURDIR)/src .venv-numpy/bin/python -m pytest -q -m "not torch and not book and not browser" \
		-k "not needed and not matters"

lab: .venv/installed
	JUPYTER_CONFIG_PATH=binder/jupyter $(BIN)/jupyter lab book/question.md

# What the pages say, for computers that are no x86-64.
pages: book
	$(BIN)/python tools/pages.py

# With TORCH=2.4.1 they ask that release, in .venv-2.4.1, which tools/environment.py makes.
ENVIRONMENT := .venv$(TORCH:%=-%)

record: $(ENVIRONMENT)/installed
	PYTHONPATH=src $(ENVIRONMENT)/bin/python tools/record.py $(NAMES)

exact: $(ENVIRONMENT)/installed
	PYTHONPATH=src $(ENVIRONMENT)/bin/python tools/exact.py $(or $(N),50_000_000) $(SEED)

.venv-%/installed:
	$(PYTHON) tools/environment.py $*

bench: .venv/installed
	$(BIN)/python -m benchmarks

install: .venv/installed

# The CPU build of torch first: on Linux, PyPI's brings gigabytes of CUDA, which nothing here calls.
.venv/installed: requirements.txt pyproject.toml
	@echo "Installing into .venv: torch for the CPU, Jupyter Book, the test tools. A few minutes, once."
	$(PYTHON) -m venv .venv
	-@$(BIN)/pip install --quiet --no-deps --retries 0 --timeout 20 --index-url $(PYTORCH_CPU) $(PINNED) 2>/dev/null \
		|| echo "PyTorch's index of CPU builds is out of reach; taking torch from PyPI."
	$(BIN)/pip install --quiet --requirement requirements.txt
	@touch $@

.venv-numpy/installed: tests/oldest.txt
	@echo "Installing into .venv-numpy: the oldest NumPy that will do, and pytest. Once."
	$(PYTHON) -m venv .venv-numpy
	.venv-numpy/bin/pip install --quiet --only-binary :all: --requirement tests/oldest.txt
	@touch $@

# The browser tests run in an installed Chromium or Chrome, or in Playwright's own.
browser: .venv/installed
	@command -v chromium chromium-browser google-chrome >/dev/null || $(BIN)/playwright install chromium \
		|| echo "No Chromium: the browser tests will say that they were skipped."
