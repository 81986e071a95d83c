# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""The Contexts whose programs are compiled for GPUs: published models at published sizes ("default"), and every dialect that tests have.

specialisations.py FOLDER NAME...   makes them, in a process that runs on the recording driver
"""

import ctypes
import functools
import itertools
import os
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))

PRECISIONS = ("single", "mixed", "double")
ANI_TYPES = (("H", 1, (256, 192, 160)), ("C", 6, (224, 192, 160)), ("N", 7, (192, 160, 128)), ("O", 8, (192, 160, 128)))
ANI_TYPES += (("S", 16, (160, 128, 96)), ("F", 9, (160, 128, 96)), ("Cl", 17, (160, 128, 96)))


def ani2x(members=8):
    """A model of ANI-2x's shape with random weights: 1,008 columns of which H C N O need 384, eight networks for each element."""
    random = np.random.default_rng(1)
    length = 7 * 16 + 28 * 32
    tensors = {
        "aev.radial.eta": np.array([19.7]),
        "aev.radial.shift": np.linspace(0.8, 4.88, 16),
        "aev.angular.eta": np.array([12.5]),
        "aev.angular.zeta": np.array([14.1]),
        "aev.angular.shift": np.linspace(0.8, 3.15, 8),
        "aev.angular.theta": np.linspace(0.39, 2.75, 4),
        "type_energies": np.zeros(7),
    }
    for member, (symbol, _, widths) in itertools.product(range(members), ANI_TYPES):
        for layer, (inputs, outputs) in enumerate(zip((length, *widths), (*widths, 1))):
            prefix = f"members.{member}.networks.{symbol}.{layer}."
            tensors[prefix + "weight"] = (random.normal(size=(outputs, inputs)) / np.sqrt(inputs)).astype(np.float32)
            tensors[prefix + "bias"] = (0.1 * random.normal(size=outputs)).astype(np.float32)
    metadata = {"architecture": "ani", "name": "ani2x-random", "length_unit": "angstrom", "energy_unit": "hartree", "num_members": members}
    metadata["types"] = [{"name": symbol, "atomic_number": number} for symbol, number, _ in ANI_TYPES]
    metadata["hyperparameters"] = {"radial_cutoff": 5.1, "angular_cutoff": 3.5, "celu_alpha": 0.1, "cutoff_function": "cosine"}
    return metadata, tensors


def smoothSchNet():
    """A CGSchNet whose filters are as smooth as trained ones are, so that they are of low rank."""
    from openmmflash.bench import models

    metadata, tensors = models.cgSchNet(basis=16)
    for name in tensors:
        if ".filter.0." in name:
            tensors[name] = 0.1 * tensors[name]
    metadata["hyperparameters"]["num_basis"] = 16
    return metadata, tensors


def published(name):
    from openmmflash.bench import models

    return {"cgschnet": models.cgSchNet, "smooth": smoothSchNet, "schnetpack-128": models.schnetPack, "ani2x": ani2x}[name]()


def specialisations():
    """name -> (model, precision, particles, groups, box vectors or None, half weights, environment)."""
    found = {}
    for precision, half in (("single", False), ("single", True), ("mixed", False), ("double", False)):
        label = precision + ("-half" if half else "")
        found[f"cgschnet-16x269-{label}"] = ("cgschnet", precision, 16 * 269, 16, None, half, {})
        found[f"cgschnet-16x269-low-rank-{label}"] = ("smooth", precision, 16 * 269, 16, None, half, {"OPENMMFLASH_DEVICE_FILTER": "2"})
        found[f"schnetpack-3000-box-{label}"] = ("schnetpack-128", precision, 3000, 1, np.diag([3.2, 3.2, 3.2]), half, {})
        found[f"ani2x-600-{label}"] = ("ani2x", precision, 600, 1, None, half, {})
    found["cgschnet-1x269-single"] = ("cgschnet", "single", 269, 1, None, False, {})
    found["ani2x-60-single"] = ("ani2x", "single", 60, 1, None, False, {})
    found["ani2x-6000-box-single"] = ("ani2x", "single", 6000, 1, np.diag([3.9, 3.9, 3.9]), False, {})
    return found


# Of which each model has half weights, and is compiled without tensor cores, too: what these change (dense layers and element networks)
# knows of ensembles, neighbor embedding, and networks without blocks, and not of the rest that tells models apart.
DENSE = ("mlcg", "torchmdnet", "schnet-3", "schnet-0-blocks", "ani-3")


def dialects():
    """The same for the models of the Python tests, most of them in a triclinic box."""
    import random_models

    found = {}
    for name in random_models.PARTS:
        box = random_models.BOXES["triclinic"] if name in random_models.PERIODIC else None
        for precision in PRECISIONS:
            found[f"{name}-{precision}"] = (name, precision, 21, 2, box, False, {})
        if name in DENSE:
            found[f"{name}-half"] = (name, "single", 21, 2, box, True, {})
            found[f"{name}-plain"] = (name, "single", 21, 2, None, False, {"OPENMMFLASH_CUDA_TENSOR_CORES": "0"})
    return found


def everything():
    return specialisations() | dialects()


@functools.cache
def makeModel(name):
    import random_models

    from openmmflash import FlashModel
    from openmmflash.convert._writer import modelBytes

    parts = random_models.PARTS[name]() if name in random_models.PARTS else published(name)
    return FlashModel.fromBytes(modelBytes(*parts), name)


def makeContext(specification, folder):
    """A Context with positions."""
    import openmm
    import random_models

    from openmmflash import FlashForce

    name, precision, count, groups, box, half, environment = specification
    os.environ |= environment
    model = makeModel(name)
    random = np.random.default_rng(1)
    types = random_models.randomTypes(model, count, random) if name != "ani2x" else [int(t) for t in random.integers(0, 4, count)]
    system, force = random_models.makeSystem(model, types, box, [i * groups // count for i in range(count)])
    force.setWeightPrecision(FlashForce.Half if half else FlashForce.Single)
    system.addForce(force)
    platform = openmm.Platform.getPlatformByName("CUDA")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform, {"Precision": precision, "TempDirectory": str(folder)})
    context.setPositions(random.uniform(size=(count, 3)) * (3.0 if box is None else np.diag(box)))
    for variable in environment:
        del os.environ[variable]
    return context


def main(folder, names):
    driver = ctypes.CDLL("libcuda.so.1")
    mark = lambda text: driver.recordingDriverMark(text.encode())  # noqa: E731
    for name in names:
        mark("context " + name)
        context = makeContext(everything()[name], folder)
        # The first evaluations find what arrays are too small.
        mark("warm-up " + name)
        context.getState(energy=True, forces=True)
        context.getIntegrator().step(2)
        mark("step " + name)
        context.getIntegrator().step(1)
        mark("end " + name)
        del context


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
