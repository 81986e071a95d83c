// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// The CPU platform's neighbor list and threads. The witness is the Reference's own search, group by group; what has no witness
// (order, reverse entries, independence of age and threads) is checked entry by entry.
#include "Assertions.h"
#include "CountAllocations.h"
#include "CpuNeighborList.h"
#include "RandomModels.h"
#include "ReferenceEvaluator.h"
#include "TestThreads.h"
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <numeric>
#include <set>

using namespace OpenMMFlash;
using namespace OpenMMFlashTests;
using Kind = CpuNeighborList::Kind;
using Options = CpuNeighborList::Options;

namespace {

/** What a user of the list sees: a pair within the cutoff. */
struct Pair {
    int receiver, sender;
    double r;
    Vector3 d;
    bool operator==(const Pair& other) const {
        return receiver == other.receiver && sender == other.sender && r == other.r && d == other.d;
    }
};

struct System {
    std::vector<Vector3> positions;
    std::vector<int> groups;
    std::optional<Box> box;
    std::vector<std::pair<int, int>> exclusions;
};

Pair getPair(const CpuNeighborList& list, const std::vector<Vector3>& positions, int i, std::int64_t entry) {
    const int j = list.getSenders()[entry];
    const Vector3 &xi = positions[i], &xj = positions[j], &shift = list.getShifts()[list.getShiftIndices()[entry]];
    const Vector3 d = {xj[0] - xi[0] + shift[0], xj[1] - xi[1] + shift[1], xj[2] - xi[2] + shift[2]};
    return {i, j, std::sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]), d};
}

/** The pairs within the cutoff, in the list's order. */
std::vector<Pair> takePairs(const CpuNeighborList& list, const std::vector<Vector3>& positions, double cutoff) {
    std::vector<Pair> pairs;
    for (int i = 0; i < list.getNumRows(); i++)
        for (std::int64_t entry = list.getRowStart()[i]; entry < list.getRowStart()[i + 1]; entry++) {
            const Pair pair = getPair(list, positions, i, entry);
            if (cutoff == 0 || pair.r < cutoff)
                pairs.push_back(pair);
        }
    return pairs;
}

/** The image that a shift belongs to. */
std::array<long, 3> findImage(const Vector3& shift, const std::optional<Box>& box) {
    std::array<long, 3> image = {0, 0, 0};
    Vector3 rest = shift;
    for (int k = 2; box && k >= 0; k--) {
        image[k] = std::lround(rest[k] / (*box)[k][k]);
        for (int l = 0; l < 3; l++)
            rest[l] -= image[k] * (*box)[k][l];
    }
    return image;
}

/** Everything that is promised of every list, whatever is in it. */
void checkStructure(const CpuNeighborList& list, const System& system, const Options& options) {
    const std::vector<std::int64_t>& start = list.getRowStart();
    const int n = static_cast<int>(system.positions.size());
    CHECK_EQUAL(n, list.getNumRows());
    CHECK_EQUAL(static_cast<size_t>(n) + 1, start.size());
    CHECK_EQUAL(0, start[0]);
    CHECK_EQUAL(static_cast<size_t>(start[n]), list.getSenders().size());
    CHECK_EQUAL(list.getSenders().size(), list.getShiftIndices().size());
    CHECK_EQUAL(options.kind == Kind::Full ? list.getSenders().size() : 0, list.getReverses().size());
    CHECK(list.getShifts()[0] == (Vector3{0, 0, 0}));
    const std::array<long, 3> zero = {0, 0, 0};
    std::vector<std::array<long, 3>> images;
    double farthest = 0;
    for (const Vector3& shift : list.getShifts()) {
        images.push_back(findImage(shift, system.box));
        for (int l = 0; l < 3; l++)
            farthest = std::max(farthest, std::fabs(shift[l]));
    }
    CHECK_EQUAL(images.size(), std::set(images.begin(), images.end()).size());
    const std::set<std::pair<int, int>> exclusions(system.exclusions.begin(), system.exclusions.end());
    for (int i = 0; i < n; i++)
        for (std::int64_t entry = start[i]; entry < start[i + 1]; entry++) {
            const int j = list.getSenders()[entry];
            CHECK(0 <= j && j < n && system.groups[i] == system.groups[j] && exclusions.count({i, j}) + exclusions.count({j, i}) == 0);
            const std::array<long, 3>& image = images[list.getShiftIndices()[entry]];
            if (entry > start[i])
                CHECK(std::make_pair(list.getSenders()[entry - 1], images[list.getShiftIndices()[entry - 1]]) < std::make_pair(j, image));
            CHECK(j != i || image != zero);
            const Pair pair = getPair(list, system.positions, i, entry);
            if (options.cutoff > 0)
                CHECK(pair.r <= 1.001 * (options.cutoff + std::min(options.skin, options.cutoff)) + 1e-12 * farthest);
            if (options.kind == Kind::Half) {
                CHECK(j > i || (j == i && image > zero));
                continue;
            }
            const std::int64_t reverse = list.getReverses()[entry];
            CHECK(start[j] <= reverse && reverse < start[j + 1]);
            CHECK_EQUAL(entry, list.getReverses()[reverse]);
            const Pair opposite = getPair(list, system.positions, j, reverse);
            CHECK_EQUAL(i, opposite.sender);
            CHECK(opposite.r == pair.r && opposite.d == (Vector3{-pair.d[0], -pair.d[1], -pair.d[2]}));
        }
}

/** A key that sorts pairs whose distances are not quite the same: a projection of d that no two images share. */
std::array<double, 7> makeKey(const Pair& pair) {
    return {static_cast<double>(pair.receiver),
            static_cast<double>(pair.sender),
            pair.d[0] + 0.61803398875 * pair.d[1] - 1.32471795724 * pair.d[2],
            pair.r,
            pair.d[0],
            pair.d[1],
            pair.d[2]};
}

/** The same pairs as the Reference finds in each group, with each distance. */
void checkPairs(const CpuNeighborList& list, const System& system, Kind kind, double cutoff, double tolerance) {
    std::vector<std::array<double, 7>> expected, found;
    const std::set<std::pair<int, int>> exclusions(system.exclusions.begin(), system.exclusions.end());
    for (const int group : std::set(system.groups.begin(), system.groups.end())) {
        std::vector<int> members;
        std::vector<Vector3> positions;
        for (size_t i = 0; i < system.groups.size(); i++)
            if (system.groups[i] == group) {
                members.push_back(static_cast<int>(i));
                positions.push_back(system.positions[i]);
            }
        for (const ReferencePair& pair : findReferencePairs(positions, cutoff, system.box)) {
            const int i = members[pair.receiver], j = members[pair.sender];
            // Half: of a particle's own images, the list says which half it takes.
            if (exclusions.count({i, j}) + exclusions.count({j, i}) == 0 && (kind == Kind::Full || i <= j))
                expected.push_back(makeKey({i, j, pair.r, pair.d}));
        }
    }
    for (const Pair& pair : takePairs(list, system.positions, cutoff)) {
        found.push_back(makeKey(pair));
        if (kind == Kind::Half && pair.receiver == pair.sender)
            found.push_back(makeKey({pair.receiver, pair.sender, pair.r, {-pair.d[0], -pair.d[1], -pair.d[2]}}));
    }
    CHECK_EQUAL(expected.size(), found.size());
    std::sort(expected.begin(), expected.end());
    std::sort(found.begin(), found.end());
    for (size_t p = 0; p < found.size(); p++)
        for (int k = 0; k < 7; k++)
            CHECK(std::fabs(expected[p][k] - found[p][k]) <= tolerance);
}

/** Builds lists of both kinds with several skins and compares them with the Reference. */
void checkSystem(const System& system, double cutoff, double tolerance, CpuThreads& threads) {
    for (const Kind kind : {Kind::Half, Kind::Full})
        for (const double skin : {0.0, 0.1 * cutoff, 3 * cutoff}) {
            const Options options = {kind, cutoff, skin, system.exclusions, 1};
            CpuNeighborList list(options, threads);
            list.setGroups(system.groups);
            CHECK(list.update(system.positions, system.box));
            checkStructure(list, system, options);
            checkPairs(list, system, kind, cutoff, tolerance);
        }
}

double getLength(Random& random, double low, double high) {
    return std::exp(random.uniform(std::log(low), std::log(high)));
}

Box makeBox(Random& random, double low, double high) {
    Box box = {};
    for (int k = 0; k < 3; k++)
        box[k][k] = getLength(random, low, high);
    box[1][0] = random.uniform(-0.5, 0.5) * box[0][0];
    box[2][0] = random.uniform(-0.5, 0.5) * box[0][0];
    box[2][1] = random.uniform(-0.5, 0.5) * box[1][1];
    return box;
}

/** Particles anywhere in the box and up to `images` boxes away from it, or in a cuboid; groups and exclusions at random. */
System makeSystem(Random& random, int n, const std::optional<Box>& box, const Vector3& size, int numGroups, int images = 3) {
    System system;
    system.box = box;
    for (int i = 0; i < n; i++) {
        Vector3 x = {0, 0, 0};
        for (int k = 0; k < 3; k++)
            for (int l = 0; l < 3; l++)
                x[l] += random.uniform(-images, images + 1) * (box ? (*box)[k][l] : 0.0);
        if (!box)
            x = {random.uniform(0, size[0]), random.uniform(0, size[1]), random.uniform(0, size[2])};
        system.positions.push_back(x);
        system.groups.push_back(random.index(numGroups));
    }
    for (int k = 0; k < n / 2; k++)
        system.exclusions.emplace_back(random.index(n), random.index(n));
    return system;
}

// ---- against the Reference ----

void testSmallSystems() {
    Random random(1);
    CpuThreads threads = makeTestThreads(1);
    const double cutoff = 3;
    for (int k = 0; k < 100; k++) {
        const Box box = makeBox(random, 0.2 * cutoff, 6 * cutoff);
        const Vector3 size = {getLength(random, 0.5, 30), getLength(random, 0.5, 30), getLength(random, 0.5, 30)};
        checkSystem(makeSystem(random, 1 + random.index(8), box, {}, 1 + random.index(2)), cutoff, 1e-9, threads);
        checkSystem(makeSystem(random, 1 + random.index(150), {}, size, 1 + random.index(3)), cutoff, 1e-12, threads);
    }
}

void testNumbersOfParticles() {
    CpuThreads threads = makeTestThreads(2);
    const Box tiny = {{{1, 0, 0}, {0.25, 1, 0}, {-0.25, 0.25, 1}}}, large = {{{50, 0, 0}, {0, 40, 0}, {0, 0, 30}}};
    for (const std::optional<Box>& box : {std::optional<Box>(), std::optional<Box>(tiny), std::optional<Box>(large)}) {
        checkSystem({{}, {}, box, {}}, 3, 1e-9, threads);
        checkSystem({{{4, 5, 6}}, {0}, box, {}}, 3, 1e-9, threads);
        checkSystem({{{4, 5, 6}, {5, 5.5, 7}}, {0, 0}, box, {}}, 3, 1e-9, threads);
        checkSystem({{{4, 5, 6}, {5, 5.5, 7}}, {0, 1}, box, {}}, 3, 1e-9, threads);
        checkSystem({{{4, 5, 6}, {5, 5.5, 7}}, {0, 0}, box, {{1, 0}}}, 3, 1e-9, threads);
        checkSystem({{{4, 5, 6}, {5, 5.5, 7}}, {0, 0}, box, {{1, 1}, {0, 1}}}, 3, 1e-9, threads);
    }
    // The list is used for one system after the other.
    const Options options = {Kind::Full, 3, 0.5, {}, 0};
    CpuNeighborList list(options, threads);
    Random random(2);
    for (const int n : {0, 500, 3, 0, 1, 700}) {
        System system = makeSystem(random, n, large, {}, 2);
        system.exclusions.clear();
        list.setGroups(system.groups);
        CHECK(list.update(system.positions, system.box));
        checkStructure(list, system, options);
        checkPairs(list, system, Kind::Full, 3, 1e-9);
    }
}

void testManyCells() {
    Random random(3);
    CpuThreads threads = makeTestThreads(2);
    checkSystem(makeSystem(random, 2000, {}, {20, 20, 20}, 1), 3, 1e-12, threads);
    checkSystem(makeSystem(random, 2000, {}, {200, 7, 10}, 2), 3, 1e-12, threads);
    checkSystem(makeSystem(random, 1000, {}, {100, 100, 100}, 1), 3, 1e-12, threads);
    checkSystem(makeSystem(random, 2000, makeTriclinicBox(20), {}, 3), 3, 1e-9, threads);
    checkSystem(makeSystem(random, 2000, Box{{{7, 0, 0}, {0, 13, 0}, {0, 0, 60}}}, {}, 1), 3, 1e-9, threads);
}

void testFiftyThousandParticles() {
    Random random(4);
    CpuThreads threads = makeTestThreads(2);
    const double edge = 80;
    for (const std::optional<Box>& box : {std::optional<Box>(), std::optional<Box>(makeTriclinicBox(edge))}) {
        System system = makeSystem(random, 50000, box, {edge, edge, edge}, 1, 1);
        system.exclusions.resize(100);
        const Options options = {Kind::Full, 3, 0.3, system.exclusions, 0};
        CpuNeighborList list(options, threads);
        list.setGroups(system.groups);
        list.update(system.positions, box);
        CHECK(list.getSenders().size() > 400000);
        checkStructure(list, system, options);
        checkPairs(list, system, Kind::Full, 3, 1e-9);
    }
}

void testReplicas() {
    // Groups lie on top of each other, at exactly the same positions: each has the pairs that it has alone.
    Random random(5);
    CpuThreads threads = makeTestThreads(1);
    const System one = makeSystem(random, 90, {}, {12, 12, 12}, 1);
    const Options options = {Kind::Half, 4, 0.5, {}, 0};
    CpuNeighborList alone(options, threads), together(options, threads);
    alone.setGroups(one.groups);
    alone.update(one.positions, {});
    const std::vector<Pair> expected = takePairs(alone, one.positions, 4);
    System all;
    for (int i = 0; i < 90; i++)
        for (int replica = 0; replica < 128; replica++) {
            all.groups.push_back(replica);
            all.positions.push_back(one.positions[i]);
        }
    together.setGroups(all.groups);
    together.update(all.positions, {});
    const std::vector<Pair> found = takePairs(together, all.positions, 4);
    CHECK_EQUAL(128 * expected.size(), found.size());
    std::vector<size_t> next(128, 0);
    for (const Pair& pair : found) {
        const int replica = pair.receiver % 128;
        CHECK_EQUAL(replica, pair.sender % 128);
        CHECK((Pair{pair.receiver / 128, pair.sender / 128, pair.r, pair.d} == expected[next[replica]++]));
    }
}

void testFarApart() {
    Random random(6);
    CpuThreads threads = makeTestThreads(1);
    // A cluster and particles that have left it, ever farther: no pair is lost, and no memory is spent on the space between.
    for (const double distance : {1e3, 1e7, 1e15}) {
        System system = makeSystem(random, 300, {}, {12, 12, 12}, 1);
        for (int k = 0; k < 40; k++) {
            const double step = 2 * (k / 2) + 2;
            system.positions.push_back({distance + step, -distance + (k % 2) * 2, distance * (k % 3)});
            system.groups.push_back(0);
        }
        checkSystem(system, 3, 1e-12, threads);
    }
    checkSystem({{{1e100, -1e100, 0}, {-1e100, 1e100, 0}, {0, 0, 1e-300}, {1, 0, 0}}, {0, 0, 0, 0}, {}, {}}, 3, 0, threads);
    checkSystem({{{1, 1, 1}, {1e9 - 1, 1, 1}}, {0, 0}, Box{{{1e9, 0, 0}, {0, 1e9, 0}, {0, 0, 1e9}}}, {}}, 3, 0, threads);
}

void testCutoff() {
    CpuThreads threads = makeTestThreads(1);
    // Users take what is nearer than the cutoff, to the last bit; the list may not decide that for them.
    const double below = std::nextafter(3.0, 0.0);
    for (const std::optional<Box>& box : {std::optional<Box>(), std::optional<Box>(Box{{{32, 0, 0}, {0, 32, 0}, {0, 0, 32}}})})
        for (const double offset : {0.0, 31.0, -64.0})
            for (const double x : {3.0, below}) {
                const System system = {{{offset, 0, 0}, {offset + x, 0, 0}}, {0, 0}, box, {}};
                CpuNeighborList list({Kind::Full, 3, 0, {}, 0}, threads);
                list.setGroups(system.groups);
                list.update(system.positions, box);
                CHECK_EQUAL(offset + x - offset < 3 ? 2u : 0u, takePairs(list, system.positions, 3).size());
            }
    checkSystem({{{0.1, 0, 0}}, {0}, Box{{{3, 0, 0}, {0, 4, 0}, {0, 0, 5}}}, {}}, 3, 0, threads);
    checkSystem({{{0.1, 0, 0}}, {0}, Box{{{below, 0, 0}, {0, 4, 0}, {0, 0, 5}}}, {}}, 3, 0, threads);
}

void testAllPairs() {
    Random random(7);
    CpuThreads threads = makeTestThreads(2);
    for (const Kind kind : {Kind::Half, Kind::Full}) {
        const System system = makeSystem(random, 200, {}, {1e4, 1e4, 1e4}, 3);
        const Options options = {kind, 0, 0.5, system.exclusions, 0};
        CpuNeighborList list(options, threads);
        list.setGroups(system.groups);
        CHECK(list.update(system.positions, {}));
        checkStructure(list, system, options);
        checkPairs(list, system, kind, 1e5, 0);
        // However far they move.
        CHECK(!list.update(makeSystem(random, 200, {}, {1e4, 1e4, 1e4}, 1).positions, {}));
        CHECK_EQUAL(1, list.getNumBuilds());
        CHECK_THROWS(std::invalid_argument, list.update(system.positions, makeTriclinicBox(10)), "all pairs", "periodic box");
    }
}

// ---- images and age ----

void testLatticeTranslations() {
    Random random(8);
    CpuThreads threads = makeTestThreads(1);
    // Numbers that are exact in binary: whatever images the particles are given in, the very same displacements in the same order.
    for (const double edge : {2.0, 8.0, 32.0})
        for (const Kind kind : {Kind::Half, Kind::Full}) {
            const Box box = {{{edge, 0, 0}, {edge / 4, edge, 0}, {-edge / 4, edge / 8, edge}}};
            System system = {{}, std::vector<int>(20, 0), box, {{2, 3}}};
            for (int i = 0; i < 20; i++)
                system.positions.push_back({random.index(1 << 12) * 0x1p-10, random.index(1 << 12) * 0x1p-10, random.index(1 << 12) * 0x1p-10});
            const Options options = {kind, 3, 0.5, system.exclusions, 0};
            std::vector<Pair> expected;
            for (const long boxes : {0L, 1L, 3L, 1000L, 1048576L, 1L << 33}) {
                for (Vector3& x : system.positions)
                    for (int k = 0; k < 3; k++) {
                        const double image = static_cast<double>(boxes) * (random.index(3) - 1);
                        for (int l = 0; l < 3 && boxes > 0; l++)
                            x[l] += image * box[k][l];
                    }
                CpuNeighborList list(options, threads);
                list.setGroups(system.groups);
                list.update(system.positions, box);
                checkStructure(list, system, options);
                if (boxes == 0)
                    expected = takePairs(list, system.positions, 3);
                CHECK(!expected.empty());
                CHECK(expected == takePairs(list, system.positions, 3));
                if (boxes == 0)
                    checkPairs(list, system, kind, 3, 1e-12);
            }
        }
    // Any numbers: within the rounding of the positions.
    for (const double boxes : {1e2, 1e4, 1e7}) {
        const Box box = makeBox(random, 2, 20);
        System system = makeSystem(random, 30, box, {}, 1, 0);
        for (Vector3& x : system.positions)
            for (int k = 0; k < 3; k++) {
                const double image = std::round(random.uniform(-boxes, boxes));
                for (int l = 0; l < 3; l++)
                    x[l] += image * box[k][l];
            }
        checkSystem(system, 3, 1e-13 * boxes, threads);
    }
    // So far away that the displacement that users compute is rounded by 1e-5: what is within the cutoff for them must still be in the list.
    const Box box = makeBox(random, 10, 20);
    const double cutoff = 3 + 1e-6; // the displacements are multiples of 2^-15
    size_t numPairs = 0;
    for (int k = 0; k < 200; k++) {
        std::vector<Vector3> positions = {{random.uniform(0, 9), random.uniform(0, 9), random.uniform(0, 9)}};
        positions.push_back({positions[0][0] + 1e10 * box[0][0] + 3 + random.uniform(-5e-5, 5e-5), positions[0][1], positions[0][2]});
        std::vector<Pair> pairs[2];
        for (const int large : {0, 1}) {
            CpuNeighborList list({Kind::Full, cutoff, large * 1.0, {}, 0}, threads);
            list.setGroups({0, 0});
            list.update(positions, box);
            pairs[large] = takePairs(list, positions, cutoff);
        }
        CHECK(pairs[0] == pairs[1]);
        numPairs += pairs[0].size();
    }
    CHECK(numPairs > 50 && numPairs < 350);
}

/** Lists of different skins see the same pairs in the same order, bit by bit, while particles move. */
void checkWalk(System system, double cutoff, const std::vector<Vector3>& velocities, int numSteps) {
    CpuThreads threads = makeTestThreads(1);
    for (const Kind kind : {Kind::Half, Kind::Full}) {
        std::vector<std::unique_ptr<CpuNeighborList>> lists;
        for (const double skin : {0.0, 0.3, cutoff}) {
            lists.push_back(std::make_unique<CpuNeighborList>(Options{kind, cutoff, skin, system.exclusions, 0}, threads));
            lists.back()->setGroups(system.groups);
        }
        for (int step = 0; step < numSteps; step++) {
            std::vector<Pair> expected;
            for (const std::unique_ptr<CpuNeighborList>& list : lists) {
                list->update(system.positions, system.box);
                if (list == lists.front()) {
                    expected = takePairs(*list, system.positions, cutoff);
                    checkPairs(*list, system, kind, cutoff, 1e-9);
                }
                CHECK(expected == takePairs(*list, system.positions, cutoff));
            }
            for (size_t i = 0; i < system.positions.size(); i++)
                for (int k = 0; k < 3; k++)
                    system.positions[i][k] += velocities[i][k];
        }
        CHECK_EQUAL(numSteps, lists[0]->getNumBuilds());
        CHECK(lists[1]->getNumBuilds() > 2 && lists[1]->getNumBuilds() < numSteps);
        CHECK(lists[2]->getNumBuilds() > 1 && lists[2]->getNumBuilds() < lists[1]->getNumBuilds());
    }
}

void testWalks() {
    Random random(9);
    for (const double size : {1.5, 7.0, 15.0}) {
        // One particle goes through the boundary, in every direction; the others stay.
        System system = makeSystem(random, size < 2 ? 4 : 60, makeTriclinicBox(size), {}, 2);
        std::vector<Vector3> velocities(system.positions.size(), Vector3{0, 0, 0});
        system.positions[1] = {0.2 * size + 1.1, 0.2 * size + 0.9, 1.3};
        velocities[1] = {-0.05, -0.03, -0.04};
        checkWalk(system, 3, velocities, 150);
        // All of them.
        for (Vector3& v : velocities)
            v = {random.uniform(-0.05, 0.05), random.uniform(-0.05, 0.05), random.uniform(-0.05, 0.05)};
        checkWalk(system, 3, velocities, 100);
    }
    System open = makeSystem(random, 150, {}, {14, 10, 8}, 2);
    std::vector<Vector3> velocities;
    for (size_t i = 0; i < 150; i++)
        velocities.push_back({random.uniform(-0.05, 0.05), random.uniform(-0.05, 0.05), random.uniform(-0.05, 0.05)});
    checkWalk(open, 3, velocities, 100);
}

void testWhenItIsBuilt() {
    CpuThreads threads = makeTestThreads(1);
    Random random(10);
    const Box box = makeTriclinicBox(10);
    System system = makeSystem(random, 40, box, {}, 1);
    system.exclusions.clear();
    CpuNeighborList list({Kind::Half, 3, 0.5, {}, 0}, threads);
    list.setGroups(system.groups);
    CHECK(list.update(system.positions, box));
    CHECK(!list.update(system.positions, box));
    const Vector3 x = system.positions[39];
    for (int k = 0; k < 3; k++) {
        system.positions[39][k] = x[k] + 0.2499;
        CHECK(!list.update(system.positions, box));
        system.positions[39][k] = x[k] - 0.2499;
        CHECK(!list.update(system.positions, box));
        system.positions[39][k] = x[k];
    }
    system.positions[39] = {x[0] + 0.2, x[1], x[2] - 0.2};
    CHECK(list.update(system.positions, box));
    // Any change of the box.
    Box other = box;
    other[2][1] = std::nextafter(other[2][1], 1.0);
    CHECK(list.update(system.positions, other));
    CHECK(!list.update(system.positions, other));
    CHECK(list.update(system.positions, {}));
    CHECK(list.update(system.positions, box));
    CHECK_EQUAL(5, list.getNumBuilds());
    list.setGroups(system.groups);
    CHECK(list.update(system.positions, box));
    // Two particles that meet: the skin is just enough for both.
    CpuNeighborList pair({Kind::Half, 3, 0.5, {}, 0}, threads);
    pair.setGroups({0, 0});
    CHECK(pair.update({{0, 0, 0}, {3.498, 0, 0}}, {}));
    CHECK(!pair.update({{0.2495, 0, 0}, {3.2485, 0, 0}}, {}));
    CHECK_EQUAL(1u, takePairs(pair, {{0.2495, 0, 0}, {3.2485, 0, 0}}, 3).size());
    // A failure leaves nothing behind that would be used again.
    std::vector<Vector3> bad = system.positions;
    bad[7][1] = 1e15;
    CHECK_THROWS(FlashEvaluationError, list.update(bad, box), "box lengths", "particle 7");
    CHECK_THROWS(FlashEvaluationError, list.update(bad, box), "box lengths", "particle 7");
    CHECK(list.update(system.positions, box));
    checkPairs(list, system, Kind::Half, 3, 1e-9);
}

// ---- threads and memory ----

void checkSameArrays(const CpuNeighborList& expected, const CpuNeighborList& found) {
    CHECK(expected.getRowStart() == found.getRowStart());
    CHECK(expected.getSenders() == found.getSenders());
    CHECK(expected.getShiftIndices() == found.getShiftIndices());
    CHECK(expected.getShifts() == found.getShifts());
    CHECK(expected.getReverses() == found.getReverses());
}

void testNumberOfThreadsAndCapacity() {
    Random random(11);
    for (const Kind kind : {Kind::Half, Kind::Full})
        for (const int n : {30, 1500, 9000})
            for (const bool periodic : {false, true}) {
                const double edge = std::cbrt(10.0 * n);
                const System system = makeSystem(random, n, periodic ? std::optional<Box>(makeTriclinicBox(edge)) : std::nullopt, {edge, edge, edge}, 2);
                CpuThreads one = makeTestThreads(1);
                CpuNeighborList expected({kind, 4, 0.4, system.exclusions, 10000000}, one);
                expected.setGroups(system.groups);
                expected.update(system.positions, system.box);
                CHECK(!expected.getSenders().empty());
                for (const int numThreads : {1, 2, 3, 8}) {
                    CpuThreads threads = makeTestThreads(numThreads);
                    CpuNeighborList list({kind, 4, 0.4, system.exclusions, 1}, threads);
                    list.setGroups(system.groups);
                    // Few entries first, then many: what is left from before does not matter.
                    list.update(makeSystem(random, n, {}, {1e3, 1e3, 1e3}, 1).positions, {});
                    list.update(system.positions, system.box);
                    checkSameArrays(expected, list);
                }
            }
}

void testNoAllocation() {
    Random random(12);
    for (const int numThreads : {1, 2})
        for (const Kind kind : {Kind::Half, Kind::Full}) {
            CpuThreads threads = makeTestThreads(numThreads);
            const Box box = makeTriclinicBox(30);
            System system = makeSystem(random, 3000, box, {}, 2);
            CpuNeighborList list({kind, 3, 0.6, {}, 0}, threads);
            list.setGroups(system.groups);
            list.update(system.positions, box);
            for (Vector3& x : system.positions)
                x[0] += 0.1;
            const long before = numAllocations;
            const bool wasBuilt = list.update(system.positions, box);
            const long after = numAllocations;
            CHECK(!wasBuilt);
            CHECK_EQUAL(before, after);
        }
}

void testTooManyEntries() {
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
    // A billion pairs are counted, none is stored.
    CpuThreads threads = makeTestThreads(2);
    CpuNeighborList list({Kind::Full, 0, 0, {}, 0}, threads);
    list.setGroups(std::vector<int>(46342, 0));
    CHECK_THROWS(FlashEvaluationError, list.update(std::vector<Vector3>(46342, Vector3{0, 0, 0}), {}), "2147534622 entries", "2147483647", "fewer particles");
#endif
}

void testBarrier() {
    const int cores = static_cast<int>(std::thread::hardware_concurrency());
    for (const int size : {1, 2, 3, 2 * cores + 3}) {
        CpuThreads threads = makeTestThreads(size);
        CHECK_EQUAL(size, threads.getSize());
        const int numPhases = size > cores ? 300 : 3000, numPieces = 50;
        // Not atomic: what one thread writes before a barrier, others read behind it.
        std::vector<int> written(size, -1), errors(size, 0), pieces(numPieces, 0);
        for (int repeat = 0; repeat < 3; repeat++)
            threads.run([&](int thread) {
                for (int phase = 0; phase < numPhases; phase++) {
                    written[thread] = phase;
                    if (thread == phase % size)
                        threads.resetCounter();
                    threads.barrier();
                    for (const int value : written)
                        errors[thread] += value != phase;
                    for (int piece; (piece = threads.next()) < numPieces;)
                        pieces[piece]++;
                    threads.barrier();
                }
            });
        for (const int count : errors)
            CHECK_EQUAL(0, count);
        for (const int count : pieces)
            CHECK_EQUAL(3 * numPhases, count);
    }
    CHECK_THROWS(std::invalid_argument, CpuThreads(0, {}), "number of threads is 0");
    CHECK_THROWS(std::invalid_argument, CpuThreads(2, {}), "nothing to run them");
}

// ---- errors ----

void testWrongInput() {
    CpuThreads threads = makeTestThreads(1);
    const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
    CHECK_THROWS(std::invalid_argument, CpuNeighborList({Kind::Half, -1, 0, {}, 0}, threads), "cutoff is -1");
    CHECK_THROWS(std::invalid_argument, CpuNeighborList({Kind::Half, nan, 0, {}, 0}, threads), "cutoff is nan");
    CHECK_THROWS(std::invalid_argument, CpuNeighborList({Kind::Half, 1, -0.5, {}, 0}, threads), "skin -0.5");
    CHECK_THROWS(std::invalid_argument, CpuNeighborList({Kind::Half, 1, infinity, {}, 0}, threads), "skin inf");
    CpuNeighborList excluded({Kind::Half, 3, 0, {{0, 1}, {1, 4}}, 0}, threads);
    CHECK_THROWS(std::invalid_argument, excluded.setGroups({0, 0, 0, 0}), "1 and 4", "4 particles");

    CpuNeighborList list({Kind::Full, 3, 0.5, {}, 0}, threads);
    list.setGroups({0, 0, 0});
    const std::vector<Vector3> good = {{0, 0, 0}, {1, 1, 1}, {2, 2, 2}};
    auto run = [&](const std::vector<Vector3>& positions, const std::optional<Box>& box) { list.update(positions, box); };
    CHECK_THROWS(std::invalid_argument, run({{0, 0, 0}}, {}), "1 positions", "3 particles");
    for (const bool builtBefore : {false, true})
        for (const double bad : {nan, infinity, -infinity, 1e200})
            for (int k = 0; k < 3; k++) {
                std::vector<Vector3> positions = good;
                positions[1][k] = bad;
                if (builtBefore)
                    run(good, {});
                CHECK_THROWS(FlashEvaluationError, run(positions, {}), "a coordinate is not finite", "particle 1");
            }
    auto makeCube = [](double edge) { return Box{{{edge, 0, 0}, {0, edge, 0}, {0, 0, edge}}}; };
    CHECK_THROWS(FlashEvaluationError, run({{0, 0, 0}, {1, 1, 1}, {2, 2, -1.001e13}}, makeCube(10)), "1e12 box lengths", "particle 2");
    run({{0, 0, 0}, {1, 1, 1}, {2, 2, -0.999e13}}, makeCube(10));
    for (const double bad : {nan, infinity}) {
        Box box = makeCube(10);
        box[1][0] = bad;
        CHECK_THROWS(FlashEvaluationError, run(good, box), "a periodic box vector is not finite");
    }
    for (const auto& [k, l, value] : std::vector<std::tuple<int, int, double>>{{0, 0, 0}, {1, 1, -10}, {2, 2, 0}, {0, 1, 1}, {0, 2, 1}, {1, 2, 1}}) {
        Box box = makeCube(10);
        box[k][l] = value;
        CHECK_THROWS(FlashEvaluationError, run(good, box), "reduced form");
    }
    // 99^3 images are allowed, 101^3 are not; the Reference draws the same line, and the skin does not move it.
    CpuNeighborList single({Kind::Half, 3, 3, {}, 0}, threads);
    single.setGroups({0});
    for (const double edge : {3 / 49.01, 3 / 48.99, 1e-300}) {
        const bool allowed = edge == 3 / 48.99;
        if (allowed) {
            single.update({{0, 0, 0}}, makeCube(edge));
            continue;
        }
        CHECK_THROWS(FlashEvaluationError, findReferencePairs({{0, 0, 0}}, 3, makeCube(edge)), "too small for the model's cutoff", "is 3 in the model's");
        CHECK_THROWS(FlashEvaluationError, single.update({{0, 0, 0}}, makeCube(edge)), "too small for the model's cutoff", "is 3 in the model's");
    }
    CHECK(findReferencePairs({{0, 0, 0}}, 3, makeCube(3 / 48.99)).size() > 400000);
}

} // namespace

int main(int argc, char** argv) {
    return runTests(argc, argv,
                    {{"small systems", testSmallSystems},
                     {"numbers of particles", testNumbersOfParticles},
                     {"many cells", testManyCells},
                     {"fifty thousand particles", testFiftyThousandParticles},
                     {"replicas", testReplicas},
                     {"far apart", testFarApart},
                     {"cutoff", testCutoff},
                     {"all pairs", testAllPairs},
                     {"lattice translations", testLatticeTranslations},
                     {"walks", testWalks},
                     {"when it is built", testWhenItIsBuilt},
                     {"number of threads and capacity", testNumberOfThreadsAndCapacity},
                     {"no allocation", testNoAllocation},
                     {"too many entries", testTooManyEntries},
                     {"barrier", testBarrier},
                     {"wrong input", testWrongInput}});
}
