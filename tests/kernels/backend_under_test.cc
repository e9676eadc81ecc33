#include "tests/kernels/backend_under_test.h"

#include <algorithm>
#include <cmath>

#include "kernels/base/check.h"
#include "tests/support/rounding.h"

namespace cascade::kernels {

std::ostream& operator<<(std::ostream& out, const BackendUnderTest& backend) { return out << backend.name; }

DeviceMatrix::DeviceMatrix(Backend& backend, int64_t rows, int64_t cols, Precision precision)
    : backend_(backend), rows_(rows), guard_((63 + cols) / cols) {
  absl::StatusOr<TensorView> made = backend.Allocate(rows + 2 * guard_, cols, precision);
  CASCADE_CHECK(made.ok());
  all_ = *made;
  backend_.CopyFromHost(std::vector<float>(all_.rows * cols, std::nanf("")), all_);
}

DeviceMatrix::DeviceMatrix(Backend& backend, int64_t rows, int64_t cols, Precision precision,
                           const std::vector<float>& values)
    : DeviceMatrix(backend, rows, cols, precision) {
  Write(values);
}

void DeviceMatrix::Write(const std::vector<float>& values) { backend_.CopyFromHost(values, view()); }

std::vector<float> DeviceMatrix::ReadAll() const {
  std::vector<float> values(all_.rows * all_.cols);
  backend_.CopyToHost(all_, values);
  const absl::Status status = backend_.Finish();
  EXPECT_TRUE(status.ok()) << status.ToString();
  return values;
}

std::vector<float> DeviceMatrix::Read() const {
  const std::vector<float> values = ReadAll();
  return {values.begin() + guard_ * all_.cols, values.end() - guard_ * all_.cols};
}

bool DeviceMatrix::GuardsIntact() const {
  const std::vector<float> values = ReadAll();
  const int64_t count = guard_ * all_.cols;
  const auto untouched = [](float x) { return std::isnan(x); };
  return std::all_of(values.begin(), values.begin() + count, untouched) &&
         std::all_of(values.end() - count, values.end(), untouched);
}

CacheCase SmallCache(const BackendUnderTest& backend, int max_rows) {
  CacheCase test_case = MakeCase("", 16, 1, {std::max(max_rows, 8)}, std::max(max_rows, 8), 0,
                                 backend.narrow_cache ? DType::kBF16 : DType::kF16);
  test_case.shape.num_layers = 1;
  test_case.shape.num_kv_heads = 1;
  return test_case;
}

void CreateSmallCaches(Backend& backend, const BackendUnderTest& under_test, int slots, int max_rows) {
  const absl::Status status = backend.CreateCaches(SmallCache(under_test, max_rows).shape, slots, max_rows);
  ASSERT_TRUE(status.ok()) << status.ToString();
}

std::vector<float> BackendTest::Inputs(int64_t count, float scale) {
  return reference::Rounded(compute(), RandomFloats(random_, count, scale));
}

}  // namespace cascade::kernels
