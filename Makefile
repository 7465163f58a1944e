# The one door. `make help` lists what it opens.

CARGO ?= cargo
NEXTEST := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo yes)
DENY := $(shell $(CARGO) deny --version >/dev/null 2>&1 && echo yes)
SYSTEMD := $(shell systemd-analyze --version >/dev/null 2>&1 && echo yes)

TYPESCRIPT := clients/typescript
CONSOLE := console
# The last file that a build of the console writes, and what it is built from.
CONSOLE_BUILT := $(CONSOLE)/dist/.built
CONSOLE_SOURCES := $(shell find $(CONSOLE)/src $(TYPESCRIPT)/src -type f) $(wildcard $(CONSOLE)/*.*)
# What the tests of the TypeScript client start: the tests in Rust have built it.
CIRCLED_TEST_BINARY ?= $(abspath $(or $(CARGO_TARGET_DIR),target)/debug/circled)

# What `make released` builds, and the package of it.
RELEASED := $(or $(CARGO_TARGET_DIR),target)/release/circled
VERSION := $(shell sed -n '/^\[workspace.package\]/,/^$$/s/^version = "\(.*\)"/\1/p' Cargo.toml)

KILLS ?= 1500
FAULTS ?= 60
# The last release, or where there is none, the commit before this one.
FROM ?= $(shell git describe --tags --abbrev=0 2>/dev/null || echo HEAD~1)

.DEFAULT_GOAL := help
.PHONY: help run console console-test test redis prometheus sdk soak upgrade check bench fmt \
	released deb deb-test image image-test release

help: ## This list.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

run: ## Build and serve on 127.0.0.1:8080. The web console takes Node.js 20 or newer. FLAGS="--config circled.toml"
	@if .ci/node has; then $(MAKE) --no-print-directory $(CONSOLE_BUILT); else false; fi || printf '\n%s\n' \
	"THE WEB CONSOLE IS NOT BUILT: that takes Node.js 20 or newer, with npm, and the network once. circled is built without it." >&2
	$(CARGO) run --release -- serve $(FLAGS)

console: ## Build the web console, which goes into the binary. Needs Node.js 20 or newer.
	@.ci/node check
	@$(MAKE) --no-print-directory $(CONSOLE_BUILT)

$(CONSOLE_BUILT): $(CONSOLE_SOURCES)
	@$(MAKE) --no-print-directory $(CONSOLE)/node_modules/.package-lock.json
	cd $(CONSOLE) && npm run build
	@touch $@

test: redis prometheus console ## All tests. They need Redis servers, promtool, Node.js and Chromium: .ci/redis, .ci/prometheus and .ci/node get them.
ifeq ($(NEXTEST),yes)
	$(CARGO) nextest run --workspace $(FLAGS)
else
	$(CARGO) test --workspace --lib --bins --tests $(FLAGS)
endif
	$(CARGO) test --workspace --doc
	@$(MAKE) --no-print-directory sdk console-test

redis:
	@.ci/redis

prometheus:
	@.ci/prometheus

sdk: ## The tests of the TypeScript client, against the binary that the tests in Rust have built.
	@.ci/node
	@[ -x "$(CIRCLED_TEST_BINARY)" ] || { echo "there is no $(CIRCLED_TEST_BINARY): run cargo build --workspace --bins" >&2; exit 1; }
	@$(MAKE) --no-print-directory $(TYPESCRIPT)/node_modules/.package-lock.json
	cd $(TYPESCRIPT) && export CIRCLED_TEST_BINARY="$(CIRCLED_TEST_BINARY)" && npm test && npm run types:check

console-test: console ## The tests of the web console in a browser, against the binary that the tests in Rust have built, which must have it.
	@.ci/node
	cd $(CONSOLE) && CIRCLED_TEST_BINARY="$(CIRCLED_TEST_BINARY)" CONSOLE_DIST= CONSOLE_EMBEDDED=1 npm test

%/node_modules/.package-lock.json: %/package-lock.json
	cd $* && npm ci
	@touch $@

soak: redis ## Have processes, machines and the network fail over and over while all work, for 20 minutes. KILLS=1500 FAULTS=60
	CIRCLED_TEST_KILLS=$(KILLS) $(CARGO) test --test it -- --nocapture dispatch::embedded::crash
	CIRCLED_TEST_SECONDS=$(FAULTS) $(CARGO) test --test it -- --nocapture --test-threads=1 dispatch::redis::faults

upgrade: redis ## Take a loaded cluster, and one server, from an earlier commit to this tree and back. FROM=<commit>
	@commit=$$(git rev-parse --verify --short "$(FROM)^{commit}") && earlier=target/upgrade/$$commit && set -x && \
	{ [ -d $$earlier ] || git worktree add --force --detach $$earlier $$commit; } && \
	(cd $$earlier && CARGO_TARGET_DIR=../build $(CARGO) build --bin circled) && \
	CIRCLED_TEST_EARLIER=$(CURDIR)/target/upgrade/build/debug/circled \
	$(CARGO) test --test it -- --ignored --nocapture --test-threads=1 upgrade::

check: ## Formatting, lints, docs, and what the dependencies are.
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy --package circled --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items
ifeq ($(DENY),yes)
	$(CARGO) deny check bans licenses sources
else
	@echo "skipped: cargo-deny is not installed (cargo install --locked cargo-deny)"
endif
ifeq ($(SYSTEMD),yes)
	ops/test/units
else
	@echo "skipped: there is no systemd-analyze to check ops/systemd"
endif
	@.ci/node check
	@$(MAKE) --no-print-directory $(TYPESCRIPT)/node_modules/.package-lock.json
	cd $(TYPESCRIPT) && npm run check
	@$(MAKE) --no-print-directory $(CONSOLE)/node_modules/.package-lock.json
	cd $(CONSOLE) && npm run check

released: console
	REQUIRE_CONSOLE=1 $(CARGO) build --release --locked --bin circled

deb: released ## A Debian package, in target/dist. Needs cargo-deb.
	ops/package deb

deb-test: deb ## Install, use, upgrade and purge it under a systemd of its own. As root: debootstrap, systemd-container.
	ops/test/deb target/dist/circled_$(VERSION)-1_*.deb

image: released ## An image for containers, in target/dist. Needs podman or Docker.
	ops/package image

image-test: released ## Build the image and run it, and the services of compose.yaml. As root: podman buildah runc redis-server python3-yaml.
	ops/test/image $(RELEASED)

release: released ## Deb, archive, image, list of crates and SHA256SUMS, in target/dist. Needs cargo-deb, cargo-cyclonedx and podman.
	rm -rf target/dist
	ops/package all

bench: ## One table, all measured in one run. FLAGS="--seconds 10 --peer jsonrpsee=ws://127.0.0.1:9000"
	$(CARGO) bench --bench load -- $(FLAGS)

fmt: ## Format.
	$(CARGO) fmt --all
	cd $(TYPESCRIPT) && npm run fmt
	cd $(CONSOLE) && npm run fmt
