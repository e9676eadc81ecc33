// Which keys the open objects of a JSON document have so far.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace cascade::grammar {

// Follows a document byte by byte, which must be right so far and have its keys in canonical form: equal keys are equal
// bytes then. Remembers 8 bytes for each key (a hash; two keys with the same one would make it refuse the second, which
// is no harm where any key will do).
class KeyTracker {
 public:
  // False if that ends a key which its object has already; then the tracker is of no more use.
  bool Add(uint8_t byte);

  // Whether Add would be true for all of `bytes`. Changes nothing.
  bool Allows(std::string_view bytes) const;

 private:
  enum class In : uint8_t { kValue, kString, kStringEscape, kKey, kKeyEscape };
  struct Container {
    bool is_object = false;
    std::vector<uint64_t> keys;  // in order
  };

  std::vector<Container> open_;
  In in_ = In::kValue;
  bool key_is_next_ = false;
  uint64_t hash_ = 0;  // of the key so far
};

}  // namespace cascade::grammar
