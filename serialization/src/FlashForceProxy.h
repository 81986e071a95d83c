// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_FLASHFORCEPROXY_H_
#define OPENMMFLASH_FLASHFORCEPROXY_H_

#include "openmm/serialization/SerializationProxy.h"

namespace OpenMMFlash {

/** Serializes FlashForce, the model's bytes included (base64, with their SHA-256). */
class FlashForceProxy : public OpenMM::SerializationProxy {
public:
    FlashForceProxy();
    void serialize(const void* object, OpenMM::SerializationNode& node) const override;
    void* deserialize(const OpenMM::SerializationNode& node) const override;
};

} // namespace OpenMMFlash

#endif
