#include "server/http/metrics_text.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace cascade {
namespace {

class Families {
 public:
  // A family's begin; Value adds its lines.
  Families& Family(const char* name, const char* type, const char* help) {
    name_ = name;
    absl::StrAppend(&text_, "# HELP cascade_", name, " ", help, "\n# TYPE cascade_", name, " ", type, "\n");
    return *this;
  }
  template <class Number>
  Families& Value(Number value, const std::string& labels = "") {
    absl::StrAppend(&text_, "cascade_", name_, labels.empty() ? "" : "{", labels, labels.empty() ? "" : "}", " ", value,
                    "\n");
    return *this;
  }
  std::string Take() { return std::move(text_); }

 private:
  std::string text_;
  const char* name_ = "";
};

// What a label's value must not hold as it is.
std::string EscapeLabel(const std::string& value) {
  std::string escaped;
  for (const char c : value) {
    if (c == '\\' || c == '"') escaped += '\\';
    escaped += c == '\n' ? ' ' : c;
  }
  return escaped;
}

}  // namespace

std::string EngineMetricsText(const Engine& engine, const ServedModel& model) {
  const Metrics& metrics = engine.metrics();
  Families out;
  out.Family("build_info", "gauge", "1; the server's version and its model.")
      .Value(1, absl::StrCat("version=\"", EscapeLabel(model.version), "\",model=\"", EscapeLabel(model.name), "\""));

  const int parked_host = metrics.sessions_parked_host.load();
  const int parked_disk = metrics.sessions_parked_disk.load();
  out.Family("sessions", "gauge", "Sessions by where their caches are.")
      .Value(std::max(0, metrics.sessions.load() - parked_host - parked_disk), "state=\"resident\"")
      .Value(parked_host, "state=\"parked_host\"")
      .Value(parked_disk, "state=\"parked_disk\"");
  const struct {
    const char* name;
    const char* help;
    int64_t value;
  } gauges[] = {
      {"turns_running", "Turns that run.", metrics.turns_running.load()},
      {"turns_waiting", "Turns that wait in the queue.", metrics.turns_waiting.load()},
      {"turns_running_max", "Turns that may run together.", engine.options().max_num_seqs},
      {"turns_waiting_max", "Turns that may wait.", engine.options().max_num_queued_requests},
      {"slots", "Caches in the device's memory.", engine.options().num_slots},
      {"slots_free", "Caches in the device's memory that nobody holds.", engine.SlotsFree()},
      {"prefix_cache_entries", "Free caches that prompts may go on from.", metrics.prefix_entries.load()},
      {"cache_bytes_per_slot", "Bytes of one of these caches.",
       static_cast<int64_t>(engine.options().cache_bytes_per_slot)},
  };
  for (const auto& gauge : gauges) out.Family(gauge.name, "gauge", gauge.help).Value(gauge.value);
  out.Family("score_certificate_ratio", "gauge",
             "Error bound of predicted attention scores, as a share of all attention: the newest step's worst.")
      .Value(metrics.score_certificate.load());
  const struct {
    const char* name;
    const char* help;
    int64_t value;
  } counters[] = {
      {"prompt_tokens_total", "Tokens of prompts that were read.", metrics.prompt_tokens.load()},
      {"prefix_cache_queries_total", "Tokens of prompts that were looked for in the caches of earlier ones.",
       metrics.prefix_queries.load()},
      {"prefix_cache_hits_total", "Of these, tokens that were found and not read.", metrics.prefix_hits.load()},
      {"prefix_cache_turns_total", "Turns that found some.", metrics.prefix_turns.load()},
      {"generation_tokens_total", "Tokens that were sampled.", metrics.generation_tokens.load()},
      {"tokens_evicted_total", "Tokens that caches have forgotten.", metrics.tokens_evicted.load()},
      {"stride_closes_total", "Strides that were closed.", metrics.stride_closes.load()},
      {"steps_total", "Forward passes.", metrics.steps.load()},
      {"score_heads_predicted_total", "Heads whose attention scores were added up from predictions.",
       metrics.score_heads_predicted.load()},
      {"score_heads_rejected_total", "Of these, heads that were added up again exactly.",
       metrics.score_heads_rejected.load()},
      {"turns_finished_total", "Turns that have ended well.", metrics.turns_finished.load()},
      {"turns_failed_total", "Turns that have ended with an error.", metrics.turns_failed.load()},
      {"sessions_damaged_total", "Sessions whose files could not be read.", metrics.sessions_damaged.load()},
      {"parks_total", "Caches that left the device's memory.", metrics.parks.load()},
      {"restores_total", "Caches that came back.", metrics.restores.load()},
      {"replayed_tokens_total", "Tokens that were read again to make a cache anew.", metrics.replayed_tokens.load()},
      {"images_written_total", "Images of caches written to the disk.", metrics.images_written.load()},
      {"image_failures_total", "Images that could not be written.", metrics.image_failures.load()},
      {"journal_commits_total", "Turns written to journals.", metrics.journal_commits.load()},
      {"journal_batches_total", "Groups of turns that were synced together.", metrics.journal_batches.load()},
      {"journal_failures_total", "Groups that could not be written.", metrics.journal_failures.load()},
  };
  for (const auto& counter : counters) out.Family(counter.name, "counter", counter.help).Value(counter.value);
  out.Family("journal_sync_seconds_total", "counter", "Time spent on syncing journals.")
      .Value(static_cast<double>(metrics.journal_sync_us.load()) * 1e-6);
  return out.Take();
}

std::string HttpMetricsText(int open_connections, const std::array<std::atomic<int64_t>, 6>& responses) {
  Families out;
  out.Family("http_connections", "gauge", "Open connections of the HTTP port.").Value(open_connections);
  out.Family("http_responses_total", "counter", "Responses of the HTTP port by the first digit of their status.");
  for (size_t digit = 2; digit < responses.size(); ++digit) {
    out.Value(responses[digit].load(), absl::StrCat("status=\"", digit, "xx\""));
  }
  return out.Take();
}

}  // namespace cascade
