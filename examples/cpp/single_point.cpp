// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT

// Energy and forces of a water molecule, without Python: single_point MODEL, a model file that knows H and O
// (openmm-flash convert ani1x -o ani1x.safetensors makes one).

#include "OpenMM.h"
#include "openmmflash/FlashForce.h"
#include <cmath>
#include <cstdio>
#include <exception>

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: %s MODEL.safetensors\n", argv[0]);
        return 2;
    }
    try {
        OpenMM::Platform::loadPluginsFromDirectory(PLUGIN_FOLDER);
        const OpenMMFlash::FlashModel model(argv[1]);
        std::printf("%s\n", model.summary().c_str());

        OpenMM::System system;
        auto* force = new OpenMMFlash::FlashForce(model); // the System owns it
        for (const char* element : {"O", "H", "H"}) {
            const int type = model.getTypeIndex(element);
            force->addParticle(system.addParticle(element[0] == 'O' ? 15.999 : 1.008), type);
        }
        system.addForce(force);

        OpenMM::VerletIntegrator integrator(0.0005);
        OpenMM::Context context(system, integrator, OpenMM::Platform::getPlatformByName("Reference"));
        context.setPositions({{0, 0, 0}, {0.0957, 0, 0}, {-0.0240, 0.0926, 0}}); // nm

        const OpenMM::State state = context.getState(OpenMM::State::Energy | OpenMM::State::Forces);
        std::printf("energy %.6f kJ/mol\n", state.getPotentialEnergy());
        OpenMM::Vec3 sum;
        for (const OpenMM::Vec3& f : state.getForces()) {
            std::printf("force  %12.6f %12.6f %12.6f kJ/mol/nm\n", f[0], f[1], f[2]);
            sum += f;
        }
        // A molecule does not push itself.
        return std::isfinite(state.getPotentialEnergy()) && std::sqrt(sum.dot(sum)) < 1e-6 ? 0 : 1;
    }
    catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
