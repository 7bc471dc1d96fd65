# kube-vrrp. `make help` lists what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
PEER ?= kube-vrrp
TIMES ?= 1
# 2: the tests of the cluster beside the others. Quicker, but a router may wait for a lock that the kernel has once for all
# namespaces (rtnl) while a cluster is made or removed, and a test that measures milliseconds may fail for it
WORKERS ?= 0
# the tests that docs/faults.md names, but for those in tests/unit
FAULTS := tests/cluster/faults tests/cluster/product/test_faults.py \
  $(addprefix tests/interop/test_, identity_change.py conflicts.py hostile_directories.py starvation.py)

.PHONY: help setup lab demo demo-down images test faults lint bench bench-cluster bench-scale format lock generate

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s $$'\t'

setup: ## install what tests and lab need (Debian packages that are missing, .venv)
	@scripts/setup

lab: setup ## the keepalived walk-through on two hosts; PEER=keepalived or PEER=frr puts that on the second; TRACK=1 plays what may move a VIP
	@$(BIN)/python -m tests.lab$(if $(TRACK),.tracking) --peer $(PEER)

demo: setup ## kube-vrrp on a three-node Kubernetes of this machine: a VirtualIP, a cut, the gap a client saw
	@$(BIN)/python -m tests.cluster.demo up

demo-down: setup ## remove what `make demo` left running
	@$(BIN)/python -m tests.cluster.demo down

images: setup ## build the images of operator and speaker into .cache/images (with buildah; or use any other builder)
	@$(BIN)/python -m tests.cluster.embedded.builder

test: setup lint ## everything that is checked: lint, unit, simulation, conformance, interop, a real Kubernetes; WORKERS=2: those of the cluster beside the others
	@$(BIN)/python -m pytest -m "not slow" -n $(WORKERS) --dist loadscope

faults: setup ## every fault of docs/faults.md, also those that take too long for `make test`; TIMES=10 plays each ten times in a row
	@$(BIN)/python -m pytest --count $(TIMES) $(FAULTS)

lint: setup ## ruff, mypy strict, import-linter
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## ruff format and fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## figures side by side with keepalived, in one run
	@$(BIN)/python -m benchmarks

bench-cluster: setup ## figures of the whole on a test cluster: from kubectl apply to an answer, status, writes, memory, a cut
	@$(BIN)/python -m benchmarks cluster

bench-scale: setup ## figures of many: plan() for 250 nodes, 200 VirtualIPs on a test cluster, 250 agents against an API server
	@$(BIN)/python -m benchmarks plan crowd fleet

generate: setup ## write crds/virtualip.yaml, the chart's copy and what its values say of a VirtualIP, from vip_api.schema
	@$(BIN)/python -m vip_api.schema > crds/virtualip.yaml
	@cp crds/virtualip.yaml charts/kube-vrrp/files/virtualip.yaml
	@mkdir -p .cache && $(BIN)/python scripts/values-schema charts/kube-vrrp/values.schema.json crds/virtualip.yaml > .cache/values.schema.json
	@mv .cache/values.schema.json charts/kube-vrrp/values.schema.json

lock: ## pin requirements/*.txt anew (needs uv)
	@scripts/lock
