#pragma once

#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "kernels/cpu/attend_plan.h"
#include "kernels/cpu/cache_layout.h"
#include "kernels/cpu/cache_step.h"
#include "kernels/base/thread_pool.h"
#include "kernels/tensor_view.h"

namespace cascade::kernels {

// Uninitialised floats on a cache line's boundary.
class ScratchFloats {
 public:
  // Room for `count`; the content is lost when it grows.
  void Reserve(int64_t count) {
    if (count <= size_) return;
    data_.reset();
    data_.reset(static_cast<float*>(::operator new(count * sizeof(float), kAlignment)));
    size_ = count;
  }
  float* data() const { return data_.get(); }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(float* p) const { ::operator delete(p, kAlignment); }
  };
  std::unique_ptr<float, Free> data_;
  int64_t size_ = 0;
};

// Memory of Attend, kept between calls.
struct AttendScratch {
  ScratchFloats logits;
  ScratchFloats inverse_sums;
  std::vector<ScratchFloats> workers;

  void Reserve(const AttendPlan& plan, int num_threads);
};

// Attention of a layer's rows over all they see, and the exact scores of all keys but sinks (cache.md, section 3).
// q, out: [step rows, heads * head_dim] float32. `scratch` must have been reserved for `plan`.
void Attend(const CacheLayout& layout, const CacheStep& step, const AttendPlan& plan, int layer, TensorView q,
            TensorView out, AttendScratch& scratch, ThreadPool& pool);

}  // namespace cascade::kernels
