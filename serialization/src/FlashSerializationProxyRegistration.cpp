// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "FlashForceProxy.h"
#include "openmmflash/FlashForce.h"

// Runs when the library is loaded, so that any program that links it can read and write FlashForce.
__attribute__((constructor)) static void registerFlashSerializationProxies() {
    OpenMM::SerializationProxy::registerProxy(typeid(OpenMMFlash::FlashForce), new OpenMMFlash::FlashForceProxy());
}
