// Errors of programs that measure end them.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cascade::bench {

inline void Check(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

template <class T>
T OrDie(absl::StatusOr<T> value) {
  Check(value.status());
  return std::move(*value);
}

}  // namespace cascade::bench
