#include "absl/strings/str_cat.h"
#include "server/config.h"
#include "server/device_config.h"

namespace cascade {
namespace {

absl::Status CheckRange(const std::string& flag, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return FlagError(flag, absl::StrCat(value, " is not in [", low, ", ", high, "]"));
}

}  // namespace

absl::Status ServerConfig::Validate() const {
  constexpr int64_t kMany = int64_t{1} << 40;
  const struct {
    const char* flag;
    int64_t value, low, high;
  } ranges[] = {
      {"port", port, 0, 65535},
      {"http-port", http_port, 0, 65535},
      {"threads", threads, 0, 1024},
      {"max-num-seqs", max_num_seqs, 0, 4096},
      {"max-num-sessions", max_num_sessions, 1, 1'000'000},
      {"rewind-turns", rewind_turns, 0, 64},
      {"max-num-batched-tokens", max_num_batched_tokens, 0, 65536},
      {"max-num-queued-reqs", max_num_queued_reqs, 1, 1'000'000},
      {"cache-memory-bytes", cache_memory_bytes, 0, int64_t{1} << 60},
      {"host-cache-bytes", host_cache_bytes.value_or(0), 0, int64_t{1} << 60},
      {"session-ttl", session_ttl, 0, int64_t{100} * 365 * 86400},
      {"default-max-tokens", default_max_tokens, 0, kMany},
      // A message holds at most 16 MiB, the prompt and its frame.
      {"max-prompt-bytes", max_prompt_bytes, 1, (int64_t{16} << 20) - 65536},
      {"drain-timeout", drain_timeout, 0, 86400},
  };
  for (const auto& range : ranges) {
    const absl::Status status = CheckRange(range.flag, range.value, range.low, range.high);
    if (!status.ok()) return status;
  }
  if (model.empty()) return FlagError("model", "is empty");
  if (host.empty()) return FlagError("host", "is empty");
  if (http_port != 0 && http_port == port) return FlagError("http-port", "must not be --port, which speaks gRPC");
  if (!(gpu_memory_utilization > 0 && gpu_memory_utilization <= 1)) {
    return FlagError("gpu-memory-utilization", absl::StrCat(gpu_memory_utilization, " is not in (0, 1]"));
  }
  if (!(score_certificate_limit >= 0 && score_certificate_limit <= 1)) {
    return FlagError("score-certificate-limit", absl::StrCat(score_certificate_limit, " is not in [0, 1]"));
  }
  if (score_certificate_limit_given && (score_kernel == "exact" || deterministic)) {
    return FlagError("score-certificate-limit",
                     "is for predicted scores, which --score-kernel exact and --deterministic have not");
  }
  if (score_certificate_limit_given && geometry.score_reduction == "max") {
    return FlagError("score-certificate-limit", "is for predicted scores, which --score-reduction max has not");
  }
  if (score_kernel == "fast" && deterministic) {
    return FlagError("score-kernel",
                     "fast rounds differently with how a prompt is cut; it contradicts --deterministic");
  }
  if (score_kernel == "fast" && geometry.score_reduction == "max") {
    return FlagError("score-kernel", "fast is for --score-reduction mean");
  }
  if (!geometry.sub_cache_tokens.empty() && (geometry.cache_tokens != 0 || geometry.num_sub_caches != 0)) {
    return FlagError("sub-cache-tokens",
                     "contradicts --cache-tokens and --sub-caches, which split equally; give one or the "
                     "other");
  }
  if (data_dir.empty() && !durability.empty() && durability != "none") {
    return FlagError("durability", durability + " needs --data-dir");
  }
  if (data_dir.empty() && !journal_retain.empty()) return FlagError("journal-retain", "needs --data-dir");
  // With auto, flags that suit one of the devices may turn out to be right.
  const absl::Status cpu = ConfigureDevice(*this, Device::kCpu).status();
  const absl::Status cuda = ConfigureDevice(*this, Device::kCuda).status();
  if (device == "auto") return cpu.ok() || cuda.ok() ? absl::OkStatus() : cpu;
  return device == "cpu" ? cpu : cuda;
}

Durability ServerConfig::SessionDurability() const {
  if (durability == "image") return Durability::kImage;
  if (durability == "journal") return Durability::kJournal;
  return durability.empty() && !data_dir.empty() ? Durability::kJournal : Durability::kNone;
}

}  // namespace cascade
