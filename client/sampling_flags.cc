#include "client/sampling_flags.h"

#include <CLI/CLI.hpp>

#include "client/command.h"
#include "client/format.h"
#include "client/terminal.h"

namespace cascade::client {
namespace {

constexpr size_t kMaxSchemaBytes = 64 << 10;

}  // namespace

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
  app.add_option("--repetition-penalty", repetition_penalty_,
                 "makes tokens that came lately less likely, in this reply or before (default 1: no)")
      ->group(group);
  app.add_option("--repeat-last-n", repeat_last_n_, "how many tokens that looks back (default 64)")->group(group);
  app.add_option("--frequency-penalty", frequency_penalty_,
                 "-2 to 2, for each time that a token is in this reply (default 0)")
      ->group(group);
  app.add_option("--presence-penalty", presence_penalty_, "-2 to 2, for tokens that are in this reply (default 0)")
      ->group(group);
  app.add_option_function<std::vector<std::string>>(
         "--logit-bias", [this](const std::vector<std::string>& given) { AddBias(given); },
         "ID=BIAS: makes a token likelier or, below 0, less likely; -100 forbids it; may be given several times")
      ->group(group)
      ->allow_extra_args(false);
  app.add_option("--allowed-token-id", allowed_token_ids_, "only this token; may be given several times")
      ->group(group)
      ->allow_extra_args(false);
  app.add_option("--json-schema", json_schema_, "the reply is one JSON document that the schema in this file accepts")
      ->check(NotEmpty)
      ->group(group);
  app.add_option("--priority", priority_, "-100 to 100; of calls that wait, higher ones start first (default 0)")
      ->group(group);
  app.add_option("--max-tokens", max_tokens_, "tokens of the reply at most (default: set by the server)")->group(group);
  app.add_option("--min-tokens", min_tokens_, "tokens of the reply at least (default 0)")->group(group);
  app.add_option("--stop", stop_, "end the reply before this text; may be given several times")
      ->group(group)
      ->allow_extra_args(false);
  app.add_option("--stop-token-id", stop_token_ids_, "end the reply with this token; may be given several times")
      ->group(group)
      ->allow_extra_args(false);
  app.add_flag("--ignore-eos", ignore_eos_, "the model's end tokens do not end the reply")->group(group);
  app.add_flag("--include-stop", include_stop_, "print what ended the reply, too")->group(group);
}

void SamplingFlags::AddBias(const std::vector<std::string>& given) {
  for (const std::string& text : given) {
    const size_t equals = text.find('=');
    int32_t id = 0;
    float bias = 0;
    const bool good = equals != std::string::npos && CLI::detail::lexical_cast(text.substr(0, equals), id) &&
                      CLI::detail::lexical_cast(text.substr(equals + 1), bias);
    if (!good) throw CLI::ValidationError("--logit-bias", "must be ID=BIAS, got " + text);
    logit_bias_.emplace_back(id, bias);
  }
}

v1::SamplingParams SamplingFlags::Sampling() const {
  v1::SamplingParams sampling;
  if (temperature_) sampling.set_temperature(*temperature_);
  if (top_k_) sampling.set_top_k(*top_k_);
  if (top_p_) sampling.set_top_p(*top_p_);
  if (min_p_) sampling.set_min_p(*min_p_);
  if (seed_) sampling.set_seed(*seed_);
  if (repetition_penalty_) sampling.set_repetition_penalty(*repetition_penalty_);
  if (repeat_last_n_) sampling.set_repeat_last_n(*repeat_last_n_);
  if (frequency_penalty_) sampling.set_frequency_penalty(*frequency_penalty_);
  if (presence_penalty_) sampling.set_presence_penalty(*presence_penalty_);
  for (const auto& [id, bias] : logit_bias_) (*sampling.mutable_logit_bias())[id] = bias;
  for (const int32_t id : allowed_token_ids_) sampling.add_allowed_token_ids(id);
  return sampling;
}

v1::StopParams SamplingFlags::Stopping() const {
  v1::StopParams stopping;
  if (max_tokens_) stopping.set_max_tokens(*max_tokens_);
  for (const std::string& stop : stop_) stopping.add_stop(stop);
  if (min_tokens_) stopping.set_min_tokens(*min_tokens_);
  for (const int32_t id : stop_token_ids_) stopping.add_stop_token_ids(id);
  stopping.set_ignore_eos(ignore_eos_);
  stopping.set_include_stop(include_stop_);
  return stopping;
}

bool SamplingFlags::SetIn(v1::GenerateRequest* request) const {
  *request->mutable_sampling() = Sampling();
  *request->mutable_stopping() = Stopping();
  if (priority_) request->set_priority(*priority_);
  if (!json_schema_) return true;
  bool cut = false;
  const std::optional<std::string> schema = ReadText(*json_schema_, kMaxSchemaBytes, &cut);
  if (!schema) return false;
  if (cut) {
    PrintError(*json_schema_ + " is longer than a schema may be, " + Bytes(kMaxSchemaBytes));
    return false;
  }
  request->mutable_response_format()->set_json_schema(*schema);
  return true;
}

}  // namespace cascade::client
