#pragma once

#include <string>
#include <string_view>

namespace cascade::test {

// Hexadecimal SHA-1 (RFC 3174), for checksums of expected contents.
std::string Sha1(std::string_view data);

}  // namespace cascade::test
