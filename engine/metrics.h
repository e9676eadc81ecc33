// Counters of the engine; no transport. Written by the engine, read by any thread.
#pragma once

#include <atomic>
#include <cstdint>

namespace cascade {

struct Metrics {
  std::atomic<int64_t> prompt_tokens{0};   // fed
  std::atomic<int64_t> prefix_queries{0};  // of prompts that were looked for in the prefix cache
  std::atomic<int64_t> prefix_hits{0};     // of those, found there or with a turn of the same prompt, and not fed
  std::atomic<int64_t> prefix_turns{0};    // turns that found some
  std::atomic<int> prefix_entries{0};
  std::atomic<int64_t> generation_tokens{0};  // sampled
  std::atomic<int64_t> tokens_evicted{0};
  std::atomic<int64_t> stride_closes{0};
  std::atomic<int64_t> steps{0};
  // Of attention scores added up from predictions (kernels/backend.h, ScoreCertificates).
  std::atomic<int64_t> score_heads_predicted{0};
  std::atomic<int64_t> score_heads_rejected{0};
  std::atomic<float> score_certificate{0};  // worst of the newest step that predicted any
  std::atomic<int64_t> turns_finished{0};
  std::atomic<int64_t> turns_failed{0};
  std::atomic<int> turns_running{0};
  std::atomic<int> turns_waiting{0};
  std::atomic<int> sessions{0};
  // Sessions that outlive their slot.
  std::atomic<int> sessions_parked_host{0};
  std::atomic<int> sessions_parked_disk{0};
  std::atomic<int64_t> sessions_damaged{0};
  std::atomic<int64_t> parks{0};
  std::atomic<int64_t> restores{0};
  std::atomic<int64_t> replayed_tokens{0};
  std::atomic<int64_t> images_written{0};
  std::atomic<int64_t> image_failures{0};
  std::atomic<int64_t> journal_commits{0};  // turns
  std::atomic<int64_t> journal_batches{0};  // groups of them
  std::atomic<int64_t> journal_failures{0};
  std::atomic<int64_t> journal_sync_us{0};  // in all
};

}  // namespace cascade
