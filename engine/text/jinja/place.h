#pragma once

#include <cstdint>
#include <string>

namespace cascade::jinja {

// Of a template's source, both from 1; columns count bytes.
struct Place {
  uint32_t line = 1;
  uint32_t column = 1;
};

inline std::string ToString(Place place) {
  return "line " + std::to_string(place.line) + ", column " + std::to_string(place.column);
}

}  // namespace cascade::jinja
