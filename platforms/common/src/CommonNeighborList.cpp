// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "CommonNeighborList.h"
#include "CommonFlashKernelSources.h"
#include "CommonPotential.h"
#include "openmm/OpenMMException.h"
#include <algorithm>
#include <climits>
#include <cmath>
#include <cstdint>
#include <sstream>
#include <stdexcept>

namespace OpenMMFlash {

using OpenMM::ComputeArray;
using OpenMM::mm_double4;
using OpenMM::mm_float4;
using OpenMM::Vec3;

namespace {

constexpr int Team = 32, Teams = 4;                                 // as in kernels/neighborList.cc and kernels/candidates.cc
constexpr int CandidateCapacityArgument = 8, CapacityArgument = 11; // of findPairs()
constexpr int StartThreads = 128;                                   // of startCells()
/** Particles closer than this fraction of the cutoff are at the same position. */
constexpr double CoincidenceFraction = 1e-9;
constexpr double MaxImages = 1e6; // of a particle that are looked at

/** @throws OpenMMException  more than kernels can count */
size_t countEntries(int particles, int capacity) {
    const size_t entries = static_cast<size_t>(particles) * capacity;
    if (entries > INT_MAX)
        throw OpenMM::OpenMMException(
            "FlashForce: " + std::to_string(particles) + " particles with up to " + std::to_string(capacity) +
            " neighbors each are more pairs than this platform can hold (2147483647); use the CPU platform, or fewer replicas in a Context");
    return entries;
}

/** An eighth more than was needed. */
int withReserve(int needed) {
    return static_cast<int>(std::min<std::int64_t>(INT_MAX, needed + std::int64_t{needed} / 8 + 1));
}

} // namespace

void CommonExclusions::set(const CommonDevice& device) {
    std::vector<std::vector<int>> rows(device.particles.getSize());
    for (const auto& [i, j] : device.particles.getExclusions()) {
        rows[i].push_back(j);
        rows[j].push_back(i);
    }
    std::vector<int> rowStarts = {0}, all;
    for (std::vector<int>& row : rows) {
        std::sort(row.begin(), row.end());
        all.insert(all.end(), row.begin(), row.end());
        rowStarts.push_back(static_cast<int>(all.size()));
    }
    all.push_back(-1); // an array cannot be empty
    device.reserve(starts, rowStarts.size(), sizeof(int), "flashExclusionStarts");
    device.reserve(partners, all.size(), sizeof(int), "flashExclusions");
    starts.uploadSubArray(rowStarts.data(), 0, static_cast<int>(rowStarts.size()));
    partners.uploadSubArray(all.data(), 0, static_cast<int>(all.size()));
}

/** How far candidates reach, as a fraction of the cutoff; a little farther than the skin, for what is rounded. */
double CommonNeighborList::getReach() const {
    return 1 + options.skin + 1e-5;
}

CommonNeighborList::CommonNeighborList(const CommonDevice& device, const Options& options)
    : device(device), options(options), capacity(options.initialCapacity), capacityFlag(device.flags.add()), candidateFlag(device.flags.add()) {}

void CommonNeighborList::setParticles() {
    const int n = device.particles.getSize();
    if (n == 0)
        return;
    if (options.excludes)
        exclusions.set(device);
    cells.renew = true;
    if (counts.isInitialized())
        return;
    if (capacity < 1)
        capacity = std::clamp(device.particles.getLargestGroup() - 1, 1, 64);
    counts.initialize<int>(device.cc, n, "flashPairCounts");
    setCapacity(capacity);
}

OpenMM::ComputeKernel CommonNeighborList::makeKernel(bool candidates) {
    OpenMM::ComputeContext& cc = device.cc;
    std::map<std::string, std::string> defines;
    const double cutoff = options.cutoff, range = cutoff * device.particles.getLengthUnit();
    defines["RANGE"] = cc.doubleToString(range, true);
    // A particle and itself are at a distance of zero, to rounding; its images are a box vector away.
    defines["OWN_IMAGE"] = cc.doubleToString(std::pow(1e-6 * range, 2), true);
    defines["CUTOFF_SQUARED"] = cc.doubleToString(cutoff * cutoff);
    defines["COINCIDENCE"] = cc.doubleToString(CoincidenceFraction * cutoff);
    defines["COINCIDENT_FLAG"] = cc.intToString(device.coincidentFlag);
    defines["NOT_FINITE_FLAG"] = cc.intToString(device.notFiniteFlag);
    defines["CAPACITY_FLAG"] = cc.intToString(capacityFlag);
    defines["PAIR_PARAMETERS"] = options.hook.parameters;
    defines["PAIR_ARGUMENTS"] = options.hook.arguments;
    defines["PAIR_RECORD"] = options.hook.record;
    if (options.excludes)
        defines["USE_EXCLUSIONS"] = "1";
    if (candidates)
        defines["USE_CANDIDATES"] = "1";
    OpenMM::ComputeKernel kernel = device.compile(options.hook.functions + CommonFlashKernelSources::neighborList, defines)->createKernel("findPairs");
    kernel->addArg(device.particles.getSize());
    kernel->addArg(cc.getPosq());
    kernel->addArg(cc.getUseMixedPrecision() ? cc.getPosqCorrection() : cc.getPosq());
    kernel->addArg(device.particles.slots);
    kernel->addArg(device.particles.ranges);
    kernel->addArg(device.particles.boxVectors);
    // What is not read must be there all the same.
    kernel->addArg(candidates ? cells.candidateCounts : counts);
    kernel->addArg(candidates ? cells.candidates : counts);
    kernel->addArg(cells.capacity);
    kernel->addArg(options.excludes ? exclusions.starts : counts);
    kernel->addArg(options.excludes ? exclusions.partners : counts);
    kernel->addArg(capacity);
    kernel->addArg(counts);
    kernel->addArg(senders);
    kernel->addArg(deltas);
    kernel->addArg(device.flags.array);
    kernel->addArg(candidates ? cells.stale : counts);
    for (ComputeArray* array : options.hook.arrays)
        kernel->addArg(*array);
    return kernel;
}

/** A barostat, or a user, may make a box in which a particle has no end of images. */
void CommonNeighborList::checkBox() const {
    const Vec3* box = device.particles.getBox();
    const double range = options.cutoff * device.particles.getLengthUnit();
    double images = 1;
    for (int k = 0; k < 3; k++)
        images *= 2 * std::ceil(range / box[k][k]) + 1;
    if (!(images <= MaxImages)) {
        std::ostringstream message;
        message << "the periodic box is too small for the model's cutoff: it measures " << box[0][0] << ", " << box[1][1] << ", " << box[2][2]
                << " nm along the axes, and the cutoff is " << range << " nm; use a larger box";
        throw std::invalid_argument(message.str());
    }
}

bool CommonNeighborList::usesCells() {
    if (device.particles.getLargestGroup() <= options.largeGroup)
        return false;
    if (!device.particles.isPeriodic())
        return true;
    const Vec3* box = device.particles.getBox();
    if (std::equal(box, box + 3, cellBox.begin()))
        return cells.counts[0] >= 3 && cells.counts[1] >= 3 && cells.counts[2] >= 3;
    std::copy(box, box + 3, cellBox.begin());
    cells.renew = true;
    const double volume = box[0][0] * box[1][1] * box[2][2], range = getReach() * options.cutoff * device.particles.getLengthUnit();
    bool large = true;
    for (int k = 0; k < 3; k++) {
        const Vec3 normal = box[(k + 1) % 3].cross(box[(k + 2) % 3]);
        // More cells than this serve nothing, and their numbers stay far from overflow.
        cells.counts[k] = static_cast<int>(std::min(volume / std::sqrt(normal.dot(normal)) / range, 1024.0));
        large = large && cells.counts[k] >= 3;
    }
    return large;
}

void CommonNeighborList::makeCells() {
    OpenMM::ComputeContext& cc = device.cc;
    const int n = device.particles.getSize();
    int numBuckets = StartThreads;
    while (numBuckets < 2 * n)
        numBuckets *= 2;
    cells.stale.initialize<int>(cc, 1, "flashStale");
    cells.places.initialize<OpenMM::mm_int4>(cc, n, "flashCells");
    cells.bucketCounts.initialize<int>(cc, numBuckets, "flashBucketCounts");
    cells.bucketStarts.initialize<int>(cc, numBuckets + 1, "flashBucketStarts");
    cells.sorted.initialize<int>(cc, n, "flashSorted");
    cells.references.initialize(cc, n, cc.getUseDoublePrecision() || cc.getUseMixedPrecision() ? sizeof(mm_double4) : sizeof(mm_float4), "flashReferences");
    cells.candidateCounts.initialize<int>(cc, n, "flashCandidateCounts");
    cc.clearBuffer(cells.bucketCounts);
    cc.clearBuffer(cells.stale);
    cc.clearBuffer(cells.references);
    setCandidateCapacity(options.initialCapacity > 0 ? options.initialCapacity : 96);
    const double cutoff = options.cutoff * device.particles.getLengthUnit(), range = getReach() * cutoff;
    std::map<std::string, std::string> defines;
    defines["START_THREADS"] = cc.intToString(StartThreads);
    defines["INVERSE_CELL"] = cc.doubleToString(1 / range, true);
    defines["RANGE_SQUARED"] = cc.doubleToString(range * range, true);
    defines["HALF_SKIN_SQUARED"] = cc.doubleToString(std::pow(0.5 * options.skin * cutoff, 2), true);
    defines["CANDIDATE_FLAG"] = cc.intToString(candidateFlag);
    OpenMM::ComputeProgram program = device.compile(CommonFlashKernelSources::candidates, defines);
    const auto addPositions = [&](OpenMM::ComputeKernel& kernel) {
        kernel->addArg(cc.getPosq());
        kernel->addArg(cc.getUseMixedPrecision() ? cc.getPosqCorrection() : cc.getPosq());
        kernel->addArg(device.particles.slots);
    };
    cells.check = program->createKernel("checkMoves");
    cells.check->addArg(n);
    addPositions(cells.check);
    cells.check->addArg(cells.references);
    cells.check->addArg(1);
    cells.check->addArg(cells.stale);
    cells.count = program->createKernel("countCells");
    cells.count->addArg(n);
    cells.count->addArg(numBuckets);
    addPositions(cells.count);
    cells.count->addArg(device.particles.ranges);
    cells.count->addArg(device.particles.boxVectors);
    for (const int count : cells.counts)
        cells.count->addArg(count);
    cells.count->addArg(cells.stale);
    cells.count->addArg(cells.places);
    cells.count->addArg(cells.bucketCounts);
    cells.start = program->createKernel("startCells");
    cells.start->addArg(numBuckets);
    cells.start->addArg(cells.stale);
    cells.start->addArg(cells.bucketCounts);
    cells.start->addArg(cells.bucketStarts);
    cells.sort = program->createKernel("sortCells");
    cells.sort->addArg(n);
    addPositions(cells.sort);
    cells.sort->addArg(cells.stale);
    cells.sort->addArg(cells.places);
    cells.sort->addArg(cells.bucketCounts);
    cells.sort->addArg(cells.bucketStarts);
    cells.sort->addArg(cells.sorted);
    cells.sort->addArg(cells.references);
    cells.find = program->createKernel("findCandidates");
    cells.find->addArg(n);
    cells.find->addArg(numBuckets);
    cells.find->addArg(device.particles.ranges);
    cells.find->addArg(device.particles.boxVectors);
    for (const int count : cells.counts)
        cells.find->addArg(count);
    cells.find->addArg(cells.stale);
    cells.find->addArg(cells.places);
    cells.find->addArg(cells.bucketStarts);
    cells.find->addArg(cells.sorted);
    cells.find->addArg(cells.references);
    cells.find->addArg(cells.capacity);
    cells.find->addArg(cells.unordered);
    cells.find->addArg(cells.candidates);
    cells.find->addArg(cells.candidateCounts);
    cells.find->addArg(device.flags.array);
    cells.findPairs = makeKernel(true);
}

void CommonNeighborList::enqueueCells() {
    if (!cells.findPairs)
        makeCells();
    const int n = device.particles.getSize(), rowThreads = (n + Teams - 1) / Teams * Teams * Team;
    cells.check->setArg(5, cells.renew ? 1 : 0);
    for (int k = 0; k < 3; k++) {
        cells.count->setArg(7 + k, cells.counts[k]);
        cells.find->setArg(4 + k, cells.counts[k]);
    }
    cells.find->setArg(12, cells.capacity);
    cells.findPairs->setArg(CandidateCapacityArgument, cells.capacity);
    cells.findPairs->setArg(CapacityArgument, capacity);
    cells.check->execute(n);
    cells.count->execute(n);
    cells.start->execute(StartThreads, StartThreads);
    cells.sort->execute(n);
    cells.find->execute(rowThreads, Teams * Team);
    cells.findPairs->execute(rowThreads, Teams * Team);
    cells.renew = false;
}

void CommonNeighborList::setCandidateCapacity(int newCapacity) {
    const size_t entries = countEntries(device.particles.getSize(), newCapacity);
    device.reserve(cells.unordered, entries, sizeof(int), "flashUnordered");
    device.reserve(cells.candidates, entries, sizeof(int), "flashCandidates");
    cells.capacity = newCapacity;
}

void CommonNeighborList::setCapacity(int newCapacity) {
    const size_t entries = countEntries(device.particles.getSize(), newCapacity);
    device.reserve(senders, entries, sizeof(int), "flashSenders");
    device.reserve(deltas, entries, device.cc.getUseDoublePrecision() ? sizeof(mm_double4) : sizeof(mm_float4), "flashDeltas");
    for (const auto& [array, elementSize] : options.hook.perEntry)
        device.reserve(*array, entries, elementSize, "flashPairs");
    capacity = newCapacity; // last: not if there was no memory for it
}

void CommonNeighborList::enqueue() {
    if (device.particles.getSize() == 0)
        return;
    if (device.particles.isPeriodic())
        checkBox();
    if (usesCells()) {
        enqueueCells();
        return;
    }
    if (!findPairs)
        findPairs = makeKernel(false);
    findPairs->setArg(CapacityArgument, capacity);
    findPairs->execute((device.particles.getSize() + Teams - 1) / Teams * Teams * Team, Teams * Team);
    cells.renew = true;
}

bool CommonNeighborList::grow() {
    const int candidates = device.flags[candidateFlag], pairs = device.flags[capacityFlag];
    // Lowered first: whatever happens next, another evaluation begins anew.
    if (candidates > 0)
        device.flags.clear(candidateFlag);
    if (pairs > 0)
        device.flags.clear(capacityFlag);
    if (candidates > cells.capacity) {
        cells.renew = true;
        setCandidateCapacity(withReserve(candidates));
    }
    if (pairs > capacity)
        setCapacity(withReserve(pairs));
    return candidates > 0 || pairs > 0;
}

} // namespace OpenMMFlash
