# make demo    the whole job on one screen, in under a minute after installation
# make test    everything that must hold: tests, types, style, the import ladder
# make check   the same without what takes long or needs other programs: before each commit
# make bench   what we promise beside Postfix, then the questions of benchmarks/, a table each; BENCH=rules asks only that one
# make bench-check   some minutes of it: a warning for each ratio to Postfix that fell by more than a fifth
# make docs    docs/ as a site in build/docs, strictly: no dead link, no page left out
# make man     the man pages in man/, from --help and the settings' sentences
# make lint    style, types and the import ladder alone
#
# Needs Python 3.11 or later with venv.  Everything else goes into .venv.

PYTHON = python3
BIN = .venv/bin
BENCH = goals growth rules rules_relay checks stalls smtp idle flame queue flush relay recipients client_policy
# Real mail programs the tests talk to, by Debian's names.  Tests start them on loopback in folders of their own.
DEBIAN = bind9-dnsutils chromium clamav-daemon clamav-milter clamdscan curl fail2ban iproute2 jq man-db opendkim opendkim-tools libldap2-dev libsasl2-dev \
	pflogsumm postfix postfix-pcre rspamd shellcheck slapd spamass-milter spamassassin spamd sqlite3 strace swaks systemd unbound

# RUNLEVEL=1: what we install for the tests must not start as a service here.
NEIGHBOURS = \
	command -v dpkg-query >/dev/null || exit 0; \
	missing=; \
	for package in $(DEBIAN); do \
		dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; \
	done; \
	test -n "$$missing" || exit 0; \
	if test "$$(id -u)" = 0; then \
		echo "installing$$missing"; \
		RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing >/dev/null; \
	else \
		echo "not installed here, their tests are skipped:$$missing"; \
	fi

demo: .venv/installed
	@$(BIN)/backupmx demo $(DEMO)

# bonsai is built against libldap, so it comes after Debian's headers; where there are none its tests are skipped.
LDAP = $(BIN)/python -c 'import bonsai' 2>/dev/null || $(BIN)/pip install --quiet --disable-pip-version-check 'bonsai>=1.5' || \
	echo "bonsai could not be built here: tests with LDAP are skipped"

# Style first and tests last, so that a run ends with pytest's line; a failure in one does not hide the other.
test: .venv/developing
	@$(NEIGHBOURS)
	@$(LDAP)
	@$(MAKE) -s lint; style=$$?; $(BIN)/pytest -n 3 $(PYTEST) && exit $$style

check: lint
	$(BIN)/pytest -n 2 -m 'not slow and not neighbours' $(PYTEST)

lint: .venv/developing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/developing
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

man: .venv/developing
	$(BIN)/python -m backupmx.operate.manual man

bench: .venv/developing
	@for question in $(BENCH); do echo "== $$question"; $(BIN)/python -m benchmarks.$$question || exit 1; done

bench-check: .venv/developing
	@$(BIN)/python -m benchmarks --short --against benchmarks/history.jsonl

.venv/installed: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[all]'
	@touch $@

.venv/developing: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ .venv/installed

.PHONY: demo test check lint docs man bench bench-check
