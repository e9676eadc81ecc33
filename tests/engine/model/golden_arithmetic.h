// The arithmetics that a program compares with the goldens; each program links one of golden_arithmetic_*.cc.
#pragma once

#include <functional>
#include <memory>
#include <ostream>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "tests/support/golden_checks.h"

namespace cascade::test {

struct Arithmetic {
  const char* name;
  std::function<absl::StatusOr<std::unique_ptr<kernels::Backend>>()> create;
  kernels::DType kv_type;
  GoldenTolerance tolerance;
};
inline void PrintTo(const Arithmetic& arithmetic, std::ostream* out) { *out << arithmetic.name; }

std::vector<Arithmetic> GoldenArithmetics();

}  // namespace cascade::test
