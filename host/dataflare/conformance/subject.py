"""What is tested: a plugin and what it may use, or a host."""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from dataflare import AuditLog, Grants, Host, Limits, Revocations, Security
from dataflare.conformance.adapter import HostConnection
from dataflare.conformance.values import default_sample

__all__ = ["HostSubject", "Subject", "Work"]


@dataclass(frozen=True)
class HostSubject:
    """A host that is tested.

    Args:
        connection: How it is reached; the caller closes it.
    """

    connection: HostConnection


@dataclass(frozen=True)
class Work:
    """What a case works with.

    Args:
        host: The host of the case.
        load: Loads the plugin, not started yet; given `config` or `limits` if they are others than the user's.
        folders: The copies of the directories that it may write.
        grants: What it may use, with the copies of its directories.
        folder: Where they are, and where the case may put files of its own.
    """

    host: Host
    load: Callable[..., Any]
    folders: list[Path]
    grants: Grants
    folder: Path

    def make(self, config: Mapping[str, Any] | None = None, limits: Limits | None = None) -> Any:
        """Make an instance, ready for work. It sees what the instances before it did."""
        return self.load(config, limits).start()


@dataclass(frozen=True)
class Subject:
    """A plugin and what it is tested with.

    Args:
        component: Its file, or its bytes.
        kind: Its kind.
        config: The configuration with which it works.
        sample: Rows that it takes, for all kinds but sources; `None` where the user gives none.
        grants: What it may use. Directories are copied for each case, so that none sees what another did.
        limits: Its ceilings.
        cache_dir: Where compiled plugins are kept; `None` is the usual place.
        audit: The log of every use; `None`: no log.
        make_host: Makes the host of a case, given options of `Host`; `None`: a usual one.
        name: What it is loaded as; `None`: as `Host.load` does.
    """

    component: Path | bytes
    kind: str
    config: Mapping[str, Any] = field(default_factory=dict)
    sample: pa.Table | None = None
    grants: Grants = field(default_factory=Grants)
    limits: Limits = field(default_factory=Limits)
    cache_dir: Path | None = None
    audit: AuditLog | str | os.PathLike[str] | None = None
    make_host: Callable[..., Host] | None = None
    name: str | None = None

    @property
    def rows(self) -> pa.Table:
        """The sample, or the rows that stand in for it."""
        return default_sample() if self.sample is None else self.sample

    @contextmanager
    def at_work(self, folder: Path) -> Iterator[Work]:
        """Get ready for a case.

        Args:
            folder: An empty folder, for the case alone.
        """
        grants = dataclasses.replace(self.grants, files=self._copies(folder))
        folders = [each.path for each in grants.files.values() if each.access == "write"]
        made: list[Any] = []
        options: dict[str, Any] = {"security": Security(revocations=Revocations(), audit=self.audit)}
        make_host = self.make_host or functools.partial(Host, cache_dir=self.cache_dir)
        with make_host(**options) as host:

            def load(config: Mapping[str, Any] | None = None, limits: Limits | None = None) -> Any:
                given = self.config if config is None else config
                plugin = host.load(
                    self.component, name=self.name, config=given, grants=grants, limits=limits or self.limits
                )
                made.append(plugin)
                return plugin

            try:
                yield Work(host, load, folders, grants, folder)
            finally:
                for plugin in made:
                    plugin.close()

    def _copies(self, folder: Path) -> dict[str, Any]:
        copies = {}
        for name, grant in self.grants.files.items():
            target = folder / name
            if grant.path.is_dir():
                shutil.copytree(grant.path, target, symlinks=True)
            else:
                target.mkdir()
            copies[name] = dataclasses.replace(grant, path=target)
        return copies
