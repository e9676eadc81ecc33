#include "kernels/dtype.h"

#include <iterator>

namespace cascade::kernels {
namespace {

struct Layout {
  std::string_view name;
  int block_elements;
  int block_bytes;
};

// In the order of DType.
constexpr Layout kLayouts[] = {
    {"F32", 1, 4},      {"F16", 1, 2},      {"BF16", 1, 2},     {"Q4_0", 32, 18},   {"Q4_1", 32, 20},
    {"Q5_0", 32, 22},   {"Q5_1", 32, 24},   {"Q8_0", 32, 34},   {"IQ4_NL", 32, 18}, {"Q2_K", 256, 84},
    {"Q3_K", 256, 110}, {"Q4_K", 256, 144}, {"Q5_K", 256, 176}, {"Q6_K", 256, 210},
};
static_assert(std::size(kLayouts) == kNumDTypes);

const Layout& LayoutOf(DType type) { return kLayouts[static_cast<int>(type)]; }

}  // namespace

int BlockElements(DType type) { return LayoutOf(type).block_elements; }
int BlockBytes(DType type) { return LayoutOf(type).block_bytes; }
size_t RowBytes(DType type, int64_t elements) {
  return static_cast<size_t>(elements / BlockElements(type)) * static_cast<size_t>(BlockBytes(type));
}
bool IsQuantized(DType type) { return BlockElements(type) > 1; }
std::string_view Name(DType type) { return LayoutOf(type).name; }

}  // namespace cascade::kernels
