// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_WINDOWSEXPORTFLASH_H_
#define OPENMMFLASH_WINDOWSEXPORTFLASH_H_

/** Marks what the shared library offers; everything else is hidden. */
#ifdef _MSC_VER
#ifdef OPENMMFLASH_BUILDING_SHARED_LIBRARY
#define OPENMM_EXPORT_FLASH __declspec(dllexport)
#else
#define OPENMM_EXPORT_FLASH __declspec(dllimport)
#endif
#else
#define OPENMM_EXPORT_FLASH __attribute__((visibility("default")))
#endif

#endif
