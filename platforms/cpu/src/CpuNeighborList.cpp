// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// A build, of n particles and E pairs, O(n log n + E):
//   1. particles are moved into the box and sorted into cells, group by group; of the cells, only those that are not empty exist;
//   2. each cell finds the stretches of particles around it (segments), with the image of the box in which they are seen;
//   3. each particle counts, then stores, those of higher index (and half of its own images) within reach, and sorts them;
//   4. the images that the pairs really have, between the positions as they were given, are numbered;
//   5. Full: the half list is mirrored, so that each pair has its reverse, whatever was rounded.
// 3 and 5 run on the threads; every array is the same however many there are.
#include "CpuNeighborList.h"
#include <algorithm>
#include <cfloat>
#include <climits>
#include <cmath>
#include <limits>
#include <numeric>
#include <sstream>
#include <stdexcept>

namespace OpenMMFlash {

namespace {

/** The search reaches this much farther than asked for: more than the rounding of cells and of users' distances. */
constexpr double Margin = 1 + 1e-9;
/** Cells per direction at most, so that three indices fit into a key whatever the extent of the system. */
constexpr int MaxCells = 1 << 20;
/** Open groups this small are one cell. */
constexpr int MaxUndividedGroup = 64;
constexpr double MaxCoordinate = 1e100;
/** Farther from a periodic box than this many box lengths, a double does not say where in the box a particle is. */
constexpr double MaxBoxLengths = 1e12;
/** Multiples of a box vector are exact integers below this. */
constexpr double MaxExactInteger = 4e15;
constexpr double MaxImages = 1e6;
constexpr int RowsPerBlock = 64;
constexpr int MinRowsPerPiece = 4096, MaxPieces = 16;
/** Particles whose distances are computed before any is looked at. */
constexpr int ScanLength = 128;

int divideUp(int a, int b) {
    return (a + b - 1) / b;
}

std::uint64_t makeKey(std::uint64_t x, std::uint64_t y, std::uint64_t z) {
    return x << 42 | y << 21 | z;
}

/**
 * Which of n <= ScanLength particles are within a distance of x: their indices, ascending. Out of line, so that the pass that
 * counts and the pass that stores round alike.
 */
[[gnu::noinline]] int scan(const double* px, const double* py, const double* pz, int n, const Vector3& x, double distance2, int* found) {
    double r2[ScanLength];
    for (int k = 0; k < n; k++) {
        const double dx = px[k] - x[0], dy = py[k] - x[1], dz = pz[k] - x[2];
        r2[k] = dx * dx + dy * dy + dz * dz;
    }
    int numFound = 0;
    for (int k = 0; k < n; k++) {
        found[numFound] = k;
        numFound += r2[k] <= distance2;
    }
    return numFound;
}

} // namespace

// ---- images ----

void CpuNeighborList::ImageTable::clear() {
    images.clear();
    std::fill(buckets.begin(), buckets.end(), -1);
}

int CpuNeighborList::ImageTable::findOrAdd(const Image& image) {
    if (2 * (images.size() + 1) > buckets.size())
        rehash(std::max<size_t>(256, 4 * buckets.size()));
    std::uint64_t hash = 0;
    for (const std::int64_t k : image)
        hash = (hash ^ static_cast<std::uint64_t>(k)) * 0x9e3779b97f4a7c15u;
    for (size_t bucket = hash >> 32;; bucket++) {
        int& id = buckets[bucket & (buckets.size() - 1)];
        if (id < 0) {
            id = static_cast<int>(images.size());
            images.push_back(image);
            return id;
        }
        if (images[static_cast<size_t>(id)] == image)
            return id;
    }
}

void CpuNeighborList::ImageTable::rehash(size_t numBuckets) {
    const std::vector<Image> old = std::move(images);
    images.clear();
    images.reserve(numBuckets / 2);
    buckets.assign(numBuckets, -1);
    for (const Image& image : old)
        findOrAdd(image);
}

// ---- what the list is given ----

CpuNeighborList::CpuNeighborList(const Options& options, CpuThreads& threads)
    : options(options), skin(std::min(options.skin, options.cutoff)), threads(threads) {
    if (!(options.cutoff >= 0) || !(options.skin >= 0) || !std::isfinite(options.cutoff) || !std::isfinite(options.skin)) {
        std::ostringstream message;
        message << "CpuNeighborList: the cutoff is " << options.cutoff << " and the skin " << options.skin << "; both must be finite and not negative";
        throw std::invalid_argument(message.str());
    }
    senders.reserve(options.initialCapacity);
    shiftIndices.reserve(options.initialCapacity);
    if (options.kind == Kind::Full)
        reverses.reserve(options.initialCapacity);
    groupStart = exclusionStart = {0};
    rowStart = {0};
    shifts = {Vector3{0, 0, 0}};
}

void CpuNeighborList::setGroups(const std::vector<int>& groups) {
    built = false;
    numParticles = static_cast<int>(groups.size());
    members.resize(groups.size());
    std::iota(members.begin(), members.end(), 0);
    std::stable_sort(members.begin(), members.end(), [&](int i, int j) { return groups[i] < groups[j]; });
    groupStart.clear();
    for (int k = 0; k < numParticles; k++)
        if (k == 0 || groups[members[k]] != groups[members[k - 1]])
            groupStart.push_back(k);
    groupStart.push_back(numParticles);

    std::vector<std::pair<int, int>> sortedExclusions;
    for (const auto& [i, j] : options.exclusions) {
        if (std::min(i, j) < 0 || std::max(i, j) >= numParticles)
            throw std::invalid_argument("CpuNeighborList: the exclusion of particles " + std::to_string(i) + " and " + std::to_string(j) + ", but there are " +
                                        std::to_string(numParticles) + " particles");
        sortedExclusions.emplace_back(std::min(i, j), std::max(i, j));
    }
    std::sort(sortedExclusions.begin(), sortedExclusions.end());
    exclusionStart.assign(groups.size() + 1, 0);
    exclusions.clear();
    for (const auto& [i, j] : sortedExclusions) {
        exclusionStart[i + 1]++;
        exclusions.push_back(j);
    }
    std::partial_sum(exclusionStart.begin(), exclusionStart.end(), exclusionStart.begin());

    rowStart.assign(groups.size() + 1, 0);
    senders.clear();
    shiftIndices.clear();
    reverses.clear();
    shifts.assign(1, Vector3{0, 0, 0});
}

bool CpuNeighborList::update(const std::vector<Vector3>& positions, const std::optional<Box>& box) {
    if (static_cast<int>(positions.size()) != numParticles)
        throw std::invalid_argument("CpuNeighborList: " + std::to_string(positions.size()) + " positions, but groups for " + std::to_string(numParticles) +
                                    " particles");
    if (box && options.cutoff == 0)
        throw std::invalid_argument("CpuNeighborList: all pairs, however far apart: that has no meaning in a periodic box");
    if (isUpToDate(positions, box))
        return false;
    built = false;
    builtPositions = positions;
    builtBox = box;
    build();
    built = true;
    numBuilds++;
    return true;
}

bool CpuNeighborList::isUpToDate(const std::vector<Vector3>& positions, const std::optional<Box>& box) const {
    if (!built || box != builtBox)
        return false;
    if (options.cutoff == 0)
        return true;
    const double limit = 0.25 * skin * skin;
    int numMoved = 0;
    for (size_t i = 0; i < positions.size(); i++) {
        const double dx = positions[i][0] - builtPositions[i][0], dy = positions[i][1] - builtPositions[i][1], dz = positions[i][2] - builtPositions[i][2];
        // Not a number: moved, so that the build says what is wrong.
        numMoved += !(dx * dx + dy * dy + dz * dz <= limit);
    }
    return numMoved == 0;
}

// ---- cells ----

void CpuNeighborList::build() {
    for (int i = 0; i < numParticles; i++)
        for (const double x : builtPositions[i])
            if (!(std::fabs(x) <= MaxCoordinate))
                throw FlashEvaluationError("a coordinate is not finite", {i}, {builtPositions[i]});
    radius = options.cutoff == 0 ? std::numeric_limits<double>::infinity() : Margin * (options.cutoff + skin);
    nearImages = {0, 0, 0};
    homes.assign(numParticles, Image{0, 0, 0});
    wrapped = builtPositions;
    if (builtBox)
        useBox(*builtBox);
    nearShifts.clear();
    for (int a = -nearImages[0]; a <= nearImages[0]; a++)
        for (int b = -nearImages[1]; b <= nearImages[1]; b++)
            for (int c = -nearImages[2]; c <= nearImages[2]; c++)
                nearShifts.push_back(builtBox ? getShift({a, b, c}) : Vector3{0, 0, 0});

    slots.resize(numParticles);
    slotX.resize(numParticles);
    slotY.resize(numParticles);
    slotZ.resize(numParticles);
    cellOf.resize(numParticles);
    cellKeys.clear();
    cellStart.clear();
    segmentStart.assign(1, 0);
    segments.clear();
    for (int group = 0; group + 1 < static_cast<int>(groupStart.size()); group++)
        makeCells(group);

    std::vector<std::int64_t>& start = options.kind == Kind::Full ? halfStart : rowStart;
    findPairs(start, options.kind == Kind::Full ? halfSenders : senders);
    findImages(start, options.kind == Kind::Full ? halfShifts : shiftIndices);
    if (options.kind == Kind::Full)
        mirror();
}

/** Checks the box, divides it into cells and moves the particles into it. */
void CpuNeighborList::useBox(const Box& box) {
    for (const Vector3& vector : box)
        for (const double x : vector)
            if (!std::isfinite(x))
                throw FlashEvaluationError("a periodic box vector is not finite", {}, {});
    const Vector3 &a = box[0], &b = box[1], &c = box[2];
    if (!(a[0] > 0 && b[1] > 0 && c[2] > 0) || a[1] != 0 || a[2] != 0 || b[2] != 0)
        throw FlashEvaluationError("the periodic box vectors are not in OpenMM's reduced form: a along x, b in the xy plane, positive diagonal", {}, {});
    // Rows of the inverse give fractional coordinates; the distance between two faces is one over a row's length.
    inverseBox[2] = {0, 0, 1 / c[2]};
    inverseBox[1] = {0, 1 / b[1], -c[1] / b[1] / c[2]};
    inverseBox[0] = {1 / a[0], -b[0] / a[0] / b[1], (b[0] / b[1] * c[1] - c[0]) / a[0] / c[2]};
    Vector3 height;
    double numImages = 1;
    for (int k = 0; k < 3; k++) {
        height[k] = 1 / std::hypot(inverseBox[k][0], inverseBox[k][1], inverseBox[k][2]);
        numImages *= 2 * std::ceil(Margin * options.cutoff / height[k]) + 1;
    }
    // The skin is left out: whether a box is allowed does not depend on it.
    if (!(numImages <= MaxImages)) {
        std::ostringstream message;
        message << "the periodic box is too small for the model's cutoff: the distances between its faces are " << height[0] << ", " << height[1] << ", "
                << height[2] << " and the cutoff is " << options.cutoff << " in the model's length unit; use a larger box";
        throw FlashEvaluationError(message.str(), {}, {});
    }

    double farthest = 0;
    for (int i = 0; i < numParticles; i++) {
        const Vector3& x = builtPositions[i];
        for (int k = 0; k < 3; k++) {
            farthest = std::max(farthest, std::fabs(x[k]));
            if (std::fabs(x[k]) > MaxBoxLengths * box[k][k] || std::fabs(getFraction(x, k)) > MaxExactInteger)
                throw FlashEvaluationError("a coordinate is more than 1e12 box lengths away from the periodic box", {i}, {x});
        }
        const Vector3 fraction = {getFraction(x, 0), getFraction(x, 1), getFraction(x, 2)};
        for (int k = 0; k < 3; k++) {
            const double image = std::floor(fraction[k]);
            homes[i][k] = static_cast<std::int64_t>(image);
            for (int l = 0; l <= k && image != 0; l++)
                wrapped[i][l] = std::fma(-image, box[k][l], wrapped[i][l]);
        }
    }
    // Differences of positions as they were given are rounded more than those inside the box; and very many boxes away, the quotient is, too,
    // so that a particle may be left a little outside.
    radius += 32 * DBL_EPSILON * farthest;
    for (int k = 0; k < 3; k++) {
        boxGrid.count[k] = static_cast<int>(std::clamp(std::floor(height[k] / radius), 1.0, static_cast<double>(MaxCells)));
        boxGrid.range[k] = static_cast<int>(std::ceil(radius / (height[k] / boxGrid.count[k])));
        nearImages[k] = divideUp(boxGrid.range[k], boxGrid.count[k]);
    }
}

double CpuNeighborList::getFraction(const Vector3& x, int k) const {
    double fraction = 0;
    for (int l = k; l < 3; l++)
        fraction += inverseBox[k][l] * x[l];
    return fraction;
}

Vector3 CpuNeighborList::getShift(const Image& image) const {
    const Box& box = *builtBox;
    // The image on the opposite side has exactly the opposite shift.
    Vector3 shift = {0, 0, 0};
    for (int k = 0; k < 3; k++)
        for (int l = 0; l <= k; l++)
            shift[l] += static_cast<double>(image[k]) * box[k][l];
    return shift;
}

CpuNeighborList::Grid CpuNeighborList::makeOpenGrid(int group) const {
    const int first = groupStart[group], last = groupStart[group + 1];
    Grid grid;
    for (int k = 0; k < 3; k++) {
        double lower = builtPositions[members[first]][k], upper = lower;
        for (int m = first; m < last; m++) {
            lower = std::min(lower, builtPositions[members[m]][k]);
            upper = std::max(upper, builtPositions[members[m]][k]);
        }
        // Of two cells, each would see the other.
        const double count = last - first <= MaxUndividedGroup ? 1 : std::min(std::floor((upper - lower) / radius), static_cast<double>(MaxCells));
        grid.count[k] = count > 2 ? static_cast<int>(count) : 1;
        grid.range[k] = grid.count[k] > 1;
        grid.origin[k] = lower;
        grid.edge[k] = std::max((upper - lower) / grid.count[k], DBL_MIN);
    }
    return grid;
}

std::uint64_t CpuNeighborList::getCellKey(const Grid& grid, int particle) const {
    std::array<std::uint64_t, 3> cell;
    for (int k = 0; k < 3; k++) {
        const double x = builtBox ? getFraction(wrapped[particle], k) * grid.count[k] : (wrapped[particle][k] - grid.origin[k]) / grid.edge[k];
        cell[k] = static_cast<std::uint64_t>(std::clamp(std::floor(x), 0.0, static_cast<double>(grid.count[k] - 1)));
    }
    return makeKey(cell[0], cell[1], cell[2]);
}

/** Sorts a group's particles into cells: sets their slots, and appends the cells and what they see. */
void CpuNeighborList::makeCells(int group) {
    const int first = groupStart[group], last = groupStart[group + 1];
    if (first == last)
        return;
    const Grid grid = builtBox ? boxGrid : makeOpenGrid(group);
    sorted.clear();
    for (int m = first; m < last; m++)
        sorted.emplace_back(getCellKey(grid, members[m]), members[m]);
    if (grid.count != std::array<int, 3>{1, 1, 1})
        std::sort(sorted.begin(), sorted.end());
    const int firstCell = static_cast<int>(cellKeys.size());
    for (int m = 0; m < last - first; m++) {
        const auto [key, particle] = sorted[m];
        const int slot = first + m;
        if (m == 0 || key != sorted[m - 1].first) {
            cellKeys.push_back(key);
            cellStart.push_back(slot);
        }
        cellOf[particle] = static_cast<int>(cellKeys.size()) - 1;
        slots[slot] = particle;
        slotX[slot] = wrapped[particle][0];
        slotY[slot] = wrapped[particle][1];
        slotZ[slot] = wrapped[particle][2];
    }
    const int endCell = static_cast<int>(cellKeys.size());
    for (int cell = firstCell; cell < endCell; cell++) {
        makeSegments(grid, cell, firstCell, endCell, last);
        segmentStart.push_back(static_cast<std::int64_t>(segments.size()));
    }
}

/**
 * What a cell sees of those from firstCell to endCell - 1, its group's. Cells that follow each other in z follow each other in the slots, too.
 *
 * @param endSlot  the slot after the group's last one
 */
void CpuNeighborList::makeSegments(const Grid& grid, int cell, int firstCell, int endCell, int endSlot) {
    const std::uint64_t mask = (1 << 21) - 1;
    const std::array<int, 3> here = {static_cast<int>(cellKeys[cell] >> 42), static_cast<int>(cellKeys[cell] >> 21 & mask),
                                     static_cast<int>(cellKeys[cell] & mask)};
    // Which image of the box a cell's number lies in, and where it would begin.
    auto getImage = [&](int k, int c) { return c >= 0 ? c / grid.count[k] : -divideUp(-c, grid.count[k]); };
    const std::array<int, 3>& m = nearImages;
    for (int x = here[0] - grid.range[0]; x <= here[0] + grid.range[0]; x++) {
        const int imageX = getImage(0, x);
        for (int y = here[1] - grid.range[1]; y <= here[1] + grid.range[1]; y++) {
            const int imageY = getImage(1, y);
            for (int imageZ = getImage(2, here[2] - grid.range[2]); imageZ <= getImage(2, here[2] + grid.range[2]); imageZ++) {
                if (!builtBox && (imageX != 0 || imageY != 0 || imageZ != 0))
                    continue;
                const int lowerZ = std::max(0, here[2] - grid.range[2] - imageZ * grid.count[2]),
                          upperZ = std::min(grid.count[2] - 1, here[2] + grid.range[2] - imageZ * grid.count[2]);
                const int cellX = x - imageX * grid.count[0], cellY = y - imageY * grid.count[1];
                const auto begin = std::lower_bound(cellKeys.begin() + firstCell, cellKeys.begin() + endCell, makeKey(cellX, cellY, lowerZ));
                auto end = begin;
                while (end != cellKeys.begin() + endCell && *end <= makeKey(cellX, cellY, upperZ))
                    end++;
                if (begin == end)
                    continue;
                const int endIndex = static_cast<int>(end - cellKeys.begin());
                segments.push_back({cellStart[begin - cellKeys.begin()], endIndex < endCell ? cellStart[endIndex] : endSlot,
                                    ((imageX + m[0]) * (2 * m[1] + 1) + imageY + m[1]) * (2 * m[2] + 1) + imageZ + m[2], end - begin == 1});
            }
        }
    }
}

// ---- pairs ----

bool CpuNeighborList::isExcluded(int i, int j) const {
    return std::binary_search(exclusions.begin() + exclusionStart[i], exclusions.begin() + exclusionStart[i + 1], j);
}

/** Call visit(j, near image) for what particle i sees of particles of higher index, and of itself in images after the box's own. */
template <class Visitor> void CpuNeighborList::visitRow(int i, const Visitor& visit) const {
    const int ownImage = static_cast<int>(nearShifts.size()) / 2;
    const double radius2 = radius * radius;
    int found[ScanLength];
    for (std::int64_t s = segmentStart[cellOf[i]]; s < segmentStart[cellOf[i] + 1]; s++) {
        const Segment& segment = segments[s];
        const Vector3& shift = nearShifts[segment.image];
        const Vector3 x = {wrapped[i][0] - shift[0], wrapped[i][1] - shift[1], wrapped[i][2] - shift[2]};
        int begin = segment.begin;
        if (segment.ascending)
            begin = static_cast<int>(std::lower_bound(slots.begin() + begin, slots.begin() + segment.end, i) - slots.begin());
        for (; begin < segment.end; begin += ScanLength) {
            const int numFound = scan(&slotX[begin], &slotY[begin], &slotZ[begin], std::min(segment.end - begin, ScanLength), x, radius2, found);
            for (int k = 0; k < numFound; k++) {
                const int j = slots[begin + found[k]];
                if ((j > i || (j == i && segment.image > ownImage)) && !isExcluded(i, j))
                    visit(j, segment.image);
            }
        }
    }
}

/** Run a task for every block: here if there is but one, else on the threads. */
void CpuNeighborList::forBlocks(int numBlocks, const std::function<void(int)>& task) {
    if (numBlocks <= 1) {
        for (int block = 0; block < numBlocks; block++)
            task(block);
        return;
    }
    threads.resetCounter();
    threads.run([&](int) {
        for (int block; (block = threads.next()) < numBlocks;)
            task(block);
    });
}

/** Each pair once: fills `start`, `found` and keys, whose lower half is the near image. Rows are sorted. */
void CpuNeighborList::findPairs(std::vector<std::int64_t>& start, std::vector<int>& found) {
    start.assign(static_cast<size_t>(numParticles) + 1, 0);
    const int numBlocks = divideUp(numParticles, RowsPerBlock);
    forBlocks(numBlocks, [&](int block) {
        for (int i = block * RowsPerBlock; i < std::min(numParticles, (block + 1) * RowsPerBlock); i++) {
            std::int64_t count = 0;
            visitRow(i, [&](int, int) { count++; });
            start[i + 1] = count;
        }
    });
    std::partial_sum(start.begin(), start.end(), start.begin());
    if (options.kind == Kind::Full && 2 * start.back() > INT_MAX)
        throw FlashEvaluationError("the neighbor list would have " + std::to_string(2 * start.back()) + " entries; at most " + std::to_string(INT_MAX) +
                                       " are possible: use fewer particles, a larger periodic box or a model with a shorter cutoff",
                                   {}, {});
    keys.resize(start.back());
    found.resize(start.back());
    forBlocks(numBlocks, [&](int block) {
        for (int i = block * RowsPerBlock; i < std::min(numParticles, (block + 1) * RowsPerBlock); i++) {
            std::int64_t entry = start[i];
            visitRow(i, [&](int j, int image) { keys[entry++] = static_cast<std::uint64_t>(j) << 32 | static_cast<std::uint64_t>(image); });
            // Both particles' homes are the same for all images of a pair: near images sort like those between the positions as given.
            std::uint64_t *first = keys.data() + start[i], *last = keys.data() + start[i + 1];
            if (!std::is_sorted(first, last))
                std::sort(first, last);
            for (entry = start[i]; entry < start[i + 1]; entry++)
                found[entry] = static_cast<int>(keys[entry] >> 32);
        }
    });
}

/** Number the images that the pairs have between the positions as they were given: zero first, then in lexicographic order. */
void CpuNeighborList::findImages(const std::vector<std::int64_t>& start, std::vector<int>& indices) {
    shifts.assign(1, Vector3{0, 0, 0});
    indices.resize(keys.size());
    if (!builtBox) {
        std::fill(indices.begin(), indices.end(), 0);
        return;
    }
    const std::array<int, 3> width = {2 * nearImages[0] + 1, 2 * nearImages[1] + 1, 2 * nearImages[2] + 1};
    imageTable.clear();
    imageTable.findOrAdd({0, 0, 0});
    // Most pairs have the same home: their images are the near ones.
    nearIds.assign(nearShifts.size(), -1);
    for (int i = 0; i < numParticles; i++)
        for (std::int64_t entry = start[i]; entry < start[i + 1]; entry++) {
            const Image &home = homes[i], &other = homes[keys[entry] >> 32];
            const int nearImage = static_cast<int>(keys[entry] & 0xffffffffu);
            const bool sameHome = home == other;
            if (sameHome && nearIds[nearImage] >= 0) {
                indices[entry] = nearIds[nearImage];
                continue;
            }
            Image image = {nearImage / (width[1] * width[2]) - nearImages[0], nearImage / width[2] % width[1] - nearImages[1],
                           nearImage % width[2] - nearImages[2]};
            for (int k = 0; k < 3; k++)
                image[k] += home[k] - other[k];
            indices[entry] = imageTable.findOrAdd(image);
            if (sameHome)
                nearIds[nearImage] = indices[entry];
        }
    // With each image the opposite one: the reverse pairs'. Of n, the opposite of k > 0 then is n - k.
    const size_t numFound = imageTable.images.size();
    for (size_t id = 0; id < numFound; id++) {
        const Image image = imageTable.images[id];
        imageTable.findOrAdd({-image[0], -image[1], -image[2]});
    }
    const std::vector<Image>& images = imageTable.images;
    imageOrder.resize(images.size());
    std::iota(imageOrder.begin(), imageOrder.end(), 0);
    std::sort(imageOrder.begin() + 1, imageOrder.end(), [&](int a, int b) { return images[a] < images[b]; });
    imageRank.resize(images.size());
    shifts.resize(images.size());
    for (size_t rank = 1; rank < images.size(); rank++) {
        imageRank[imageOrder[rank]] = static_cast<int>(rank);
        shifts[rank] = getShift(images[imageOrder[rank]]);
    }
    imageRank[0] = 0;
    forBlocks(divideUp(numParticles, RowsPerBlock), [&](int block) {
        for (std::int64_t entry = start[block * RowsPerBlock]; entry < start[std::min(numParticles, (block + 1) * RowsPerBlock)]; entry++)
            indices[entry] = imageRank[indices[entry]];
    });
}

/**
 * Full: a row is what rows before it have of this particle, its own images, then its part of the half list. Images of a pair are
 * in the opposite order seen from the other side. Threads take pieces of the rows that receive.
 */
void CpuNeighborList::mirror() {
    const int numPieces = std::clamp(numParticles / MinRowsPerPiece, 1, MaxPieces);
    // Call visit(i, j, first, last) for the entries of row i, in the half list, whose sender is j, for all j of a piece; i ascending.
    auto visitPiece = [&](int piece, const auto& visit) {
        const int lower = static_cast<int>(static_cast<std::int64_t>(numParticles) * piece / numPieces),
                  upper = static_cast<int>(static_cast<std::int64_t>(numParticles) * (piece + 1) / numPieces);
        for (int i = 0; i < upper; i++) {
            const int *begin = halfSenders.data() + halfStart[i], *end = halfSenders.data() + halfStart[i + 1];
            const int* first = std::lower_bound(begin, end, lower);
            while (first != end && *first < upper) {
                const int j = *first;
                const int* last = first + 1;
                while (last != end && *last == j)
                    last++;
                visit(i, j, first - halfSenders.data(), last - halfSenders.data());
                first = last;
            }
        }
    };
    numMirrored.assign(numParticles, 0);
    forBlocks(numPieces, [&](int piece) {
        visitPiece(piece, [&](int, int j, std::int64_t first, std::int64_t last) { numMirrored[j] += static_cast<int>(last - first); });
    });
    rowStart.assign(static_cast<size_t>(numParticles) + 1, 0);
    for (int i = 0; i < numParticles; i++)
        rowStart[i + 1] = rowStart[i] + numMirrored[i] + halfStart[i + 1] - halfStart[i];
    cursor.assign(rowStart.begin(), rowStart.end() - 1);
    senders.resize(rowStart.back());
    shiftIndices.resize(rowStart.back());
    reverses.resize(rowStart.back());
    forBlocks(numPieces, [&](int piece) {
        visitPiece(piece, [&](int i, int j, std::int64_t first, std::int64_t last) {
            for (std::int64_t entry = first; entry < last; entry++) {
                const std::int64_t own = rowStart[i] + numMirrored[i] + entry - halfStart[i], mirrored = cursor[j] + last - 1 - entry;
                const int shift = halfShifts[entry];
                senders[own] = j;
                senders[mirrored] = i;
                shiftIndices[own] = shift;
                shiftIndices[mirrored] = shift == 0 ? 0 : static_cast<int>(shifts.size()) - shift;
                reverses[own] = static_cast<int>(mirrored);
                reverses[mirrored] = static_cast<int>(own);
            }
            cursor[j] += last - first;
        });
    });
}

} // namespace OpenMMFlash
