// Reads little-endian numbers and strings from a span that nobody vouches for. Every read is checked against what is
// left, in arithmetic that cannot overflow; a failed read changes nothing.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

namespace cascade {

static_assert(std::endian::native == std::endian::little, "model files are little-endian");

// nullopt on overflow.
inline std::optional<uint64_t> CheckedAdd(uint64_t a, uint64_t b) {
  uint64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}
inline std::optional<uint64_t> CheckedMultiply(uint64_t a, uint64_t b) {
  uint64_t product;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

class ByteReader {
 public:
  explicit ByteReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return bytes_.size() - position_; }

  template <class T>
  bool Read(T& value) {
    static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);
    if (remaining() < sizeof(T)) return false;
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return true;
  }

  bool ReadBytes(uint64_t count, std::span<const uint8_t>& bytes) {
    if (remaining() < count) return false;
    bytes = bytes_.subspan(position_, count);
    position_ += count;
    return true;
  }

  // A string as GGUF stores it: 64-bit length, then that many bytes. It stays in the span.
  bool ReadString(std::string_view& text) {
    const uint64_t start = position_;
    uint64_t length = 0;
    std::span<const uint8_t> bytes;
    if (!Read(length) || !ReadBytes(length, bytes)) {
      position_ = start;
      return false;
    }
    text = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    return true;
  }

 private:
  std::span<const uint8_t> bytes_;
  uint64_t position_ = 0;
};

}  // namespace cascade
