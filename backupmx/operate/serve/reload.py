"""reload: the configuration, read again while we run, and which of it a restart alone applies.

Every process reads for itself, and what it cannot change it keeps: ports that
are open, the queue's file, limits that the door was built with.  What the file
says of these now is named in the log and takes no effect, so that no process
has one idea of where the queue is and its neighbour another.

    the file ─► read_all ─► held: fixed settings as they were ─► the policy, by these settings
                               └► their names, for the log
"""

from typing import Any

from backupmx.config import Config
from backupmx.config.clients import ClientPolicy
from backupmx.operate.serve.policy import Files, read_all, read_policy

_FIXED = ("hostname", "state_dir", "user", "smtp", "queue", "dns", "log")
"""What a restart alone applies, but for"""

_FOLLOWS = {
    "smtp": frozenset(ClientPolicy.model_fields) | {
        "stop_timeout", "reject_unknown_sender_domain", "limit_exceptions", "tls_chain_files", "tls_sni_map",
        "proxy_protocol_from", "xclient_from", "etrn_from",
    },
    "queue": frozenset(("lifetime", "retry_min", "retry_max", "delay_warning")),
}  # fmt: skip


def read_again(now: Config) -> tuple[Config, Files, list[str]]:
    """-> what holds from now on, and the settings that changed in vain.  Raises ConfigTrouble."""
    config, files = read_all(now.path)
    if not (fixed := changed(now, config)):
        return config, files, []
    config = held(now, config, fixed)
    return config, read_policy(config), fixed


def changed(old: Config, new: Config) -> list[str]:
    """Pure.  Settings that a reload cannot apply, by name: "hostname", "smtp.listen"."""
    names: list[str] = []
    for name in _FIXED:
        was, now = _settings(old, name), _settings(new, name)
        names += [key for key in was if was[key] != now[key]]
    return names


def held(old: Config, new: Config, fixed: list[str]) -> Config:
    """Pure.  `new`, with these settings as they are in `old`."""
    update: dict[str, Any] = {}
    for name in dict.fromkeys(key.partition(".")[0] for key in fixed):
        was = getattr(old, name)
        keys = [key.partition(".")[2] for key in fixed if key.startswith(f"{name}.")]
        kept = {key: getattr(was, key) for key in keys}
        update[name] = getattr(new, name).model_copy(update=kept) if kept else was
    return new.model_copy(update=update)


def _settings(config: Config, name: str) -> dict[str, Any]:
    """One of _FIXED, key by key."""
    value = getattr(config, name)
    if isinstance(value, str):
        return {name: value}
    return {
        f"{name}.{key}": getattr(value, key) for key in type(value).model_fields if key not in _FOLLOWS.get(name, ())
    }
