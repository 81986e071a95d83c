# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Temperature replica exchange against distributions that are known: permutations, a harmonic well, a double well with a barrier."""

import itertools
import json

import numpy as np
import openmm
import pytest

from openmmflash import ReplicaExchange, ReplicaLangevinIntegrator
from openmmflash.checkpoints import packCheckpoint
from openmmflash.exchange import TemperatureLadder, geometricLadder
from openmmflash.replicas import GAS_CONSTANT, setVelocitiesToTemperatures

TEMPERATURES = [300.0, 480.0, 770.0, 1250.0]
HEIGHT, WIDTH, TILT, SIDE = 14.0, 0.1, 25.0, 2000.0  # kJ/mol, nm, kJ/mol/nm, kJ/mol/nm^2
DOUBLE_WELL = f"{HEIGHT}*((x/{WIDTH})^2 - 1)^2 + {TILT}*x + 0.5*{SIDE}*(y^2 + z^2)"


def particles(replicas, energy, mass=10.0):
    """A System of one particle for each replica."""
    system, force = openmm.System(), openmm.CustomExternalForce(energy)
    for r in range(replicas):
        system.addParticle(mass)
        force.addParticle(r, [])
    system.addForce(force)
    return system


def makeExchange(replicas, temperatures, energy, seed, friction=5.0, timestep=0.004):
    integrator = ReplicaLangevinIntegrator(np.tile(temperatures, replicas // len(temperatures)), friction, timestep, 1)
    integrator.setRandomNumberSeed(seed)
    context = openmm.Context(particles(replicas, energy), integrator, openmm.Platform.getPlatform("Reference"))
    return context, ReplicaExchange(context, temperatures, replicas, seed)


def doubleWellAverages(temperature):
    """(population of x > 0, mean energy along x) by integration."""
    x = np.linspace(-4 * WIDTH, 4 * WIDTH, 20001)
    u = HEIGHT * ((x / WIDTH) ** 2 - 1) ** 2 + TILT * x
    weight = np.exp(-(u - u.min()) / (GAS_CONSTANT * temperature))
    return weight[x > 0].sum() / weight.sum(), (u * weight).sum() / weight.sum()


def within(samples, expected, sigmas=5):
    """Whether the mean of independent samples is as expected, and its standard error."""
    error = np.std(samples, ddof=1) / np.sqrt(len(samples))
    return abs(np.mean(samples) - expected) < sigmas * error, error


def testPermutationsHaveTheirWeights():
    """Three frozen structures at three temperatures: the permutations occur as exp(-sum beta_i E_i) asks."""
    temperatures, energies = np.array([300.0, 330.0, 380.0]), np.array([0.0, 6.0, 14.0])
    beta = 1 / (GAS_CONSTANT * temperatures)
    permutations = list(itertools.permutations(range(3)))
    weights = np.array([np.exp(-sum(beta[rung] * e for rung, e in zip(p, energies))) for p in permutations])
    weights /= weights.sum()
    ladder = TemperatureLadder(temperatures, 192, seed=5)  # 64 ladders side by side
    for _ in range(20):
        ladder.exchange(np.tile(energies, 64))
    counts = np.zeros((64, 6))
    for _ in range(400):
        ladder.exchange(np.tile(energies, 64))
        for k, rungs in enumerate(ladder.rungs.reshape(64, 3).tolist()):
            counts[k, permutations.index(tuple(rungs))] += 1
    for fractions, weight in zip((counts / 400).T, weights):
        right, error = within(fractions, weight)
        assert right and error < 0.01, (fractions.mean(), weight, error)
    assert weights.max() < 0.8 and weights.min() > 0.001  # nothing to see otherwise


def testDoubleWell():
    """All replicas start in the upper well. Exchange alone brings the cold ones across, and each temperature has its own populations."""
    ladders, size = 16, len(TEMPERATURES)
    context, exchange = makeExchange(ladders * size, TEMPERATURES, DOUBLE_WELL, seed=11)
    context.setPositions(np.tile([[WIDTH, 0, 0]], (ladders * size, 1)))
    exchange.setVelocities(3)
    exchange.run(150, 20)
    samples = np.zeros((3, ladders, size))
    sweeps = 1200

    def record(exchange, sweep):
        state = exchange.context.getState(positions=True, velocities=True)
        x = state.getPositions(asNumpy=True)._value
        values = np.stack([x[:, 0] > 0, exchange.energies.getPotentialEnergies(x), exchange.energies.getTemperatures()])
        for ladder in range(ladders):
            mine = slice(ladder * size, (ladder + 1) * size)
            samples[:, ladder, exchange.ladder.rungs[mine]] += values[:, mine] / sweeps

    exchange.run(sweeps, 20, record)
    for rung, temperature in enumerate(TEMPERATURES):
        population, energy = doubleWellAverages(temperature)
        right, error = within(samples[0, :, rung], population)
        assert right and error < 0.04, (temperature, samples[0, :, rung].mean(), population, error)
        right, error = within(samples[1, :, rung], energy + GAS_CONSTANT * temperature)
        assert right and error < 0.1 * GAS_CONSTANT * temperature, (temperature, samples[1, :, rung].mean(), energy, error)
        right, error = within(samples[2, :, rung], temperature)
        assert right and error < 0.02 * temperature, (temperature, samples[2, :, rung].mean(), error)
    assert doubleWellAverages(TEMPERATURES[0])[0] < 0.4 * doubleWellAverages(TEMPERATURES[-1])[0]  # the temperatures differ in what is seen
    assert (exchange.ladder.acceptance() > 0.2).all() and exchange.ladder.roundTrips.sum() > 100
    assert exchange.ladder.attempted.sum() == ladders * (sweeps + 150) * 1.5  # pairs 01 and 23 in one sweep, 12 in the next


def testTemperaturesAndVelocitiesFollow():
    """An exchange leaves positions alone, scales velocities, and sets the thermostats."""
    context, exchange = makeExchange(4, TEMPERATURES, DOUBLE_WELL, seed=1)
    context.setPositions([[0.1 * 2**-r, 0.05 * (3 - r), 0] for r in range(4)])  # the coldest has the highest energy
    exchange.setVelocities(3)
    before = context.getState(positions=True, velocities=True)
    assert exchange.attempt().tolist() == [1, 0, 3, 2] and exchange.attempt().tolist() == [2, 0, 3, 1]
    after = context.getState(positions=True, velocities=True)
    np.testing.assert_array_equal(before.getPositions(asNumpy=True)._value, after.getPositions(asNumpy=True)._value)
    factors = np.sqrt(np.array(TEMPERATURES)[[2, 0, 3, 1]] / TEMPERATURES)
    velocities = before.getVelocities(asNumpy=True)._value * factors[:, None]
    np.testing.assert_allclose(after.getVelocities(asNumpy=True)._value, velocities, rtol=1e-12)
    kT = np.array(context.getIntegrator().getPerDofVariableByName("kT"))
    np.testing.assert_allclose(kT, np.repeat(GAS_CONSTANT * exchange.ladder.replicaTemperatures[:, None], 3, axis=1), rtol=1e-12)
    np.testing.assert_array_equal(exchange.ladder.replicaTemperatures, np.array(TEMPERATURES)[[2, 0, 3, 1]])


def testRoundTrips():
    """A replica is driven up and down by its energy: once counted at the bottom, having been at the top."""
    ladder = TemperatureLadder([300, 400, 500], 3, seed=2)
    visited = []
    for high in (True, True, True, False, False, False, False, True, True, True, False, False, False, False):
        energies = np.array([1000.0 if high else -1000.0, 0.0, 0.0])
        ladder.exchange(energies)
        visited.append((int(ladder.rungs[0]), int(ladder.roundTrips[0])))
    assert max(rung for rung, _ in visited) == 2 and visited[-1][1] == 2
    for (rung, trips), (_, before) in zip(visited[1:], visited):
        assert trips == before or (trips == before + 1 and rung == 0)
    assert TemperatureLadder([300, 400], 2, 1).roundTrips.tolist() == [0, 0]


def testContinuesExactly(tmp_path):
    """Half of a run, a checkpoint, another Context and the other half: the bits of the whole run. Another seed is another run."""

    def finish(exchange, sweeps):
        exchange.run(sweeps, 7)
        state = exchange.context.getState(positions=True, velocities=True)
        return np.concatenate([state.getPositions(asNumpy=True)._value, state.getVelocities(asNumpy=True)._value])

    def start(seed):
        context, exchange = makeExchange(8, TEMPERATURES, DOUBLE_WELL, seed)
        context.setPositions(np.zeros((8, 3)))
        exchange.setVelocities(seed)
        return exchange

    # One after another: all Contexts of the Reference platform draw from one sequence of random numbers.
    path, whole = tmp_path / "exchange.npz", start(4)
    expected = finish(whole, 40)
    half = start(4)
    finish(half, 20)
    half.saveCheckpoint(path)
    other = start(5)
    finish(other, 1)
    _, again = makeExchange(8, TEMPERATURES, DOUBLE_WELL, 99)
    again.loadCheckpoint(path)
    np.testing.assert_array_equal(finish(again, 20), expected)
    assert again.ladder.getState() == whole.ladder.getState()
    assert json.loads(json.dumps(whole.ladder.getState())) == whole.ladder.getState()
    assert np.abs(finish(other, 39) - expected).max() > 0.01 and other.ladder.getState() != whole.ladder.getState()
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ValueError, match="damaged"):
        again.loadCheckpoint(path)


def testCheckpointOfAnother(tmp_path):
    """A checkpoint that does not fit leaves ladder and Context as they were, whichever of the two refuses it."""
    path = tmp_path / "exchange.npz"

    def start(replicas, seed, temperatures):
        context, exchange = makeExchange(replicas, temperatures, DOUBLE_WELL, seed)
        context.setPositions(np.full((replicas, 3), 0.01 * seed))
        exchange.setVelocities(seed)
        exchange.run(seed, 7)
        return exchange

    mine = start(8, 3, TEMPERATURES)
    state, positions = mine.ladder.getState(), mine.context.getState(positions=True).getPositions(asNumpy=True)._value
    larger = openmm.Context(particles(9, DOUBLE_WELL), openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference"))
    larger.setPositions(np.zeros((9, 3)))
    other = start(8, 5, TEMPERATURES).ladder.getState()
    path.write_bytes(packCheckpoint({"exchange": other}, larger))
    with pytest.raises(openmm.OpenMMException):
        mine.loadCheckpoint(path)
    assert mine.ladder.getState() == state
    start(8, 5, [t + 1 for t in TEMPERATURES]).saveCheckpoint(path)
    with pytest.raises(ValueError, match="The state belongs to 8 replicas"):
        mine.loadCheckpoint(path)
    assert mine.ladder.getState() == state
    np.testing.assert_array_equal(mine.context.getState(positions=True).getPositions(asNumpy=True)._value, positions)


def testStateOfAnother():
    whole = TemperatureLadder(TEMPERATURES, 8, 1)
    with pytest.raises(ValueError, match="not to 4 at"):
        TemperatureLadder(TEMPERATURES, 4, 1).setState(whole.getState())


@pytest.mark.parametrize(
    "temperatures, replicas, message",
    [
        ([300], 1, "two temperatures or more"),
        ([300, 400], 3, "2 temperatures and 3 replicas"),
        ([400, 300], 2, "higher than the one before"),
        ([300, 300], 2, "higher than the one before"),
        ([0, 300], 2, "larger than 0 K"),
        ([300, float("nan")], 2, "finite"),
    ],
)
def testWrongLadders(temperatures, replicas, message):
    with pytest.raises(ValueError, match=message):
        TemperatureLadder(temperatures, replicas, 1)


def testWrongUse():
    context = openmm.Context(particles(2, "x^2"), openmm.LangevinMiddleIntegrator(300, 1, 0.004), openmm.Platform.getPlatform("Reference"))
    with pytest.raises(ValueError, match="LangevinMiddleIntegrator without a per-DOF variable 'kT'"):
        ReplicaExchange(context, [300, 400])
    system = particles(2, "x^2")
    system.addForce(openmm.AndersenThermostat(1000, 50))
    other = openmm.Context(system, ReplicaLangevinIntegrator([300, 400], 1, 0.004, 1), openmm.Platform.getPlatform("Reference"))
    with pytest.raises(ValueError, match="has one temperature for all replicas"):
        ReplicaExchange(other, [300, 400])
    with pytest.raises(ValueError, match="2 finite ones are needed"):
        TemperatureLadder([300, 400], 2, 1).exchange([1.0, float("nan")])
    with pytest.raises(ValueError, match="2 finite ones are needed"):
        TemperatureLadder([300, 400], 2, 1).exchange([1.0])
    with pytest.raises(ValueError, match="not 3 replicas"):
        setVelocitiesToTemperatures(context, [300, 300, 300], 1)
    np.testing.assert_allclose(geometricLadder(300, 600, 3), [300, 300 * 2**0.5, 600])
    with pytest.raises(ValueError, match="the first the lowest"):
        geometricLadder(600, 300, 3)
