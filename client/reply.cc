#include "client/reply.h"

#include "client/format.h"
#include "client/terminal.h"

namespace cascade::client {

namespace {

// What a message says beside its text.
void Take(const v1::GenerateResponse& part, double elapsed, Reply& reply) {
  if (reply.tokens == 0 && part.token_ids_size() > 0) reply.first_token_seconds = elapsed;
  reply.tokens += part.token_ids_size();
  reply.logprobs.insert(reply.logprobs.end(), part.logprobs().begin(), part.logprobs().end());
  reply.prompt_logprobs.insert(reply.prompt_logprobs.end(), part.prompt_logprobs().begin(),
                               part.prompt_logprobs().end());
  if (part.finish_reason() != v1::FINISH_REASON_UNSPECIFIED) {
    reply.finish_reason = part.finish_reason();
    reply.usage = part.usage();
  }
}

class Stopwatch {
 public:
  double Elapsed() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace

Reply PrintStream(GenerateStream& stream) {
  Reply reply;
  const Stopwatch watch;
  char last = '\n';
  for (v1::GenerateResponse part; stream.Next(&part);) {
    if (!part.text().empty()) {
      PrintReply(part.text());
      last = part.text().back();
    }
    Take(part, watch.Elapsed(), reply);
  }
  if (last != '\n') PrintReply("\n");
  reply.status = stream.Finish();
  reply.seconds = watch.Elapsed();
  return reply;
}

std::vector<Reply> PrintReplies(GenerateStream& stream, int count) {
  std::vector<Reply> replies(static_cast<size_t>(count));
  std::vector<std::string> texts(replies.size());
  const Stopwatch watch;
  for (v1::GenerateResponse part; stream.Next(&part);) {
    const auto index = static_cast<size_t>(part.index());
    if (index >= replies.size()) continue;  // nobody asked for it
    texts[index] += part.text();
    Take(part, watch.Elapsed(), replies[index]);
  }
  const grpc::Status status = stream.Finish();
  for (size_t i = 0; i < replies.size(); ++i) {
    replies[i].status = status;
    replies[i].seconds = watch.Elapsed();
    if (!texts[i].empty() || status.ok()) PrintReply("[" + std::to_string(i) + "]\n" + texts[i]);
    if (!texts[i].empty() && texts[i].back() != '\n') PrintReply("\n");
  }
  return replies;
}

std::string Describe(const v1::Usage& usage) {
  const double decode = ToSeconds(usage.decode_time());
  std::string text = WithCommas(usage.prompt_tokens()) + " tokens fed, " + WithCommas(usage.completion_tokens()) +
                     " sampled; position " + WithCommas(usage.position()) + ", " + WithCommas(usage.tokens_resident()) +
                     " held, " + WithCommas(usage.tokens_evicted()) + " forgotten; cache " +
                     Bytes(usage.cache_bytes()) + "; queue " + Seconds(ToSeconds(usage.queue_time())) + ", prefill " +
                     Seconds(ToSeconds(usage.prefill_time())) + ", decode " + Seconds(decode);
  // The first token belongs to the prefill.
  if (usage.completion_tokens() > 1 && decode > 0) {
    text += " (" + Fixed(static_cast<double>(usage.completion_tokens() - 1) / decode, 1) + " tokens/s)";
  }
  return text;
}

}  // namespace cascade::client
