# `make` alone lists what there is. Runs with GNU make 3.81, which macOS has, and later.

PYTHON ?= python3
VENV := .venv/bin/python
INSTALLED := .venv/installed
CHECKOV := .venv/checkov
CHECKOV_INSTALLED := $(CHECKOV)/installed
# Tools run as modules, so that a checkout may be moved.
SAM := $(VENV) -m samcli
STAGE ?= default
LAMBDA_PYTHON := $(shell cat .python-version)

export SAM_CLI_TELEMETRY := 0
MAKEFLAGS += --no-print-directory

.PHONY: help setup run serve soak bench test steady lint lint-code lint-template format build deploy schema lock clean build-DeliverFunction build-RedeliverFunction

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "  make %-8s %s\n", $$1, $$2 }'

setup: $(INSTALLED) $(CHECKOV_INSTALLED) ## put everything that development needs into .venv (PYTHON=python3.12 to choose one)

run: $(INSTALLED) ## send the sample events through the whole system on this machine
	@$(VENV) -m local.run

serve: $(INSTALLED) ## keep the whole system running on this machine (PORT=9000 for another port than 8080, 0 for free ones; HOST=0.0.0.0 for containers)
	@$(VENV) -m local.serve $(if $(PORT),--port $(PORT)) $(if $(HOST),--host $(HOST))

soak: $(INSTALLED) ## load and faults for minutes, then the books (LIMIT=100/1s for a rate limit; EVENTS=9000 for more)
	@$(VENV) -m local.soak.run $(if $(LIMIT),--limit $(LIMIT)) $(if $(EVENTS),--events $(EVENTS))

bench: $(INSTALLED) ## what each part costs beside its floor, into docs/performance.md (QUICK=1 for a first look)
	@$(VENV) -m local.bench.run $(if $(QUICK),--quick)

test: lint ## everything that CI checks
	@echo '── tests'
	@$(VENV) -m pytest -n 3 --dist loadfile

steady: $(INSTALLED) ## the tests five times beside two busy loops and three times quiet: none may fail (half an hour)
	@$(VENV) -m scripts.steady

lint: $(INSTALLED) $(CHECKOV_INSTALLED) ## formatting, lint, types and the template
	@$(MAKE) -j 2 lint-code lint-template

lint-code:
	@echo '── formatting'
	@$(VENV) -m ruff format --check .
	@echo '── lint'
	@$(VENV) -m ruff check .
	@echo '── imports'
	@$(VENV) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()' > .venv/imports.log || \
		{ cat .venv/imports.log; exit 1; }
	@echo '── types'
	@$(VENV) -m mypy

lint-template:
	@echo '── template' # sam wants a region, though it asks nothing of it
	@AWS_DEFAULT_REGION=eu-west-1 $(SAM) validate --lint
	@found=$$($(CHECKOV)/bin/python -m checkov.main --file template.yaml --framework cloudformation --skip-download \
		--quiet --compact 2>&1) || { echo "$$found"; exit 1; }

format: $(INSTALLED) ## format the code and mend what the linter can mend
	@$(VENV) -m ruff check --fix-only .
	@$(VENV) -m ruff format .

build: $(INSTALLED) ## build what is deployed, into .aws-sam/build
	@$(SAM) build --config-env $(STAGE)

deploy: build ## deploy it with the AWS credentials in force (STAGE=prod for that section of samconfig.toml)
	@$(SAM) deploy --config-env $(STAGE)

schema: $(INSTALLED) ## write settings.schema.json anew from the table of settings
	@$(VENV) -m scripts.settings_schema

lock: $(INSTALLED) ## write requirements*.txt anew from pyproject.toml (UPGRADE=--upgrade for the newest versions)
	@$(LOCK) pyproject.toml --group dev --output-file requirements-dev.txt
	@$(LOCK) pyproject.toml --constraints requirements-dev.txt --output-file requirements.txt \
		$(patsubst %,--no-emit-package %,$(LAMBDAS_OWN))
	@$(LOCK) --group checkov --output-file requirements-checkov.txt

LOCK = $(VENV) -m uv pip compile $(UPGRADE) --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command 'make lock'

# boto3 and what it alone requires: Lambda's runtime has them, so requirements.txt, which is what is packaged, does not.
LAMBDAS_OWN = boto3 botocore python-dateutil s3transfer six

clean: ## remove everything that make made
	rm -rf .venv .aws-sam .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp comes last, so that an interrupted installation starts again. uv takes a third of pip's time, so pip installs
# nothing but uv. --no-deps, since the list is complete.
$(INSTALLED): requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo '$(PYTHON) is not Python 3.11 or later. Choose another: make setup PYTHON=python3.13' >&2; exit 1; }
	@echo "Setting up .venv with $$($(PYTHON) --version); the first time takes a minute or two."
	@$(PYTHON) -m venv --clear .venv
	@awk '/^uv==/ {found = 1} found {print; if (!/\\$$/) exit}' requirements-dev.txt > .venv/uv.txt
	@$(VENV) -m pip install -qq --disable-pip-version-check --require-hashes --no-deps -r .venv/uv.txt
	@$(VENV) -m uv pip install --quiet --python $(VENV) --require-hashes --no-deps -r requirements-dev.txt
	@# The command voucherify-destination, from this checkout.
	@$(VENV) -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# It goes with the rest of .venv, and is made anew after it.
$(CHECKOV_INSTALLED): requirements-checkov.txt $(INSTALLED)
	@echo 'Setting up checkov, which checks the template; the first time takes some seconds.'
	@$(VENV) -m venv --clear $(CHECKOV)
	@$(VENV) -m uv pip install --quiet --python $(CHECKOV)/bin/python --require-hashes --no-deps \
		-r requirements-checkov.txt
	@touch $@

# A .venv whose interpreter is gone (upgraded, removed, another machine's) is built anew.
ifneq ($(shell $(VENV) -c 'print("works")' 2>/dev/null),works)
.PHONY: $(INSTALLED)
endif

# What `sam build` calls for each function. Only wheels that run anywhere go in, so one artifact suits arm64 and x86_64,
# and any Python can build it. Scripts go, and the record of them: they name the machine that built them.
# https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/building-custom-runtimes.html
build-DeliverFunction build-RedeliverFunction: $(INSTALLED)
	@$(VENV) -m pip install -qq --disable-pip-version-check --require-hashes --no-deps -r requirements.txt \
		--only-binary :all: --platform any --implementation py --abi none --python-version $(LAMBDA_PYTHON) \
		--no-compile --target "$${ARTIFACTS_DIR:?is set by sam build: run make build}"
	@cp -R handler mapping "$$ARTIFACTS_DIR"
	@find "$$ARTIFACTS_DIR" -name __pycache__ -type d -prune -exec rm -rf {} +
	@rm -rf "$$ARTIFACTS_DIR/bin" "$$ARTIFACTS_DIR"/*.dist-info/RECORD
	@# Half of all that is deployed, for functions that answer HTTP by its routes; nothing imports it.
	@rm -rf "$$ARTIFACTS_DIR/aws_lambda_powertools/event_handler"
	@$(VENV) scripts/check_artifact.py "$$ARTIFACTS_DIR" $(LAMBDA_PYTHON)
	@$(VENV) -B scripts/precompile.py "$$ARTIFACTS_DIR" $(LAMBDA_PYTHON)
