#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/base/check.h"
#include "kernels/cpu/ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/score_targets.cc"
// foreach_target.h comes before all other parts of Highway.
// clang-format off
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "hwy/contrib/math/math-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace cascade::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Natural log of sum(exp(x - largest)). The sum runs over chunks in single precision and over those in double.
double LogSumExp(const float* x, int64_t cols, float largest) {
  const hn::CappedTag<float, 16> d;
  constexpr int64_t kStep = MaxLanes(d);
  constexpr int64_t kChunk = 64 * kStep;
  const auto shift = hn::Set(d, largest);
  const auto floor = hn::Set(d, -87.0f);  // where Highway's Exp ends; e^-87 is nothing beside the largest's 1
  double total = 0;
  int64_t i = 0;
  while (i + kStep <= cols) {
    const int64_t end = std::min(i + kChunk, cols);
    auto sum = hn::Zero(d);
    for (; i + kStep <= end; i += kStep) {
      sum = hn::Add(sum, hn::Exp(d, hn::Max(floor, hn::Sub(hn::LoadU(d, x + i), shift))));
    }
    total += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, sum)));
  }
  for (; i < cols; ++i) total += std::exp(static_cast<double>(x[i]) - static_cast<double>(largest));
  return std::log(total);
}

// The two largest values; the second equals the first when it occurs twice.
void TopTwo(const float* x, int64_t cols, float* top) {
  const hn::CappedTag<float, 16> d;
  constexpr int64_t kStep = MaxLanes(d);
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  auto first = hn::Set(d, kLowest);
  auto second = hn::Set(d, kLowest);
  int64_t i = 0;
  for (; i + kStep <= cols; i += kStep) {
    const auto v = hn::LoadU(d, x + i);
    second = hn::Max(second, hn::Min(first, v));
    first = hn::Max(first, v);
  }
  HWY_ALIGN float candidates[2 * kStep];
  hn::Store(first, d, candidates);
  hn::Store(second, d, candidates + kStep);
  top[0] = top[1] = kLowest;
  const auto visit = [top](float v) {
    top[1] = std::max(top[1], std::min(top[0], v));
    top[0] = std::max(top[0], v);
  };
  for (float v : candidates) visit(v);
  for (; i < cols; ++i) visit(x[i]);
}

}  // namespace cascade::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cascade::kernels {
HWY_EXPORT(LogSumExp);
HWY_EXPORT(TopTwo);

void ScoreRows(TensorView logits, std::span<const int32_t> targets, std::span<TokenScore> scores, ThreadPool& pool) {
  CASCADE_CHECK(logits.type == DType::kF32 && logits.rows == static_cast<int64_t>(targets.size()));
  CASCADE_CHECK(targets.size() == scores.size() && logits.cols >= 1);
  const auto log_sum_exp = HWY_DYNAMIC_DISPATCH(LogSumExp);
  const auto top_two = HWY_DYNAMIC_DISPATCH(TopTwo);
  ForRows(pool, logits.rows, logits.cols, [&](int64_t row) {
    const float* x = logits.f32() + row * logits.cols;
    float top[2];
    top_two(x, logits.cols, top);
    TokenScore& score = scores[row];
    // Logits that are not numbers have no largest; id 0 then, as good as any.
    const float* place = std::find(x, x + logits.cols, top[0]);
    score.top_id = place == x + logits.cols ? 0 : static_cast<int32_t>(place - x);
    score.top_margin = top[0] - top[1];
    score.logprob = 0;
    const int32_t target = targets[row];
    if (target < 0) return;
    CASCADE_CHECK(target < logits.cols);
    score.logprob = static_cast<float>(static_cast<double>(x[target]) - top[0] - log_sum_exp(x, logits.cols, top[0]));
  });
}

}  // namespace cascade::kernels
#endif  // HWY_ONCE
