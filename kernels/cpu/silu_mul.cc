#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/cpu/ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/silu_mul.cc"
// foreach_target.h comes before all other parts of Highway.
// clang-format off
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "hwy/contrib/math/math-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace cascade::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D, class V>
HWY_INLINE V Gated(D d, V gate, V up) {
  // Highway's Exp is made for finite arguments up to 88; beyond, the sigmoid is 0 in any case.
  const V limit = hn::Set(d, 88.0f);
  const V exponent = hn::Max(hn::Neg(limit), hn::Min(limit, hn::Neg(gate)));
  const V sigmoid = hn::Div(hn::Set(d, 1.0f), hn::Add(hn::Set(d, 1.0f), hn::Exp(d, exponent)));
  return hn::Mul(hn::Mul(gate, sigmoid), up);
}

void SiluMulRow(float* gate, const float* up, int64_t cols) {
  const hn::CappedTag<float, 16> d;
  constexpr int64_t kStep = MaxLanes(d);
  int64_t i = 0;
  for (; i + kStep <= cols; i += kStep) hn::StoreU(Gated(d, hn::LoadU(d, gate + i), hn::LoadU(d, up + i)), d, gate + i);
  if (i == cols) return;
  HWY_ALIGN float gate_rest[kStep] = {};
  HWY_ALIGN float up_rest[kStep] = {};
  std::copy(gate + i, gate + cols, gate_rest);
  std::copy(up + i, up + cols, up_rest);
  hn::Store(Gated(d, hn::Load(d, gate_rest), hn::Load(d, up_rest)), d, gate_rest);
  std::copy(gate_rest, gate_rest + (cols - i), gate + i);
}

}  // namespace cascade::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cascade::kernels {
HWY_EXPORT(SiluMulRow);

void SiluMulRows(TensorView gate, TensorView up, ThreadPool& pool) {
  CASCADE_CHECK(gate.type == DType::kF32 && up.type == DType::kF32 && gate.rows == up.rows && gate.cols == up.cols);
  const auto multiply = HWY_DYNAMIC_DISPATCH(SiluMulRow);
  ForRows(pool, gate.rows, gate.cols,
          [&](int64_t row) { multiply(gate.f32() + row * gate.cols, up.f32() + row * gate.cols, gate.cols); });
}

}  // namespace cascade::kernels
#endif  // HWY_ONCE
