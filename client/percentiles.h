// Percentiles of measured times.
#pragma once

#include <cstddef>
#include <vector>

namespace cascade::client {

// Collects values, then answers. Not for several threads at once.
class Percentiles {
 public:
  void Add(double value);
  void Add(const Percentiles& others);
  size_t count() const { return values_.size(); }
  // The value that `percent` (0 to 100) of all values do not exceed, interpolated between neighbours; 0 without values.
  double At(double percent) const;
  double Mean() const;

 private:
  std::vector<double> values_;
};

}  // namespace cascade::client
