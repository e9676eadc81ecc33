// A test of caches for every back end that has them and every case that it can run.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "tests/kernels/backend_under_test.h"
#include "tests/support/cache_script.h"

namespace cascade::kernels {

struct CacheTest {
  BackendUnderTest backend;
  CacheCase test_case;
};
inline std::ostream& operator<<(std::ostream& out, const CacheTest& test) {
  return out << test.backend.name << " " << test.test_case.name;
}
inline std::string NameOfCacheTest(const testing::TestParamInfo<CacheTest>& info) {
  return info.param.backend.name + "_" + info.param.test_case.name;
}

// Cases as the CPU runs them, or narrowed for a cache of bfloat16. A slow back end runs the first of them, `quick` at
// most.
inline std::vector<CacheTest> CacheTests(const std::vector<CacheCase>& cases, int quick) {
  std::vector<CacheTest> tests;
  for (const BackendUnderTest& backend : BackendsUnderTest()) {
    if (!backend.caches) continue;
    int taken = 0;
    for (CacheCase test_case : cases) {
      if (backend.narrow_cache) {
        if (test_case.shape.head_dim % 8 != 0) continue;
        test_case.shape.kv_type = DType::kBF16;
      }
      if (backend.slow() && ++taken > std::min(quick, backend.most_cases)) break;
      tests.push_back({backend, std::move(test_case)});
    }
  }
  return tests;
}

class CacheTestWithBackend : public testing::TestWithParam<CacheTest> {
 protected:
  CacheTestWithBackend() {
    if (GetParam().backend.conditions) conditions_ = GetParam().backend.conditions();
  }
  std::unique_ptr<Backend> Create(int threads = 2) const { return GetParam().backend.create(threads); }

 private:
  std::shared_ptr<void> conditions_;
};

}  // namespace cascade::kernels
