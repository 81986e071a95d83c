// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "CommonFlags.h"

namespace OpenMMFlash {

int CommonFlags::add() {
    values.push_back(0);
    return static_cast<int>(values.size()) - 1;
}

void CommonFlags::allocate() {
    array.initialize<int>(cc, values.size(), "flashFlags");
    array.upload(values);
}

void CommonFlags::enqueueRead() {
    if (!queue) {
        queue = cc.createQueue();
        known = cc.createEvent();
    }
    known->enqueue();
    if (flushes)
        cc.flushQueue();
}

void CommonFlags::wait() {
    known->queueWait(queue);
    cc.setCurrentQueue(queue);
    try {
        array.download(values);
    }
    catch (...) {
        cc.restoreDefaultQueue();
        throw;
    }
    cc.restoreDefaultQueue();
}

void CommonFlags::clear(int flag) {
    values[flag] = 0;
    array.uploadSubArray(&values[flag], flag, 1);
}

} // namespace OpenMMFlash
