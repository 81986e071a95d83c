# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Replica exchange within `openmm-flash run`: when, and what is written about it."""

import json

from ..exchange import ReplicaExchange
from . import _folder
from ._app import say


class Exchange:
    """The ladder of a run and its files: exchanges.csv, a row for each sweep, and exchange.json, the statistics.

    Parameters
    ----------
    context : openmm.Context
    folder : _folder.Folder
    settings : dict
        run.json's settings.
    meta : dict, optional
        That of the checkpoint from which the run continues.
    """

    def __init__(self, context, folder, settings, meta=None):
        self.folder, self.interval = folder, settings["exchange_interval"]
        self._exchange = ReplicaExchange(context, settings["temperatures_K"], settings["replicas"], settings["seed"])
        self.ladder = self._exchange.ladder
        if meta is not None:
            self.ladder.setState(meta["exchange"])
            self._exchange.applyTemperatures()
        keep = meta["sizes"].get("exchanges") if meta else None
        columns = ["step", *(f"rung_{r}" for r in range(settings["replicas"]))]
        self._rows = _folder.Log(folder[_folder.EXCHANGES], columns, keep) if self.interval else None

    def setVelocities(self, seed):
        self._exchange.setVelocities(seed)

    def stops(self, step):
        """The steps, after this one, at which there is something to do."""
        return [(step // self.interval + 1) * self.interval] if self.interval else []

    def attemptAt(self, step):
        """Exchange if it is time."""
        if self.interval and step % self.interval == 0:
            self._rows.write([step, *self._exchange.attempt().tolist()])

    def flush(self):
        """Bring everything to the disk. Returns the size of exchanges.csv in bytes."""
        if not self.interval:
            return 0
        self.folder.write(_folder.EXCHANGE_REPORT, json.dumps(self.ladder.report(), indent=2) + "\n")
        return self._rows.flush()

    def close(self):
        if self._rows is not None:
            self._rows.close()

    def summarize(self):
        """A few lines for the user."""
        if not self.interval:
            return
        say(f"  {_folder.EXCHANGES:<24} the rung of each replica after each sweep; statistics in {_folder.EXCHANGE_REPORT}")
        report = self.ladder.report()
        say(f"Exchanges: {report['sweeps']} sweeps, {sum(report['round_trips'])} round trips; accepted between neighbours:")
        for low, high, n, accepted in zip(
            self.ladder.temperatures, self.ladder.temperatures[1:], self.ladder.attempted.tolist(), self.ladder.accepted.tolist()
        ):
            say(f"  {low:8.2f} - {high:8.2f} K  {accepted} of {n}" + (f" ({accepted / n:.0%})" if n else ""))
