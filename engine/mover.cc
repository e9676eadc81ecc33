#include "engine/mover.h"

#include <algorithm>
#include <utility>

#include "kernels/base/check.h"

namespace cascade {
namespace {

// Two images are on their way at most: one is written while the next one is copied.
constexpr int kStagingPlaces = 2;

absl::Status NoMemory() { return absl::ResourceExhaustedError("no host memory for a session's cache"); }

}  // namespace

int CountHostPlaces(int64_t bytes, size_t cache_bytes) {
  return static_cast<int>(std::min<int64_t>(bytes / std::max<int64_t>(1, static_cast<int64_t>(cache_bytes)), 1 << 20));
}

int CountMemorySessions(int num_slots, int64_t host_cache_bytes, size_t cache_bytes) {
  return num_slots - 1 + std::max(0, CountHostPlaces(host_cache_bytes, cache_bytes) - 1);
}

Mover::Mover(const EngineOptions& options, Model& model, SessionStore& sessions, Metrics& metrics,
             BetweenSteps between_steps, std::function<void()> wake,
             std::function<void(const absl::Status&)> on_lost_device)
    : options_(options),
      model_(model),
      sessions_(sessions),
      metrics_(metrics),
      between_steps_(std::move(between_steps)),
      wake_(std::move(wake)),
      on_lost_device_(std::move(on_lost_device)),
      cache_bytes_(model.SlotBytes(kernels::SlotPart::kAll)),
      // The promise of the journal: a crash never costs reading a whole life again.
      image_interval_(4 * (int64_t{options.geometry.cache_tokens()} + options.geometry.stride)),
      host_(model, cache_bytes_, CountHostPlaces(options.host_cache_bytes, cache_bytes_)),
      staging_(model, cache_bytes_, kStagingPlaces),
      turn_images_(model, cache_bytes_, kStagingPlaces),
      scores_(model, model.SlotBytes(kernels::SlotPart::kScores), -1) {
  in_.thread = std::thread([this] { Run(in_); });
  out_.thread = std::thread([this] { Run(out_); });
}

void Mover::Stop() {
  for (Worker* worker : {&in_, &out_}) {
    {
      MutexLock lock(worker->mutex);
      worker->stopping = true;
      worker->changed.NotifyAll();
    }
    if (worker->thread.joinable()) worker->thread.join();
  }
}

void Mover::Run(Worker& worker) {
  while (true) {
    std::function<void()> job;
    {
      MutexLock lock(worker.mutex);
      while (worker.jobs.empty() && !worker.stopping) worker.changed.Wait(worker.mutex);
      if (worker.jobs.empty()) return;
      job = std::move(worker.jobs.front());
      worker.jobs.pop_front();
    }
    job();
  }
}

void Mover::Post(Worker& worker, std::function<void()> job) {
  MutexLock lock(worker.mutex);
  if (worker.stopping) return;
  worker.jobs.push_back(std::move(job));
  worker.changed.NotifyAll();
}

// Bringing in.

void Mover::BringIn(Session session, int slot, std::function<void(BroughtIn)> done) {
  auto job = [this, session = std::make_shared<Session>(std::move(session)), slot, done = std::move(done)] {
    BroughtIn result = Bring(*session, slot);
    if (result.status.ok()) metrics_.restores.fetch_add(1, std::memory_order_relaxed);
    done(std::move(result));
  };
  Post(in_, std::move(job));
}

absl::Status Mover::CopyIn(int slot, std::span<const std::byte> cache) {
  return CopyBetweenSteps(between_steps_, [&] { return model_.WriteSlot(slot, kernels::SlotPart::kAll, cache); });
}

BroughtIn Mover::Bring(Session& session, int slot) {
  BroughtIn result;
  const int64_t fed = session.cache.plan.tokens_seen();
  if (session.home == SessionHome::kHost) {
    // Without memory it is one that has only ids.
    if (session.host != nullptr) result.status = CopyIn(slot, session.host->bytes());
    result.tokens_seen = fed - static_cast<int64_t>(session.replay.size());
    result.digest = session.cache.digest;
    result.ids = std::move(session.replay);
    return result;
  }
  CASCADE_CHECK(session.home == SessionHome::kDisk && session.journal != nullptr);
  result.status = session.journal->Claim();
  if (!result.status.ok()) return result;
  const std::shared_ptr<kernels::HostMemory> staging = staging_.Take();
  if (staging == nullptr) {
    result.status = NoMemory();
    return result;
  }
  absl::StatusOr<Journal::Restored> restored = session.journal->Restore(fed, fed, staging->bytes());
  if (!restored.ok()) {
    result.status = restored.status();
    return result;
  }
  result.tokens_seen = restored->tokens_seen;
  result.digest = restored->digest;
  result.ids = std::move(restored->ids);
  if (!restored->damage.empty() && options_.on_damaged_image) {
    options_.on_damaged_image(session.id.substr(0, kIdPartInLogs), restored->damage);
  }
  if (result.tokens_seen > 0) result.status = CopyIn(slot, staging->bytes());
  return result;
}

// Moving out.

bool Mover::MakeRoom() {
  if (moving_out_.load() > 0) return true;
  const bool somewhere = options_.vault != nullptr || CountHostPlaces(options_.host_cache_bytes, cache_bytes_) > 0;
  if (!somewhere || out_failed_.load()) return false;
  moving_out_.fetch_add(1);
  Post(out_, [this] { MoveOneOut(); });
  return true;
}

void Mover::MoveOneOut() {
  absl::Status status = absl::ResourceExhaustedError("no session can be parked");
  std::optional<SessionMove> move = sessions_.BeginMove(SessionHome::kSlot, /*with_journal=*/false);
  if (move.has_value()) {
    const bool to_host_alone = move->journal == nullptr;
    status = Park(*std::move(move), ParkTarget::kAny);
    if (!status.ok() && to_host_alone) {
      move = sessions_.BeginMove(SessionHome::kSlot, /*with_journal=*/true);
      if (move.has_value()) status = Park(*std::move(move), ParkTarget::kAny);
    }
  }
  if (!status.ok()) out_failed_.store(true);
  Tell(status);
  moving_out_.fetch_sub(1);
  wake_();
}

// Of work that nobody waits for.
void Mover::Tell(const absl::Status& status) {
  if (IsLostDevice(status)) on_lost_device_(status);
}

absl::Status Mover::CopyTo(std::span<std::byte> host, int slot) {
  return CopyBetweenSteps(between_steps_, [&] { return model_.ReadSlot(slot, kernels::SlotPart::kAll, host); });
}

absl::StatusOr<std::shared_ptr<kernels::HostMemory>> Mover::CopyOut(int slot) {
  std::shared_ptr<kernels::HostMemory> memory = staging_.Take();
  if (memory == nullptr) return NoMemory();
  if (absl::Status status = CopyTo(memory->bytes(), slot); !status.ok()) return status;
  return memory;
}

absl::Status Mover::ParkToHost(SessionMove& move) {
  CASCADE_CHECK(move.home == SessionHome::kSlot);
  std::shared_ptr<kernels::HostMemory> memory = host_.TryTake();
  if (memory == nullptr) {
    std::optional<SessionMove> oldest = sessions_.BeginMove(SessionHome::kHost, /*with_journal=*/true);
    if (oldest.has_value()) {
      const bool gone = ParkToDisk(*oldest).ok();
      sessions_.EndMove(*oldest, gone ? SessionHome::kDisk : oldest->home, gone ? nullptr : oldest->host);
      oldest.reset();
      wake_();  // a turn may wait for that one
      memory = host_.TryTake();
    }
  }
  if (memory == nullptr) return absl::ResourceExhaustedError("no place in host memory is free");
  if (absl::Status status = CopyTo(memory->bytes(), move.cache.slot); !status.ok()) return status;
  sessions_.EndMove(move, SessionHome::kHost, std::move(memory));
  metrics_.parks.fetch_add(1, std::memory_order_relaxed);
  return absl::OkStatus();
}

absl::Status Mover::ParkToDisk(SessionMove& move) {
  const int64_t tokens_seen = move.cache.plan.tokens_seen();
  if (move.journal->ImageBefore(tokens_seen) == tokens_seen) return absl::OkStatus();  // nothing has changed since
  std::shared_ptr<kernels::HostMemory> memory = move.host;
  if (move.home == SessionHome::kSlot) {
    absl::StatusOr<std::shared_ptr<kernels::HostMemory>> copied = CopyOut(move.cache.slot);
    if (!copied.ok()) return copied.status();
    memory = *std::move(copied);
  }
  return WriteImageNow(*move.journal, tokens_seen, move.digest, memory->bytes());
}

absl::Status Mover::Park(SessionMove move, ParkTarget target) {
  absl::Status status = ParkMove(move, target);
  wake_();  // a turn may wait for its end
  return status;
}

absl::Status Mover::ParkMove(SessionMove& move, ParkTarget target) {
  absl::Status status;
  const SessionHome home = move.home;
  if (home == SessionHome::kNone || home == SessionHome::kDisk ||
      (home == SessionHome::kHost && target != ParkTarget::kDisk)) {
    sessions_.EndMove(move, home, move.host);  // it is there already, or nothing is to be kept
    return absl::OkStatus();
  }
  if (target == ParkTarget::kDisk && move.journal == nullptr) {
    status = absl::FailedPreconditionError("the session has no journal: its durability is none");
  } else if (target == ParkTarget::kHost && CountHostPlaces(options_.host_cache_bytes, cache_bytes_) == 0) {
    status = absl::FailedPreconditionError("there is no host memory for parked sessions (--host-cache-bytes)");
  }
  if (status.ok() && target != ParkTarget::kDisk) {
    status = ParkToHost(move);
    if (status.ok()) return status;
    // To disk instead, unless somebody wants just this.
    if (target == ParkTarget::kAny && move.journal != nullptr) status = absl::OkStatus();
    if (!status.ok() && move.journal == nullptr && target == ParkTarget::kAny) {
      status = absl::FailedPreconditionError(
          "the session has no journal, and host memory for parked sessions is full or not there");
    }
  }
  if (status.ok()) status = ParkToDisk(move);
  if (status.ok()) metrics_.parks.fetch_add(1, std::memory_order_relaxed);
  sessions_.EndMove(move, status.ok() ? SessionHome::kDisk : home, status.ok() ? nullptr : move.host);
  return status;
}

// Images.

absl::Status Mover::WriteImageNow(Journal& journal, int64_t tokens_seen, uint64_t digest,
                                  std::span<const std::byte> cache) {
  const auto begin = std::chrono::steady_clock::now();
  const absl::Status status = journal.WriteImage(tokens_seen, digest, cache);
  (status.ok() ? metrics_.images_written : metrics_.image_failures).fetch_add(1, std::memory_order_relaxed);
  if (status.ok()) {
    const int64_t spent = (std::chrono::steady_clock::now() - begin).count();
    const int64_t before = image_ns_.load();
    image_ns_.store(before == 0 ? spent : (3 * before + spent) / 4);
  }
  return status;
}

bool Mover::ImageIsDue(Journal& journal, int64_t tokens_seen) const {
  return tokens_seen - journal.ImageBefore(tokens_seen).value_or(0) >= image_interval_;
}

std::chrono::nanoseconds Mover::TimePerImage() const {
  // Before the first one: a disk of 200 MB/s.
  const int64_t measured = image_ns_.load();
  return std::chrono::nanoseconds(measured > 0 ? measured : static_cast<int64_t>(cache_bytes_) * 5);
}

void Mover::WriteImage(std::shared_ptr<Journal> journal, int64_t tokens_seen, uint64_t digest,
                       std::shared_ptr<kernels::HostMemory> cache) {
  Post(out_, [this, journal = std::move(journal), tokens_seen, digest, cache = std::move(cache)] {
    WriteImageNow(*journal, tokens_seen, digest, cache->bytes()).IgnoreError();  // counted; the journal has the tokens
  });
}

void Mover::RefreshImage(const std::string& id) {
  Post(out_, [this, id] {
    std::optional<SessionMove> move = sessions_.BeginMoveOf(id);
    if (!move.has_value()) return;
    const int64_t tokens_seen = move->cache.plan.tokens_seen();
    const bool due = move->home == SessionHome::kSlot && ImageIsDue(*move->journal, tokens_seen);
    absl::StatusOr<std::shared_ptr<kernels::HostMemory>> memory = absl::UnavailableError("not due");
    if (due) memory = CopyOut(move->cache.slot);
    // The session can go on; the file is written beside it.
    sessions_.EndMove(*move, move->home, move->host);
    wake_();
    if (due) Tell(memory.status());
    if (!memory.ok()) return;
    WriteImageNow(*move->journal, tokens_seen, move->digest, (*memory)->bytes()).IgnoreError();
  });
}

void Mover::WriteSlotImage(std::shared_ptr<Journal> journal, const SessionCache& cache,
                           std::function<void(absl::Status)> done) {
  Post(out_, [this, journal = std::move(journal), cache, done = std::move(done)] {
    absl::StatusOr<std::shared_ptr<kernels::HostMemory>> memory = CopyOut(cache.slot);
    absl::Status status = memory.status();
    Tell(status);
    if (status.ok()) {
      status = WriteImageNow(*journal, cache.plan.tokens_seen(), cache.digest, (*memory)->bytes());
    }
    done(std::move(status));
  });
}

void Mover::RemoveFiles(std::shared_ptr<Session> session) {
  Post(out_, [this, session = std::move(session)] {
    // What another server has is only forgotten here.
    session->journal->Remove().IgnoreError();
    sessions_.Gone(session->id);
  });
}

void Mover::RemoveImagesAfter(std::shared_ptr<Journal> journal, int64_t tokens_seen) {
  Post(out_, [journal = std::move(journal), tokens_seen] { journal->RemoveImagesAfter(tokens_seen).IgnoreError(); });
}

std::pair<int, int> Mover::ParkAll(std::chrono::steady_clock::time_point deadline) {
  int parked = 0;
  const std::vector<std::string> ids = sessions_.Unparked();
  for (const std::string& id : ids) {
    if (std::chrono::steady_clock::now() >= deadline) break;
    std::optional<SessionMove> move = sessions_.BeginMoveOf(id, deadline);
    if (move.has_value() && Park(*std::move(move), ParkTarget::kDisk).ok()) ++parked;
  }
  return {parked, static_cast<int>(ids.size()) - parked};
}

}  // namespace cascade
