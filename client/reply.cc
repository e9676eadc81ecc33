#include "client/reply.h"

#include "client/format.h"
#include "client/terminal.h"

namespace cascade::client {

Reply PrintStream(GenerateStream& stream) {
  Reply reply;
  const auto start = std::chrono::steady_clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  char last = '\n';
  for (v1::GenerateResponse part; stream.Next(&part);) {
    if (reply.tokens == 0 && part.token_ids_size() > 0) reply.first_token_seconds = elapsed();
    reply.tokens += part.token_ids_size();
    if (!part.text().empty()) {
      PrintReply(part.text());
      last = part.text().back();
    }
    if (part.finish_reason() != v1::FINISH_REASON_UNSPECIFIED) {
      reply.finish_reason = part.finish_reason();
      reply.usage = part.usage();
    }
  }
  if (last != '\n') PrintReply("\n");
  reply.status = stream.Finish();
  reply.seconds = elapsed();
  return reply;
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
