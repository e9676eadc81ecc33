#include "client/percentiles.h"

#include <algorithm>
#include <numeric>

namespace cascade::client {

void Percentiles::Add(double value) { values_.push_back(value); }

void Percentiles::Add(const Percentiles& others) {
  values_.insert(values_.end(), others.values_.begin(), others.values_.end());
}

double Percentiles::At(double percent) const {
  if (values_.empty()) return 0;
  std::vector<double> sorted = values_;
  std::sort(sorted.begin(), sorted.end());
  const double place = std::clamp(percent, 0.0, 100.0) / 100 * static_cast<double>(sorted.size() - 1);
  const size_t below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

double Percentiles::Mean() const {
  if (values_.empty()) return 0;
  return std::accumulate(values_.begin(), values_.end(), 0.0) / static_cast<double>(values_.size());
}

}  // namespace cascade::client
