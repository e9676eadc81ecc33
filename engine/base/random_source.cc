#include "engine/base/random_source.h"

#include <sys/random.h>

#include <cstring>

#include "kernels/base/check.h"

namespace cascade {
namespace {

class SystemRandom final : public RandomSource {
 public:
  void Fill(std::span<uint8_t> bytes) override {
    while (!bytes.empty()) {
      const ssize_t got = getrandom(bytes.data(), bytes.size(), 0);
      CASCADE_CHECK(got > 0);  // cannot fail for requests below 256 bytes once the system is up
      bytes = bytes.subspan(static_cast<size_t>(got));
    }
  }
};

}  // namespace

uint64_t RandomSource::Next64() {
  uint8_t bytes[8];
  Fill(bytes);
  uint64_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

RandomSource& RandomSource::System() {
  static SystemRandom random;
  return random;
}

}  // namespace cascade
