// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_JSON_H_
#define OPENMMFLASH_JSON_H_

#include <string>
#include <utility>
#include <vector>

namespace OpenMMFlash {

/** A JSON value. Objects keep the order of their keys; a repeated key is an error when parsing. */
struct Json {
    enum Type { Null, Bool, Number, String, Array, Object };
    Type type = Null;
    bool boolean = false;
    double number = 0;
    bool isInteger = false; ///< written without fraction and exponent, and within +-2^53
    std::string string;
    std::vector<Json> array;
    std::vector<std::pair<std::string, Json>> object;

    /** The member of this name, or nullptr. */
    const Json* find(const std::string& key) const;
    /** A short rendering for error messages. */
    std::string describe() const;

    /** @throws FlashModelError with the position of the first error; `what` names the text in the message */
    static Json parse(const std::string& text, const std::string& what);
};

/** Quote a text for an error message: printable UTF-8, at most 60 bytes of it. */
std::string quoted(const std::string& text);
/** A number as short as it can be written without loss. */
std::string formatNumber(double value);

} // namespace OpenMMFlash

#endif
