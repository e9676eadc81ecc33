#include "tests/support/reference_policy.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

namespace cascade::test {
namespace {

// places[x] of candidate x, 0 for the first in the order; `better(x, y)` decides, then the later candidate.
std::vector<int> Places(size_t count, const std::function<int(int, int)>& compare) {
  std::vector<int> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int x, int y) {
    const int sign = compare(x, y);
    return sign != 0 ? sign > 0 : x > y;
  });
  std::vector<int> places(count);
  for (size_t place = 0; place < count; ++place) places[order[place]] = static_cast<int>(place);
  return places;
}

}  // namespace

std::vector<ReferenceEntry> SelectBest(std::span<const ReferenceEntry> group, int keep, kernels::Selection selection) {
  const auto sign = [](auto x, auto y) { return x > y ? 1 : x < y ? -1 : 0; };
  const std::vector<int> a = Places(group.size(), [&](int x, int y) { return sign(group[x].score, group[y].score); });
  const std::vector<int> b =
      Places(group.size(), [&](int x, int y) { return sign(group[x].distinctness, group[y].distinctness); });
  std::vector<int> place;
  switch (selection) {
    case kernels::Selection::kAttention:
      place = a;
      break;
    case kernels::Selection::kDistinctness:
      place = b;
      break;
    case kernels::Selection::kBoth:
      place = Places(group.size(), [&](int x, int y) {
        const int by_best = sign(std::min(a[y], b[y]), std::min(a[x], b[x]));
        return by_best != 0 ? by_best : sign(a[y] + b[y], a[x] + b[x]);
      });
      break;
  }
  std::vector<ReferenceEntry> kept;
  for (size_t i = 0; i < group.size(); ++i) {
    if (place[i] < keep) kept.push_back(group[i]);
  }
  return kept;
}

ReferenceCascade::ReferenceCascade(const CascadeGeometry& geometry)
    : geometry_(geometry), sub_caches_(geometry.sub_cache_tokens.size()), appended_(sub_caches_.size(), 0) {}

void ReferenceCascade::Feed(float score, float distinctness) {
  const int64_t token = seen_++;
  if (token < geometry_.num_sinks) {
    ++sinks_;
    return;
  }
  open_.push_back({token, score, distinctness, appended_[0] + static_cast<int64_t>(open_.size())});
}

void ReferenceCascade::CloseStride() {
  size_t held = 0;
  size_t capacity = 0;
  for (size_t i = 0; i < sub_caches_.size(); ++i) {
    held += sub_caches_[i].size();
    capacity += geometry_.sub_cache_tokens[i];
  }
  const bool filling = held < capacity;
  std::vector<ReferenceEntry> arrivals = std::exchange(open_, {});
  for (size_t i = 0; i < sub_caches_.size(); ++i) {
    if (i > 0 && !filling) {
      const size_t group = 2 * static_cast<size_t>(geometry_.selection_group);
      std::vector<ReferenceEntry> kept;
      for (size_t begin = 0; begin < arrivals.size(); begin += group) {
        const size_t count = std::min(group, arrivals.size() - begin);
        for (const ReferenceEntry& entry :
             SelectBest(std::span(arrivals).subspan(begin, count), geometry_.selection_group, geometry_.selection)) {
          kept.push_back(entry);
        }
      }
      evicted_ += static_cast<int64_t>(arrivals.size() - kept.size());
      arrivals = std::move(kept);
    }
    std::vector<ReferenceEntry>& sub_cache = sub_caches_[i];
    for (ReferenceEntry& entry : arrivals) {
      entry.index = appended_[i]++;
      sub_cache.push_back(entry);
    }
    const size_t width = geometry_.sub_cache_tokens[i];
    const size_t leave = sub_cache.size() > width ? sub_cache.size() - width : 0;
    arrivals.assign(sub_cache.begin(), sub_cache.begin() + static_cast<std::ptrdiff_t>(leave));
    sub_cache.erase(sub_cache.begin(), sub_cache.begin() + static_cast<std::ptrdiff_t>(leave));
  }
  evicted_ += static_cast<int64_t>(arrivals.size());
}

std::vector<ReferenceEntry> ReferenceCascade::Residents() const {
  std::vector<ReferenceEntry> all;
  for (size_t i = sub_caches_.size(); i-- > 0;) all.insert(all.end(), sub_caches_[i].begin(), sub_caches_[i].end());
  all.insert(all.end(), open_.begin(), open_.end());
  return all;
}

int64_t ReferenceCascade::QueryIndex(int i, int r) const {
  int64_t newer = 0;
  for (int k = 0; k < i; ++k) newer += static_cast<int64_t>(sub_caches_[k].size());
  return appended_[i] + newer + r;
}

std::string ReferenceCascade::Content() const {
  std::string text;
  for (size_t i = sub_caches_.size(); i-- > 0;) {
    for (size_t e = 0; e < sub_caches_[i].size(); ++e) {
      if (e > 0) text += ' ';
      text += std::to_string(sub_caches_[i][e].token);
    }
    if (i > 0) text += " ; ";
  }
  return text;
}

}  // namespace cascade::test
