// A reply on its way to standard output.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "client/client.h"

namespace cascade::client {

struct Reply {
  grpc::Status status;
  // From the last message; unset when the call failed.
  v1::FinishReason finish_reason = v1::FINISH_REASON_UNSPECIFIED;
  v1::Usage usage;
  int64_t tokens = 0;
  // If they were asked for.
  std::vector<v1::TokenLogprobs> logprobs, prompt_logprobs;
  // As the client saw it: until the first token, and until the end.
  double first_token_seconds = 0;
  double seconds = 0;
};

// Prints the text as it comes, and a newline behind it unless it has one. Ends with the call.
Reply PrintStream(GenerateStream& stream);

// The same of several replies at once: one after the other, when all have ended, each after a line "[INDEX]". All have
// the call's status.
std::vector<Reply> PrintReplies(GenerateStream& stream, int count);

// "12 tokens fed, 30 sampled; position 42, 42 held, 0 forgotten; cache 9.0 MiB; queue 0.1 ms, prefill 12 ms, .."
std::string Describe(const v1::Usage& usage);

}  // namespace cascade::client
