// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_HALF_H_
#define OPENMMFLASH_HALF_H_

#include "openmmflash/internal/ModelSpec.h"
#include <string>

namespace OpenMMFlash {

/** Round a layer's weights, not its bias, to half precision. @param name  the layer's in the model file @throws std::invalid_argument naming the weight */
void roundWeights(Linear& layer, const std::string& name);

} // namespace OpenMMFlash

#endif
