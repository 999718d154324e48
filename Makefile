# What a developer runs; `.ci/run` runs the same. Everything happens in virtual environments that are made on demand.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help:
	@echo "make quickstart   pretrain, fine-tune, distill and export on the bundled images; about 10 minutes on 2 cores"
	@echo "make test         the whole test suite, on TensorFlow 2.15"
	@echo "make test-tf221   the shorter suite, on TensorFlow 2.21 with tf-keras"
	@echo "make lint         ruff: lint and format"
	@echo "make package      build the wheel, install it alone, train two steps with it"
	@echo "make .venv        only the environment of the first two"
	@echo "make preflight    the environments of tools/preflight.py, which compiles a training step for a TPU without one"

.PHONY: quickstart
quickstart: .venv
	.venv/bin/tf-simclr --flagfile=flags/quickstart.flags

.PHONY: test
test: .venv
	.venv/bin/python -m pytest --numprocesses=2 --dist=loadfile

.PHONY: test-tf221
test-tf221: .venv-tf221
	.venv-tf221/bin/python -m pytest -m smoke

.PHONY: preflight
preflight: .venv .venv-tf221 .venv-preflight

.PHONY: lint
lint: .venv
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

# The wheel is built from the source archive, so that a file missing from either shows. It is installed with what it declares
# and nothing else; the lock file, without its hashes, only says which versions: pip alone searches for minutes.
PACKAGE := build/package
.PHONY: package
package: .venv
	rm -rf $(PACKAGE)
	.venv/bin/python -m build --quiet --no-isolation --outdir $(PACKAGE)
	sed -e 's/ \\$$//' -e '/--hash=/d' requirements/tf215.txt > $(PACKAGE)/constraints.txt
	$(PYTHON) -m venv $(PACKAGE)/venv
	$(PACKAGE)/venv/bin/pip install --quiet --constraint $(PACKAGE)/constraints.txt $(PACKAGE)/*.whl
	$(PACKAGE)/venv/bin/pip check
	outside=$$(mktemp -d); trap 'rm -rf "$$outside"' EXIT; cd "$$outside"; \
	PATH="$(CURDIR)/$(PACKAGE)/venv/bin:$$PATH"; \
	tf-simclr --help > help.txt; \
	tf-simclr --stage=pretrain --steps=2 --batch_size=16 --depth=10 --width=0.25 --run_dir=run; \
	test -s run/config.json
	@echo "package: $$(basename $(PACKAGE)/*.whl) installs alone and trains"

# An environment is finished when its marker is there: a directory alone may be half an installation.
# The package itself is installed in a step of its own, so that a change of setup.cfg does not fetch TensorFlow again.
.PHONY: .venv .venv-tf221 .venv-preflight
.venv: .venv/.installed
.venv-tf221: .venv-tf221/.installed
.venv-preflight: .venv-preflight/.locked

.venv/.locked: requirements/tf215.txt
.venv-tf221/.locked: requirements/tf221.txt
.venv-preflight/.locked: requirements/preflight.txt
.venv/.locked .venv-tf221/.locked .venv-preflight/.locked:
	@echo "Installing $< into $(@D); this takes some minutes"
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/pip install --quiet --require-hashes --requirement $<
	touch $@

.venv/.installed .venv-tf221/.installed: %/.installed: %/.locked setup.cfg pyproject.toml
	$*/bin/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@
