# The commands of the README are `make run`, `make check`, `make test` and `make test-long`; `make help` lists the rest.
BUILD ?= .build
NODES ?= 1
PACKAGES = libuv1-dev node-llhttp libjansson-dev libssl-dev libsqlite3-dev libpq-dev libseccomp-dev pkg-config

.PHONY: help run cluster check test test-long build release deps lint format bench bench-cluster bench-store install clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

run: deps release  ## install, build, start a node, register a runner, run real jobs
	@$(if $(filter 1,$(NODES)),scripts/run $(BUILD)/release/hero-supervisor,scripts/cluster $(BUILD)/release/hero-supervisor $(NODES))

cluster: NODES = 3
cluster: deps release  ## the same with three nodes: one is killed and comes back (also NODES=5 …; STORE=postgres: with a shared store)
	@scripts/cluster $(BUILD)/release/hero-supervisor $(NODES)

check: deps  ## install, lint, build, and pass the unit tests (about a minute after a small change)
	@scripts/check

test: deps  ## the same, and pass every test (about a quarter of an hour)
	@scripts/test

test-long: deps  ## what takes hours, again and again, with and without load; can be stopped and goes on (ONLY=name: one of it)
	@scripts/test-long $(ONLY)

deps:  ## install the Debian packages that the build needs, if any is missing
	@scripts/deps $(PACKAGES)

build: deps  ## debug build
	swift build

release: deps  ## optimised build
	swift build -c release --static-swift-stdlib --no-color-diagnostics --product hero-launcher
	swift build -c release --static-swift-stdlib --no-color-diagnostics --product hero-supervisor

lint:  ## the checks that .ci/run fails on
	swift format lint --strict --recursive --configuration .swift-format Package.swift Sources Tests Benchmarks Fuzz

format:  ## rewrite the sources in the repository's format
	swift format format --in-place --recursive --configuration .swift-format Package.swift Sources Tests Benchmarks Fuzz

bench: deps  ## processor time a call, and ratios against the ceilings of this machine (AGAINST=BINARY: beside an earlier build)
	@Benchmarks/run $(if $(AGAINST),--against $(AGAINST))

bench-cluster: deps  ## clusters beside clusters of serf: forwarding, idle, many runners, detection (about 20 minutes; also AGAINST=)
	@Benchmarks/cluster $(if $(AGAINST),--against $(AGAINST))

bench-store: deps  ## the stores beside pgbench, Celery, procrastinate and beanstalkd, and with a million jobs (about 15 minutes; also AGAINST=)
	@Benchmarks/store $(if $(AGAINST),--against $(AGAINST))

install: release  ## install the programs and the systemd unit below $(DESTDIR)
	install -D -m 755 $(BUILD)/release/hero-supervisor $(DESTDIR)/usr/local/bin/hero-supervisor
	install -D -m 755 $(BUILD)/release/hero-launcher $(DESTDIR)/usr/local/bin/hero-launcher
	install -D -m 644 deploy/hero-supervisor.service $(DESTDIR)/etc/systemd/system/hero-supervisor.service
	install -D -m 644 cluster.example.json $(DESTDIR)/etc/hero-supervisor/cluster.example.json

clean:  ## remove what was built
	rm -rf $(BUILD)
