# The verbs of this project. Nothing is written outside this folder and /tmp, but for missing Debian packages when
# root runs this.

PORT ?= 8080
SERVER ?= nginx
N ?= 100000

# Named by what they are for; `program:package`, or `file:package`. Playwright's own node needs libatomic.
RUN_PACKAGES = nginx:nginx
SERVER_nginx = $(RUN_PACKAGES)
SERVER_apache = apache2:apache2
TEST_PACKAGES = $(RUN_PACKAGES) apache2:apache2 caddy:caddy chromium:chromium curl:curl htpasswd:apache2-utils wrk:wrk \
	node:nodejs php:php-cli wget:wget git:git \
	/usr/lib/$(shell uname -m)-linux-gnu/libatomic.so.1:libatomic1 \
	/usr/lib/apache2/modules/mod_xsendfile.so:libapache2-mod-xsendfile
INSTALL_PACKAGES = debootstrap:debootstrap unshare:util-linux
APACHE_MODULES = /usr/lib/apache2/modules
BENCH_PACKAGES = $(RUN_PACKAGES) wrk:wrk apache2:apache2 $(APACHE_MODULES)/mod_xsendfile.so:libapache2-mod-xsendfile \
	$(APACHE_MODULES)/mod_python.so:libapache2-mod-python

PYTHON ?= $(firstword $(foreach name,python3.11 python3,$(shell \
	$(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))

export PIP_NO_CACHE_DIR = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_ROOT_USER_ACTION = ignore
export XDG_CACHE_HOME = $(CURDIR)/.venv/.cache

.PHONY: run test test-install fuzz-paths mutations check bench clean

# A demonstration on http://127.0.0.1:8080/, or make run PORT=9000, or make run SERVER=apache.
run: .venv/.package
	@$(call require,$(SERVER_$(SERVER)))
	@.venv/bin/authgate demo --port $(PORT) --server $(SERVER)

test: .venv/.dev
	@$(call require,$(TEST_PACKAGES))
	.venv/bin/pytest -n 2 --dist loadfile

# The commands of docs/install.md in a fresh Debian; needs root and the network.
test-install: .venv/.dev
	@$(call require,$(INSTALL_PACKAGES))
	.venv/bin/python -m tests.install

# Malformed requests to real nginx and Apache, N to each, and a twentieth of that to the other doors; other ones each
# time, SEED=n repeats.
fuzz-paths: .venv/.dev
	@$(call require,$(TEST_PACKAGES))
	.venv/bin/python -m tests.hostile $(N) $(if $(SEED),--seed $(SEED))

# Mistakes planted in the core, one at a time: each has to make a test fail.
mutations: .venv/.dev
	@$(call require,$(TEST_PACKAGES))
	.venv/bin/python -m tests.mutations

check: .venv/.dev
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/pytest tests/test_layout.py tests/test_docs.py

bench: .venv/.dev
	@$(call require,$(BENCH_PACKAGES))
	.venv/bin/python -m benchmarks

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/.made:
	@test -n "$(PYTHON)" || { echo "authgate: there is no Python 3.11 or newer" >&2; \
		echo "hint: apt install python3, or make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { $(call require,no-venv:python3-venv); }
	$(PYTHON) -m venv --clear .venv
	@touch $@

.venv/.package: .venv/.made pyproject.toml
	.venv/bin/pip install --quiet --editable .
	@touch $@

# --group: the list stands in pyproject.toml alone; Debian's pip does not know the option yet.
.venv/.dev: .venv/.package
	.venv/bin/pip install --quiet 'pip>=25.1'
	.venv/bin/pip install --quiet --group dev
	@touch $@

# Install what is missing when root, else say what it is. PATH: Debian has nginx where only root looks.
define require
missing=$$(for pair in $(1); do \
	[ -e "$${pair%%:*}" ] || PATH="$$PATH:/usr/sbin" command -v "$${pair%%:*}" >/dev/null || printf ' %s' "$${pair##*:}"; done); \
if [ -n "$$missing" ]; then \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "authgate: installing$$missing" >&2 && apt-get -qq update && \
		DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends $$missing >/dev/null; \
	else \
		echo "authgate: not installed:$$missing" >&2; echo "hint: apt install$$missing" >&2; \
	fi; \
fi
endef
