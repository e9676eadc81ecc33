#include <cmath>

#include "kernels/base/check.h"
#include "kernels/cpu/ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/rms_norm.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace cascade::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// x, gain, out: [cols]. out may be x.
void NormalizeRow(const float* x, const float* gain, float eps, int64_t cols, float* out) {
  const hn::CappedTag<float, 16> d;
  constexpr int64_t kStep = MaxLanes(d);
  const int64_t whole = cols / kStep * kStep;
  auto squares = hn::Zero(d);
  for (int64_t i = 0; i < whole; i += kStep) {
    const auto v = hn::LoadU(d, x + i);
    squares = hn::MulAdd(v, v, squares);
  }
  double sum = hn::GetLane(hn::SumOfLanes(d, squares));
  for (int64_t i = whole; i < cols; ++i) sum += static_cast<double>(x[i]) * x[i];
  const float scale = static_cast<float>(1.0 / std::sqrt(sum / static_cast<double>(cols) + static_cast<double>(eps)));
  const auto factor = hn::Set(d, scale);
  for (int64_t i = 0; i < whole; i += kStep) {
    hn::StoreU(hn::Mul(hn::Mul(hn::LoadU(d, x + i), factor), hn::LoadU(d, gain + i)), d, out + i);
  }
  for (int64_t i = whole; i < cols; ++i) out[i] = x[i] * scale * gain[i];
}

}  // namespace cascade::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cascade::kernels {
HWY_EXPORT(NormalizeRow);

void RmsNormRows(TensorView x, const PackedWeight& gain, float eps, TensorView out, ThreadPool& pool) {
  CASCADE_CHECK(x.type == DType::kF32 && out.type == DType::kF32 && out.rows == x.rows && out.cols == x.cols);
  CASCADE_CHECK(gain.dense_row() != nullptr && gain.cols() == x.cols);
  const auto normalize = HWY_DYNAMIC_DISPATCH(NormalizeRow);
  ForRows(pool, x.rows, x.cols, [&](int64_t row) {
    normalize(x.f32() + row * x.cols, gain.dense_row(), eps, x.cols, out.f32() + row * x.cols);
  });
}

}  // namespace cascade::kernels
#endif  // HWY_ONCE
