// The K types: blocks of 256 with scales of their own for 16 or 32 columns.
#include "kernels/cpu/linear_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/linear_integer_k.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/linear_integer-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cascade::kernels::HWY_NAMESPACE {

void MultiplyIntegerKImpl(const PackedWeight& weight, IndexRange strips, const QuantizedRows& x, IndexRange rows,
                          const LinearOutput& out) {
  switch (weight.type()) {
    case DType::kQ2_K:
      return Multiply<DType::kQ2_K>(weight, strips, x, rows, out);
    case DType::kQ3_K:
      return Multiply<DType::kQ3_K>(weight, strips, x, rows, out);
    case DType::kQ4_K:
      return Multiply<DType::kQ4_K>(weight, strips, x, rows, out);
    case DType::kQ5_K:
      return Multiply<DType::kQ5_K>(weight, strips, x, rows, out);
    case DType::kQ6_K:
      return Multiply<DType::kQ6_K>(weight, strips, x, rows, out);
    default:
      CASCADE_CHECK(false);
  }
}

}  // namespace cascade::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cascade::kernels {
HWY_EXPORT(MultiplyIntegerKImpl);

void MultiplyIntegerK(const PackedWeight& weight, IndexRange strips, const QuantizedRows& x, IndexRange rows,
                      const LinearOutput& out) {
  HWY_DYNAMIC_DISPATCH(MultiplyIntegerKImpl)(weight, strips, x, rows, out);
}

}  // namespace cascade::kernels
#endif  // HWY_ONCE
