#include "engine/inspection.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"

namespace cascade {
namespace {

constexpr size_t kHeadsBetweenSteps = 4;

// Sorted, without repetitions, which would only make the answer long; empty: all.
absl::Status Complete(const char* field, int count, std::vector<int>& indices) {
  for (size_t i = 0; i < indices.size(); ++i) {
    if (indices[i] < 0 || indices[i] >= count) {
      return absl::InvalidArgumentError(absl::StrCat(field, "[", i, "] must be in [0, ", count, "), got ", indices[i]));
    }
  }
  if (indices.empty()) {
    indices.resize(static_cast<size_t>(count));
    std::iota(indices.begin(), indices.end(), 0);
  }
  std::sort(indices.begin(), indices.end());
  indices.erase(std::unique(indices.begin(), indices.end()), indices.end());
  return absl::OkStatus();
}

absl::Status ReadTokens(const EngineOptions& options, const SessionCache& cache, Model& model, HeadView& view) {
  if (cache.plan.tokens_seen() > 0) {  // else the slot has not been cleared yet
    const auto contents = model.ReadHead(cache.slot, view.layer, view.kv_head);
    if (!contents.ok()) return OfDevice(contents.status());
    view.tokens = HeldTokens(options.geometry, cache.plan, *contents);
  }
  if (cache.pending.has_value()) {
    const int64_t token = cache.plan.tokens_seen();
    const int sub_cache = token < options.geometry.num_sinks ? -1 : options.geometry.num_sub_caches();
    view.tokens.push_back({.token = token, .sub_cache = sub_cache});
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<HeadView>> Inspect(const EngineOptions& options, const std::string& id,
                                              std::vector<int> layers, std::vector<int> kv_heads,
                                              SessionStore& sessions, Model& model, const BetweenSteps& between_steps,
                                              int64_t* position) {
  if (absl::Status status = Complete("layers", options.num_layers, layers); !status.ok()) return status;
  if (absl::Status status = Complete("kv_heads", options.num_kv_heads, kv_heads); !status.ok()) return status;
  const absl::StatusOr<AcquiredSession> session = sessions.AcquireStill(id, std::nullopt);
  if (!session.ok()) return session.status();
  SessionCache cache = session->cache;
  const SessionPlace place = session->lease.Place();
  if (cache.plan.tokens_seen() > 0 && place.home != SessionHome::kSlot) {
    return absl::FailedPreconditionError("the session is parked; a turn brings it back, and then it can be inspected");
  }
  cache.slot = place.slot;

  std::vector<HeadView> views;
  for (const int layer : layers) {
    for (const int kv_head : kv_heads) views.push_back({layer, kv_head, {}});
  }
  absl::Status status;
  for (size_t begin = 0; begin < views.size() && status.ok(); begin += kHeadsBetweenSteps) {
    const size_t end = std::min(begin + kHeadsBetweenSteps, views.size());
    const bool ran = between_steps([&] {
      for (size_t i = begin; i < end && status.ok(); ++i) {
        status = ReadTokens(options, cache, model, views[i]);
      }
    });
    if (!ran) return ServerStopping();
  }
  if (!status.ok()) return status;
  if (position != nullptr) *position = session->cache.position();
  return views;
}

}  // namespace cascade
