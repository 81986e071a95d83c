// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// The reader of model files: every dialect comes back as it was written, and nothing wrong gets through.
#include "Assertions.h"
#include "ModelWriter.h"
#include "RandomModels.h"
#include "model/Json.h"
#include "model/Safetensors.h"
#include "model/Sha256.h"
#include "openmmflash/FlashModel.h"
#include <cstdio>
#include <fstream>
#include <limits>

using namespace OpenMMFlash;
using namespace OpenMMFlashTests;
using std::string;

namespace {

FlashModel read(const string& bytes) {
    return FlashModel::fromBytes(bytes, "test");
}

/** The bytes with one piece of the header replaced, and the header's length set right. */
string edit(const string& bytes, const string& from, const string& to) {
    string edited = bytes;
    const size_t position = edited.find(from);
    if (position == string::npos)
        throw std::logic_error("edit: the header has no " + from);
    edited.replace(position, from.size(), to);
    uint64_t length = 0;
    for (int k = 7; k >= 0; k--)
        length = length << 8 | static_cast<unsigned char>(bytes[static_cast<size_t>(k)]);
    length = length + to.size() - from.size();
    for (size_t k = 0; k < 8; k++)
        edited[k] = static_cast<char>(length >> (8 * k) & 0xFF);
    return edited;
}

void testEveryModelReadsBack() {
    for (const NamedModel& model : makeRandomModels()) {
        const FlashModel found = read(writeModel(model.spec, model.name));
        CHECK_EQUAL(model.name, found.getName());
        const ModelSpec& spec = found.getSpec();
        CHECK_EQUAL(model.spec.numMembers, spec.numMembers);
        CHECK_EQUAL(model.spec.types.size(), spec.types.size());
        CHECK_CLOSE(model.spec.lengthUnit, spec.lengthUnit, 1e-15, 0);
        CHECK_CLOSE(model.spec.energyUnit, spec.energyUnit, 1e-15, 0);
        CHECK(model.spec.typeEnergies == spec.typeEnergies);
        CHECK_EQUAL(model.spec.repulsion.has_value(), spec.repulsion.has_value());
        if (spec.repulsion)
            CHECK(model.spec.repulsion->sigma == spec.repulsion->sigma && model.spec.repulsion->exponent == spec.repulsion->exponent &&
                  model.spec.repulsion->cutoff == spec.repulsion->cutoff);
        // The writer was written apart from the reader and covers every field: the same bytes mean the same specification.
        CHECK(writeModel(spec, model.name) == found.getBytes());
        CHECK(found.summary().find(found.getSha256()) != string::npos);
    }
}

void testSha256() {
    // FIPS 180-4 examples.
    CHECK_EQUAL(string("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"), sha256(""));
    CHECK_EQUAL(string("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"), sha256("abc"));
    CHECK_EQUAL(string("248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"), sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"));
    CHECK_EQUAL(string("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"), sha256(string(1000000, 'a')));
}

void testJson() {
    const Json value = Json::parse(R"({"a": [1, -2.5e3, true, null, "\u00e9\ud83d\ude00\n"], "b": {}})", "test");
    CHECK_EQUAL(size_t(5), value.find("a")->array.size());
    CHECK_EQUAL(-2500.0, value.find("a")->array[1].number);
    CHECK(value.find("a")->array[0].isInteger && !value.find("a")->array[1].isInteger);
    CHECK_EQUAL(string("\xc3\xa9\xf0\x9f\x98\x80\n"), value.find("a")->array[4].string);
    for (const char* wrong : {"", "{", "[1,]", "{\"a\":1,}", "01", "1.", "+1", ".5", "1e", "nan", "\"\\x\"", "\"\\ud800\"", "\"\n\"", "{\"a\":1,\"a\":2}",
                              "[1] 2", "1e999", "tru", "\"abc"})
        CHECK_THROWS(FlashModelError, Json::parse(wrong, "test"), "not valid JSON");
    CHECK_THROWS(FlashModelError, Json::parse(string(100000, '['), "test"), "nested");
    string many = "[0";
    for (int i = 0; i < 300000; i++)
        many += ",0";
    CHECK_THROWS(FlashModelError, Json::parse(many + "]", "test"), "more than 200000 values");
}

void testHalfPrecision() {
    // 1, -2, the largest, the smallest normal, the smallest subnormal, zero, 0.333251953125, -0.0999755859375
    const uint16_t halves[] = {0x3C00, 0xC000, 0x7BFF, 0x0400, 0x0001, 0x0000, 0x3555, 0xAE66, 0x3C00, 0x3C00};
    const std::vector<double> expected = {1, -2, 65504, 0x1p-14, 0x1p-24, 0, 0.333251953125, -0.0999755859375, 1, 1};
    SafetensorsWriter half;
    half.addBytes("x", "F16", {10}, string(reinterpret_cast<const char*>(halves), sizeof halves));
    const string file = half.getBytes();
    CHECK(Safetensors::parse(file).tensors.at("x").getReals() == expected);
    const uint16_t infinite = 0x7C00;
    SafetensorsWriter wrong;
    wrong.addBytes("x", "F16", {1}, string(reinterpret_cast<const char*>(&infinite), 2));
    const string wrongFile = wrong.getBytes();
    CHECK_THROWS(FlashModelError, Safetensors::parse(wrongFile).tensors.at("x").getReals(), "infinity", "\"x\"");
}

void testWrongFiles() {
    const string good = writeModel(makeRandomModels()[0].spec, "good");
    read(good);
    for (size_t size : {size_t(0), size_t(7), size_t(8), size_t(100), good.size() - 1})
        CHECK_THROWS(FlashModelError, read(good.substr(0, size)), "test: ");
    CHECK_THROWS(FlashModelError, read(good + "x"), "bytes of data");
    CHECK_THROWS(FlashModelError, read(string("\xff\xff\xff\xff\xff\xff\xff\xff", 8) + good.substr(8)), "18446744073709551615");
    const struct {
        const char *from, *to, *message;
    } cases[] = {
        {"\"format\":\"openmm-flash\"", "\"format\":\"other\"", "\"other\""},
        {"\"format_version\":\"1\"", "\"format_version\":\"2\"", "\"2\""},
        {"\"architecture\":\"schnet\"", "\"architecture\":\"mace\"", "\"mace\""},
        {"\"name\":\"good\"", "\"mane\":\"good\"", "mane"},
        {"\\\"hidden_channels\\\":10", "\\\"hidden_channels\\\":-10", "-10"},
        {"\\\"hidden_channels\\\":10", "\\\"hidden_channels\\\":1e9", "1e+09"},
        {"\\\"hidden_channels\\\":10", "\\\"hidden_channels\\\":11", "[5, 11]"},
        {"\\\"num_blocks\\\":2", "\\\"num_blocks\\\":1", "blocks.1"},
        {"\\\"num_blocks\\\":2", "\\\"num_blocks\\\":3", "blocks.2"},
        {"\\\"activation\\\":\\\"tanh\\\"", "\\\"activation\\\":\\\"relu\\\"", "\"relu\""},
        {"members.0.embedding", "members.1.embedding", "members.0.embedding"},
        {"\"dtype\":\"F64\"", "\"dtype\":\"F8\"", "\"F8\""},
        {"\"dtype\":\"F64\"", "\"dtype\":\"I64\"", "I64"},
        {"\"shape\":[", "\"shape\":[9007199254740992,4096,", "overflows"},
        {"\"data_offsets\":[0,", "\"data_offsets\":[8,", "does not fit"},
    };
    for (const auto& wrong : cases)
        CHECK_THROWS(FlashModelError, read(edit(good, wrong.from, wrong.to)), "test: ", wrong.message);
    string nan = good;
    const double value = std::numeric_limits<double>::quiet_NaN();
    nan.replace(nan.size() - 8, 8, reinterpret_cast<const char*>(&value), 8);
    CHECK_THROWS(FlashModelError, read(nan), "NaN");
    CHECK_THROWS(FlashModelError, FlashModel("no/such/file"), "no/such/file");
    CHECK_THROWS(FlashModelError, FlashModel("/"), "\"/\"");
}

/** Two numbers at stated places in `size` bytes of data. */
string makeTwoTensors(const string& firstOffsets, const string& secondOffsets, size_t size) {
    const string header =
        R"({"a":{"dtype":"F64","shape":[1],"data_offsets":)" + firstOffsets + R"(},"b":{"dtype":"F64","shape":[1],"data_offsets":)" + secondOffsets + "}}";
    string length(8, '\0');
    length[0] = static_cast<char>(header.size());
    return length + header + string(size, '\0');
}

void testExtents() {
    const string good = makeTwoTensors("[8,16]", "[0,8]", 16);
    CHECK_EQUAL(size_t(2), Safetensors::parse(good).tensors.size());
    CHECK_THROWS(FlashModelError, Safetensors::parse(makeTwoTensors("[0,8]", "[4,12]", 12)), "\"b\"", "overlaps");
    CHECK_THROWS(FlashModelError, Safetensors::parse(makeTwoTensors("[0,8]", "[0,8]", 8)), "overlaps");
    CHECK_THROWS(FlashModelError, Safetensors::parse(makeTwoTensors("[0,8]", "[16,24]", 24)), "gap");
    CHECK_THROWS(FlashModelError, Safetensors::parse(makeTwoTensors("[8,16]", "[16,24]", 24)), "\"a\"", "gap");
    CHECK_THROWS(FlashModelError, Safetensors::parse(makeTwoTensors("[0,8]", "[8,16]", 12)), "\"b\"", "12 bytes");
    CHECK_THROWS(FlashModelError, Safetensors::parse(makeTwoTensors("[0,8]", "[8,16]", 20)), "20 bytes");
    CHECK_THROWS(FlashModelError, Safetensors::parse(makeTwoTensors("[0,8]", "[16,8]", 16)), "16 to 8");
    CHECK_THROWS(FlashModelError, Safetensors::parse(makeTwoTensors("[0,8]", "[-8,0]", 16)), "two sizes");
}

/** Damaged files: any outcome but a clean read or a FlashModelError ends the test. */
void testDamagedFiles() {
    Random random(7);
    for (const size_t index : {size_t(0), size_t(6), size_t(11), size_t(16)}) {
        const string good = writeModel(makeRandomModels()[index].spec, "good");
        const size_t header = good.size() < 20000 ? good.size() : 20000;
        int refused = 0;
        for (int i = 0; i < 3000; i++) {
            string damaged = good;
            for (int k = 0; k <= random.index(3); k++)
                damaged[static_cast<size_t>(random.index(static_cast<int>(header)))] = static_cast<char>(random.index(256));
            try {
                read(damaged);
            }
            catch (const FlashModelError&) {
                refused++;
            }
        }
        CHECK(refused > 100);
    }
}

void testGetters() {
    const FlashModel model = read(writeModel(makeRandomModels()[0].spec, "good"));
    CHECK_EQUAL(5, model.getNumTypes());
    CHECK_EQUAL(2, model.getTypeIndex("C"));
    CHECK_EQUAL(6, model.getTypeAtomicNumber(2));
    CHECK_EQUAL(string(), model.getTypeName(1));
    CHECK_CLOSE(0.5, model.getCutoff(), 1e-15, 0);
    CHECK_THROWS(FlashModelError, model.getTypeIndex("Si"), "\"Si\"", "H C N bead");
    CHECK_THROWS(FlashModelError, model.getTypeIndex(""), "knows");
    CHECK_THROWS(FlashModelError, model.getTypeName(5), "type 5");
    CHECK_THROWS(FlashModelError, model.getTypeMass(-1), "type -1");
    CHECK_THROWS(FlashModelError, model.getPriorName(0), "prior 0");
    CHECK_EQUAL(string("1"), model.getMetadataValue("format_version"));
    CHECK_EQUAL(string(), model.getMetadataValue("nothing"));
}

} // namespace

int main(int argc, char** argv) {
    return runTests(argc, argv,
                    {{"every model reads back", testEveryModelReadsBack},
                     {"SHA-256", testSha256},
                     {"JSON", testJson},
                     {"half precision", testHalfPrecision},
                     {"wrong files", testWrongFiles},
                     {"extents", testExtents},
                     {"damaged files", testDamagedFiles},
                     {"getters", testGetters}});
}
