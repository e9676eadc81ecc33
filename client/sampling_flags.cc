#include "client/sampling_flags.h"

#include <CLI/CLI.hpp>

namespace cascade::client {

void SamplingFlags::AddTo(CLI::App& app) {
  const std::string group = "Sampling";
  app.add_option("--temperature", temperature_, "0 to 2; 0 takes the most probable token (default 1)")->group(group);
  app.add_option("--top-k", top_k_, "only the K most probable tokens; 0: all (default 0)")->group(group);
  app.add_option("--top-p", top_p_, "only the most probable tokens that sum to P (default 1)")->group(group);
  app.add_option("--min-p", min_p_, "only tokens of at least P times the best one's probability (default 0)")
      ->group(group);
  // CLI11 would take -1 for the largest number.
  const auto not_negative = [](const std::string& text) {
    return text.find('-') == std::string::npos ? "" : "must not be negative";
  };
  app.add_option("--seed", seed_, "random numbers; the same seed gives the same reply (default: drawn by the server)")
      ->check(not_negative)
      ->group(group);
  app.add_option("--max-tokens", max_tokens_, "tokens of the reply at most (default: set by the server)")->group(group);
  app.add_option("--stop", stop_, "end the reply before this text; may be given several times")
      ->group(group)
      ->allow_extra_args(false);
}

v1::SamplingParams SamplingFlags::Sampling() const {
  v1::SamplingParams sampling;
  if (temperature_) sampling.set_temperature(*temperature_);
  if (top_k_) sampling.set_top_k(*top_k_);
  if (top_p_) sampling.set_top_p(*top_p_);
  if (min_p_) sampling.set_min_p(*min_p_);
  if (seed_) sampling.set_seed(*seed_);
  return sampling;
}

v1::StopParams SamplingFlags::Stopping() const {
  v1::StopParams stopping;
  if (max_tokens_) stopping.set_max_tokens(*max_tokens_);
  for (const std::string& stop : stop_) stopping.add_stop(stop);
  return stopping;
}

}  // namespace cascade::client
