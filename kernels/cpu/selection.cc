#include "kernels/cpu/selection.h"

#include <algorithm>

namespace cascade::kernels {
namespace {

// Each value's place: how many come before it. By counting: groups are small, and the loops become vector compares.
template <class T>
std::vector<int> Places(std::span<const T> values) {
  const int count = static_cast<int>(values.size());
  std::vector<int> places(count);
  for (int i = 0; i < count; ++i) {
    int before = 0;
    for (int j = 0; j < i; ++j) before += values[j] > values[i];
    for (int j = i + 1; j < count; ++j) before += values[j] >= values[i];
    places[i] = before;
  }
  return places;
}

}  // namespace

void SelectHalf(std::span<const float> scores, std::span<const float> distinctness, Selection selection,
                std::vector<int>& kept) {
  const int count = static_cast<int>(scores.size());
  std::vector<int> keys;  // the largest stay; integers, so their places are a permutation
  if (selection == Selection::kDistinctness) {
    keys = Places(distinctness);
  } else {
    keys = Places(scores);
    if (selection == Selection::kBoth) {
      const std::vector<int> other = Places(distinctness);
      for (int i = 0; i < count; ++i) keys[i] = std::min(keys[i], other[i]) * 2 * count + keys[i] + other[i];
    }
  }
  for (int& key : keys) key = -key;
  const std::vector<int> places = Places(std::span<const int>(keys));
  kept.clear();
  for (int i = 0; i < count; ++i) {
    if (places[i] < count / 2) kept.push_back(i);
  }
}

}  // namespace cascade::kernels
