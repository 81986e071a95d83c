// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_MODELREADER_H_
#define OPENMMFLASH_MODELREADER_H_

#include "openmmflash/internal/ModelSpec.h"
#include <map>
#include <string>

namespace OpenMMFlash {

/** What a model file holds: the specification and the metadata as written. */
struct ModelFile {
    int formatVersion = 0;
    std::string architecture, name;
    std::map<std::string, std::string> metadata;
    long long numWeights = 0; ///< elements of all network tensors
    ModelSpec spec;
};

/** Read a model file (docs/model-format.md). @throws FlashModelError naming the key or tensor and its value */
ModelFile readModel(const std::string& bytes);

} // namespace OpenMMFlash

#endif
