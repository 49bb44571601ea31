# `make` alone lists the targets. Works with GNU make 3.81, which macOS has, and later.

PYTHON ?= python3
VENV := .venv/bin/python
INSTALLED := .venv/installed
CHECKOV := .venv/checkov
CHECKOV_INSTALLED := $(CHECKOV)/installed
# Tools run as modules, so that a checkout may be moved.
SAM := $(VENV) -m samcli
STAGE ?= default
LAMBDA_PYTHON := $(shell cat .python-version)

# `make run`, `make serve` and `sam build` use .venv where it is up to date, and otherwise a small environment of their
# own, which is installed in seconds.
RUN_ENVIRONMENT := $(shell [ $(INSTALLED) -nt requirements/dev.txt ] && $(VENV) -c '' 2>/dev/null && echo .venv || echo .venv-run)
RUN_PYTHON := $(RUN_ENVIRONMENT)/bin/python

export SAM_CLI_TELEMETRY := 0
# Byte code halves the time in which each test process collects the tests.
unexport PYTHONDONTWRITEBYTECODE
MAKEFLAGS += --no-print-directory

.PHONY: help setup run serve incident soak bench test fuzz steady lint lint-code lint-template format build deploy smoke release schema lock clean build-DeliverFunction build-RedeliverFunction

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "  make %-8s %s\n", $$1, $$2 }'

setup: $(INSTALLED) $(CHECKOV_INSTALLED) ## install all development tools into .venv (PYTHON=python3.12 to choose the Python)

run: $(RUN_ENVIRONMENT)/installed ## send the sample events through the whole system on this machine (VERBOSE=1 for details)
	@$(RUN_PYTHON) -m local.run $(if $(VERBOSE),--verbose)

serve: $(RUN_ENVIRONMENT)/installed ## run the whole system on this machine (PORT=9000 instead of 8080, 0 for free ports; HOST=0.0.0.0 for containers)
	@$(RUN_PYTHON) -m local.serve $(if $(PORT),--port $(PORT)) $(if $(HOST),--host $(HOST))

incident: $(RUN_ENVIRONMENT)/installed ## rehearse an incident on this machine by docs/runbook.md (NAME=voucherify-down; without it they are listed)
	@$(RUN_PYTHON) -m local.incidents.run $(NAME)

soak: $(INSTALLED) ## minutes of load and faults, then an audit of every event (LIMIT=100/1s for a rate limit; EVENTS=9000 for more)
	@$(VENV) -m local.soak.run $(if $(LIMIT),--limit $(LIMIT)) $(if $(EVENTS),--events $(EVENTS))

bench: $(INSTALLED) ## measure each part beside its floor and write docs/performance.md (QUICK=1 measures less and writes nothing)
	@$(VENV) -m local.bench.run $(if $(QUICK),--quick)

scale: $(INSTALLED) ## simulate large loads and write docs/scale.md (some minutes)
	@$(VENV) -m local.bench.scale

test: lint ## run everything that CI runs (LONG=1 for more tests of the same kinds)
	@echo '── tests'
	@$(VENV) -m pytest -n 3 --dist loadfile --no-loadscope-reorder

fuzz: $(INSTALLED) ## random requests and messages for about a minute (FUZZ_EXAMPLES=5000 for more)
	@FUZZ_EXAMPLES=$(or $(FUZZ_EXAMPLES),600) $(VENV) -m pytest -q tests/scenarios/test_fuzz.py

steady: $(INSTALLED) ## run the tests five times beside two busy loops and three times without: none may fail (half an hour)
	@$(VENV) -m scripts.steady

lint: $(INSTALLED) $(CHECKOV_INSTALLED) ## check formatting, lint, types and the template
	@$(MAKE) -j 2 lint-code lint-template

lint-code:
	@echo '── formatting'
	@$(VENV) -m ruff format --check .
	@echo '── lint'
	@$(VENV) -m ruff check .
	@echo '── security'
	@$(VENV) -m bandit --quiet --configfile pyproject.toml --recursive handler mapping cli
	@echo '── imports'
	@$(VENV) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()' > .venv/imports.log || \
		{ cat .venv/imports.log; exit 1; }
	@echo '── types'
	@$(VENV) -m mypy

lint-template:
	@echo '── template' # sam requires a region, though it calls nothing there
	@AWS_DEFAULT_REGION=eu-west-1 $(SAM) validate --lint
	@$(VENV) -c 'from cfnlint.runner import main; main()' deployer.yaml .github/deploy-role.yaml
	@found=$$($(CHECKOV)/bin/python -m checkov.main --file template.yaml deployer.yaml .github/deploy-role.yaml \
		--framework cloudformation --skip-download --quiet --compact 2>&1) || { echo "$$found"; exit 1; }

format: $(INSTALLED) ## format the code and fix what the linter can fix
	@$(VENV) -m ruff check --fix-only .
	@$(VENV) -m ruff format .

build: $(INSTALLED) ## build the deployment artifact into .aws-sam/build
	@$(SAM) build --config-env $(STAGE)

deploy: build ## deploy it with the current AWS credentials (STAGE=prod for that section of samconfig.toml; YES=1 does not ask)
	@$(VENV) -m cli versions prune --stack "$$($(VENV) -m scripts.stack_name $(STAGE))"
	@$(SAM) deploy --config-env $(STAGE)$(if $(YES), --no-confirm-changeset --no-fail-on-empty-changeset)

smoke: $(INSTALLED) ## send test events through a stack, or through the system on this machine (STACK=name; UPDATE=1 updates the stack too)
	@$(VENV) -m $(if $(filter-out local,$(STACK)),cli smoke --stack $(STACK)$(if $(UPDATE), --update-stack),local.smoke)

release: build ## write the version of pyproject.toml into dist/: zip, template, bill of materials, notes (docs/deploying.md)
	@$(VENV) -m scripts.release .aws-sam/build dist

schema: $(INSTALLED) ## regenerate settings.schema.json from the table of settings
	@$(VENV) -m scripts.settings_schema

lock: $(INSTALLED) ## regenerate requirements.txt and requirements/ from pyproject.toml (UPGRADE=--upgrade for the newest versions)
	@$(LOCK) pyproject.toml --group dev --output-file requirements/dev.txt
	@$(LOCK) pyproject.toml --group run --constraints requirements/dev.txt --output-file requirements/run.txt
	@$(LOCK) pyproject.toml --constraints requirements/dev.txt --output-file requirements.txt \
		$(patsubst %,--no-emit-package %,$(LAMBDAS_OWN))
	@$(LOCK) --group checkov --output-file requirements/checkov.txt

LOCK = $(VENV) -m uv pip compile $(UPGRADE) --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command 'make lock'

# boto3 and the packages that only it requires. The Lambda runtime has them, so requirements.txt, which is packaged, does not.
LAMBDAS_OWN = boto3 botocore python-dateutil s3transfer six

clean: ## remove everything that make created
	rm -rf .venv .venv-run .aws-sam dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Make an environment $(1) with the packages of $(2). pip installs only uv, which needs a third of pip's time for the
# others. --no-deps, since the list is complete. A link is not followed: --clear would empty another checkout's
# environment.
define install
test ! -L $(1) || { echo '$(1) is a link to another environment, which does not match $(2). Remove the link: rm $(1)' >&2; exit 1; }
$(PYTHON) -m venv --clear $(1)
awk '/^uv==/ {found = 1} found {print; if (!/\\$$/) exit}' $(2) > $(1)/uv.txt
$(1)/bin/python -m pip install -qq --disable-pip-version-check --require-hashes --no-deps -r $(1)/uv.txt
$(1)/bin/python -m uv pip install --quiet --python $(1)/bin/python --require-hashes --no-deps -r $(2)
endef

# The stamp comes last, so that an interrupted installation starts again.
$(INSTALLED): requirements/dev.txt
	@$(PYTHON) scripts/check_python.py
	@echo "Installing all development tools into .venv with $$($(PYTHON) --version). This takes a minute or two, once."
	@$(call install,.venv,requirements/dev.txt)
	@# The command voucherify-destination, from this checkout.
	@$(VENV) -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.venv-run/installed: requirements/run.txt
	@$(PYTHON) scripts/check_python.py
	@echo "Installing a small environment into .venv-run with $$($(PYTHON) --version). This takes some seconds, once."
	@$(call install,.venv-run,requirements/run.txt)
	@touch $@

# It is inside .venv, so it is installed again after it.
$(CHECKOV_INSTALLED): requirements/checkov.txt $(INSTALLED)
	@echo 'Installing checkov, which checks the template. This takes some seconds, once.'
	@$(VENV) -m venv --clear $(CHECKOV)
	@$(VENV) -m uv pip install --quiet --python $(CHECKOV)/bin/python --require-hashes --no-deps \
		-r requirements/checkov.txt
	@touch $@

# An environment whose interpreter does not run (upgraded, removed, another machine's) is installed again.
BROKEN := $(foreach environment,.venv .venv-run,$(shell $(environment)/bin/python -c '' 2>/dev/null || echo $(environment)/installed))
.PHONY: $(BROKEN)

# `sam build` calls this for each function. Only wheels that run anywhere go in, so one artifact suits arm64 and x86_64,
# and any Python can build it. Scripts and the record of them go: they name the machine that built them.
# https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/building-custom-runtimes.html
build-DeliverFunction build-RedeliverFunction: $(RUN_ENVIRONMENT)/installed
	@$(RUN_PYTHON) -m pip install -qq --disable-pip-version-check --require-hashes --no-deps -r requirements.txt \
		--only-binary :all: --platform any --implementation py --abi none --python-version $(LAMBDA_PYTHON) \
		--no-compile --target "$${ARTIFACTS_DIR:?is set by sam build: run make build}"
	@cp -R handler mapping "$$ARTIFACTS_DIR"
	@find "$$ARTIFACTS_DIR" -name __pycache__ -type d -prune -exec rm -rf {} +
	@rm -rf "$$ARTIFACTS_DIR/bin" "$$ARTIFACTS_DIR"/*.dist-info/RECORD
	@# Routes for functions that answer HTTP, half the size of the artifact. Nothing imports it.
	@rm -rf "$$ARTIFACTS_DIR/aws_lambda_powertools/event_handler"
	@$(RUN_PYTHON) scripts/check_artifact.py "$$ARTIFACTS_DIR" $(LAMBDA_PYTHON)
	@$(RUN_PYTHON) -B scripts/precompile.py "$$ARTIFACTS_DIR" $(LAMBDA_PYTHON)
