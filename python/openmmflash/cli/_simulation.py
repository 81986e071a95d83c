# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Integrate a Context in small pieces: rows, frames and checkpoints at their steps, an answer to Ctrl-C within a second."""

import contextlib
import math
import signal
import time

import numpy as np

from ..exchange import NotFiniteError
from ..replicas import ReplicaEnergies
from . import _folder
from ._app import UserError
from ._values import GAS_CONSTANT

PIECE = 0.25  # seconds of integration between two looks at the clock
EQUILIBRATE, PRODUCE = "equilibrate", "produce"


class Interrupted(Exception):
    """The user or the system asked to stop; a checkpoint has been written."""


class Unstable(UserError):
    """The simulation produced something that is not a number."""


@contextlib.contextmanager
def unstable(where):
    """Raise as Unstable what is said of coordinates, forces or energies that are not finite, whoever sees them first."""
    from openmm import OpenMMException

    try:
        yield
    except (OpenMMException, NotFiniteError) as error:
        words = ("nan", "not finite", "infinite")
        if isinstance(error, NotFiniteError) or any(word in str(error).lower() for word in words):
            raise Unstable(f"{where}: {error}") from error
        raise


class Interrupts:
    """While active, SIGINT and SIGTERM set `received`; a second SIGINT stops at once."""

    def __init__(self):
        self.received = False

    def __enter__(self):
        self._previous = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _receive(self, number, frame):
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = True

    def __exit__(self, *ignored):
        for number, handler in self._previous.items():
            signal.signal(number, handler)


class Measurement:
    """What a log row needs: energies and temperatures of all and of each replica.

    Parameters
    ----------
    context : openmm.Context
    replicas, numMembers : int
    temperature : float
        The highest of the thermostats', K.
    ladder : TemperatureLadder, optional
        The temperatures of the replicas' thermostats, where each has its own.
    """

    def __init__(self, context, replicas, numMembers, temperature, ladder=None):
        from openmm import CMMotionRemover

        from .. import FlashForce

        system = context.getSystem()
        self.context, self.replicas, self.numMembers, self.ladder = context, replicas, numMembers, ladder
        self.replicaEnergies = ReplicaEnergies(context, replicas) if replicas > 1 else None
        masses = np.array([system.getParticleMass(i)._value for i in range(system.getNumParticles())])
        self.forces = [FlashForce.cast(force) for force in system.getForces() if FlashForce.isinstance(force)]
        removers = sum(1 for force in system.getForces() if isinstance(force, CMMotionRemover))
        self.degreesOfFreedom = 3 * int(np.count_nonzero(masses)) - system.getNumConstraints() - 3 * min(removers, 1)
        self.degreesOfFreedom = max(self.degreesOfFreedom, 1)
        # Even three degrees of freedom come nowhere near 100 times the temperature of the thermostat.
        self.hottest = 100 * max(temperature, 300.0)
        self.deviations = numMembers > 1 and (replicas == 1 or [len(force.getGroups()) for force in self.forces] == [replicas])

    def columns(self, volume):
        names = ["step", "time_ps", "potential_kJ_mol", "kinetic_kJ_mol", "total_kJ_mol", "temperature_K", "speed_ns_day"]
        if volume:
            names.append("volume_nm3")
        if self.deviations and self.replicas == 1:
            names.append("deviation_kJ_mol")
        if self.replicas > 1:
            for k in range(self.replicas):
                names += [f"potential_{k}_kJ_mol", f"temperature_{k}_K"]
                if self.ladder is not None:
                    names.append(f"thermostat_{k}_K")
                if self.deviations:
                    names.append(f"deviation_{k}_kJ_mol")
        return names

    def row(self, step, timePs, speed, volume):
        """(values of a log row, positions [n, 3] nm, box [3, 3] nm)."""
        with unstable(f"at step {step} of {PRODUCE}"):
            return self._row(step, timePs, speed, volume)

    def _row(self, step, timePs, speed, volume):
        state = self.context.getState(energy=True, positions=True, velocities=True)
        positions, velocities = state.getPositions(asNumpy=True)._value, state.getVelocities(asNumpy=True)._value
        box = np.array([list(v) for v in state.getPeriodicBoxVectors()._value])
        potential, kinetic = state.getPotentialEnergy()._value, state.getKineticEnergy()._value
        temperature = 2 * kinetic / (self.degreesOfFreedom * GAS_CONSTANT)
        values = [step, timePs, potential, kinetic, potential + kinetic, temperature, speed]
        self.refuseUnstable(potential, kinetic, positions, velocities, f"at step {step} of {PRODUCE}")
        if volume:
            values.append(abs(np.linalg.det(box)))
        if self.deviations and self.replicas == 1:
            members = sum(np.array(force.getMemberEnergies(self.context)) for force in self.forces)
            values.append(float(np.std(members, ddof=1)))
        if self.replicas > 1:
            values += self._replicaValues(positions, velocities)
        return values, positions, box

    def look(self, where):
        """Raise Unstable if the Context's state is not worth keeping."""
        with unstable(where):
            self._look(where)

    def _look(self, where):
        state = self.context.getState(positions=True, velocities=True, energy=self.replicaEnergies is None)
        positions, velocities = state.getPositions(asNumpy=True)._value, state.getVelocities(asNumpy=True)._value
        if self.replicaEnergies is None:
            potential, kinetic = state.getPotentialEnergy()._value, state.getKineticEnergy()._value
        else:
            # Some platforms draw random numbers where a CustomIntegrator's kinetic energy is asked for, so that a run with one more
            # checkpoint would be another run.
            potential = float(self.replicaEnergies.getPotentialEnergies(positions).sum())
            kinetic = float(self.replicaEnergies.getKineticEnergies(velocities).sum())
        self.refuseUnstable(potential, kinetic, positions, velocities, where)

    def refuseUnstable(self, potential, kinetic, positions, velocities, where):
        """Raise Unstable for what is not finite, or so hot that only an explosion can have made it."""
        if not math.isfinite(potential) or not math.isfinite(kinetic):
            raise Unstable(f"the energy is {potential} kJ/mol (potential), {kinetic} kJ/mol (kinetic) {where}")
        if not np.all(np.isfinite(positions)):
            raise Unstable(f"positions are not finite {where}")
        temperature = 2 * kinetic / (self.degreesOfFreedom * GAS_CONSTANT)
        if temperature > self.hottest:
            raise Unstable(f"the temperature is {temperature:.3g} K {where}")
        if self.replicaEnergies is not None:  # among many, one that is far too hot does not show in the mean
            each = self.replicaEnergies.getTemperatures(velocities)
            if each.max() > self.hottest:
                raise Unstable(f"the temperature of replica {each.argmax()} is {each.max():.3g} K {where}")

    def _replicaValues(self, positions, velocities):
        columns = [self.replicaEnergies.getPotentialEnergies(positions), self.replicaEnergies.getTemperatures(velocities)]
        if self.ladder is not None:
            columns.append(self.ladder.replicaTemperatures)
        if self.deviations:
            columns.append(sum(np.array(force.getEnsembleDeviation(self.context)) for force in self.forces))
        return np.stack(columns, axis=1).ravel().tolist()


class Simulation:
    """A run that can be stopped and continued at any step.

    Parameters
    ----------
    context : openmm.Context
    folder : _folder.Folder
    settings : dict
        run.json's settings.
    interval : int
        Steps between frames.
    measurement : Measurement
    trajectory, log : _folder.Trajectory, _folder.Log
    interrupts : Interrupts
    progress : callable
        progress(phase, total, start) is a context manager; what it gives is called with (step, ns per day).
    exchange : _exchange.Exchange, optional
        Exchanges of temperatures among the replicas.
    """

    def __init__(self, context, folder, settings, interval, measurement, trajectory, log, interrupts, progress, exchange=None):
        self.context, self.folder, self.settings = context, folder, settings
        self.measurement, self.trajectory, self.log = measurement, trajectory, log
        self.interrupts, self.progress, self.exchange = interrupts, progress, exchange
        self.timestep = settings["timestep_fs"] / 1000  # ps
        self.interval, self.checkpointInterval = interval, settings["checkpoint_interval"]
        self.volume = settings["pressure_bar"] is not None
        self.piece = 1
        self.lastCheckpoint = None
        self.speed = 0.0

    def run(self, phase, step, total):
        """Integrate a phase from `step` to `total`."""
        produce = phase == PRODUCE
        with self.progress(phase, total, step) as advance:
            clock = time.perf_counter()
            since = 0
            while step < total:
                if self.interrupts.received:
                    self.checkpoint(phase, step)
                    raise Interrupted
                stops = [total, nextMultiple(step, self.checkpointInterval)] + ([nextMultiple(step, self.interval)] if produce else [])
                if produce and self.exchange is not None:
                    stops += self.exchange.stops(step)
                count = min(min(stops) - step, self.piece)
                start = time.perf_counter()
                with unstable(f"after step {step} of {phase}"):
                    self.context.getIntegrator().step(count)
                elapsed = max(time.perf_counter() - start, 1e-9)
                self.piece = max(1, min(int(count * PIECE / elapsed), 2 * count + 1, 100000))
                step += count
                since += count
                if produce and step % self.interval == 0:
                    self._report(step, since * self.timestep / (time.perf_counter() - clock) * 86.4)
                    clock, since = time.perf_counter(), 0
                if produce and self.exchange is not None:
                    with unstable(f"at step {step} of {phase}"):
                        self.exchange.attemptAt(step)  # after the report: a structure belongs to the temperature under which it was made
                if step % self.checkpointInterval == 0 or step == total:
                    self.checkpoint(phase, step)
                advance(step, count * self.timestep / elapsed * 86.4)
        return step

    def _report(self, step, speed):
        values, positions, box = self.measurement.row(step, step * self.timestep, speed, self.volume)
        self.trajectory.write(positions, box)
        self.log.write(values)

    def checkpoint(self, phase, step):
        """Write a checkpoint, unless the state is not worth keeping."""
        self.measurement.look(f"at step {step} of {phase}")
        sizes = {"trajectory": self.trajectory.flush(), "log": self.log.flush()}
        meta = {"phase": phase, "step": step, "frames": self.trajectory.frames, "interval": self.interval, "sizes": sizes}
        if self.exchange is not None:
            sizes["exchanges"] = self.exchange.flush()
            meta["exchange"] = self.exchange.ladder.getState()
        _folder.writeCheckpoint(self.folder, meta, self.context)
        self.lastCheckpoint = (phase, step)


def nextMultiple(step, interval):
    return (step // interval + 1) * interval
