#include "server/load_progress.h"

#include <spdlog/fmt/fmt.h>

namespace cascade {

std::optional<std::string> LoadProgress::Update(int64_t bytes) {
  constexpr std::chrono::seconds kPeriod{2};
  const auto now = clock_.Now();
  if (now - last_ < kPeriod) return std::nullopt;
  last_ = now;
  constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  return fmt::format("loading weights: {:.1f} of {:.1f} GiB, {:.1f} GB/s", static_cast<double>(bytes) / kGiB,
                     static_cast<double>(total_) / kGiB, static_cast<double>(bytes) / seconds / 1e9);
}

}  // namespace cascade
