#include "tests/support/paper_policy.h"

namespace cascade::test {

void PaperCascade::Insert(int64_t token, float score) {
  const int64_t tick = token - num_sinks_;
  const int64_t full = static_cast<int64_t>(width_) * static_cast<int64_t>(sub_caches_.size());
  Entry incoming{token, score};
  for (size_t i = 0; i < sub_caches_.size(); ++i) {
    std::vector<Entry>& sub_cache = sub_caches_[i];
    const bool accepts = tick <= full || tick % (int64_t{1} << i) == 0;
    if (accepts && static_cast<int>(sub_cache.size()) < width_) {  // 1: append
      sub_cache.push_back(incoming);
      return;
    }
    if (accepts) {  // 2: swap; the oldest one goes on to the next sub-cache
      sub_cache.push_back(incoming);
      incoming = sub_cache.front();
      sub_cache.erase(sub_cache.begin());
      continue;
    }
    if (sub_cache.empty()) {  // 3: does not accept but is empty: append
      sub_cache.push_back(incoming);
    } else if (incoming.score >= sub_cache.back().score) {  // 4: duel with the newest; a tie goes to the incoming one
      sub_cache.back() = incoming;
    }
    return;
  }
}

std::vector<int64_t> PaperCascade::Tokens() const {
  std::vector<int64_t> tokens;
  for (size_t i = sub_caches_.size(); i-- > 0;) {
    for (const Entry& entry : sub_caches_[i]) tokens.push_back(entry.token);
  }
  return tokens;
}

}  // namespace cascade::test
