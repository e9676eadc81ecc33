#pragma once

#include <atomic>
#include <utility>

#include "absl/status/statusor.h"

namespace cascade {

// How many exports and imports there are at once: each holds a whole session in memory, for as long as its client
// takes. Any thread.
class TransferQuota {
 public:
  explicit TransferQuota(int limit) : left_(limit) {}
  TransferQuota(const TransferQuota&) = delete;
  TransferQuota& operator=(const TransferQuota&) = delete;

  // One of them, given back when this is destroyed. The quota outlives it.
  class Share {
   public:
    Share() = default;  // of nothing
    explicit Share(TransferQuota* quota) : quota_(quota) {}
    Share(Share&& other) noexcept : quota_(std::exchange(other.quota_, nullptr)) {}
    Share& operator=(Share&& other) noexcept {
      std::swap(quota_, other.quota_);
      return *this;
    }
    ~Share() {
      if (quota_ != nullptr) ++quota_->left_;
    }

   private:
    TransferQuota* quota_ = nullptr;
  };

  // RESOURCE_EXHAUSTED when there are too many.
  absl::StatusOr<Share> Take() {
    int left = left_.load();
    while (left > 0) {
      if (left_.compare_exchange_weak(left, left - 1)) return Share(this);
    }
    return absl::ResourceExhaustedError("too many sessions are being exported and imported");
  }

 private:
  std::atomic<int> left_;
};

}  // namespace cascade
