#include "engine/model/rope_scaling.h"

#include <cmath>
#include <numbers>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"

namespace cascade {
namespace {

constexpr double kMaxFactor = 1e6;

absl::Status Refuse(const char* field, double found, const std::string& expected) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": found ", found, ", expected ", expected));
}

absl::Status CheckFactor(double factor) {
  if (factor >= 1 && factor <= kMaxFactor) return absl::OkStatus();
  return Refuse("factor", factor, absl::StrCat("1 to ", kMaxFactor));
}

absl::Status CheckLlama3(const RopeScaling& scaling) {
  if (absl::Status status = CheckFactor(scaling.factor); !status.ok()) return status;
  if (!(scaling.low_freq_factor > 0 && scaling.low_freq_factor <= kMaxFactor)) {
    return Refuse("low_freq_factor", scaling.low_freq_factor, absl::StrCat("more than 0, at most ", kMaxFactor));
  }
  if (!(scaling.high_freq_factor > scaling.low_freq_factor && scaling.high_freq_factor <= kMaxFactor)) {
    return Refuse("high_freq_factor", scaling.high_freq_factor,
                  absl::StrCat("more than low_freq_factor ", scaling.low_freq_factor, ", at most ", kMaxFactor));
  }
  if (scaling.original_max_position_embeddings < 1) {
    return Refuse("original_max_position_embeddings", static_cast<double>(scaling.original_max_position_embeddings),
                  "at least 1");
  }
  return absl::OkStatus();
}

// The formula of Llama 3.1, by wave length in positions.
double ScaleLlama3(const RopeScaling& scaling, double frequency) {
  const double original = static_cast<double>(scaling.original_max_position_embeddings);
  const double wave_length = 2 * std::numbers::pi / frequency;
  if (wave_length < original / scaling.high_freq_factor) return frequency;
  if (wave_length > original / scaling.low_freq_factor) return frequency / scaling.factor;
  const double smooth =
      (original / wave_length - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1 - smooth) * frequency / scaling.factor + smooth * frequency;
}

}  // namespace

absl::Status SetRope(double theta, const RopeScaling& scaling, ModelConfig& config) {
  CASCADE_CHECK(config.head_dim > 0 && config.head_dim % 2 == 0);
  if (!(theta >= 1 && std::isfinite(theta))) return Refuse("rope_theta", theta, "a finite number of at least 1");
  if (scaling.kind == RopeScalingKind::kLinear) {
    if (absl::Status status = CheckFactor(scaling.factor); !status.ok()) return status;
  }
  if (scaling.kind == RopeScalingKind::kLlama3) {
    if (absl::Status status = CheckLlama3(scaling); !status.ok()) return status;
  }
  const size_t pairs = static_cast<size_t>(config.head_dim / 2);
  if (!scaling.factors.empty() && scaling.factors.size() != pairs) {
    return absl::InvalidArgumentError(absl::StrCat("factors: found ", scaling.factors.size(),
                                                   ", expected one for each of the ", pairs, " frequencies"));
  }
  std::vector<double> frequencies;
  frequencies.reserve(pairs);
  for (size_t i = 0; i < pairs; ++i) {
    double frequency = std::pow(theta, -2.0 * static_cast<double>(i) / config.head_dim);
    if (scaling.kind == RopeScalingKind::kLinear) frequency /= scaling.factor;
    if (scaling.kind == RopeScalingKind::kLlama3) frequency = ScaleLlama3(scaling, frequency);
    if (!scaling.factors.empty()) {
      const double factor = scaling.factors[i];
      // Factors below 1 are used by nobody, but are not wrong; zero, negative and endless ones are.
      if (!(factor >= 1 / kMaxFactor && factor <= kMaxFactor)) {
        return Refuse("factors", factor, absl::StrCat(1 / kMaxFactor, " to ", kMaxFactor, " (at index ", i, ")"));
      }
      frequency /= factor;
    }
    frequencies.push_back(frequency);
  }
  config.rope.frequency = std::move(frequencies);
  config.rope_theta = static_cast<float>(theta);
  config.rope_scaling = scaling.kind == RopeScalingKind::kLinear   ? "linear"
                        : scaling.kind == RopeScalingKind::kLlama3 ? "llama3"
                        : scaling.factors.empty()                  ? "none"
                                                                   : "factors";
  return absl::OkStatus();
}

}  // namespace cascade
