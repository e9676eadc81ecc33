#include "engine/sampling/host_sampling.h"

#include <cmath>

#include "engine/sampling/logprobs.h"
#include "engine/sampling/sample_request.h"
#include "kernels/base/check.h"

namespace cascade {
namespace {

absl::Status NotFinite() { return absl::InternalError("the model's logits are not finite"); }

}  // namespace

void HostSampling::Run(HostRows rows, kernels::Sampler& sampler, const std::function<void(HostResult)>& done) {
  MutexLock lock(mutex_);
  HostResult result = Compute(std::move(rows), sampler);
  const std::optional<int32_t> id = result.id;
  done(std::move(result));
  if (id.has_value()) rules_.Accept(*id);
}

HostResult HostSampling::Compute(HostRows rows, kernels::Sampler& sampler) {
  HostResult result;
  const auto size = static_cast<size_t>(row_size());
  const auto row = [&](size_t i) { return std::span<float>(rows.logits).subspan(i * size, size); };
  for (size_t i = 0; i < rows.targets.size(); ++i) {
    const std::optional<RowLogprobs> of_row = RowLogprobs::Of(row(i), setup_.vocabulary);
    if (!of_row.has_value()) {
      result.status = NotFinite();
      return result;
    }
    result.prompt.emplace_back(rows.targets[i], of_row->Describe(rows.targets[i], setup_.prompt_logprobs.value_or(0)));
  }
  if (rows.samples) result.status = Pick(row(rows.logits.size() / size - 1), rows.position, sampler, result);
  result.memory = std::move(rows.logits);
  return result;
}

// Log-probabilities first: the rules change the row. They cannot be asked for before the id is known, so the row is
// copied where both are wanted.
absl::Status HostSampling::Pick(std::span<float> logits, uint64_t position, kernels::Sampler& sampler,
                                HostResult& result) {
  if (!std::isfinite(kernels::LargestLogit(logits))) return NotFinite();
  std::vector<float> changed;
  std::span<float> candidates = logits.first(static_cast<size_t>(setup_.vocabulary));
  if (setup_.logprobs.has_value()) {
    changed.assign(candidates.begin(), candidates.end());
    candidates = changed;
  }
  if (!rules_.Apply(candidates)) return rules_.NothingLeft();
  const int32_t id = sampler.Sample(candidates, MakeSampleRequest(sampling_, setup_.seed, position));
  if (id == kernels::kNoId) return NotFinite();
  result.id = id;
  if (setup_.logprobs.has_value()) {
    const std::optional<RowLogprobs> of_row = RowLogprobs::Of(logits, setup_.vocabulary);
    CASCADE_CHECK(of_row.has_value());
    result.logprobs = of_row->Describe(id, *setup_.logprobs);
  }
  return absl::OkStatus();
}

}  // namespace cascade
