#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace cascade {

inline constexpr size_t kRecentIds = 1024;

// The newest ids of a session, fed or pending, for rules that look back over turns (sampling/logit_rules.h): kRecentIds
// of them, or all that there are. After a restart or a rewind they come from the journal. Fewer: a journal of which
// only what follows its images is kept (--journal-retain images) has no others; nor has a session that was imported
// without its history. Null: none. Shared, because they are never changed.
using RecentIds = std::shared_ptr<const std::vector<int32_t>>;

inline std::span<const int32_t> AsSpan(const RecentIds& recent) {
  return recent == nullptr ? std::span<const int32_t>() : std::span<const int32_t>(*recent);
}

inline RecentIds ExtendRecent(const RecentIds& recent, std::span<const int32_t> ids) {
  if (ids.empty()) return recent;
  const std::span<const int32_t> added = ids.last(std::min(ids.size(), kRecentIds));
  const std::span<const int32_t> before = AsSpan(recent);
  const std::span<const int32_t> kept = before.last(std::min(before.size(), kRecentIds - added.size()));
  auto extended = std::make_shared<std::vector<int32_t>>();
  extended->reserve(kept.size() + added.size());
  extended->insert(extended->end(), kept.begin(), kept.end());
  extended->insert(extended->end(), added.begin(), added.end());
  return extended;
}

}  // namespace cascade
