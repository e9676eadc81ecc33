// The types with blocks of 32.
#include "kernels/cpu/linear_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/linear_integer.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/linear_integer-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cascade::kernels::HWY_NAMESPACE {

void MultiplyIntegerImpl(const PackedWeight& weight, IndexRange strips, const QuantizedRows& x, IndexRange rows,
                         const LinearOutput& out) {
  switch (weight.type()) {
    case DType::kQ4_0:
      return Multiply<DType::kQ4_0>(weight, strips, x, rows, out);
    case DType::kQ4_1:
      return Multiply<DType::kQ4_1>(weight, strips, x, rows, out);
    case DType::kQ5_0:
      return Multiply<DType::kQ5_0>(weight, strips, x, rows, out);
    case DType::kQ5_1:
      return Multiply<DType::kQ5_1>(weight, strips, x, rows, out);
    case DType::kQ8_0:
      return Multiply<DType::kQ8_0>(weight, strips, x, rows, out);
    case DType::kIQ4_NL:
      return Multiply<DType::kIQ4_NL>(weight, strips, x, rows, out);
    default:
      CASCADE_CHECK(false);
  }
}

}  // namespace cascade::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cascade::kernels {
HWY_EXPORT(MultiplyIntegerImpl);

void MultiplyInteger(const PackedWeight& weight, IndexRange strips, const QuantizedRows& x, IndexRange rows,
                     const LinearOutput& out) {
  if (FormatOf(weight.type()).has_scales()) return MultiplyIntegerK(weight, strips, x, rows, out);
  HWY_DYNAMIC_DISPATCH(MultiplyIntegerImpl)(weight, strips, x, rows, out);
}

}  // namespace cascade::kernels
#endif  // HWY_ONCE
