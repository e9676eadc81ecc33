// The CUDA back end, on a device or on the emulated one. Prints how many tests ran on what.
#include <cstdio>

#include "kernels/base/check.h"
#include "kernels/cuda_backend.h"
#include "tests/kernels/backend_under_test.h"

namespace cascade::kernels {
namespace {

// An emulated device runs `emulated_cases` of a test's cases.
BackendUnderTest UnderTest(const std::string& name, const CudaOptions& options, [[maybe_unused]] int emulated_cases) {
  return {.name = name,
          .create =
              [options](int) {
                absl::StatusOr<std::unique_ptr<Backend>> backend = CreateCudaBackend(options);
                if (!backend.ok()) std::fprintf(stderr, "%s\n", backend.status().ToString().c_str());
                CASCADE_CHECK(backend.ok());
                return *std::move(backend);
              },
          .compute = options.compute,
          .row_invariant = options.deterministic,
          .column_multiple = 8,
          .narrow_cache = true,
#ifdef CASCADE_CUDA_EMULATED
          .most_cases = emulated_cases
#endif
  };
}

class PrintCount : public testing::Environment {
 public:
  void SetUp() override { std::printf("On: %s\n", BackendsUnderTest().front().create(1)->Description().c_str()); }
  void TearDown() override {
    const testing::UnitTest& all = *testing::UnitTest::GetInstance();
    std::printf("Ran %d tests: %d passed, %d failed, %d skipped\n", all.test_to_run_count(),
                all.successful_test_count(), all.failed_test_count(), all.skipped_test_count());
  }
};

[[maybe_unused]] const testing::Environment* const print_count = testing::AddGlobalTestEnvironment(new PrintCount);

}  // namespace

const std::vector<BackendUnderTest>& BackendsUnderTest() {
  static const std::vector<BackendUnderTest> all = {
      UnderTest("CUDA_BF16", {.compute = DType::kBF16, .score_kernel = ScoreKernel::kExact}, 9),
      UnderTest("CUDA_F16", {.compute = DType::kF16, .score_kernel = ScoreKernel::kExact}, 2),
      UnderTest("CUDA_BF16_deterministic", {.compute = DType::kBF16, .deterministic = true}, 3),
  };
  return all;
}

}  // namespace cascade::kernels
