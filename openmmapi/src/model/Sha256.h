// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_SHA256_H_
#define OPENMMFLASH_SHA256_H_

#include <string>

namespace OpenMMFlash {

/** SHA-256 (FIPS 180-4) of some bytes, as 64 hexadecimal digits. */
std::string sha256(const std::string& bytes);

} // namespace OpenMMFlash

#endif
