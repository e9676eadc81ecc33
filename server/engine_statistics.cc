#include "server/engine_statistics.h"

#include <spdlog/fmt/fmt.h>
#include <spdlog/spdlog.h>

namespace cascade {

bool StatisticsSample::BusySince(const StatisticsSample& earlier) const {
  return running > 0 || waiting > 0 || prompt_tokens != earlier.prompt_tokens ||
         generation_tokens != earlier.generation_tokens;
}

StatisticsSample Sample(const Engine& engine) {
  const Metrics& metrics = engine.metrics();
  StatisticsSample sample;
  sample.prompt_tokens = metrics.prompt_tokens.load();
  sample.generation_tokens = metrics.generation_tokens.load();
  sample.running = metrics.turns_running.load();
  sample.waiting = metrics.turns_waiting.load();
  sample.sessions = metrics.sessions.load();
  sample.slots_free = engine.SlotsFree();
  sample.parked_host = metrics.sessions_parked_host.load();
  sample.parked_disk = metrics.sessions_parked_disk.load();
  sample.journal_batches = metrics.journal_batches.load();
  sample.journal_sync_us = metrics.journal_sync_us.load();
  sample.score_heads_predicted = metrics.score_heads_predicted.load();
  sample.score_heads_rejected = metrics.score_heads_rejected.load();
  sample.score_certificate = metrics.score_certificate.load();
  return sample;
}

std::string FormatStatistics(const StatisticsSample& earlier, const StatisticsSample& now, double seconds) {
  std::string line =
      fmt::format("prompt {:.1f} tok/s, generation {:.1f} tok/s, running {}, waiting {}, sessions {}, slots free {}",
                  static_cast<double>(now.prompt_tokens - earlier.prompt_tokens) / seconds,
                  static_cast<double>(now.generation_tokens - earlier.generation_tokens) / seconds, now.running,
                  now.waiting, now.sessions, now.slots_free);
  if (now.parked_host > 0 || now.parked_disk > 0) {
    line += fmt::format(", parked {} host {} disk", now.parked_host, now.parked_disk);
  }
  const int64_t batches = now.journal_batches - earlier.journal_batches;
  if (batches > 0) {
    line +=
        fmt::format(", journal fsync {:.2f} ms", static_cast<double>(now.journal_sync_us - earlier.journal_sync_us) /
                                                     static_cast<double>(batches) / 1000);
  }
  const int64_t predicted = now.score_heads_predicted - earlier.score_heads_predicted;
  if (predicted > 0) {
    const int64_t rejected = now.score_heads_rejected - earlier.score_heads_rejected;
    line += fmt::format(", scores predicted {:.1f} %",
                        100 * (1 - static_cast<double>(rejected) / static_cast<double>(predicted)));
    if (rejected < predicted) line += fmt::format(", certificate {:.3f}", now.score_certificate);
  }
  return line;
}

EngineStatistics::EngineStatistics(const Engine& engine, std::chrono::milliseconds period)
    : engine_(engine), period_(period), thread_([this] { Run(); }) {}

EngineStatistics::~EngineStatistics() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyOne();
  thread_.join();
}

void EngineStatistics::Run() {
  StatisticsSample earlier = Sample(engine_);
  auto since = std::chrono::steady_clock::now();
  for (;;) {
    const auto until = since + period_;
    {
      MutexLock lock(mutex_);
      while (!stopping_ && std::chrono::steady_clock::now() < until) changed_.WaitUntil(mutex_, until);
      if (stopping_) return;
    }
    const StatisticsSample now = Sample(engine_);
    const auto time = std::chrono::steady_clock::now();
    if (now.BusySince(earlier)) {
      spdlog::info("{}", FormatStatistics(earlier, now, std::chrono::duration<double>(time - since).count()));
    }
    earlier = now;
    since = time;
  }
}

}  // namespace cascade
