# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Temperature replica exchange (parallel tempering) among the replicas of one Context.

Y. Sugita and Y. Okamoto, Chem. Phys. Lett. 314, 141 (1999). Neighbours on the ladder of temperatures exchange their temperatures, not
their coordinates: replica r stays at its place in the Context, and its trajectory is continuous.
"""

import copy

import numpy as np

from .checkpoints import packCheckpoint, unpackCheckpoint
from .replicas import (
    GAS_CONSTANT,
    ReplicaEnergies,
    asTemperatures,
    hasTemperatures,
    scaleVelocities,
    setReplicaTemperatures,
    setVelocitiesToTemperatures,
)

FORMAT = 1


class NotFiniteError(ValueError):
    """Energies that are infinite or not numbers."""


def geometricLadder(lowest, highest, number):
    """[number] temperatures (K) of equal ratios, the usual choice where the heat capacity changes little with the temperature."""
    lowest, highest = asTemperatures([lowest, highest])
    if number < 2 or not lowest < highest:
        raise ValueError(
            f"A ladder has two or more temperatures, the first the lowest; asked for were {number} from {lowest:g} to {highest:g} K."
        )
    return np.geomspace(lowest, highest, number)


class TemperatureLadder:
    """Who has which temperature, and what exchanges have done so far; knows of energies, but of no Context.

    Parameters
    ----------
    temperatures : sequence of float or Quantity
        [T] K, rising.
    replicas : int
        A multiple of T. Each T replicas in turn form a ladder of their own, which exchanges with no other.
    seed : int
        Of the random numbers that decide on exchanges.

    Attributes
    ----------
    temperatures : numpy.ndarray
        [T] K
    rungs : numpy.ndarray
        [replicas] where on the ladder each replica is: 0 is the lowest temperature.
    attempted, accepted : numpy.ndarray
        [T - 1] exchanges between the temperatures i and i + 1, all ladders together.
    roundTrips : numpy.ndarray
        [replicas] how often each went from the lowest temperature to the highest and back.
    """

    def __init__(self, temperatures, replicas, seed):
        self.temperatures = asTemperatures(temperatures)
        rungs = len(self.temperatures)
        if (np.diff(self.temperatures) <= 0).any():
            raise ValueError(f"temperatures are {self.temperatures.tolist()} K; each must be higher than the one before.")
        if rungs < 2 or replicas % rungs or replicas < 1:
            raise ValueError(
                f"{rungs} temperatures and {replicas} replicas: a ladder has two temperatures or more, and a replica for each."
            )
        self.rungs = np.tile(np.arange(rungs), replicas // rungs)
        self.attempted, self.accepted = np.zeros(rungs - 1, dtype=np.int64), np.zeros(rungs - 1, dtype=np.int64)
        self.roundTrips = np.zeros(replicas, dtype=np.int64)
        self._sweeps = 0
        self._way = np.zeros(
            replicas, dtype=np.int64
        )  # 1: up, having been at the lowest; -1: down, having been at the highest since; 0: neither
        self._way[self.rungs == 0] = 1
        self._random = np.random.Generator(np.random.PCG64(seed))

    @property
    def replicaTemperatures(self):
        """[replicas] K, the temperature that each replica has now."""
        return self.temperatures[self.rungs]

    def exchange(self, energies):
        """One sweep: every second pair of neighbours, even and odd ones in turn, is offered an exchange, which the Metropolis rule decides.

        Parameters
        ----------
        energies : sequence of float
            [replicas] potential energies, kJ/mol.

        Returns
        -------
        numpy.ndarray
            [replicas] the factors by which velocities change, sqrt(T new / T old).

        Raises
        ------
        ValueError
            Energies that are not finite (NotFiniteError), or not one for each replica.
        """
        energies = np.asarray(energies, dtype=np.float64)
        finite = np.isfinite(energies).all()
        if energies.shape != self.rungs.shape or not finite:
            text = f"energies are {energies.tolist()}; {len(self.rungs)} finite ones are needed, one for each replica."
            raise ValueError(text) if finite else NotFiniteError(text)
        before = self.replicaTemperatures
        size = len(self.temperatures)
        beta = 1 / (GAS_CONSTANT * self.temperatures)
        for ladder in range(0, len(self.rungs), size):
            holder = ladder + np.argsort(self.rungs[ladder : ladder + size])
            for i in range(self._sweeps % 2 if size > 2 else 0, size - 1, 2):
                low, high = holder[i], holder[i + 1]
                # Every offer takes one random number, so that what one pair does leaves those of the others alone.
                threshold = np.log1p(-self._random.random())
                self.attempted[i] += 1
                if threshold <= (beta[i] - beta[i + 1]) * (energies[low] - energies[high]):
                    self.rungs[low], self.rungs[high] = i + 1, i
                    self.accepted[i] += 1
        self._sweeps += 1
        self._way[(self.rungs == size - 1) & (self._way == 1)] = -1
        home = (self.rungs == 0) & (self._way == -1)
        self.roundTrips[home] += 1
        self._way[self.rungs == 0] = 1
        return np.sqrt(self.replicaTemperatures / before)

    def acceptance(self):
        """[T - 1] fraction of exchanges accepted between neighbours; NaN where none was attempted yet."""
        with np.errstate(invalid="ignore"):
            return self.accepted / self.attempted

    def report(self):
        """The statistics as a dict of JSON values."""
        return {
            "temperatures_K": self.temperatures.tolist(),
            "sweeps": self._sweeps,
            "attempted": self.attempted.tolist(),
            "accepted": self.accepted.tolist(),
            "acceptance": [round(a / n, 6) if n else None for a, n in zip(self.accepted.tolist(), self.attempted.tolist())],
            "round_trips": self.roundTrips.tolist(),
            "rungs": self.rungs.tolist(),
        }

    def getState(self):
        """Everything that a continuation needs, as a dict of JSON values."""
        names = ("rungs", "attempted", "accepted", "roundTrips", "_way")
        state = {name.strip("_"): getattr(self, name).tolist() for name in names}
        return {
            "format": FORMAT,
            "temperatures": self.temperatures.tolist(),
            **state,
            "sweeps": self._sweeps,
            "random": self._random.bit_generator.state,
        }

    def setState(self, state):
        """Continue from what getState returned.

        Raises
        ------
        ValueError
            A state of another ladder.
        """
        if state.get("format") != FORMAT:
            raise ValueError(f"The state of the exchange has format {state.get('format')!r}; this version reads format {FORMAT}.")
        if state["temperatures"] != self.temperatures.tolist() or len(state["rungs"]) != len(self.rungs):
            raise ValueError(
                f"The state belongs to {len(state['rungs'])} replicas at {state['temperatures']} K, not to {len(self.rungs)} at "
                f"{self.temperatures.tolist()} K."
            )
        for name in ("rungs", "attempted", "accepted", "roundTrips", "_way"):
            setattr(self, name, np.array(state[name.strip("_")], dtype=np.int64))
        self._sweeps = state["sweeps"]
        self._random.bit_generator.state = state["random"]


class ReplicaExchange:
    """Temperature replica exchange among the replicas of a Context.

    Parameters
    ----------
    context : openmm.Context
        With a ReplicaLangevinIntegrator, or another CustomIntegrator that has a per-DOF variable `kT`. Its temperatures are set.
    temperatures : sequence of float or Quantity
        [T] K, rising.
    replicas : int, optional
        Copies in the Context, a multiple of T; by default T.
    seed : int
        Of exchanges; the thermostat has its own.

    Attributes
    ----------
    ladder : TemperatureLadder
        Where each replica is, acceptance, round trips.
    energies : ReplicaEnergies

    Raises
    ------
    ValueError
        Temperatures or replicas that do not fit, an integrator without `kT`, or what checkReplicas refuses.
    """

    def __init__(self, context, temperatures, replicas=None, seed=1):
        integrator = context.getIntegrator()
        if not hasTemperatures(integrator):
            raise ValueError(
                f"The Context's integrator is a {type(integrator).__name__} without a per-DOF variable 'kT', so that its replicas cannot "
                "have temperatures of their own. Use openmmflash.ReplicaLangevinIntegrator."
            )
        self.context = context
        self.ladder = TemperatureLadder(temperatures, len(asTemperatures(temperatures)) if replicas is None else replicas, seed)
        self.energies = ReplicaEnergies(context, len(self.ladder.rungs))
        self.applyTemperatures()

    def setVelocities(self, seed):
        """Draw velocities, those of each replica at its temperature."""
        setVelocitiesToTemperatures(self.context, self.ladder.replicaTemperatures, seed)

    def attempt(self):
        """One sweep of exchanges with the Context's present energies; temperatures and velocities follow.

        Returns
        -------
        numpy.ndarray
            [replicas] the rung of each replica afterwards.
        """
        factors = self.ladder.exchange(self.energies.getPotentialEnergies())
        if (factors != 1).any():
            scaleVelocities(self.context, factors)
            self.applyTemperatures()
        return self.ladder.rungs.copy()

    def run(self, sweeps, interval, report=None):
        """Integrate `interval` steps and attempt exchanges, `sweeps` times.

        report(exchange, sweep), if given, is called after the steps and before the exchanges, where each replica's structure belongs to the
        temperature under which it was made.
        """
        if sweeps < 0 or interval < 1:
            raise ValueError(f"sweeps is {sweeps} and interval is {interval}; they are at least 0 and 1.")
        for sweep in range(sweeps):
            self.context.getIntegrator().step(interval)
            if report is not None:
                report(self, sweep)
            self.attempt()

    def saveCheckpoint(self, path):
        """Write a file from which loadCheckpoint continues exactly: OpenMM's checkpoint and the ladder. It appears when complete."""
        from .convert._writer import writeFileAtomically

        writeFileAtomically(path, packCheckpoint({"exchange": self.ladder.getState()}, self.context))

    def loadCheckpoint(self, path):
        """Continue from saveCheckpoint's file, in a Context of the same System, platform and version of OpenMM.

        Raises
        ------
        ValueError
            A damaged file, or one of another ladder.
        """
        meta, data = unpackCheckpoint(path)
        if "exchange" not in meta:
            raise ValueError(f"{path} is a checkpoint without replica exchange.")
        copy.deepcopy(self.ladder).setState(meta["exchange"])  # refuses what does not fit before anything changes
        self.context.loadCheckpoint(data)
        self.ladder.setState(meta["exchange"])
        self.applyTemperatures()

    def applyTemperatures(self):
        """Give the thermostats the temperatures of the ladder, after its state was set."""
        setReplicaTemperatures(self.context.getIntegrator(), self.ladder.replicaTemperatures, self.energies.numParticles)
