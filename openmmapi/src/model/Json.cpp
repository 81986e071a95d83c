// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "Json.h"
#include "openmmflash/FlashModel.h"
#include <charconv>
#include <cmath>
#include <set>

namespace OpenMMFlash {

namespace {

constexpr int MaxDepth = 16;
/** A value takes some 100 bytes, but as little as two in the text: more than any model needs, and too few to exhaust the memory. */
constexpr int MaxValues = 200000;

/** Position of the first byte that is no part of a UTF-8 character, or npos. */
size_t findInvalidUtf8(const std::string& text) {
    for (size_t i = 0; i < text.size();) {
        const auto lead = static_cast<unsigned char>(text[i]);
        const size_t length = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
        if (length == 0 || length > text.size() - i)
            return i;
        for (size_t k = 1; k < length; k++)
            if ((static_cast<unsigned char>(text[i + k]) & 0xC0) != 0x80)
                return i;
        // Overlong forms, surrogates and codes over 10FFFF show in the second byte.
        const auto second = length > 1 ? static_cast<unsigned char>(text[i + 1]) : 0;
        if ((lead == 0xE0 && second < 0xA0) || (lead == 0xED && second >= 0xA0) || (lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second >= 0x90))
            return i;
        i += length;
    }
    return std::string::npos;
}

class Parser {
public:
    Parser(const std::string& text, const std::string& what) : text(text), what(what) {}

    Json parse() {
        position = findInvalidUtf8(text);
        if (position != std::string::npos)
            fail("a byte that is not UTF-8");
        position = 0;
        Json value = parseValue(0);
        skipSpace();
        if (position != text.size())
            fail("text after the end of the value");
        return value;
    }

private:
    const std::string& text;
    const std::string& what;
    size_t position = 0;
    int numValues = 0;

    [[noreturn]] void fail(const std::string& problem) const {
        throw FlashModelError(what + " is not valid JSON: " + problem + " at byte " + std::to_string(position));
    }

    void skipSpace() {
        while (position < text.size() && (text[position] == ' ' || text[position] == '\t' || text[position] == '\n' || text[position] == '\r'))
            position++;
    }

    char peek() {
        skipSpace();
        if (position >= text.size())
            fail("the text ends too early");
        return text[position];
    }

    void expect(char c) {
        if (peek() != c)
            fail(std::string("expected '") + c + "', found " + quoted(text.substr(position, 1)));
        position++;
    }

    bool consume(const char* word) {
        if (text.compare(position, std::char_traits<char>::length(word), word) != 0)
            return false;
        position += std::char_traits<char>::length(word);
        return true;
    }

    Json parseValue(int depth) {
        if (++numValues > MaxValues)
            fail("more than " + std::to_string(MaxValues) + " values");
        if (depth > MaxDepth)
            fail("nested deeper than " + std::to_string(MaxDepth));
        Json value;
        const char c = peek();
        if (c == '{')
            parseObject(value, depth);
        else if (c == '[')
            parseArray(value, depth);
        else if (c == '"') {
            value.type = Json::String;
            value.string = parseString();
        }
        else if (consume("true")) {
            value.type = Json::Bool;
            value.boolean = true;
        }
        else if (consume("false"))
            value.type = Json::Bool;
        else if (!consume("null"))
            parseNumber(value);
        return value;
    }

    void parseObject(Json& value, int depth) {
        value.type = Json::Object;
        std::set<std::string> keys;
        expect('{');
        if (peek() == '}') {
            position++;
            return;
        }
        while (true) {
            if (peek() != '"')
                fail("expected a key in quotes");
            std::string key = parseString();
            if (!keys.insert(key).second)
                fail("key " + quoted(key) + " appears twice");
            expect(':');
            value.object.emplace_back(std::move(key), parseValue(depth + 1));
            if (peek() == ',') {
                position++;
                continue;
            }
            expect('}');
            return;
        }
    }

    void parseArray(Json& value, int depth) {
        value.type = Json::Array;
        expect('[');
        if (peek() == ']') {
            position++;
            return;
        }
        while (true) {
            value.array.push_back(parseValue(depth + 1));
            if (peek() == ',') {
                position++;
                continue;
            }
            expect(']');
            return;
        }
    }

    void parseNumber(Json& value) {
        value.type = Json::Number;
        // The grammar of JSON is narrower than from_chars': no leading zeros, no bare point, no inf or nan.
        const size_t start = position;
        bool integer = true;
        auto digits = [&]() {
            const size_t first = position;
            while (position < text.size() && text[position] >= '0' && text[position] <= '9')
                position++;
            return position - first;
        };
        if (position < text.size() && text[position] == '-')
            position++;
        const size_t firstDigit = position;
        const size_t count = digits();
        if (count == 0) {
            position = start;
            fail("expected a value, found " + quoted(text.substr(start, 1)));
        }
        if (count > 1 && text[firstDigit] == '0')
            fail("a number with a leading zero");
        if (position < text.size() && text[position] == '.') {
            integer = false;
            position++;
            if (digits() == 0)
                fail("a number without digits after its point");
        }
        if (position < text.size() && (text[position] == 'e' || text[position] == 'E')) {
            integer = false;
            position++;
            if (position < text.size() && (text[position] == '+' || text[position] == '-'))
                position++;
            if (digits() == 0)
                fail("a number without digits in its exponent");
        }
        const auto result = std::from_chars(text.data() + start, text.data() + position, value.number);
        if (result.ec != std::errc() || !std::isfinite(value.number))
            fail("number " + quoted(text.substr(start, position - start)) + " is out of range");
        value.isInteger = integer && std::fabs(value.number) <= 9007199254740992.0;
    }

    unsigned parseHex4() {
        unsigned code = 0;
        for (int i = 0; i < 4; i++) {
            const char c = position < text.size() ? text[position] : '\0';
            position++;
            if (c >= '0' && c <= '9')
                code = 16 * code + static_cast<unsigned>(c - '0');
            else if (c >= 'a' && c <= 'f')
                code = 16 * code + static_cast<unsigned>(c - 'a') + 10;
            else if (c >= 'A' && c <= 'F')
                code = 16 * code + static_cast<unsigned>(c - 'A') + 10;
            else
                fail("a wrong \\u escape");
        }
        return code;
    }

    static void appendUtf8(std::string& out, unsigned code) {
        if (code < 0x80)
            out += static_cast<char>(code);
        else if (code < 0x800) {
            out += static_cast<char>(0xC0 | (code >> 6));
            out += static_cast<char>(0x80 | (code & 0x3F));
        }
        else if (code < 0x10000) {
            out += static_cast<char>(0xE0 | (code >> 12));
            out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
            out += static_cast<char>(0x80 | (code & 0x3F));
        }
        else {
            out += static_cast<char>(0xF0 | (code >> 18));
            out += static_cast<char>(0x80 | ((code >> 12) & 0x3F));
            out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
            out += static_cast<char>(0x80 | (code & 0x3F));
        }
    }

    std::string parseString() {
        std::string out;
        position++; // the opening quote
        while (true) {
            if (position >= text.size())
                fail("a string without its closing quote");
            const char c = text[position++];
            if (c == '"')
                return out;
            if (static_cast<unsigned char>(c) < 0x20)
                fail("a control character in a string");
            if (c != '\\') {
                out += c;
                continue;
            }
            const char escape = position < text.size() ? text[position] : '\0';
            position++;
            switch (escape) {
            case '"':
            case '\\':
            case '/':
                out += escape;
                break;
            case 'b':
                out += '\b';
                break;
            case 'f':
                out += '\f';
                break;
            case 'n':
                out += '\n';
                break;
            case 'r':
                out += '\r';
                break;
            case 't':
                out += '\t';
                break;
            case 'u': {
                unsigned code = parseHex4();
                if (code >= 0xD800 && code < 0xDC00) {
                    if (!consume("\\u"))
                        fail("half of a surrogate pair");
                    const unsigned low = parseHex4();
                    if (low < 0xDC00 || low >= 0xE000)
                        fail("half of a surrogate pair");
                    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
                }
                else if (code >= 0xDC00 && code < 0xE000)
                    fail("half of a surrogate pair");
                appendUtf8(out, code);
                break;
            }
            default:
                fail("an unknown escape in a string");
            }
        }
    }
};

} // namespace

const Json* Json::find(const std::string& key) const {
    for (const auto& [name, value] : object)
        if (name == key)
            return &value;
    return nullptr;
}

std::string Json::describe() const {
    switch (type) {
    case Null:
        return "null";
    case Bool:
        return boolean ? "true" : "false";
    case Number:
        return formatNumber(number);
    case String:
        return quoted(string);
    case Array:
        return "an array of " + std::to_string(array.size());
    default:
        return "an object";
    }
}

Json Json::parse(const std::string& text, const std::string& what) {
    return Parser(text, what).parse();
}

std::string quoted(const std::string& text) {
    size_t length = text.size();
    if (length > 60)
        for (length = 60; length > 57 && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80;)
            length--; // not in the middle of a character
    std::string out = text.substr(0, length);
    for (char& c : out)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F)
            c = '?';
    for (size_t i = findInvalidUtf8(out); i != std::string::npos; i = findInvalidUtf8(out))
        out[i] = '?';
    return '"' + out + (length < text.size() ? "...\"" : "\"");
}

std::string formatNumber(double value) {
    char buffer[32];
    const auto result = std::to_chars(buffer, buffer + sizeof buffer, value);
    return {buffer, result.ptr};
}

} // namespace OpenMMFlash
