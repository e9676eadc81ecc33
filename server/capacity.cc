#include "server/capacity.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/exit_code.h"

namespace cascade {
namespace {

std::string ReadText(const char* path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::optional<int64_t> ParseNumber(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  int64_t value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc()) return std::nullopt;
  return value;
}

}  // namespace

int64_t ParseMemAvailable(std::string_view meminfo) {
  constexpr std::string_view kKey = "MemAvailable:";
  const size_t at = meminfo.find(kKey);
  if (at == std::string_view::npos) return 0;
  return ParseNumber(meminfo.substr(at + kKey.size())).value_or(0) * 1024;
}

int64_t AvailableMemoryBytes() {
  const int64_t free = ParseMemAvailable(ReadText("/proc/meminfo"));
  // In a container the limit is here; "max" when there is none.
  const std::optional<int64_t> limit = ParseNumber(ReadText("/sys/fs/cgroup/memory.max"));
  const std::optional<int64_t> used = ParseNumber(ReadText("/sys/fs/cgroup/memory.current"));
  if (!limit.has_value() || !used.has_value()) return free;
  return std::min(free, std::max<int64_t>(0, *limit - *used));
}

absl::StatusOr<int> PlanSlots(int64_t memory_bytes, size_t bytes_per_slot, int64_t max_sessions) {
  const int64_t per_slot = std::max<int64_t>(1, static_cast<int64_t>(bytes_per_slot));
  const int64_t fit = memory_bytes / per_slot;
  if (fit < 2) {
    return ExitError(ExitCode::kConfig,
                     absl::StrCat("--cache-memory-bytes: ", memory_bytes, " bytes hold ", fit, " caches of ", per_slot,
                                  " bytes; one session and one one-shot request need 2"));
  }
  return static_cast<int>(std::min(fit, max_sessions + 1));
}

absl::StatusOr<int> PlanDeviceSlots(const DeviceRoom& room, int64_t limit_bytes, size_t bytes_per_slot,
                                    int64_t max_sessions) {
  const int64_t per_slot = std::max<int64_t>(1, static_cast<int64_t>(bytes_per_slot));
  if (room.bytes / per_slot < 2) {
    constexpr double kMiB = 1024.0 * 1024.0;
    return ExitError(
        ExitCode::kDevice,
        fmt::format(
            "the device is too small: --gpu-memory-utilization {:.3g} leaves {:.1f} MiB for caches beside the "
            "model's {:.1f} MiB; one session and one one-shot request need 2 of {:.1f} MiB. Lower --cache-tokens "
            "or --max-num-batched-tokens, raise --gpu-memory-utilization, or take a smaller model",
            room.utilization, static_cast<double>(room.bytes) / kMiB, static_cast<double>(room.model_bytes) / kMiB,
            static_cast<double>(per_slot) / kMiB));
  }
  return PlanSlots(limit_bytes > 0 ? std::min(limit_bytes, room.bytes) : room.bytes, bytes_per_slot, max_sessions);
}

}  // namespace cascade
